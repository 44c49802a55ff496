"""Reload under load, faulty policies, and lines that are poison: nothing is lost, the rest goes on."""

from __future__ import annotations

import grp
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
from tests.kernel.daemon import (
    FAST,
    SLOW,
    SOURCE,
    Daemon,
    alike,
    daemons,
    replayed,
    traffic,
    until,
    virus,
)

pytestmark = pytest.mark.kernel

A, B = "192.0.2.7", "192.0.2.8"
ANY = """
[rule.any]
on = ["exim.malware"]
at-least = 3
within = "1m"
ban = { ports = [], for = "1h" }
"""


@pytest.fixture
def daemon(public_folder: Path) -> Iterator[Callable[..., Daemon]]:
    """Makes daemons in a namespace of their own; all of them end with the test."""
    with daemons(public_folder, "reload") as make:
        yield make


def viruses(address: str, count: int = 16) -> str:
    return "".join(virus(address) for _ in range(count))


def reloads(here: Daemon) -> int:
    return here.said().count("reloaded: policy")


def test_nothing_is_lost_or_counted_twice_while_policies_change(daemon):
    """Thousands of lines, and a reload by verb or signal all the time, with other rules around."""
    here = daemon(FAST + SLOW).start()
    text = traffic(11, 9000).encode("utf-8", "surrogateescape")
    # Without accepted mail, so that bans of the rule that comes and goes never trip the breaker.
    lines = [line for line in text.splitlines(keepends=True) if b" <= " not in line]
    done = threading.Event()

    def play() -> None:
        for first in range(0, len(lines), 40):
            here.append(b"".join(lines[first : first + 40]))
            time.sleep(0.01)
        done.set()

    player = threading.Thread(target=play)
    player.start()
    turn = 0
    while not done.is_set() or turn < 6:
        here.write_policy(FAST + SLOW + (ANY if turn % 3 == 1 else "") + f"# {turn}\n")
        if turn % 2:
            os.kill(here.process.pid, signal.SIGHUP)
            until("the reload", lambda turn=turn: reloads(here) > turn)
        else:
            assert here.verb("reload").returncode == 0
        turn += 1
    player.join()
    here.wait_read(len(lines))
    here.write_policy(FAST + SLOW)
    assert here.verb("reload").returncode == 0
    decided = [row for row in here.history() if row["by"] == "rule" and row["rule"] != "any"]
    assert alike(decided) == alike(replayed(here)) != []
    standing = {(row["subject"], tuple(row["ports"])) for row in here.rows("/list")}
    assert set(here.closed()) == standing != set()
    assert {rule for rule, ports in here.closed() if not ports} == set()


def test_counts_go_on_across_a_reload_and_a_crash_right_after_it(daemon):
    here = daemon().start()
    here.append(viruses(A, 15))
    here.wait_read(15)
    here.write_policy(FAST.replace("[25]", "[25, 465]"))
    assert here.verb("reload").returncode == 0
    pid = here.kill("watcher")
    until("a new watcher", lambda: here.pair()["watcher"] != pid)
    here.append(virus(A))
    assert set(until("the ban", here.closed)) == {(A, (25, 465))}
    assert [row["count"] for row in here.history()] == [16]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ('[rule.x]\nonn = ["exim.malware"]\n', "unknown key; did you mean"),
        ("this is no TOML [[[\n", "not valid TOML"),
        (FAST.replace("virus-senders", "y").replace('"5m"', '"5 parsecs"'), "within: expected"),
        (FAST.replace("virus-senders", "y").replace("exim.", "exmi."), "no detector sees"),
    ],
)
def test_a_faulty_policy_leaves_the_old_one_running_and_says_what_check_says(daemon, fault, said):
    here = daemon().start()
    here.append(viruses(A))
    until("the ban", here.closed)
    hash_before = here.ask("/status")["policy"]
    here.policy.write_text(here.policy.read_text() + fault)
    done = here.verb("reload")
    checked = here.verb("check", "--config", str(here.policy))
    assert (done.returncode, done.stdout) == (2, "")
    assert (checked.returncode, checked.stderr) == (2, done.stderr)
    assert said in done.stderr
    assert str(here.policy) in done.stderr
    os.kill(here.process.pid, signal.SIGHUP)
    until("the complaint", lambda: here.said().count("reload: the old policy stays") == 2)
    assert here.ask("/status")["policy"] == hash_before
    here.append(viruses(B))
    until("the next ban", lambda: len(here.closed()) == 2)


def test_what_the_keeper_may_not_read_is_told_and_changes_nothing(daemon):
    """A policy for root and adm alone: the watcher could read it, the keeper can't."""
    here = daemon().start()
    before = here.ask("/status")["policy"]
    here.write_policy(FAST + SLOW)
    os.chown(here.policy, 0, grp.getgrnam("adm").gr_gid)
    here.policy.chmod(0o640)
    done = here.verb("reload")
    assert done.returncode == 2
    assert f"{here.policy}: can't be read: Permission denied" in done.stderr
    assert here.ask("/status")["policy"] == before
    here.policy.chmod(0o644)
    assert here.verb("reload").returncode == 0


def test_bans_of_a_removed_rule_open_and_those_of_others_stay(daemon):
    here = daemon(FAST + ANY).start()
    here.append(viruses(A) + viruses(B, 3))
    until("three bans", lambda: len(here.closed()) == 3)
    assert set(here.closed()) == {(A, (25,)), (A, ()), (B, ())}
    here.write_policy(FAST)
    assert here.verb("reload").returncode == 0
    assert set(here.closed()) == {(A, (25,))}
    rows = [row for row in here.history() if row["action"] == "unban"]
    assert {(row["subject"], row["rule"], row["by"], row["state"]) for row in rows} == {
        (A, "any", "reload", "applied"),
        (B, "any", "reload", "applied"),
    }
    here.write_policy("")
    assert here.verb("reload").returncode == 0
    assert here.closed() == {}


