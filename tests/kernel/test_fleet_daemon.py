"""Whole daemons that are one fleet: what one closes all close, what nobody alone would ban all ban;
and without an engine, the extra or a key each works alone, and says so once."""

from __future__ import annotations

import grp
import json
import pwd
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.kernel.company import CREW, Company, attempts, banned, company, joined
from tests.kernel.daemon import Daemon, until

pytestmark = [pytest.mark.kernel, pytest.mark.daemons]

A, B, C = "192.0.2.7", "192.0.2.8", "198.51.100.9"
ALONE = "this host counts and decides alone"


@pytest.fixture
def fleet(public_folder: Path) -> Iterator[Company]:
    with company(public_folder) as made:
        yield made


def lines_about_the_fleet(said: str) -> list[str]:
    return [line for line in said.splitlines() if "fleet: " in line]


# -- together -------------------------------------------------------------------------------------


def test_what_one_host_closes_all_close_and_a_person_opens_on_all(fleet: Company) -> None:
    hosts = [fleet.host(name).start() for name in ("web1", "web2")]
    joined(*hosts, members=3)
    one, other = hosts
    one.crew(*CREW)
    attempts(one, A, 4)
    until("both close", lambda: banned(*hosts) == [{A}, {A}])
    assert one.verb("ban", B, "--for", "1h", "--note", "worm").returncode == 0
    until("both close", lambda: banned(*hosts) == [{A, B}, {A, B}])
    row = next(row for row in other.history() if row["subject"] == B)
    assert (row["by"], row["reason"], row["note"]) == (
        "fleet:web1",
        "by hand on web1",
        "root (uid 0): worm",
    )
    assert other.verb("unban", A).returncode == 0
    until("both open", lambda: banned(*hosts) == [{B}, {B}])
    # What its lines say of it now is left alone for an hour, on both.
    for host in hosts:
        attempts(host, A, 4)
        host.wait_read(8 if host is one else 4)
    assert one.verb("unban", B, "--local").returncode == 0
    attempts(one, C, 4)
    until("both close", lambda: banned(*hosts) == [{C}, {B, C}])


def test_what_no_host_alone_would_ban_all_ban_with_the_lines_of_all(fleet: Company) -> None:
    hosts = [fleet.host(name).start() for name in ("web1", "web2", "web3")]
    joined(*hosts, members=4)
    for host, number in zip(hosts, (2, 1, 1), strict=True):
        attempts(host, A, number)
    until("all close", lambda: banned(*hosts) == [{A}] * 3)
    for host, number in zip(hosts, (2, 1, 1), strict=True):
        (row,) = host.history()
        assert (row["rule"], row["by"], row["count"]) == ("virus-senders", "rule", 4)
        assert row["reason"].startswith("3 hosts counted (web1 2, web2 1, web3 1); at least 4")
        assert len(row["evidence"]) == number
        until("the lines of others", partial(_others, host, A, 4 - number))
    text = hosts[1].verb("why", A).stdout
    assert "Counted by other hosts:" in text
    assert text.count("W32/Sobig.F@mm") == 4
    status = hosts[0].ask("/fleet")
    assert {"web1", "web2", "web3"} <= {one["host"] for one in status["hosts"]}


def _others(host: Daemon, address: str, number: int) -> bool:
    found = json.loads(host.verb("why", address, "--json").stdout)["fleet"]
    return bool(found["answered"]) and len(found["lines"]) == number


def test_what_was_counted_before_a_host_died_counts_once_after_it(fleet: Company) -> None:
    hosts = [fleet.host(name).start() for name in ("web1", "web2")]
    joined(*hosts, members=3)
    one, other = hosts
    attempts(one, A, 1)
    attempts(other, A, 2)
    for host, number in ((one, 1), (other, 2)):
        host.wait_read(number)
    dead = other.kill("watcher")
    until("all are back", lambda: other.children().get("watcher") not in (None, dead))
    joined(other, members=3)
    # Read again after the death, and counted no second time: three are too few.
    attempts(other, B, 3)
    until("they are read", lambda: other.ask("/status").get("lines", 0) >= 3)
    assert banned(*hosts) == [set(), set()]
    attempts(one, A, 1)
    attempts(one, B, 1)
    until("both close", lambda: banned(*hosts) == [{A, B}, {A, B}])
    assert sorted(row["subject"] for row in other.history()) == [A, B]


def test_who_counts_alone_bans_alone(fleet: Company) -> None:
    hosts = [fleet.host(name, "host").start() for name in ("web1", "web2")]
    joined(*hosts, members=3)
    for host in hosts:
        attempts(host, A, 3)
        host.wait_read(3)
    attempts(hosts[0], B, 4)
    until("both close", lambda: banned(*hosts) == [{B}, {B}])


def test_revoking_a_host_opens_what_it_closed_and_leaves_the_rest(fleet: Company) -> None:
    hosts = [fleet.host(name).start() for name in ("web1", "web2", "web3")]
    joined(*hosts, members=4)
    one, other, third = hosts
    attempts(one, A, 4)
    attempts(other, B, 4)
    assert one.verb("ban", C).returncode == 0
    until("all close", lambda: banned(*hosts) == [{A, B, C}] * 3)
    fleet.revoke("web1")
    until("the others open", lambda: banned(other, third) == [{B}] * 2)
    row = next(row for row in third.history() if row["action"] == "unban" and row["subject"] == A)
    assert row["reason"] == "web1 is revoked"


# -- alone ----------------------------------------------------------------------------------------


