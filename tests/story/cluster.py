"""Machines for a story of several: a bridge, and nodes that can be started, cut off and killed.

Touches network, mount and process namespaces, a folder and what is started there; a node's end is
the end of every process on it, and a node ends also when this process is killed. Limits: root; all
nodes share one kernel, so the load average, the clock and the page cache are everybody's.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.kernel.namespaces import Namespace
from tests.story import stage

UNPACKED = stage.REPOSITORY / "build" / "debian"
"""Debian packages that cannot be installed side by side, unpacked by packaging/setup-checkout."""
MAIL_USER, MAIL_UID = "tg-vmail", 54322
PEOPLE = {"passwd": f"{MAIL_USER}:x:{MAIL_UID}:{MAIL_UID}:mail:/nonexistent:/bin/false\n",
          "group": f"{MAIL_USER}:x:{MAIL_UID}:\n"}  # fmt: skip
# Of a package that is not installed there is no user either.
POSTFIX = {"passwd": "postfix:x:54323:54323:postfix:/nonexistent:/bin/false\n",
           "group": "postfix:x:54323:\npostdrop:x:54324:\n"}  # fmt: skip
OWN = ("exim4", "postfix")
"""Folders below /etc that are the node's own; Debian's exim gives up root for any other configuration."""
# The first process reads until nobody holds the other end, and lets the kernel reap its orphans.
_FIRST = """
    set -e
    {layered}
    mount -t overlay none -o lowerdir={folder}/etc:/etc /etc
    for name in {own}; do mount --bind {folder}/etc/$name /etc/$name; done
    mount -t tmpfs -o mode=755 none /run
    mkdir -p /run/haproxy /run/keepalived /run/tidegate /run/lock
    echo ready
    exec env --ignore-signal=CHLD cat
"""


class Switch:
    """A bridge in a namespace of its own, which joins the nodes."""

    def __init__(self) -> None:
        self.space = Namespace("switch")
        try:
            self.space.ip("link", "add", "bridge", "type", "bridge", "mcast_snooping", "0")
            self.space.ip("link", "set", "bridge", "up")
        except BaseException:
            self.close()
            raise

    def plug(self, space: Namespace, port: str) -> None:
        """A cable from the bridge to the namespace's eth0."""
        space.ip(
            "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", self.space.name
        )
        self.space.ip("link", "set", port, "master", "bridge", "up")
        space.ip("link", "set", "eth0", "up")

    def close(self) -> None:
        """Gone."""
        self.space.close()


