"""Gates of guards with real packets: throttles and refusals, and that they open by themselves.

Touches namespaces and the nftables gate in them. What the kernel does with time (a bucket that
fills, an element that ends) is waited for with room. Limits: root and nftables.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.kernel.conftest import ban, now
from tests.kernel.namespaces import ATTACKERS, ATTACKERS6, HOST, HOST6, INNER, World
from tests.kernel.test_keeper import ONLY_NET_ADMIN

import tidegate
from tidegate import subject
from tidegate.errors import GateError
from tidegate.gate import doors, table
from tidegate.gate.nftables import NftablesGate
from tidegate.gate.port import Request
from tidegate.gate.remote import RemoteGate
from tidegate.model import HOUR, MINUTE, SECOND, Micros, Subject
from tidegate.policy.guards import LEASE, GateSpec, Refuse, Service, Throttle
from tidegate.subject import Network

HEAVY, BEHAVED, THIRD, ROUTED = ATTACKERS
WEB = GateSpec("apache.throttle", Throttle((80, 443), 6, MINUTE, 3))
MAIL = GateSpec("exim.refuse", Refuse((25,)))
LATER = GateSpec("exim.later", Refuse((26,), "421"))
GATES = (WEB, MAIL, LATER)


def network(text: str) -> Network:
    found = subject.network(Subject(text))
    assert found is not None
    return found


def closed(*specs: GateSpec, seconds: float = 60) -> dict[str, Micros]:
    return {spec.name: now() + int(seconds * SECOND) for spec in specs}


def states(gate: NftablesGate, wanted: dict[str, Micros]) -> dict[str, str]:
    return {one.gate: one.state for one in gate.switch(wanted, now())}


class Servers:
    """What listens in the mail host, and how a client fares there."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.open = [world.host.listen(port) for port in (25, 26, 80, 443)]
        self.far = world.inner.listen(25)

    def fares(self, port: int, source: str, address: str = HOST) -> str:
        """ "ok", "cut" (no answer) or "refused"."""
        try:
            return "cut" if self.world.attacker.cut_off(address, port, source) else "ok"
        except ConnectionRefusedError:
            return "refused"

    def close(self) -> None:
        for server in (*self.open, self.far):
            server.close()


@pytest.fixture
def servers(world: World) -> Iterator[Servers]:
    made = Servers(world)
    yield made
    made.close()


@pytest.fixture
def keeping(world: World, make_gate: Callable[..., NftablesGate]) -> Callable[..., NftablesGate]:
    """Makes a gate of the mail host, with these gates of guards."""

    def make(*gates: GateSpec, **options: object) -> NftablesGate:
        with world.host.inside():
            gate = make_gate(gates=gates or GATES, **options)
            gate.replace([], [], now())
        return gate

    return make


@pytest.fixture
def there(world: World) -> Iterator[None]:
    """The test itself runs in the mail host, where nft is to be run."""
    with world.host.inside():
        yield


pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("there")]


def test_the_heavy_are_cut_and_the_others_go_on(
    keeping: Callable[..., NftablesGate], servers: Servers
) -> None:
    gate = keeping()
    assert [servers.fares(80, HEAVY) for _ in range(6)] == ["ok"] * 6
    assert states(gate, closed(WEB)) == {
        "apache.throttle": "closed", "exim.refuse": "open", "exim.later": "open"
    }  # fmt: skip
    assert [servers.fares(80, HEAVY) for _ in range(5)] == ["ok"] * 3 + ["cut"] * 2
    assert servers.fares(443, HEAVY) == "cut"  # one bucket for all its ports
    assert [servers.fares(80, BEHAVED) for _ in range(3)] == ["ok"] * 3
    assert servers.fares(25, HEAVY) == servers.fares(26, HEAVY) == "ok"
    (told, *_others) = gate.throttled()
    assert (told.gate, told.packets) == ("apache.throttle", 3)
    assert told.heaviest == ((HEAVY, 3),)
    gate.switch({}, now())
    assert servers.fares(80, HEAVY) == "ok"


def test_a_bucket_fills_again(keeping: Callable[..., NftablesGate], servers: Servers) -> None:
    gate = keeping(GateSpec("web", Throttle((80,), 1, SECOND, 1)))
    gate.switch({"web": now() + MINUTE}, now())
    assert [servers.fares(80, HEAVY) for _ in range(2)] == ["ok", "cut"]
    time.sleep(1.2)
    assert servers.fares(80, HEAVY) == "ok"


