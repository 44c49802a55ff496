"""Three hosts in namespaces, one attacker, real packets; and two nodes that are one machine."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from tests.fleet.site import HOST, OUTSIDE, Place, Site, TcpEngine
from tests.kernel.daemon import Daemon, closed, until, virus

from tidegate.daemon.clock import now_micros
from tidegate.fleet.engine.access import engine_of
from tidegate.fleet.trust import desk as desks
from tidegate.fleet.trust import keys
from tidegate.fleet.trust.keys import Identity
from tidegate.fleet.trust.members import Certificate, May
from tidegate.fleet.trust.post import Post
from tidegate.policy.fleet import FleetSpec

pytestmark = [pytest.mark.kernel, pytest.mark.daemons]

EVE, TRENT, ANNA, *WORMS = OUTSIDE
PORT, LIMIT = 25, 4
RULE = f"""
[rule.virus-senders]
on = ["exim.malware"]
at-least = {LIMIT}
within = "5m"
count = "{{count}}"
ban = {{{{ ports = [{PORT}], ladder = ["1h"] }}}}
"""


class Hosts:
    """Daemons on a site, each in its place; `outside` is who sends packets to them."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self._stack = folder, stack
        self.site = Site(folder)
        stack.callback(self.site.close)
        self.engine: TcpEngine = self.site.engine()
        self._password = folder / "password"
        self._password.write_text(HOST.password)
        self._password.chmod(0o600)
        self.spec = FleetSpec((self.engine.url,), user=HOST.user, password_file=str(self._password))
        self.desk = desks.found(folder / "desk", "office", (), now_micros())
        self.places: dict[str, Place] = {}
        self.publish()

    def publish(self) -> None:
        """Whatever the engine lacks of the desk's papers."""
        place = self.engine.place
        with place.space.inside(), closing(engine_of(self.spec, 10)) as engine:
            Post(engine).complete(self.desk.papers())

    def host(self, name: str, number: int, count: str = "fleet") -> Daemon:
        """A daemon that is a member, with a server that anybody may reach."""
        place = self.places[name] = self.site.place(name, number)
        (self.folder / name).mkdir()
        made = Daemon(self.folder / name, place.space, RULE.format(count=count))
        self._stack.callback(made.close)
        own = self.folder / name / "keys"
        signer = keys.make(own)
        found = Certificate(name, signer.public, May.CLAIM | May.DECIDE)
        self.desk.enrol(found, now_micros())
        keys.save_identity(own, Identity(self.desk.identity.fleet, self.desk.identity.desk, name))
        self.publish()
        self.rule(made, count)
        self._stack.enter_context(place.space.listen(PORT))
        return made

    def rule(self, host: Daemon, count: str) -> None:
        """Its policy: who counts."""
        more = (
            f'[fleet]\nengine = "{self.engine.url}"\nuser = "{HOST.user}"\n'
            f'password-file = "{self._password}"\n'
        )
        host.write_policy(RULE.format(count=count) + more)

    def joined(self, *hosts: Daemon) -> None:
        """Wait until all know of all."""

        def is_joined(host: Daemon) -> bool:
            found = host.ask("/fleet").get("fleet", {})
            return found.get("state") == "joined" and found.get("members") == len(hosts) + 1

        until("all to be of the fleet", lambda: all(map(is_joined, hosts)), 90)

    def reaches(self, who: str, name: str) -> bool:
        """Packets there and back."""
        return self.site.outside.space.reaches(self.places[name].address, PORT, who)

    def cut_off(self, who: str, name: str) -> bool:
        """Packets there, and none back."""
        return self.site.outside.space.cut_off(self.places[name].address, PORT, who)


@pytest.fixture
def hosts(public_folder: Path) -> Iterator[Hosts]:
    with ExitStack() as stack:
        yield Hosts(public_folder, stack)


def dropped(host: Daemon) -> int:
    """Packets that its kernel has dropped."""
    assert host.space is not None
    listed = json.dumps(host.space.nft("list table inet tidegate"))
    return sum(int(part.partition(",")[0]) for part in listed.split('"counter": {"packets": ')[1:])