def test_a_changed_allowlist_is_in_force_with_the_reload(daemon):
    here = daemon().start()
    here.append(viruses(A))
    until("the ban", here.closed)
    here.write_policy(FAST + '[allow]\naddresses = ["192.0.2.0/24"]\n')
    assert here.verb("reload").returncode == 0
    listed = here.space.run("nft", "list", "set", "inet", "tidegate", "allow4")
    assert "192.0.2.0/24" in listed
    here.append(viruses(B))
    until("the sparing", lambda: "allowlist" in [row["spared"] for row in here.history()])
    assert (B, (25,)) not in here.closed()


def test_a_source_that_comes_and_goes_and_comes_back_is_counted_once(daemon):
    here = daemon().start()
    here.append(viruses(A, 15))
    here.wait_read(15)
    second = here.folder / "log" / "rejectlog"
    second.write_text(viruses(B, 8))
    more = SOURCE + SOURCE.replace("source.exim", "source.more").replace("mainlog", "rejectlog")
    here.write_policy(FAST, more)
    assert here.verb("reload").returncode == 0
    here.wait_read(23)
    here.write_policy(FAST)
    assert here.verb("reload").returncode == 0
    with second.open("a") as file:
        file.write(viruses(B, 7))
    here.append(virus(A))
    assert set(until("the ban of the source that stayed", here.closed)) == {(A, (25,))}
    here.write_policy(FAST, more)
    assert here.verb("reload").returncode == 0
    here.wait_read(31)
    assert set(here.closed()) == {(A, (25,))}, "fifteen are not more than fifteen"
    with second.open("a") as file:
        file.write(virus(B))
    until("the ban of the source that came back", lambda: (B, (25,)) in here.closed())
    assert [row["count"] for row in here.history()] == [16, 16]


def test_status_shows_policy_rules_and_sources(daemon):
    here = daemon(FAST + SLOW).start()
    here.append(viruses(A, 6))
    until("the ban", here.closed)
    before = here.ask("/status")
    here.write_policy(FAST + SLOW + "# another text, the same policy\n")
    here.verb("reload")
    same = here.ask("/status")
    here.write_policy(SLOW)
    here.verb("reload")
    other = here.ask("/status")
    assert before["policy"]["hash"] == same["policy"]["hash"] != other["policy"]["hash"]
    assert before["policy"]["loaded"] < same["policy"]["loaded"] < other["policy"]["loaded"]
    rules = {one["name"]: one for one in same["rules"]}
    assert rules["virus-senders-slow"]["last_verdict"]["subject"] == A
    assert rules["virus-senders"]["last_verdict"] is None
    assert rules["virus-senders"]["stated"] == "more than 15 within 5m"
    (source,) = same["sources"]
    assert (source["name"], source["state"], source["lag"]) == ("exim", "ok", 0)
    here.append("half a line")
    until("the lag", lambda: here.ask("/status")["sources"][0]["lag"] == len("half a line"))
    shown = here.verb("status").stdout
    for word in (other["policy"]["hash"], "virus-senders-slow", A, "exim", "lag 11 B", "nftables"):
        assert word in shown


def test_a_signal_before_it_is_ready_waits_until_it_is(daemon):
    here = daemon()
    here.spawn()
    until("the first child", lambda: "keeper" in here.children() or here.ask("/status"))
    os.kill(here.process.pid, signal.SIGHUP)
    until("the reload", lambda: reloads(here) == 1)
    assert "killed by SIGHUP" not in here.said()


# -- poison ------------------------------------------------------------------------------------

SLOW_PACK = """
name = "slow"
about = "A pattern that takes for ever on some lines"
reference = "https://docs.python.org/3/library/re.html"
programs = ["slowd"]

[[detector]]
name = "loop"
kind = "loop"
literals = ["slow "]
pattern = 'slow [a-z]*[a-y]*[a-x]*[a-w]*[a-v]*[a-u]* from <addr>'
match = [{ line = "Aug 21 14:03:22 mx slowd[1]: slow abc from 192.0.2.7", subject = "192.0.2.7" }]
"""


def test_a_line_that_makes_a_detector_run_away_is_set_aside_and_the_rest_goes_on(daemon):
    here = daemon()
    (here.folder / "detectors").mkdir()
    (here.folder / "detectors" / "slow.toml").write_text(SLOW_PACK)
    here.write_policy(FAST, SOURCE.replace('["exim"]', '["exim", "slow"]'))
    here.start()
    poison = f"{datetime.now():%b %e %H:%M:%S} mx slowd[1]: slow {'a' * 200}\n"
    here.append(viruses(A, 8) + poison + viruses(A, 8))
    assert set(until("the ban", here.closed)) == {(A, (25,))}
    status = here.ask("/status")
    assert (status["limits"]["quarantined"], status["detectors_off"]) == (1, [])
    assert f"the line at byte {8 * len(virus(A))} was set aside, detector slow.loop" in here.said()
    here.append(poison * 2 + viruses(B))
    until("the next ban", lambda: (B, (25,)) in here.closed())
    assert here.ask("/status")["detectors_off"] == ["slow.loop"]
    assert "WARNING  detectors switched off: slow.loop" in here.verb("status").stdout
    here.append(poison * 1000 + viruses("192.0.2.9"))
    until("the last ban", lambda: ("192.0.2.9", (25,)) in here.closed())
    assert here.ask("/status")["limits"]["quarantined"] == 3