def test_of_ipv6_a_64_is_one_source(keeping: Callable[..., NftablesGate], servers: Servers) -> None:
    gate = keeping()
    gate.switch(closed(WEB), now())
    one, neighbour, other, _ = ATTACKERS6
    found = [servers.fares(80, source, HOST6) for source in (one, neighbour, one, neighbour, one)]
    assert found == ["ok"] * 3 + ["cut"] * 2
    assert servers.fares(80, other, HOST6) == "ok"
    assert gate.throttled()[0].heaviest == (("2001:db8:1::/64", 2),)


def test_who_is_refused_is_told_so_and_what_stands_goes_on(
    keeping: Callable[..., NftablesGate], servers: Servers, world: World
) -> None:
    gate = keeping()
    client = world.attacker.connect(HOST, 25, HEAVY, 5)
    assert client is not None
    server, _address = servers.open[0].accept()
    gate.switch(closed(MAIL), now())
    assert servers.fares(25, HEAVY) == servers.fares(25, ATTACKERS6[0], HOST6) == "refused"
    assert servers.fares(25, ROUTED, INNER) == "ok"  # what is only forwarded is not for us
    assert servers.fares(80, HEAVY) == "ok"
    for end, far in ((client, server), (server, client)):
        end.sendall(b"still here")
        assert far.recv(100) == b"still here"
        end.settimeout(5)
    client.close()
    server.close()
    assert gate.throttled()[1][:2] == ("exim.refuse", 2)
    gate.switch({}, now())
    assert servers.fares(25, HEAVY) == "ok"


def test_who_is_allowed_passes(keeping: Callable[..., NftablesGate], servers: Servers) -> None:
    gate = keeping()
    gate.allow = (network(HEAVY),)
    gate.replace([], [], now())
    gate.apply([Request("allow", Subject(BEHAVED), None, now() + HOUR)], now())
    gate.switch(closed(*GATES), now())
    for source in (HEAVY, BEHAVED):
        assert [servers.fares(80, source) for _ in range(5)] == ["ok"] * 5
        assert servers.fares(25, source) == servers.fares(26, source) == "ok"
    assert servers.fares(25, THIRD) == "refused"


def test_when_there_are_too_many_sources_the_new_ones_pass(
    keeping: Callable[..., NftablesGate], servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "SOURCES", 1)
    monkeypatch.setattr(doors, "HEAVIEST", 1)
    gate = keeping()
    gate.switch(closed(WEB), now())
    assert [servers.fares(80, HEAVY) for _ in range(4)] == ["ok"] * 3 + ["cut"]
    assert [servers.fares(80, BEHAVED) for _ in range(6)] == ["ok"] * 6
    assert servers.fares(80, HEAVY) == "cut"


def test_a_closing_ends_by_itself(
    keeping: Callable[..., NftablesGate], servers: Servers, world: World
) -> None:
    gate = keeping()
    gate.switch(closed(MAIL, seconds=1.5), now())
    gate.close()  # nobody is left to open it
    assert servers.fares(25, HEAVY) == "refused"
    time.sleep(1.7)
    assert servers.fares(25, HEAVY) == "ok"


def test_a_repair_puts_back_what_is_left(
    keeping: Callable[..., NftablesGate], servers: Servers, world: World
) -> None:
    gate = keeping()
    gate.switch(closed(MAIL, WEB, seconds=60), now())
    assert not gate.drifted()
    world.host.nft("flush ruleset")
    assert servers.fares(25, HEAVY) == "ok"
    assert gate.drifted()
    gate.replace([], [], now())
    assert servers.fares(25, HEAVY) == "refused"
    [left] = gate._table.closed((MAIL,), 0).values()
    assert 30 * SECOND < left < 60 * SECOND
    world.host.nft("flush set inet tidegate closed_exim.refuse")
    assert gate.drifted()
    gate.apply([ban(THIRD)], now())
    assert servers.fares(25, HEAVY) == "refused"
    assert servers.fares(25, THIRD) == "cut"


def test_an_end_is_cut_to_the_lease(keeping: Callable[..., NftablesGate]) -> None:
    gate = keeping()
    gate.switch({MAIL.name: now() + HOUR}, now())
    [left] = gate._table.closed((MAIL,), 0).values()
    assert left <= LEASE


