"""A person outranks the machine: `off` and `on`, and everything that is done by hand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.kernel.daemon import FAST, Daemon, daemons, until, virus
from tests.kernel.namespaces import Namespace

pytestmark = pytest.mark.kernel

A, B, C = "192.0.2.7", "192.0.2.8", "2001:db8:7::25"
NOBODY = 65534


@pytest.fixture
def daemon(public_folder: Path) -> Iterator[Callable[..., Daemon]]:
    """Makes daemons in a namespace of their own; all of them end with the test."""
    with daemons(public_folder, "off") as make:
        yield make


def viruses(address: str, count: int = 16) -> str:
    return "".join(virus(address) for _ in range(count))


def tables(here: Daemon) -> list[str]:
    assert here.space is not None
    found = here.space.nft("list tables")["nftables"]
    return [one["table"]["name"] for one in found if "table" in one]


def stays_open(here: Daemon) -> None:
    """Through a look of the keeper, which comes each second."""
    for _ in range(8):
        assert "tidegate" not in tables(here)
        time.sleep(0.2)


def off(here: Daemon, *words: str) -> subprocess.CompletedProcess[str]:
    return here.verb("off", "--config", str(here.policy), *words)


def on(here: Daemon, *words: str) -> subprocess.CompletedProcess[str]:
    return here.verb("on", "--config", str(here.policy), *words)


def test_off_stays_off_through_drift_crash_and_restart_and_on_restores(daemon):
    here = daemon().start()
    here.append(viruses(A))
    until("the ban", here.closed)
    done = off(here, "--note", "customers locked out")
    assert (done.returncode, tables(here)) == (0, [])
    assert done.stdout == "Everything is open, and stays open until: tidegate on\n"
    assert "customers locked out" in (here.folder / "off").read_text()
    here.append(viruses(B))
    until("the decision", lambda: len(here.history()) == 2)
    here.space.run("nft", "flush", "ruleset")
    stays_open(here)
    for role in ("keeper", "watcher"):
        pair = here.pair()
        here.kill(role)
        until(
            "both to be new", lambda pair=pair: not set(here.pair().values()) & set(pair.values())
        )
        until("an answer", lambda: here.ask("/status"))
        assert tables(here) == []
    assert here.stop() == 0
    here.start()
    stays_open(here)
    status = here.verb("status")
    assert status.returncode == 1
    assert "OFF: everything is open, until `tidegate on`" in status.stdout
    done = on(here, "--json")
    assert json.loads(done.stdout) == {"v": 1, "off": False, "was_off": True}
    until("both bans", lambda: set(here.closed()) == {(A, (25,)), (B, (25,))})
    until("a sound status", lambda: here.verb("status").returncode == 0)
    assert on(here).stdout == "It was not off.\n"


def test_what_ended_or_was_undone_while_off_stays_open(daemon):
    here = daemon(FAST.replace('"1h"', '"3s"')).start()
    here.append(viruses(A))
    here.verb("ban", B, "--for", "1h")
    here.verb("ban", C, "--for", "1h")
    until("three bans", lambda: len(here.closed()) == 3)
    off(here)
    here.verb("unban", B)
    until("the first to end", lambda: len(here.rows("/list")) == 1)
    on(here)
    until("the rest", here.closed)
    assert set(here.closed()) == {("2001:db8:7::/64", ())}


@pytest.mark.parametrize(
    "fault", ["this is no TOML [[[\n", "[rule.x]\nwithin = 7\n", "[paths]\nrun = 3\n"]
)
def test_off_works_with_a_broken_policy(daemon, fault):
    here = daemon().start()
    here.append(viruses(A))
    until("the ban", here.closed)
    here.policy.write_text(here.policy.read_text() + fault)
    assert off(here).returncode == 0
    stays_open(here)
    assert on(here).returncode == 0
    until("the ban", here.closed)


def test_off_works_without_the_daemon_and_holds_when_it_starts(daemon):
    here = daemon().start()
    here.append(viruses(A))
    until("the ban", here.closed)
    os.kill(here.process.pid, signal.SIGKILL)
    here.process.wait()
    done = off(here, "--json")
    assert json.loads(done.stdout) == {
        "v": 1, "off": True, "file": str(here.folder / "off"), "table_deleted": True,
        "gates": [],
    }  # fmt: skip
    assert tables(here) == []
    again = off(here)
    assert "There was no table of ours in the kernel." in again.stdout
    until("the pair to be gone", lambda: not Path(here.socket).exists())
    here.start()
    stays_open(here)


def test_off_needs_root_and_says_so(daemon):
    here = daemon()
    done = here.verb("off", "--config", str(here.policy), user=NOBODY, group=NOBODY)
    assert done.returncode == 3
    assert done.stderr == (
        f"tidegate: {here.folder}/off: Permission denied; run it as root: sudo tidegate off\n"
    )


# -- by hand -----------------------------------------------------------------------------------


def test_everything_by_hand_is_done_and_carries_the_person(daemon):
    here = daemon().start()
    done = here.verb("ban", A, "--for", "2h", "--ports", "465,25", "--note", "worm, ticket 4711")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"ban {A} (ports: 25,465): done until ")
    assert 7100 < here.closed()[A, (25, 465)] <= 7200
    assert here.verb("ban", C).returncode == 0
    assert ("2001:db8:7::/64", ()) in here.closed()
    listed = here.verb("list", "--json").stdout
    assert {json.loads(row)["subject"] for row in listed.splitlines()} == {A, "2001:db8:7::/64"}
    why = here.verb("why", "2001:db8:7::99").stdout
    assert "By root (uid 0)" in why
    assert "tidegate unban 2001:db8:7::/64" in why
    assert here.verb("unban", A, "--note", "customer called").returncode == 0
    assert set(here.closed()) == {("2001:db8:7::/64", ())}
    here.append(viruses(A))
    until("the sparing", lambda: "exempt" in [row["spared"] for row in here.history()])
    assert here.verb("allow", "2001:db8:7::/64", "--for", "1d", "--note", "ours").returncode == 0
    assert here.closed() == {}
    history = here.verb("history", "--json").stdout
    rows = [json.loads(row) for row in history.splitlines()]
    assert [(row["action"], row["by"], row["note"]) for row in rows if row["by"] != "rule"] == [
        ("allow", "root (uid 0)", "ours"),
        ("unban", "root (uid 0)", "customer called"),
        ("ban", "root (uid 0)", ""),
        ("ban", "root (uid 0)", "worm, ticket 4711"),
    ]
    assert "customer called" in here.verb("history", A).stdout


def test_an_unban_forgets_what_was_counted_and_lasts_through_a_crash(daemon):
    here = daemon().start()
    here.append(viruses(A, 15))
    here.wait_read(15)
    assert "Counting: 15 towards virus-senders" in here.verb("why", A).stdout
    here.verb("unban", A)
    pid = here.kill("watcher")
    until("a new watcher", lambda: here.pair()["watcher"] != pid)
    until("an answer", lambda: here.ask("/status"))
    assert "Counting" not in here.verb("why", A).stdout
    here.append(viruses(A))
    until("the sparing", lambda: "exempt" in [row["spared"] for row in here.history()])
    assert here.closed() == {}


def test_a_ban_by_hand_ends_an_allow_by_hand(daemon):
    here = daemon().start()
    assert here.verb("allow", A, "--for", "1d").returncode == 0
    assert here.verb("ban", A).returncode == 0
    assert set(here.closed()) == {(A, ())}
    sets = here.space.nft("list ruleset")["nftables"]
    allowed = [one["set"] for one in sets if one.get("set", {}).get("name") == "allow4_32"]
    assert [len(one["elem"]) for one in allowed] == [1], "only its sentinel is left"
    assert "disallow" in here.verb("history", A).stdout


def test_who_is_inside_an_allowed_network_is_spared_and_one_inside_a_banned_one_is_told(daemon):
    here = daemon().start()
    assert here.verb("allow", "192.0.2.0/28").returncode == 0
    here.append(viruses(A) + viruses("192.0.2.99"))
    until("the ban", here.closed)
    assert set(here.closed()) == {("192.0.2.99", (25,))}
    assert here.verb("ban", A).stderr == f"tidegate: {A} can't be banned: exempt\n"
    assert here.verb("ban", "198.51.100.0/24").returncode == 0
    done = here.verb("unban", "198.51.100.7")
    assert done.returncode == 1
    assert done.stderr == (
        "198.51.100.0/24 stays closed, and it is inside; to open: tidegate unban 198.51.100.0/24\n"
    )


def test_unban_all_opens_everything(daemon):
    here = daemon().start()
    for address in (A, B, C):
        here.verb("ban", address)
    assert len(here.closed()) == 3
    assert here.verb("unban", "--all").returncode == 0
    assert here.closed() == {}
    assert here.verb("unban", "--all").stdout == "Nothing is closed.\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("ban", "mail.example.com"), "expected an address or a network"),
        (("ban", "127.0.0.1"), "127.0.0.1 can't be banned: loopback"),
        (("ban", A, "--for", "5 parsecs"), "for: expected"),
        (("ban", A, "--for", "900d"), "for: at most 30d (limits.longest-ban)"),
        (("ban", A, "--ports", "25,99999"), "--ports: expected numbers such as 25,465"),
        (("unban",), "expected either ADDRESS or --all"),
        (("unban", A, "--all"), "expected either ADDRESS or --all"),
        (("allow", "here"), "expected an address or a network"),
        (("why", "\x1b[31mx"), "expected an address or a network"),
        (("history", "--limit", "0"), "limit: expected a whole number"),
    ],
)
def test_wrong_orders_are_told_in_one_line(wrong, words, said):
    done = wrong.verb(*words)
    assert done.returncode == 2, done
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "\x1b" not in done.stderr


@pytest.fixture(scope="module")
def wrong() -> Iterator[Daemon]:
    """One daemon for all wrong orders."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="tidegate-test-", dir="/tmp")))
        folder.chmod(0o755)
        space = Namespace("wrong")
        stack.callback(space.close)
        made = Daemon(folder, space)
        stack.callback(made.close)
        yield made.start()


def test_a_network_too_wide_is_refused_by_the_keeper(wrong):
    done = wrong.verb("ban", "10.0.0.0/9")
    assert (done.returncode, done.stdout) == (1, "")
    assert "refused: wider than is permitted" in done.stderr


def test_others_may_neither_read_nor_act(wrong):
    for words in (("status",), ("ban", A), ("reload",), ("unban", "--all")):
        done = wrong.verb(*words, user=NOBODY, group=NOBODY, extra_groups=[])
        assert done.returncode == 3, done
        assert "root or group" in done.stderr
        assert len(done.stderr.splitlines()) == 1
