"""Real daemons that are one fleet: each in a network namespace, with one engine on a Unix socket.

Touches a folder, namespaces and processes, all of which end with `company`. Limits: root; the desk
is the test itself, and the engine has no password.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from tests.fleet import servers
from tests.kernel.daemon import Daemon, until, virus
from tests.kernel.namespaces import Namespace

from tidegate.daemon.clock import now_micros
from tidegate.fleet.engine.access import engine_of
from tidegate.fleet.trust import desk as desks
from tidegate.fleet.trust import keys
from tidegate.fleet.trust.keys import Identity
from tidegate.fleet.trust.members import Certificate, May
from tidegate.fleet.trust.post import Post, load_functions
from tidegate.policy.fleet import FleetSpec

CREW = ("keeper", "watcher", "fleet")
RULES = """
[rule.virus-senders]
on = ["exim.malware"]
at-least = 4
within = "5m"
count = "{count}"
ban = {{ ports = [25], ladder = ["1h"] }}
"""


class Company:
    """`host(name)` makes a daemon that is enrolled; the engine is at `server`."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self._stack = folder, stack
        self.spec = FleetSpec((f"unix:{folder}/engine/socket",))
        (folder / "engine").mkdir()
        self.server = self._started()
        self._load()
        self.desk = desks.found(folder / "desk", "office", (), now_micros())
        self.publish()

    def _started(self) -> servers.Server:
        options = ("--unixsocketperm", "777")
        return self._stack.enter_context(servers.server(self.folder / "engine", *options))

    def _load(self) -> None:
        with closing(engine_of(self.spec, 10)) as engine:
            assert load_functions(engine) == 1

    def publish(self) -> None:
        """Whatever the engine lacks of the desk's papers."""
        with closing(engine_of(self.spec, 10)) as engine:
            Post(engine).complete(self.desk.papers())

    def again(self) -> None:
        """An engine that has lost everything, and is given functions and papers."""
        self.server.start()
        self._load()
        self.publish()

    def revoke(self, name: str) -> None:
        """It is a member no more."""
        moment = now_micros()
        self.desk.revoke([name], moment, moment)
        self.publish()

    def host(self, name: str, count: str = "fleet", *, enrolled: bool = True) -> Daemon:
        """A daemon in a namespace of its own; not started."""
        space = Namespace(name)
        self._stack.callback(space.close)
        place = self.folder / name
        place.mkdir()
        made = Daemon(place, space, self.policy(count))
        self._stack.callback(made.close)
        if enrolled:
            self.enrol(name)
        return made

    def policy(self, count: str = "fleet") -> str:
        """The rules of a host, and where its fleet is."""
        return RULES.format(count=count) + f'[fleet]\nengine = "{self.spec.engines[0]}"\n'

    def enrol(self, name: str) -> None:
        """What the desk and the host do with a token."""
        folder = self.folder / name / "keys"
        signer = keys.make(folder)
        keys.save_identity(
            folder, Identity(self.desk.identity.fleet, self.desk.identity.desk, name)
        )
        self.desk.enrol(Certificate(name, signer.public, May.CLAIM | May.DECIDE), now_micros())
        self.publish()


@contextmanager
def company(folder: Path) -> Iterator[Company]:
    """An engine and a desk; all of it ends with the block."""
    with ExitStack() as stack:
        yield Company(folder, stack)


def joined(*hosts: Daemon, members: int = 0) -> None:
    """Wait until each of them hears the others."""
    for one in hosts:
        until(f"{one.folder.name} joins", lambda one=one: _joined(one, members))


def _joined(host: Daemon, members: int) -> bool:
    fleet = host.ask("/status").get("fleet") or {}
    return fleet.get("state") == "joined" and fleet["members"] >= members


def attempts(host: Daemon, address: str, number: int) -> None:
    """So many lines of abuse, each at its own second."""
    host.append("".join(virus(address, ago=number - one) for one in range(number)))


def banned(*hosts: Daemon) -> list[set[str]]:
    """Whom each has closed for, in its kernel."""
    return [{subject for subject, _ports in one.closed()} for one in hosts]
