"""`tidegate run`, real and whole: it decides what `replay` decides, on the same log."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.kernel.daemon import FAST, SLOW, Daemon, alike, daemons, replayed, traffic, until, virus

pytestmark = pytest.mark.kernel

POLICY = FAST + SLOW + '[allow]\naddresses = ["198.51.100.99"]\n'


@pytest.fixture
def daemon(public_folder: Path) -> Iterator[Callable[..., Daemon]]:
    """Makes daemons in a namespace of their own; all of them end with the test."""
    with daemons(public_folder, "daemon", POLICY) as make:
        yield make


def test_a_log_from_before_and_one_in_random_pieces_are_decided_as_replay_decides(daemon):
    here = daemon()
    text = traffic(1, 3000).encode("utf-8", "surrogateescape")
    before = text[: len(text) // 3]
    here.log.write_bytes(before)
    here.start()
    here.wait_read(before.count(b"\n"))
    chance, at = random.Random(2), len(before)
    while at < len(text):
        size = chance.choice((1, 7, 120, 5000, 40_000))
        here.append(text[at : at + size])
        at += size
        if chance.random() < 0.3:
            time.sleep(0.003)
    here.wait_read(3000)
    expected = alike(replayed(here))
    assert len(expected) > 15
    assert {row["spared"] for row in expected} == {"", "allowlist"}
    assert alike(here.history()) == expected
    standing = {(row["subject"], tuple(row["ports"])) for row in here.rows("/list")}
    assert set(here.closed()) == standing != set()


def test_a_daemon_stopped_and_started_in_between_decides_as_replay_decides(daemon):
    here = daemon()
    lines = traffic(3, 1200).encode("utf-8", "surrogateescape").splitlines(keepends=True)
    for part in range(3):
        here.start()
        here.append(b"".join(lines[part * 400 : part * 400 + 200]))
        here.wait_read(200 if part == 0 else 400)
        assert here.stop() == 0
        here.append(b"".join(lines[part * 400 + 200 : part * 400 + 400]))
    here.start()
    here.wait_read(200)
    assert alike(here.history()) == alike(replayed(here)) != []


def test_every_moment_of_a_ban_from_line_to_end(daemon):
    """Written, closed in the kernel, listed, explained, ended by the kernel alone."""
    here = daemon(FAST.replace('"1h"', '"5s"')).start()
    here.append("".join(virus("192.0.2.7") for _ in range(15)))
    here.wait_read(15)
    assert here.closed() == {}
    here.append(virus("192.0.2.7"))
    until("the ban", here.closed)
    assert set(here.closed()) == {("192.0.2.7", (25,))}
    why = here.verb("why", "192.0.2.7").stdout
    assert why.startswith("192.0.2.7: port 25 is closed until ")
    assert why.count("W32/Sobig.F@mm") == 16
    until("its end", lambda: not here.closed())
    until("the list", lambda: here.rows("/list") == [])  # nft says whole seconds
    assert here.verb("list").stdout == "Nothing is closed.\n"