def test_an_engine_that_does_not_answer_changes_nothing_but_one_line(fleet: Company) -> None:
    fleet.server.kill()
    one = fleet.host("web1", enrolled=False)
    other = fleet.host("web2", enrolled=False)
    fleet.server.start()
    for host in (one, other):
        fleet.enrol(host.folder.name)
    fleet.server.kill()
    for host in (one, other):
        host.start()
    until("it is said", lambda: ALONE in one.said())
    attempts(one, A, 4)
    until("it closes", lambda: banned(one) == [{A}])
    attempts(other, B, 3)
    other.wait_read(3)
    (line,) = lines_about_the_fleet(one.said())
    assert str(fleet.server.socket) in line
    assert one.verb("unban", C).stderr.startswith("the other hosts hear of it later: ")
    assert "fleet    away" in one.verb("status").stdout
    one.stop()  # what it decided is not forgotten, and heard after the next start
    one.start()
    until("it is said again", lambda: len(lines_about_the_fleet(one.said())) == 2)
    fleet.again()
    joined(one, other, members=3)
    until("what was decided meanwhile is heard", lambda: banned(other) == [{A}])
    attempts(one, B, 1)
    until("and what was counted meanwhile counts", lambda: banned(one, other) == [{A, B}, {A, B}])
    until("that it is over is said", lambda: len(lines_about_the_fleet(one.said())) == 3)


@pytest.mark.parametrize("engine", ["redis://127.0.0.1:6379", "redis://engine.invalid"])
def test_an_engine_that_is_silent_or_has_no_address_holds_up_nothing(
    fleet: Company, engine: str
) -> None:
    host = fleet.host("web1")
    host.write_policy(fleet.policy().replace(fleet.spec.engines[0], engine))
    assert host.space is not None
    host.space.nft(
        "table inet silent { chain o { type filter hook output priority 0; tcp dport 6379 drop; }; }"
    )
    host.start()
    attempts(host, A, 4)
    until("it closes", lambda: banned(host) == [{A}])
    (line,) = until("one line", lambda: lines_about_the_fleet(host.said()))
    assert line.endswith(f"{ALONE} until it is well again")
    before = host.crew(*CREW)
    assert host.verb("unban", A).returncode == 0
    assert banned(host) == [set()]
    assert host.crew(*CREW) == before


@pytest.mark.parametrize("missing", ["hiredis", "cryptography"])
def test_without_the_extra_a_host_works_alone_and_says_what_to_do(
    fleet: Company, missing: str
) -> None:
    host = fleet.host("web1")
    (host.folder / "without").mkdir()
    (host.folder / "without" / f"{missing}.py").write_text("raise ImportError('it is not here')\n")
    path = f"{host.folder}/without:{Path(__file__).parents[2] / 'src'}"
    host.environment["PYTHONPATH"] = path
    host.start().crew("keeper", "watcher")
    attempts(host, A, 4)
    until("it closes", lambda: banned(host) == [{A}])
    (line,) = until("one line", lambda: lines_about_the_fleet(host.said()))
    assert f"{missing} can't be loaded (it is not here)" in line
    assert "pip install 'tidegate[fleet]', then restart tidegate" in line
    assert line.endswith(ALONE)
    assert "on this host only" in host.verb("unban", A).stderr
    assert banned(host) == [set()]


def test_a_host_that_is_not_enrolled_works_alone_and_says_what_to_do(fleet: Company) -> None:
    host = fleet.host("web1", enrolled=False)
    host.start().crew("keeper", "watcher")
    attempts(host, A, 4)
    until("it closes", lambda: banned(host) == [{A}])
    (line,) = until("one line", lambda: lines_about_the_fleet(host.said()))
    assert "enrol this host: tidegate fleet enroll" in line


def test_a_process_that_cannot_live_is_left_out_and_the_others_work(fleet: Company) -> None:
    host = fleet.host("web1")
    (host.folder / "keys" / "epoch").write_text("rubbish\n")
    host.start().crew("keeper", "watcher")
    attempts(host, A, 4)
    until("it closes", lambda: banned(host) == [{A}])
    said = host.said()
    assert "keys/epoch: expected a number" in said
    assert "going on without the fleet: mend what it said, then restart tidegate" in said
    assert "its process does not live" in host.ask("/status")["fleet"]["detail"]


def test_its_process_may_do_nothing_but_talk(fleet: Company) -> None:
    host = fleet.host("web1").start()
    pid = host.crew(*CREW)["fleet"]
    rows = (line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    found = {name: value.split() for name, value in rows}
    assert {*found["Uid"]} == {str(pwd.getpwnam("tidegate-watch").pw_uid)}
    assert all(int(found[f"Cap{name}"][0], 16) == 0 for name in ("Prm", "Eff", "Bnd", "Amb", "Inh"))
    assert found["NoNewPrivs"] == ["1"]
    logs = {grp.getgrnam("adm").gr_gid, grp.getgrnam("systemd-journal").gr_gid}
    assert not logs & set(map(int, found["Groups"]))


def test_a_process_that_is_killed_comes_back_with_all_and_nothing_opens(fleet: Company) -> None:
    hosts = [fleet.host(name).start() for name in ("web1", "web2")]
    joined(*hosts, members=3)
    one, other = hosts
    one.verb("ban", A)
    until("both close", lambda: banned(*hosts) == [{A}, {A}])
    dead = other.kill("fleet")
    assert banned(other) == [{A}]
    until("all are back", lambda: other.children().get("fleet") not in (None, dead))
    joined(other, members=3)
    one.verb("ban", B)
    until("both close", lambda: banned(*hosts) == [{A, B}, {A, B}])
    assert [row["subject"] for row in other.history()] == [A, B]
