"""SIGKILL of the real processes, by their pids, under a running `tidegate run`."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.kernel.daemon import (
    FAST,
    SLOW,
    SOURCE,
    Daemon,
    alike,
    is_running,
    replayed,
    traffic,
    until,
    virus,
)
from tests.kernel.namespaces import Namespace

pytestmark = pytest.mark.kernel


@pytest.fixture
def daemon(public_folder: Path) -> Iterator[Callable[..., Daemon]]:
    """Makes daemons in a namespace of their own; all of them end with the test."""
    with ExitStack() as stack:
        space = Namespace("kill")
        stack.callback(space.close)

        def make(policy: str) -> Daemon:
            made = Daemon(public_folder, space, policy)
            stack.callback(made.close)
            return made

        yield make


def test_watcher_and_keeper_killed_again_and_again_lose_nothing(daemon):
    here = daemon(FAST + SLOW).start()
    lines = traffic(7, 2000).encode("utf-8", "surrogateescape").splitlines(keepends=True)
    here.append("".join(virus("198.51.100.7") for _ in range(16)))
    until("the first ban", here.closed)
    for turn, role in enumerate(("watcher", "keeper", "watcher")):
        before = here.pair()
        here.append(b"".join(lines[turn * 500 : turn * 500 + 400]))
        here.kill(role)
        here.append(b"".join(lines[turn * 500 + 400 : turn * 500 + 500]))
        assert ("198.51.100.7", (25,)) in here.closed(), "bans stand while nobody is there"
        after = until(
            "both to be new",
            lambda before=before: (
                len(pair := here.children()) == 2
                and not set(pair.values()) & set(before.values())
                and pair
            ),
        )
        assert set(after) == {"keeper", "watcher"}
        until("an answer", lambda: here.ask("/status"))
    here.append(b"".join(lines[1500:]))
    expected = alike(replayed(here))
    until("every decision", lambda: len(here.history()) >= len(expected))
    here.kill("watcher")
    until("an answer", lambda: here.ask("/status"))
    assert alike(here.history()) == expected
    standing = {(row["subject"], tuple(row["ports"])) for row in here.rows("/list")}
    assert set(here.closed()) == standing
    assert here.verb("status", "--json").returncode == 0
    for role in ("watcher", "keeper"):
        assert f"the {role} ended: killed by SIGKILL" in here.said()


def test_killed_on_a_quiet_day_it_does_not_begin_at_the_end_again(daemon):
    here = daemon(FAST)
    here.write_policy(FAST, SOURCE.replace('"beginning"', '"end"'))
    here.append("".join(virus("192.0.2.99") for _ in range(16)))
    here.start()
    pid = here.kill("watcher")
    here.append("".join(virus("192.0.2.7") for _ in range(16)))
    until("a new watcher", lambda: here.pair()["watcher"] != pid)
    assert set(until("the ban", here.closed)) == {("192.0.2.7", (25,))}
    assert [row["subject"] for row in here.history()] == ["192.0.2.7"]


def test_without_its_master_the_pair_ends_and_bans_end_by_the_kernel_alone(daemon):
    here = daemon(FAST.replace('"1h"', '"6s"')).start()
    here.append("".join(virus("192.0.2.7") for _ in range(16)))
    until("the ban", here.closed)
    pids = list(here.pair().values())
    os.kill(here.process.pid, signal.SIGKILL)
    here.process.wait()
    until("both to end by themselves", lambda: not any(map(is_running, pids)), 10)
    until("the ban to end", lambda: not here.closed(), 15)
    here.start()
    assert [row["state"] for row in here.history()] == ["applied"]
    assert here.closed() == {}
    here.append("".join(virus("192.0.2.7", ago=-n) for n in range(16)))
    until("the next ban", here.closed)


def test_a_stopped_daemon_leaves_its_bans_to_their_ends(daemon):
    here = daemon(FAST).start()
    here.append("".join(virus("192.0.2.7") for _ in range(16)))
    before = until("the ban", here.closed)
    pids = list(here.pair().values())
    assert here.stop() == 0
    assert not any(map(is_running, pids))
    assert set(here.closed()) == set(before)
    assert not Path(here.socket).exists()
    here.start()
    assert set(here.closed()) == set(before)
