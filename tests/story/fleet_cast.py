"""Who plays in the story of the fleet: three mail hosts, the engine between them, people out there.

Touches what `cluster`, `mailnode` and `guardian` touch, and a redis-server that ends with its node.
Limits: addresses are fixed, so one fleet plays at a time in a network namespace; one engine.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path

from tests.story import cluster, mailnode, stage
from tests.story.cluster import Node, Service
from tests.story.guardian import Guardian, trusted
from tests.story.mailclient import Person
from tests.story.mailnode import IMAP, MailNode

HOSTS = {"mail1": "192.0.2.11", "mail2": "192.0.2.12", "mail3": "192.0.2.13"}
ENGINE, PORT = "192.0.2.53", 6379
ANNA = "192.0.2.201"
EVE, TRENT, MALLORY, OSCAR = (f"192.0.2.{number}" for number in (66, 67, 68, 69))
PASSWORD, ADMIN = "of-all-hosts", "of-the-administrator"
LIMIT = 6
"""So many wrong passwords close the door."""

POLICY = """
[allow]
addresses = ["{anna}"]

[source.dovecot]
file = {log}
detectors = ["dovecot"]

[rule.imap-guessing]
on = ["dovecot.auth_failed", "dovecot.password_mismatch", "dovecot.unknown_user"]
at-least = {limit}
within = "10m"
count = "{count}"
ban = {{ ports = [143], ladder = ["10m"] }}
"""
FLEET = """
[fleet]
engine = "redis://{engine}:{port}"
user = "tidegate"
password-file = {password}
"""


class Play:
    """Three hosts with dovecot, people, and (not yet started) Tidegate; `line` tells what happens."""

    def __init__(self, line: stage.Timeline, stack: ExitStack) -> None:
        self.line = line
        self.folder = stack.enter_context(stage.folder())
        self._switch = cluster.Switch()
        stack.callback(self._switch.close)
        self._stack = stack
        self.nodes = {name: self._node(name, address) for name, address in HOSTS.items()}
        people = self._node("people", ANNA, EVE, TRENT, MALLORY, OSCAR)
        self.anna = Person(people, ANNA)
        self._people = people
        shared = mailnode.shared_maildir(self.folder)
        self.mail = {
            name: MailNode(node, shared, "", "192.0.2.250").start()
            for name, node in self.nodes.items()
        }
        self.engine = self._node("engine", ENGINE)
        self.server: Service | None = None
        self.guardians: dict[str, Guardian] = {}

    def _node(self, name: str, *addresses: str) -> Node:
        made = Node(self._switch, self.folder, name, *addresses)
        self._stack.callback(made.close)
        return made

    # -- the engine ---------------------------------------------------------------------------

    def start_engine(self) -> None:
        """Debian's redis-server, with the users and rights that are shipped; it keeps nothing."""
        rights = self.engine.folder / "users.acl"
        text = (stage.REPOSITORY / "packaging" / "fleet" / "tidegate.acl").read_text()
        text = text.replace(">CHANGE-THIS-TOO ", f">{ADMIN} ").replace(
            ">CHANGE-THIS ", f">{PASSWORD} "
        )
        rights.write_text(text)
        words = ["--bind", ENGINE, "--port", str(PORT), "--aclfile", rights, "--save", ""]
        self.server = self.engine.start("/usr/bin/redis-server", *words).wait_port(PORT)

    # -- Tidegate -----------------------------------------------------------------------------

    def policy(self, name: str, count: str, fleet: bool) -> str:
        """What the administrator of a host wrote."""
        more = ""
        if fleet:
            password = self.nodes[name].folder / "fleet.password"
            password.write_text(f"{PASSWORD}\n")
            password.chmod(0o600)
            more = FLEET.format(engine=ENGINE, port=PORT, password=trusted(password))
        log = trusted(self.mail[name].logs["dovecot"])
        return POLICY.format(anna=ANNA, log=log, limit=LIMIT, count=count) + more

    def guard(self, *names: str, count: str = "fleet", fleet: bool = True) -> None:
        """Start Tidegate on these hosts."""
        for name in names:
            policy = self.policy(name, count, fleet)
            self.guardians[name] = Guardian(self.nodes[name], policy).start()
        for name in names:
            self.guardians[name].wait()

    def unguard(self, *names: str) -> None:
        """End it there, and take its table out of the kernel."""
        for name in names:
            service = self.guardians.pop(name).service
            assert service is not None
            service.stop()
            with suppress(RuntimeError):
                self.nodes[name].space.run("nft", "delete", "table", "inet", "tidegate")

    def said(self) -> str:
        """What all daemons have printed, for a story that failed."""
        return "".join(f"\n{name}:\n{one.said()[-1500:]}" for name, one in self.guardians.items())

    # -- what people do -----------------------------------------------------------------------

    def person(self, address: str) -> Person:
        """Somebody out there."""
        return Person(self._people, address)

    def guess(self, who: str, host: str, times: int) -> None:
        """So many wrong passwords, one after another, each with an answer."""
        for number in range(times):
            try:
                self.person(who).imap(HOSTS[host], password=f"guess {number}").logout()
            except PermissionError:
                continue
            except OSError as error:
                raise stage.StoryError(f"{who} is not answered at {host}: {error}") from error
            raise stage.StoryError(f"{who} got in at {host}")

    def reaches(self, who: str, host: str) -> bool:
        """Whether a connection is accepted: real packets, there and back."""
        with self._people.inside():
            return cluster.reached(HOSTS[host], IMAP, who, 1.0)

    def shut_out(self, who: str, hosts: Iterable[str] = HOSTS) -> bool:
        """Whether he is answered at none of these."""
        return not any(self.reaches(who, host) for host in hosts)

    def wait_closed(self, who: str, hosts: Iterable[str] = HOSTS, seconds: float = 60) -> float:
        """Wait until the kernels of all these have him; how long it took."""
        began = time.monotonic()
        for host in hosts:
            guardian = self.guardians[host]
            stage.wait_for(
                f"{who} to be closed for on {host}",
                lambda guardian=guardian: who in banned(guardian), seconds, 0.02,
            )  # fmt: skip
        return time.monotonic() - began

    def wait_open(self, who: str, hosts: Iterable[str] = HOSTS, seconds: float = 60) -> None:
        """Wait until none of these has him any more."""
        for host in hosts:
            guardian = self.guardians[host]
            stage.wait_for(
                f"{who} to be open for on {host}",
                lambda guardian=guardian: who not in banned(guardian), seconds, 0.05,
            )  # fmt: skip

    def dropped(self, host: str) -> int:
        """How many packets the kernel of that host has dropped so far, by its own counters."""
        text = self.guardians[host].dropped()
        return sum(int(part.split()[0]) for part in text.split("counter packets ")[1:])


def banned(guardian: Guardian) -> set[str]:
    """Whom this host's kernel shuts out: what stands in the sets of bans of its table."""
    sets = re.findall(r"set ban\S+ \{(.*?)\n\t\}", guardian.dropped(), re.DOTALL)
    return {
        one for found in sets for one in re.findall(r"[\s{](\d+\.\d+\.\d+\.\d+) timeout", found)
    }


def missing() -> str:
    """Why there can be no fleet here; "" if there can."""
    return cluster.missing(*mailnode.DOVECOT_NEEDED, "bin/redis-server")


def folder_of(play: Play, host: str) -> Path:
    """Where a host keeps its keys."""
    return play.nodes[host].folder / "tidegate" / "fleet"
