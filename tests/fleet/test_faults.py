"""What breaks between hosts and engine: nothing in force is lost, nothing is counted twice."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.fleet.fleets import Fleet, them
from tests.fleet.servers import MISSING
from tests.fleet.truth import BAN, LIMIT

from tidegate.fleet.decisions import stream
from tidegate.model import MINUTE, SECOND

pytest.importorskip("cryptography")
pytestmark = pytest.mark.skipif(MISSING, reason="no redis-server is installed")


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Callable[..., Fleet]]:
    with contextlib.ExitStack() as stack:
        yield lambda **how: Fleet(tmp_path, stack, **how)


def test_tries_on_all_add_up_and_a_ban_anywhere_is_a_ban_everywhere(fleet) -> None:
    """Nothing breaks: what the rest stands on."""
    all_ = fleet()
    web1, web2, web3 = all_.start()
    for one in (web1, web2, web3):
        one.lines(them(1))
    assert all(not one.closed() for one in (web1, web2, web3))
    web2.lines(them(1))
    all_.closed_everywhere(them(1))
    web3.ban(them(2))
    all_.closed_everywhere(them(2))
    web1.unban(them(1))
    all_.until("the pardon", lambda: all(one.closed() == {them(2)} for one in all_.agents))
    assert [len(one.watcher.convictions) for one in all_.agents] == [1, 1, 1]
    assert len(all_.digests()) == 1


def test_a_primary_dies_in_the_middle_of_a_burst_and_its_replica_leads(fleet, tmp_path) -> None:
    all_ = fleet()
    all_.replica()
    all_.start(all_.sentinel(tmp_path / "sentinel"))
    chance = random.Random(3)
    for number in range(1, 120):
        all_.pattern(number, chance.randrange(3))
        if number % 10 == 0:
            all_.agents[number // 10 % 3].ban(them(120 + number // 10))
        if number == 60:
            all_.engine.kill()
        time.sleep(0.02)
    wanted = {*map(them, range(1, 120)), *map(them, range(121, 132))}
    all_.closed_everywhere(*wanted)
    all_.converged()
    all_.until("one state", lambda: len(all_.digests()) == 1)
    held = all_.engines[1]("HLEN", stream.HELD)
    assert held > len(wanted) - 119  # what people said, and proofs of what was convicted


@pytest.mark.parametrize("kept", [True, False])
def test_the_engine_is_gone_for_ten_minutes(fleet, kept: bool) -> None:
    """What was counted meanwhile is counted once, what people decided is heard; also by an engine
    that has forgotten everything."""
    all_ = fleet()
    web1, web2, web3 = all_.start()
    all_.pattern(1)
    web1.ban(them(2))
    web1.lines(them(3), LIMIT - 1)
    all_.closed_everywhere(them(1), them(2))
    all_.until("the counts to be sent", lambda: all(not one.health().spool for one in all_.agents))
    if kept:
        all_.engine("CONFIG", "SET", "dir", str(all_.engine.folder))
        all_.engine("SAVE")
    all_.engine.kill()
    all_.until("all to see it", lambda: all(one.health().state == "away" for one in all_.agents))
    web2.ban(them(4))
    web2.lines(them(3), 1)
    for minute in range(10):
        all_.clock.leap(MINUTE)
        all_.agents[minute % 3].lines(them(5 + minute // 4))
        time.sleep(0.3)
    web3.unban(them(2))
    assert them(4) not in web1.closed()
    all_.engine.start()
    all_.clock.tell(all_.engine)
    all_.joined()
    # 5 and 6 had four tries in four minutes each, and 3 one too few for an engine that forgot.
    all_.closed_everywhere(them(1), them(4), them(5), them(6), *([them(3)] if kept else []))
    all_.converged()
    assert all(them(2) not in one.closed() and them(7) not in one.closed() for one in all_.agents)
    all_.until("one state", lambda: len(all_.digests()) == 1)
    all_.clock.leap(BAN + MINUTE, all_.engine)
    all_.until("all to end", lambda: all(not one.closed() for one in all_.agents))
    all_.until("all to forget", lambda: all(not one.health().standing for one in all_.agents))


def test_a_host_sleeps_until_the_stream_has_dropped_what_it_did_not_read(
    fleet, monkeypatch
) -> None:
    monkeypatch.setattr(stream, "CAP", 100)
    all_ = fleet()
    web1, web2, web3 = all_.start()
    web3.asleep = True
    for number in range(1, 250):
        (web1, web2)[number % 2].ban(them(number))
        if number % 25 == 0:
            time.sleep(0.3)
    web2.unban(them(7))
    all_.until(
        "the stream to drop its beginning",
        lambda: all_.engine("XINFO", "STREAM", stream.STREAM)[1] < 250
        and not web1.member.assembly.offers.unsaid and not web2.member.assembly.offers.unsaid,
    )  # fmt: skip
    assert not web3.closed()
    web3.asleep = False
    all_.converged()
    assert len(web3.closed()) == 248
    assert web3.member.assembly.listener.snapshots == 2


def test_a_cable_is_cut_and_put_in_again(fleet) -> None:
    all_ = fleet()
    web1, web2, web3 = all_.start()
    all_.places["web2"].cut()
    all_.until("web2 to see it", lambda: web2.health().state == "away")
    web2.lines(them(1), LIMIT - 1)
    web2.ban(them(2))
    web1.lines(them(1))
    web3.ban(them(3))
    all_.until("the others to go on", lambda: web1.closed() == {them(3)})
    assert web2.closed() == {them(2)}
    all_.places["web2"].mend()
    all_.closed_everywhere(them(1), them(2), them(3))
    all_.converged()


def test_a_clock_is_ten_minutes_off(fleet) -> None:
    """That host counts alone and says why; nobody believes it, and it believes nobody."""
    all_ = fleet()
    web1, web2, web3 = all_.start()
    web3.skew = 10 * MINUTE
    all_.until("web3 to see it", lambda: web3.health().state == "alone")
    assert "clock" in web3.health().detail
    assert -11 * MINUTE < web3.health().skew < -9 * MINUTE
    web3.lines(them(1), LIMIT)
    web3.ban(them(2))
    web1.lines(them(3), 2)
    web2.lines(them(3), 2)
    all_.until("the others to go on", lambda: web1.closed() == web2.closed() == {them(3)})
    time.sleep(1.5)
    assert web3.closed() == {them(2)}
    web3.skew = 0
    all_.until("web3 to be back", lambda: web3.health().state == "joined")
    all_.until("web3 to have heard", lambda: them(3) in web3.closed())
    web1.lines(them(4), 2)
    web3.lines(them(4), 2)
    all_.closed_everywhere(them(3), them(4))


def test_two_sites_with_a_long_line_between(fleet) -> None:
    """40 ms there and 40 back, and one frame of a hundred is lost: all agree all the same."""
    all_ = fleet(delay=0.04, loss=0.01)
    all_.start()
    began = time.monotonic()
    for number in range(1, 60):
        all_.pattern(number, number)
        all_.agents[number % 3].ban(them(100 + number))
        time.sleep(0.05)
    all_.closed_everywhere(*map(them, range(1, 60)), *map(them, range(101, 160)))
    took = time.monotonic() - began
    all_.converged()
    assert len(all_.digests()) == 1
    passed, lost = all_.site.carried()
    assert lost > 5, f"{passed} frames in {took:.1f} s"


def test_a_host_dies_and_reads_its_log_again(fleet) -> None:
    """It begins with the number of another start, with what was written down before."""
    all_ = fleet()
    web1, web2, web3 = all_.start()
    web3.lines(them(1), 2)
    web2.ban(them(2))
    all_.closed_everywhere(them(2))
    web3.stop()
    again = all_.agent("web3", all_.places["web3"], epoch=2, changes=web3.changes)
    all_.agents[2] = again
    with again.lock:  # the same lines, by their places
        again.watcher.reread(web3.watcher, again.now())
    web1.lines(them(1))
    time.sleep(2)
    assert all(them(1) not in one.closed() for one in all_.agents)
    web1.lines(them(1))
    all_.closed_everywhere(them(1), them(2))
    (found,) = again.watcher.convictions
    assert found.shares == (("web1", 2), ("web3", 2))
    assert abs(found.time - again.now()) < MINUTE + SECOND
