"""Who plays in the story of the fleet: three mail hosts, the engine between them, people out there.

Touches what `cluster`, `mailnode` and `guardian` touch, and a redis-server that ends with its node.
Limits: addresses are fixed, so one fleet plays at a time in a network namespace; one engine.
"""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from functools import partial

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
        self.sections: dict[str, str] = {}
        self._begun: dict[str, int] = {}

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

    def write(self, name: str, count: str) -> None:
        """The policy of a host, with what was printed when it joined the fleet."""
        log = trusted(self.mail[name].logs["dovecot"])
        text = POLICY.format(anna=ANNA, log=log, limit=LIMIT, count=count)
        text += self.sections.get(name, "")
        if name not in self.guardians:
            self.guardians[name] = Guardian(self.nodes[name], text)
        else:
            self.guardians[name].rewrite(text)

    def start(self, *names: str) -> None:
        """Start Tidegate on these hosts."""
        for name in names:
            log = self.mail[name].logs["dovecot"].read_text("utf-8", "replace")
            self._begun[name] = log.count("\n")
            self.guardians[name].start()
        for name in names:
            self.guardians[name].wait()

    def reload(self, count: str) -> None:
        """Another policy on all hosts: the rule counts so from now on."""
        for name, one in self.guardians.items():
            self.write(name, count)
            done = one.verb("reload")
            if done.returncode:
                raise stage.StoryError(f"reload on {name}: {done.stdout}{done.stderr}")

    def fleet(self, name: str, *words: str) -> str:
        """`tidegate fleet ...` on that host; what it prints."""
        config = str(self.guardians[name].config)
        return self.nodes[name].run(*stage.TIDEGATE, "fleet", *words, "--config", config)

    def found(self, desk: str) -> None:
        """That host founds the fleet, and the others join it: by the commands that people type."""
        self._passwords()
        reach = [
            "--engine", f"redis://{ENGINE}:{PORT}", "--user", "tidegate",
            "--password-file", str(self.folder / "fleet.password"),
        ]  # fmt: skip
        admin = ["--admin-user", "tidegate-admin",
                 "--admin-password-file", str(self.folder / "admin.password")]  # fmt: skip
        self.sections[desk] = self.fleet(desk, "init", "--host", desk, *reach, *admin)
        self.write(desk, "fleet")
        others = [name for name in HOSTS if name != desk]
        said = self.fleet(desk, "enroll", *others, "--no-wait", "--json")
        tokens = {row["host"]: row["token"] for row in map(json.loads, said.splitlines())}
        config = str(self.guardians[desk].config)
        words = [*stage.TIDEGATE, "fleet", "enroll", "--config", config]
        waiting = self.nodes[desk].start(*words)
        for name in others:
            self.sections[name] = self.fleet(name, "enroll", tokens[name], *reach)
            self.write(name, "fleet")
        if waiting.wait(60):
            raise stage.StoryError(waiting.said.read_text())

    def _passwords(self) -> None:
        for name, word in (("fleet", PASSWORD), ("admin", ADMIN)):
            path = self.folder / f"{name}.password"
            path.write_text(f"{word}\n")
            path.chmod(0o600)

    def joined(self) -> None:
        """Wait until all hosts know all."""
        for name, one in self.guardians.items():
            stage.wait_for(f"{name} to be of the fleet", partial(self._is_joined, one), 60)

    @staticmethod
    def _is_joined(guardian: Guardian) -> bool:
        found = guardian.ask("/fleet").get("fleet", {})
        return bool(found.get("state") == "joined" and found.get("members") == len(HOSTS))

    def said(self) -> str:
        """What all daemons have printed, for a story that failed."""
        return "".join(
            f"\n{name}:\n{one.said()[-1500:]}"
            for name, one in self.guardians.items()
            if one.service is not None
        )

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

    def guess_on(self, who: str, hosts: Sequence[str]) -> int:
        """One wrong password after another, at these in turn, until one does not answer; how many."""
        deadline = time.monotonic() + 60
        for number in itertools.count():
            host = hosts[number % len(hosts)]
            if not self.reaches(who, host):
                return number
            if time.monotonic() > deadline:
                break
            try:
                self.guess(who, host, 1)
            except stage.StoryError:
                return number
        raise stage.StoryError(f"{who} goes on, and nobody shuts it out")

    def wait_read(self, who: str, times: int) -> None:
        """Wait until every daemon has read so many tries of somebody, whatever came of them."""
        for name in self.guardians:
            stage.wait_for(
                f"{name} to have read its log", partial(self._has_read, name, who, times)
            )

    def _has_read(self, name: str, who: str, times: int) -> bool:
        text = self.mail[name].logs["dovecot"].read_text("utf-8", "replace")
        read = self.guardians[name].ask("/status").get("lines", 0)
        return text.count(f"rip={who}") >= times and read >= text.count("\n") - self._begun[name]

    def order(self, host: str, *words: str) -> None:
        """A verb of that host's administrator, which must be done."""
        done = self.guardians[host].verb(*words)
        if done.returncode:
            raise stage.StoryError(f"{words} on {host}: {done.stdout}{done.stderr}")

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