@pytest.mark.parametrize("count", ["fleet", "host"])
def test_a_pattern_that_no_host_alone_would_ban(hosts: Hosts, count: str) -> None:
    """Four tries over three hosts: packets are dropped on all where they count together."""
    names = ("web1", "web2", "web3")
    daemons = [hosts.host(name, 1 + number, count) for number, name in enumerate(names)]
    for one in daemons:
        one.start()
    hosts.joined(*daemons)
    for one, number in zip(daemons, (2, 1, 1), strict=True):
        one.append(virus(EVE) * number)
        one.wait_read(number)
    if count == "fleet":
        until("all close", lambda: all((EVE, (PORT,)) in one.closed() for one in daemons))
    else:
        # What is over the limit at one host alone comes behind it, and is everywhere.
        daemons[0].append(virus(TRENT) * LIMIT)
        until("all close", lambda: all((TRENT, (PORT,)) in one.closed() for one in daemons))
    for one, name in zip(daemons, names, strict=True):
        out, served = (EVE, TRENT) if count == "fleet" else (TRENT, EVE)
        before = dropped(one)
        assert hosts.cut_off(out, name)
        assert dropped(one) > before
        assert hosts.reaches(served, name)
        assert hosts.reaches(ANNA, name)


def test_two_nodes_are_as_one_machine(hosts: Hosts, public_folder: Path) -> None:
    """Half of the lines at each: both close for whom one would that read them all, and for whom
    each would with its half alone is less."""
    pair = [hosts.host(name, 1 + number) for number, name in enumerate(("node1", "node2"))]
    for one in pair:
        one.start()
    hosts.joined(*pair)
    chance = random.Random(11)
    lines = [who for who in WORMS for _ in range(chance.choice((1, LIMIT - 1, LIMIT, LIMIT + 2)))]
    chance.shuffle(lines)
    counted = {who: lines.count(who) for who in WORMS}
    wanted = {who for who, number in counted.items() if number >= LIMIT}
    halves: tuple[list[str], list[str]] = ([], [])
    for who in lines:
        halves[chance.randrange(2)].append(who)
    for one, half in zip(pair, halves, strict=True):
        one.append("".join(map(virus, half)))
        one.wait_read(len(half))

    def banned(one: Daemon) -> set[str]:
        return {subject for subject, _ports in one.closed()}

    until("both close for these", lambda: [banned(one) for one in pair] == [wanted, wanted])
    alone = [{who for who in half if half.count(who) >= LIMIT} for half in halves]
    assert all(some < wanted for some in alone)
    last = {row["subject"]: row["until"] for row in pair[0].history() if row["action"] == "ban"}
    other = {row["subject"]: row["until"] for row in pair[1].history() if row["action"] == "ban"}
    assert last.keys() == other.keys() == wanted
    for name in ("node1", "node2"):
        assert hosts.cut_off(sorted(wanted)[0], name)
        assert hosts.reaches(ANNA, name)


def test_a_pardon_holds_on_all_a_local_one_here_alone_and_a_revoked_host_is_undone(
    hosts: Hosts,
) -> None:
    names = ("web1", "web2")
    one, other = daemons = [hosts.host(name, 1 + number) for number, name in enumerate(names)]
    for each in daemons:
        each.start()
    hosts.joined(*daemons)
    assert one.verb("ban", EVE).returncode == 0
    until("both close", lambda: all((EVE, ()) in each.closed() for each in daemons))
    assert hosts.cut_off(EVE, "web1")
    assert hosts.cut_off(EVE, "web2")
    assert other.verb("unban", EVE, "--local").returncode == 0
    until("one opens", lambda: hosts.reaches(EVE, "web2"))
    assert hosts.cut_off(EVE, "web1")
    assert other.verb("unban", EVE).returncode == 0
    until("both open", lambda: hosts.reaches(EVE, "web1"))
    assert one.verb("ban", EVE, "--local").returncode == 0
    other.append(virus(TRENT) * LIMIT)
    until("both close", lambda: all((TRENT, (PORT,)) in each.closed() for each in daemons))
    assert hosts.cut_off(EVE, "web1")
    assert hosts.reaches(EVE, "web2")
    moment = now_micros()
    hosts.desk.revoke(["web2"], moment, moment)
    hosts.publish()
    until("it is taken back", lambda: hosts.reaches(TRENT, "web1"))
    assert closed(one.space).keys() == {(EVE, ())}