def test_what_policy_does_not_have_is_refused(keeping: Callable[..., NftablesGate]) -> None:
    gate = keeping(MAIL, GateSpec("stop", Service("x")), GateSpec("odd", Refuse((0,))))
    moment = now() + MINUTE
    reports = {
        one.gate: one for one in gate.switch({"x": moment, "stop": moment, "odd": moment}, now())
    }
    assert {name: one.state for name, one in reports.items()} == {
        "exim.refuse": "open", "x": "refused", "stop": "refused", "odd": "refused"
    }  # fmt: skip
    assert "policy has no such gate" in reports["x"].detail
    assert "1-65535" in reports["odd"].detail


def test_off_takes_everything_out(
    keeping: Callable[..., NftablesGate], servers: Servers, world: World
) -> None:
    gate = keeping()
    gate.switch(closed(*GATES), now())
    gate.open_all()
    assert servers.fares(25, HEAVY) == "ok"
    gate.replace([], [], now())
    assert servers.fares(25, HEAVY) == "ok"


def test_a_new_keeper_leaves_closed_what_is_closed(
    keeping: Callable[..., NftablesGate], servers: Servers
) -> None:
    keeping().switch(closed(MAIL), now())
    later = keeping()
    assert servers.fares(25, HEAVY) == "refused"
    assert states(later, closed(MAIL))[MAIL.name] == "closed"
    assert states(later, {})[MAIL.name] == "open"
    assert servers.fares(25, HEAVY) == "ok"


def test_other_gates_in_policy_leave_bans_and_closings(
    keeping: Callable[..., NftablesGate], servers: Servers
) -> None:
    gate = keeping()
    gate.apply([ban(THIRD)], now())
    gate.switch(closed(MAIL, WEB), now())
    moved = GateSpec(MAIL.name, Refuse((26,)))
    gate.gates = (moved,)
    gate.apply([], now())
    assert servers.fares(25, HEAVY) == "ok"
    assert servers.fares(26, HEAVY) == "refused"
    assert [servers.fares(80, HEAVY) for _ in range(6)] == ["ok"] * 6
    assert servers.fares(80, THIRD) == "cut"
    assert not gate.drifted()


def test_without_what_gates_take_the_bans_stand(
    world: World,
    keeping: Callable[..., NftablesGate],
    monkeypatch: pytest.MonkeyPatch,
    servers: Servers,
) -> None:
    run = table.run_nft

    def lacking(text: str) -> None:
        if "limit rate" in text or "tproxy" in text:
            raise GateError("nft refused the layout: No such file or directory")
        run(text)

    monkeypatch.setattr(table, "run_nft", lacking)
    gate = keeping()
    gate.apply([ban(THIRD)], now())
    assert servers.fares(80, THIRD) == "cut"
    [report] = [one for one in gate.switch(closed(WEB), now()) if one.gate == WEB.name]
    assert (report.state, report.detail) == (
        "refused", "nft refused the layout: No such file or directory"
    )  # fmt: skip
    assert not gate.drifted()


def test_without_a_hand_over_connections_are_refused(
    keeping: Callable[..., NftablesGate], monkeypatch: pytest.MonkeyPatch, servers: Servers
) -> None:
    run = table.run_nft

    def lacking(text: str) -> None:
        if "tproxy" in text:
            raise GateError("nft refused the layout: No such file or directory")
        run(text)

    monkeypatch.setattr(table, "run_nft", lacking)
    gate = keeping()
    reports = {one.gate: one for one in gate.switch(closed(*GATES), now())}
    assert {one.state for one in reports.values()} == {"closed"}
    assert reports[LATER.name].detail.endswith("; connections are refused")
    assert reports[MAIL.name].detail == ""
    assert servers.fares(26, HEAVY) == "refused"


_KEEPER = """
import socket, sys
from pathlib import Path
from tidegate.gate.charter import Charter
from tidegate.gate.keeper import serve
from tidegate.gate.nftables import NftablesGate
from tidegate.gate.smtp421 import Responder
from tidegate.policy.guards import GateSpec, Refuse, Throttle
charter = Charter(gates=(
    GateSpec("apache.throttle", Throttle((80, 443), 6, 60_000_000, 3)),
    GateSpec("exim.later", Refuse((26,), "421")),
))
connection = socket.socket(fileno=int(sys.argv[1]))
serve(
    connection, NftablesGate(), lambda: charter, off_file=Path(sys.argv[2]), responder=Responder()
)
"""


