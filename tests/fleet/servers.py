"""Real servers of Redis for tests: on a Unix socket in a folder given, ended by process id.

Touches processes it starts and files in that folder. Limits: Debian's redis-server.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tidegate.errors import FleetError
from tidegate.fleet.engine.connection import Address, Connection, Login, connect

MISSING = shutil.which("redis-server") is None


class Server:
    """One server, empty, without persistence unless options say otherwise. `plain`: as they say."""

    def __init__(self, folder: Path, *options: str, plain: bool = False) -> None:
        self.folder, self.options, self.plain = folder, options, plain
        self.socket = folder / "socket"
        self.start()

    @property
    def address(self) -> Address:
        return Address(path=str(self.socket))

    def start(self) -> None:
        """Start it and wait until it answers."""
        own = [
            "--port", "0", "--unixsocket", str(self.socket), "--save", "", "--appendonly", "no",
            "--dir", str(self.folder),
        ]  # fmt: skip
        self.process = subprocess.Popen(
            ["redis-server", *([] if self.plain else own), *self.options],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            cwd=self.folder,
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while not (self.plain or self._answers()):
            assert time.monotonic() < deadline, "redis-server does not answer"
            assert self.process.poll() is None, "redis-server has ended"
            time.sleep(0.02)

    def _answers(self) -> bool:
        with contextlib.suppress(FleetError):
            connection = self.connect()
            (reply,) = connection.call([("PING",)], 5)
            connection.close()
            return "LOADING" not in str(reply)
        return False

    def connect(self, login: Login | None = None) -> Connection:
        return connect(self.address, login or Login(), 10)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(20)
        self.socket.unlink(missing_ok=True)


@contextlib.contextmanager
def server(folder: Path, *options: str, plain: bool = False) -> Iterator[Server]:
    """A server for as long as it is needed."""
    made = Server.__new__(Server)
    try:
        made.__init__(folder, *options, plain=plain)
        yield made
    finally:
        if hasattr(made, "process"):
            made.kill()
