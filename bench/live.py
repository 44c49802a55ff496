"""The daemon alive: a host of its own in a network namespace, an attacker with many addresses.

Touches two network namespaces and a folder in /tmp, all removed by `close`. Packets are UDP to port
25, since a ban closes TCP and UDP alike. Limits: root, nftables; one daemon at a time.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.kernel.namespaces import Namespace

from bench import tidegate

HOST = "192.0.2.1"
ATTACKERS = "198.18.0.0/15"
"""Every address of RFC 2544 is the attacker's, without being configured one by one."""

PATHS = """
[paths]
state = "{folder}/state"
run = "{folder}/run"
off = "{folder}/off"
detectors = "{folder}/detectors"
gates = "{folder}/gates"
"""


class Stage:
    """A host that runs Tidegate on `log`, and somebody who sends from 198.18.0.0/15."""

    def __init__(self) -> None:
        self.spaces: list[Namespace] = []
        self.process: subprocess.Popen[bytes] | None = None
        self.folder = Path(tempfile.mkdtemp(prefix="tidegate-bench-"))
        self.folder.chmod(0o755)
        self.log = self.folder / "log"
        self.log.touch()
        try:
            self.host, self.attacker = self._space("host"), self._space("attacker")
            self._join()
        except BaseException:
            self.close()
            raise

    def _space(self, role: str) -> Namespace:
        made = Namespace(role)
        self.spaces.append(made)
        return made

    def _join(self) -> None:
        self.attacker.ip(
            *("link", "add", "up0", "type", "veth", "peer", "name", "down0"),
            *("netns", self.host.name),
        )
        self.host.ip("address", "add", f"{HOST}/24", "dev", "down0")
        self.host.ip("link", "set", "down0", "up")
        self.attacker.ip("address", "add", "192.0.2.2/24", "dev", "up0")
        self.attacker.ip("link", "set", "up0", "up")
        self.attacker.ip("route", "add", "local", ATTACKERS, "dev", "lo")
        self.host.ip("route", "add", ATTACKERS, "via", "192.0.2.2")

    def policy(self, text: str) -> Path:
        """A policy for this host: `text`, and folders of our own."""
        path = self.folder / "tidegate.toml"
        path.write_text(text.replace("LOG", str(self.log)) + PATHS.format(folder=self.folder))
        return path

    def start(self, configuration: Path) -> int:
        """Start the daemon and wait until it says that it is ready; the master's process id.

        It is asked nothing meanwhile: an answer would be part of what it costs.
        """
        ready = self.folder / "ready"
        ready.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.bind(str(ready))
            told.settimeout(0.2)
            with self.host.inside(), (self.folder / "daemon.log").open("ab") as said:
                self.process = subprocess.Popen(
                    [tidegate.COMMAND, "run", "--config", configuration],
                    env={**os.environ, "NOTIFY_SOCKET": str(ready)},
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                )
            self._wait_ready(told)
        return self.process.pid

    def _wait_ready(self, told: socket.socket) -> None:
        assert self.process is not None
        end = time.monotonic() + 60
        while self.process.poll() is None and time.monotonic() < end:
            with contextlib.suppress(TimeoutError):
                if b"READY=1" in told.recv(4096):
                    return
        raise RuntimeError(f"no daemon:\n{(self.folder / 'daemon.log').read_text()}")

    def status(self) -> dict[str, Any]:
        """What `GET /status` says, asked without a process of our own."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(30)
            client.connect(str(self.folder / "run/watcher/control.sock"))
            client.sendall(b"GET /status HTTP/1.1\r\nHost: tidegate\r\nConnection: close\r\n\r\n")
            answer = b""
            while part := client.recv(1 << 16):
                answer += part
                head, found, body = answer.partition(b"\r\n\r\n")
                if found and len(body) >= _length(head):
                    break
        status: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
        return status

    def stop(self) -> None:
        """End the daemon as systemd would."""
        process, self.process = self.process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def receiver(self, port: int = 25) -> socket.socket:
        """Where datagrams to the host arrive."""
        with self.host.inside():
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        made.bind((HOST, port))
        made.setblocking(False)
        return made

    def sender(self, source: str, port: int = 25) -> socket.socket:
        """A socket of the attacker's with that source address, connected to the host."""
        with self.attacker.inside():
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((source, 0))
        made.connect((HOST, port))
        made.setblocking(False)
        return made

    def close(self) -> None:
        """Remove everything."""
        self.stop()
        for space in self.spaces:
            space.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def stage() -> Iterator[Stage]:
    """A stage that is always taken down again."""
    made = Stage()
    try:
        yield made
    finally:
        made.close()


def missing() -> str:
    """Why the daemon can't be measured here; "" if it can."""
    if os.geteuid() != 0:
        return "not root"
    return "" if shutil.which("nft") and shutil.which("ip") else "nft or ip is not installed"


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 1 << 30


def virus(address: str, number: int) -> str:
    """A line of exim's that counts, stamped now."""
    return (
        f"{time.strftime('%Y-%m-%d %H:%M:%S')} 1tBnCh-{number:011d}-00aB H=(x) [{address}]:4711 "
        "F=<a@example.com> rejected after DATA: This message contains a virus (Sobig.F)\n"
    )


def first_drop(sender: socket.socket, receiver: socket.socket, written: float) -> float:
    """Send every half millisecond until nothing arrives; seconds from `written` to the drop."""
    sent: list[float] = []
    arrived = -1
    while time.monotonic() < written + 5:
        sent.append(time.monotonic())
        with contextlib.suppress(OSError):
            sender.send(str(len(sent) - 1).encode())
        with contextlib.suppress(BlockingIOError):
            while data := receiver.recv(64):
                arrived = max(arrived, int(data))
        if len(sent) - arrived > 40:  # 20 ms without any
            return sent[arrived + 1] - written
        time.sleep(max(0.0, sent[-1] + 0.0005 - time.monotonic()))
    raise TimeoutError("not dropped within 5 s")