class Kept(NamedTuple):
    """A keeper in its own process, as nobody with one capability."""

    gate: RemoteGate
    process: subprocess.Popen[bytes]
    off_file: Path

    def responder(self) -> int:
        """Its pid; 0: there is none."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return next(map(int, path.read_text().split()), 0)


@pytest.fixture
def kept(world: World, public_folder: Path) -> Iterator[Kept]:
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv not installed")
    shutil.copytree(Path(tidegate.__file__).parent, public_folder / "tidegate")
    here, there = socket.socketpair()
    off_file = public_folder / "off"
    python = str(Path(sys.executable).resolve())
    process = subprocess.Popen(
        [*ONLY_NET_ADMIN, python, "-c", _KEEPER, str(there.fileno()), str(off_file)],
        pass_fds=[there.fileno()],
        env={**os.environ, "PYTHONPATH": str(public_folder)},
        cwd="/",
    )
    there.close()
    try:
        yield Kept(RemoteGate(here), process, off_file)
    finally:
        here.close()
        process.kill()
        process.wait()


def until(what: str, check: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not check():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


def greeting(world: World, port: int, source: str, address: str = HOST) -> bytes:
    """What a server says first, to somebody who speaks before having heard it."""
    client = world.attacker.connect(address, port, source, 5)
    assert client is not None
    with client:
        client.sendall(b"EHLO client.example.com\r\n")
        time.sleep(0.05)
        found = b""
        while data := client.recv(1000):
            found += data
        return found


def test_senders_are_told_to_come_back(kept: Kept, servers: Servers, world: World) -> None:
    client = world.attacker.connect(HOST, 26, HEAVY, 5)
    assert client is not None
    server, _address = servers.open[1].accept()
    until("the responder", kept.responder)
    kept.gate.switch(closed(LATER), now())
    told = rb"421 4\.3\.2 \S+ is too busy, try again later\r\n"
    for source, address in ((HEAVY, HOST), (ATTACKERS6[0], HOST6)):
        assert re.fullmatch(told, greeting(world, 26, source, address))
    assert servers.fares(doors.RESPONDER, HEAVY) == "refused"  # it is on the loopback alone
    client.sendall(b"still here")
    assert server.recv(100) == b"still here"
    with client, server:
        pass
    assert kept.gate.throttled()[1][:2] == ("exim.later", 2)
    kept.gate.switch({}, now())
    assert servers.fares(26, HEAVY) == "ok"


def test_the_responder_has_no_right_and_is_started_again(
    kept: Kept, servers: Servers, world: World
) -> None:
    until("the responder", kept.responder)
    first = kept.responder()
    kept.gate.switch(closed(LATER), now())
    greeting(world, 26, HEAVY)
    told = Path(f"/proc/{first}/status").read_text()
    assert set(re.findall(r"^Cap(?:Inh|Prm|Eff|Amb):\s+(\d+)", told, re.MULTILINE)) == {"0" * 16}
    assert re.search(r"^NoNewPrivs:\s+1", told, re.MULTILINE)
    until("no more than it needs", lambda: len(os.listdir(f"/proc/{first}/fd")) == 5)
    with socket.socket() as service:  # the service may be started meanwhile
        service.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        servers.open[1].close()
        service.bind(("0.0.0.0", 26))
        service.listen()
    os.kill(first, signal.SIGKILL)
    until("its end", lambda: not os.path.exists(f"/proc/{first}/fd/3"))
    assert servers.fares(26, HEAVY) == "refused"
    until("another", lambda: kept.responder() not in (0, first))
    assert greeting(world, 26, HEAVY).startswith(b"421 ")
    kept.off_file.touch()
    until("its end", lambda: not kept.responder())


def test_when_all_is_killed_the_kernel_opens(kept: Kept, servers: Servers) -> None:
    until("the responder", kept.responder)
    responder = kept.responder()
    assert {one.state for one in kept.gate.switch(closed(WEB, LATER, seconds=4), now())} == {
        "closed"
    }
    assert [servers.fares(80, HEAVY) for _ in range(4)] == ["ok"] * 3 + ["cut"]
    kept.process.kill()
    kept.process.wait()
    until("the responder's end", lambda: not Path(f"/proc/{responder}").exists())
    assert servers.fares(26, HEAVY) == "refused"
    time.sleep(4.2)
    assert servers.fares(26, HEAVY) == "ok"
    assert [servers.fares(80, HEAVY) for _ in range(5)] == ["ok"] * 5


def test_while_it_is_switched_off_nothing_can_be_closed(kept: Kept, servers: Servers) -> None:
    kept.gate.switch(closed(WEB, LATER), now())
    kept.off_file.touch()
    with pytest.raises(GateError, match="switched off"):
        kept.gate.switch(closed(WEB, LATER), now())
    until("off", lambda: servers.fares(26, HEAVY) == "ok")
