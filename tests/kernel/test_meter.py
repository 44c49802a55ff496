"""The meter on real traffic: connections with their outcomes, cut packets, users, and what is lost.

Touches namespaces of `World`; the meter runs in the host that forwards. Waiting is for facts; the
time that an unanswered try is waited for is shortened.
"""

from __future__ import annotations

import itertools
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from tests.kernel.daemon import until
from tests.kernel.namespaces import HOST, HOST6, INNER, INNER6, World

from tidegate.errors import SourceError
from tidegate.frames import Channel
from tidegate.model import SECOND, Subject
from tidegate.policy.models import Policy
from tidegate.policy.outward import OutwardSpec
from tidegate.source.traffic import conntrack as conntrack_module
from tidegate.source.traffic import listening as listening_module
from tidegate.source.traffic import outcomes as outcomes_module
from tidegate.source.traffic.conntrack import Conntrack
from tidegate.source.traffic.filters import Share, program
from tidegate.source.traffic.meter import Meter
from tidegate.source.traffic.nflog import Nflog
from tidegate.source.traffic.reach import Reach
from tidegate.source.traffic.remote import RemoteTraffic
from tidegate.subject import Network
from tidegate.traffic import Contact, Cut

pytestmark = pytest.mark.kernel

ONE, TWO, OTHER = "192.0.2.7", "192.0.2.8", "203.0.113.5"
SIX = "2001:db8:1::7"
OWN = (HOST, HOST6, "198.51.100.1", "2001:db8:9::1")
SPEC = OutwardSpec(uids=True, networks=(Subject("192.0.2.0/24"), Subject("2001:db8:1::/48")))
TRACKED = """table inet tracked {
  chain forward { type filter hook forward priority 0; ct state new counter; }
  chain output { type filter hook output priority 0; ct state new counter; }
  chain input { type filter hook input priority 0; ct state new counter; }
}"""
NOBODY = 65534


class Listener:
    """A meter and the watcher's end of its conversation; what arrived is gathered."""

    def __init__(self, world: World, spec: OutwardSpec) -> None:
        ours, theirs = socket.socketpair()
        self.spec = spec
        self.fails = False
        self.remote = RemoteTraffic(ours)
        self.ours = ours
        with world.host.inside():
            self.meter = Meter(theirs, self.policy, lambda: OWN, Program())
        self.contacts: list[Contact] = []
        self.cuts: list[Cut] = []
        self.begun = self.finished = 0
        self.turn()

    def policy(self) -> Policy:
        if self.fails:
            raise SourceError("no policy")
        return Policy(outward=self.spec)

    def turn(self) -> bool:
        alive = self.meter.turn()
        heard = self.remote.take()
        self.contacts += heard.contacts
        self.cuts += heard.cuts
        self.begun += sum(one.begun for one in heard.handshakes)
        self.finished += sum(one.finished for one in heard.handshakes)
        return alive

    def until(self, what: str, check: Callable[[], object]) -> None:
        until(what, lambda: self.turn() and check())

    def outcomes(self, destination: str) -> list[str]:
        return [one.outcome for one in self.contacts if one.destination == destination]

    def close(self) -> None:
        self.meter.close()
        self.ours.close()


class Program:
    def owner_of(self, *flow: object) -> str:
        return f"/bin/x ({flow[-1]})"