class Node:
    """A machine: a network, a /run, users and processes of its own, a folder that outlives it."""

    def __init__(self, switch: Switch, folder: Path, name: str, *addresses: str) -> None:
        self.name, self.folder, self.addresses = name, folder / name, addresses
        self._first: subprocess.Popen[str] | None = None
        self.space = Namespace(name)
        try:
            switch.plug(self.space, name)
            for address in addresses:
                self.space.ip("address", "add", f"{address}/24", "dev", "eth0")
            for own in OWN:
                (self.folder / "etc" / own).mkdir(parents=True)
            for kind, lines in PEOPLE.items():
                there = Path("/etc", kind).read_text()
                extra = "" if "\npostfix:" in there else POSTFIX[kind]
                (self.folder / "etc" / kind).write_text(there + lines + extra)
            self.boot()
        except BaseException:
            self.close()
            raise

    def boot(self) -> None:
        """Power on: the first process, and the link."""
        layers = ":".join([*(str(one / "usr") for one in sorted(UNPACKED.glob("*"))), "/usr"])
        # An overlay of one layer is none, says the kernel.
        layered = f"mount -t overlay none -o lowerdir={layers} /usr" if ":" in layers else ""
        script = textwrap.dedent(_FIRST).format(
            folder=self.folder, layered=layered, own=" ".join(OWN)
        )
        with self.space.inside():
            self._first = subprocess.Popen(
                ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child",
                 "sh", "-c", script],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
        assert self._first.stdout is not None
        if self._first.stdout.readline() != "ready\n":
            raise stage.StoryError(f"{self.name} does not start")
        self.space.ip("link", "set", "eth0", "up")

    def cut_power(self) -> None:
        """Every process is killed, and the network is dead; addresses that were added are gone."""
        self.space.ip("link", "set", "eth0", "down")
        self._kill()
        self.space.ip("address", "flush", "dev", "eth0")
        for address in self.addresses:
            self.space.ip("address", "add", f"{address}/24", "dev", "eth0")

    def _kill(self) -> None:
        if self._first is not None:
            self._first.kill()  # and with it, as its child, the first process, and with that all
            self._first.wait(20)
            for pipe in (self._first.stdin, self._first.stdout):
                if pipe is not None:
                    pipe.close()
            self._first = None

    @property
    def _enter(self) -> list[str]:
        assert self._first is not None
        (first,) = children(self._first.pid)
        return ["nsenter", f"--target={first}", "--mount", "--pid"]

    def popen(self, words: list[str], **options: Any) -> subprocess.Popen[bytes]:
        """Start a process on this machine; what is returned is what leads to it (`Service.pid`)."""
        with self.space.inside():
            return subprocess.Popen([*self._enter, *words], **options)

    def start(self, *words: str | Path, **options: Any) -> Service:
        """Start a daemon in the foreground; what it says goes to NAME.said."""
        return Service(self, [str(word) for word in words], **options)

    def run(self, *words: str) -> str:
        """What a command on this machine prints."""
        process = self.popen(list(words), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate(timeout=60)
        if process.returncode:
            raise stage.StoryError(f"{self.name}: {' '.join(words)}: {err.decode().strip()}")
        return out.decode()

    def listens(self, port: int) -> bool:
        """Whether something listens on this TCP port."""
        return f":{port} " in self.space.run("ss", "-Hltn")

    def holds(self, address: str) -> bool:
        """Whether the address is one of this machine's."""
        return f" {address}/" in self.space.run("ip", "-4", "address", "show", "dev", "eth0")

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Sockets that are made here are this machine's."""
        with self.space.inside():
            yield

    def close(self) -> None:
        """Everything on it ends."""
        self._kill()
        self.space.close()


class Service:
    """A daemon on a node."""

    def __init__(self, node: Node, words: list[str], **options: Any) -> None:
        self.node, self.name = node, Path(words[0]).name
        self.said = node.folder / f"{self.name}.said"
        with self.said.open("ab") as output:
            self._process = node.popen(
                words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, **options
            )

    @property
    def pid(self) -> int:
        """Its number, as this host sees it."""
        return stage.wait_for(f"{self.name} on {self.node.name}", self._inner)

    def _inner(self) -> int:
        self.expect_alive()
        return next(iter(children(self._process.pid)), 0)

    def expect_alive(self) -> None:
        """StoryError if it has ended, with what it said."""
        if self._process.poll() is not None:
            said = self.said.read_text("utf-8", "replace")[-2000:]
            raise stage.StoryError(f"{self.name} on {self.node.name} has ended:\n{said}")

    def wait_port(self, *ports: int) -> Service:
        """Wait until it listens there."""

        def listening() -> bool:
            self.expect_alive()
            return all(map(self.node.listens, ports))

        stage.wait_for(f"{self.name} on {self.node.name}, ports {ports}", listening, 60)
        return self

    def wait(self, seconds: float) -> int:
        """Wait until it ends by itself; its exit code."""
        return self._process.wait(seconds)

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> int:
        """End it; its exit code."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, sign)
        return self._process.wait(30)


def children(pid: int) -> list[int]:
    """The numbers of a process's children."""
    with suppress(OSError):
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def missing(*programs: str) -> str:
    """Why there can be no cluster here; "" if there can."""
    if why_not := stage.real_gate():
        return why_not
    places = [Path("/usr"), *(one / "usr" for one in UNPACKED.glob("*"))]
    lacking = [one for one in programs if not any((place / one).exists() for place in places)]
    return f"no {', '.join(lacking)}; run: packaging/setup-checkout daemons" if lacking else ""


def reached(address: str, port: int, source: str, seconds: float = 2.0) -> bool:
    """Whether somebody accepts a connection (from the namespace that the caller is in)."""
    with suppress(OSError), socket.create_connection((address, port), seconds, (source, 0)):
        return True
    return False


def retried(what: str, action: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Do it until it works, as a mail program does that finds the connection gone."""
    last: list[str] = [""]

    def once() -> tuple[Any] | None:
        try:
            return (action(),)
        except (OSError, EOFError) as error:
            last[0] = str(error)
            return None

    try:
        return stage.wait_for(what, once, seconds, 0.1)[0]
    except stage.StoryError as error:
        raise stage.StoryError(f"{error}: {last[0]}") from None