@pytest.fixture
def listen(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Listener]]:
    monkeypatch.setattr(outcomes_module, "PATIENCE", SECOND)
    monkeypatch.setattr(listening_module, "LOOK", SECOND // 5)
    world.host.nft(TRACKED)
    with ExitStack() as stack:

        def make(spec: OutwardSpec = SPEC) -> Listener:
            with world.host.inside():
                made = Listener(world, spec)
            stack.callback(made.close)
            return made

        yield make


def datagram(world: World, source: str, target: str, port: int = 1434) -> None:
    world.attacker.send(target, port, source, b"x")


@pytest.mark.parametrize(("source", "target"), [(ONE, INNER), (SIX, INNER6)])
def test_answered_refused_and_silent(
    world: World, listen: Callable[..., Listener], source: str, target: str
) -> None:
    meter = listen()
    subject = ONE if source == ONE else "2001:db8:1::/64"
    with world.inner.listen(25):
        assert world.attacker.reaches(target, 25, source)
        meter.until("the answer", lambda: meter.outcomes(target))
    (found,) = meter.contacts
    assert found[1:] == (subject, target, 6, 25, "answered")
    silent = target.replace("::2", "::9") if ":" in target else "198.51.100.9"
    datagram(world, source, silent)
    meter.until("the try", lambda: meter.outcomes(silent) == ["tried"])
    meter.until("the end", lambda: meter.outcomes(silent) == ["tried", "unanswered"])
    assert meter.meter.health()["lost"] == 0


@pytest.mark.parametrize(("source", "target"), [(TWO, INNER), (SIX, INNER6)])
def test_a_reset(world: World, listen: Callable[..., Listener], source: str, target: str) -> None:
    meter = listen()
    with pytest.raises(ConnectionRefusedError):
        world.attacker.reaches(target, 81, source)
    meter.until("the reset", lambda: meter.outcomes(target))
    assert meter.outcomes(target) == ["refused"]


def test_datagrams_that_are_answered(world: World, listen: Callable[..., Listener]) -> None:
    meter = listen()
    server = world.inner.listen(53, kind=socket.SOCK_DGRAM)
    with server, world.attacker.inside(), socket.socket(type=socket.SOCK_DGRAM) as client:
        client.bind((ONE, 0))
        client.sendto(b"x", (INNER, 53))
        _data, sender = server.recvfrom(10)
        server.sendto(b"y", sender)
        meter.until("the answer", lambda: meter.outcomes(INNER))
    assert meter.outcomes(INNER) == ["answered"]


def test_echoes(world: World, listen: Callable[..., Listener]) -> None:
    meter = listen()
    world.attacker.run("ping", "-c1", "-I", ONE, INNER)
    world.attacker.run("ping", "-6", "-c1", "-I", SIX, INNER6)
    meter.until("both", lambda: len(meter.contacts) == 2)
    assert [(one.protocol, one.outcome) for one in meter.contacts] == [
        (1, "answered"), (58, "answered"),
    ]  # fmt: skip


def test_who_is_none_of_ours_is_not_even_told_of(
    world: World, listen: Callable[..., Listener]
) -> None:
    meter = listen()
    for port in range(20):
        datagram(world, OTHER, INNER, 2000 + port)
    datagram(world, ONE, INNER)
    meter.until("ours", lambda: meter.contacts)
    assert {one.source for one in meter.contacts} == {ONE}
    assert meter.meter.health()["events"] == 1


def test_of_this_host_the_user_is_named(world: World, listen: Callable[..., Listener]) -> None:
    meter = listen()
    script = (
        "import socket, sys\n"
        "s = socket.socket(); s.setblocking(False); s.connect_ex(('198.51.100.77', 25))\n"
        "u = socket.socket(type=socket.SOCK_DGRAM); u.sendto(b'x', ('198.51.100.78', 53))\n"
        "sys.stdin.read()\n"
    )
    words = ["setpriv", f"--reuid={NOBODY}", "--clear-groups", sys.executable, "-c", script]
    with world.host.inside():
        process = subprocess.Popen(words, stdin=subprocess.PIPE)
    try:
        wanted = {"198.51.100.77", "198.51.100.78"}
        meter.until("both", lambda: {one.destination for one in meter.contacts} >= wanted)
    finally:
        process.communicate()
    assert {one.source for one in meter.contacts} == {f"uid:{NOBODY}"}


def test_root_s_own_are_nobody_s_business(world: World, listen: Callable[..., Listener]) -> None:
    meter = listen()
    with world.host.inside(), socket.socket(type=socket.SOCK_DGRAM) as client:
        client.sendto(b"x", ("198.51.100.78", 53))
        meter.until("it is heard", lambda: meter.meter.health()["events"])
        datagram(world, ONE, INNER)
        meter.until("another", lambda: meter.contacts)
    assert {one.source for one in meter.contacts} == {ONE}


def test_what_comes_in_is_counted(world: World, listen: Callable[..., Listener]) -> None:
    meter = listen()
    with world.host.listen(80):
        for _turn in range(3):
            assert world.attacker.reaches(HOST, 80, OTHER)
        meter.until("three", lambda: meter.finished == 3)
    assert meter.begun == 3
    assert meter.contacts == []


LOGGED = """table inet logged {
  chain forward { type filter hook forward priority 10;
    ip saddr 192.0.2.0/24 udp dport 1434 log prefix "tg:destinations" group 2004 snaplen 128 drop
    udp dport 1435 log prefix "other" group 2004 snaplen 128 drop; }
  chain output { type filter hook output priority 10;
    meta skuid 65534 udp dport 6667 log prefix "tg:irc" group 2004 snaplen 128; }
  chain prerouting { type filter hook prerouting priority -300;
    udp dport 1436 log prefix "tg:filter slammer" group 2004 snaplen 128 drop; }
}"""


def test_cut_packets(world: World, listen: Callable[..., Listener]) -> None:
    meter = listen()
    world.host.nft(LOGGED)
    for host in range(10):
        datagram(world, ONE, f"198.51.100.{host + 20}")
    datagram(world, ONE, "198.51.100.9", 1435)
    datagram(world, TWO, "198.51.100.9", 1436)
    datagram(world, OTHER, "198.51.100.9", 1436)
    meter.until("all", lambda: sum(one.packets for one in meter.cuts) == 11)
    whole = [one for one in meter.cuts if one.what == "destinations"]
    assert {one.source for one in whole} == {ONE}
    assert sum(one.packets for one in whole) == 10
    assert whole[0].destinations[0] == "198.51.100.20:1434/udp"
    assert abs(whole[0].time - time.time() * SECOND) < 60 * SECOND
    assert {(one.source, one.what) for one in meter.cuts} == {
        (ONE, "destinations"), (TWO, "filter slammer"),
    }  # fmt: skip
    assert meter.meter.listening.cuts.foreign == 1
    # The watcher is woken once more when it is over.
    meter.until("over", lambda: not meter.meter.listening.cuts.due())


def test_a_cut_of_this_host_names_user_and_program(
    world: World, listen: Callable[..., Listener]
) -> None:
    meter = listen()
    world.host.nft(LOGGED)
    script = "import socket; socket.socket(type=2).sendto(b'NICK x', ('198.51.100.9', 6667))"
    words = ["setpriv", f"--reuid={NOBODY}", "--clear-groups", sys.executable, "-c", script]
    with world.host.inside():
        subprocess.run(words, check=True)
    meter.until("the cut", lambda: meter.cuts)
    (cut,) = meter.cuts
    assert (cut.source, cut.what, cut.by) == (f"uid:{NOBODY}", "irc", f"/bin/x ({NOBODY})")
    assert cut.destinations == ("198.51.100.9:6667/udp",)


PORTS = itertools.count(1024)


def flood(world: World, packets: int) -> None:
    """UDP from 192.0.2.50 to many destinations, each a new connection, as fast as it goes."""
    with world.attacker.inside(), socket.socket(socket.AF_INET, socket.SOCK_RAW, 255) as raw:
        port = 0
        for n in range(packets):
            target = socket.inet_aton(f"198.51.100.{n % 200 + 20}")
            source = socket.inet_aton("192.0.2.50")
            port = next(PORTS) if n % 200 == 0 else port
            head = struct.pack(">BBHHHBBH", 0x45, 0, 29, 0, 0, 64, 17, 0) + source + target
            raw.sendto(
                head + struct.pack(">HHHHc", port, 9, 9, 0, b"x"),
                (socket.inet_ntoa(target), 0),
            )


def test_what_the_buffer_can_t_hold_is_counted_and_blames_nobody(
    world: World, listen: Callable[..., Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conntrack_module, "_BUFFER", 1 << 12)
    meter = listen()
    datagram(world, TWO, INNER)
    meter.until("the try", lambda: meter.outcomes(INNER) == ["tried"])
    flood(world, 3000)
    meter.until("the loss", lambda: meter.remote.health.lost > 0)
    assert meter.outcomes(INNER) == ["tried", "unheard"]
    assert meter.remote.health.overruns > 0


def test_of_very_many_cut_packets_some_are_looked_at(
    world: World, listen: Callable[..., Listener]
) -> None:
    meter = listen()
    world.host.nft(LOGGED.replace("udp dport 1434", "udp dport 9"))
    flood(world, 2000)
    meter.until("it is said", lambda: meter.remote.health.passed_over > 0)
    meter.until("it is over", lambda: not meter.meter.listening.cuts.due())
    looked_at = sum(one.packets for one in meter.cuts)
    assert 0 < looked_at < 2000
    assert looked_at + meter.meter.health()["passed_over"] == 2000
    assert meter.meter.health()["lost"] == 0


def test_too_many_are_heard_in_part(world: World, listen: Callable[..., Listener]) -> None:
    meter = listen()
    end = time.monotonic() + 30
    while not meter.remote.health.loud:
        assert time.monotonic() < end
        flood(world, 2000)
        meter.turn()
    before = meter.meter.health()["events"]
    flood(world, 4000)
    meter.until("quiet", lambda: not meter.meter.listening.outcomes)
    assert meter.meter.health()["events"] - before < 2000
    assert meter.meter.health()["lost"] == 0


def test_the_kernel_takes_every_program(world: World) -> None:
    networks = tuple(Subject(f"10.{n}.0.0/16") for n in range(200))
    spec = OutwardSpec(uids=True, networks=networks, customers=(Subject("2001:db8::/32"),))
    behind = {"lan0": [Network(6, 37, bytes([0x20, 1] + [0] * 14))]}
    with world.host.inside():
        ear = Conntrack()
        for share in (Share(), Share(5, 7, tuple((n, n + 1) for n in range(16)), 3)):
            ear.attach(program(Reach(spec, OWN, behind), share))
            ear.attach(program(Reach(OutwardSpec(), (), {}), share))
        ear.close()


def test_another_program_has_the_group(world: World, listen: Callable[..., Listener]) -> None:
    with world.host.inside():
        other = Nflog()
        meter = listen()
        meter.until("it is said", lambda: meter.remote.health.troubles)
        assert "another program has it" in meter.remote.health.troubles[0]
        datagram(world, ONE, INNER)
        meter.until("connections go on", lambda: meter.contacts)
        other.close()
        meter.until("it is taken", lambda: not meter.remote.health.troubles)


def test_where_the_kernel_is_told_not_to_tell(
    world: World, listen: Callable[..., Listener]
) -> None:
    world.host.run("sysctl", "-qw", "net.netfilter.nf_conntrack_events=0")
    with world.host.inside():
        meter = listen()
        meter.until("it is said", lambda: meter.remote.health.troubles)
        (said,) = meter.remote.health.troubles
        assert said.endswith("sysctl -w net.netfilter.nf_conntrack_events=1")
        world.host.run("sysctl", "-qw", "net.netfilter.nf_conntrack_events=1")
        meter.until("it is well", lambda: not meter.remote.health.troubles)
        datagram(world, ONE, INNER)
        meter.until("connections", lambda: meter.contacts)


def test_a_new_policy_is_listened_to_and_a_bad_one_is_not(
    world: World, listen: Callable[..., Listener]
) -> None:
    meter = listen()
    meter.spec = OutwardSpec(networks=(Subject("203.0.113.0/24"),))
    meter.remote.reload()
    meter.turn()
    datagram(world, ONE, INNER)
    datagram(world, OTHER, INNER)
    meter.until("the other", lambda: meter.contacts)
    assert {one.source for one in meter.contacts} == {OTHER}
    meter.fails = True
    meter.remote.reload()
    meter.until("the fault", lambda: meter.remote.trouble == "no policy")
    datagram(world, OTHER, "198.51.100.9")
    meter.until("it goes on", lambda: len(meter.contacts) > 1)


def test_it_ends_with_the_watcher(world: World, listen: Callable[..., Listener]) -> None:
    meter = listen()
    meter.ours.close()
    until("the end", lambda: not meter.meter.turn())


def test_frames_that_are_none_are_answered(world: World, listen: Callable[..., Listener]) -> None:
    meter = listen()
    Channel(meter.ours).send({"type": "other"}, 1)
    meter.until("the answer", lambda: "other" in meter.remote.trouble)
    os.write(meter.ours.fileno(), b"\xff\xff\xff\xff")
    assert not meter.meter.turn()
