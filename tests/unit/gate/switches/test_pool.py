from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidegate.errors import GateError
from tidegate.gate.switches.kinds import MOST_OUTPUT
from tidegate.gate.switches.pool import Pool


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def pool(told: list[str]) -> Iterator[Pool]:
    made = Pool(told.append, size=2)
    yield made
    made.close()


def sh(pool: Pool, text: str, seconds: float = 20):
    return pool(["/bin/sh", "-c", text], seconds)


def test_runs_and_tells_how_it_ended(pool):
    assert sh(pool, "echo out; echo err >&2; exit 3") == (3, "out\nerr\n", "")
    assert sh(pool, "kill -9 $$").code == -9
    ran = pool(["/no/such", "x"], 5)
    assert ran.why == "it can't be started: No such file or directory"
    assert ran.fault(["/no/such", "x"]).startswith("/no/such x: it can't be started")


def test_many_at_once_each_gets_its_own_answer(pool):
    found: dict[int, str] = {}

    def one(number: int) -> None:
        found[number] = sh(pool, f"sleep 0.{number % 3}; echo {number}").output

    threads = [threading.Thread(target=one, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: f"{number}\n" for number in range(12)}


def test_what_hangs_is_ended_with_all_that_it_started(pool, tmp_path):
    text = f"sleep 987 & echo $! > {tmp_path}/pid; trap '' TERM; echo begun; sleep 987; sleep 987"
    ran = sh(pool, text, seconds=1)
    assert "longer than 1 s" in ran.why
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and _lives(pid):
        time.sleep(0.05)
    assert not _lives(pid)


def test_a_flood_is_read_and_its_beginning_kept(pool):
    ran = sh(pool, "echo first; head -c 30000000 /dev/zero | tr '\\0' x; echo last")
    assert ran.code == 0 and ran.output.startswith("first\nxxx")
    assert len(ran.output) == MOST_OUTPUT


def test_a_daemon_that_keeps_the_pipe_holds_up_nobody_and_may_go_on_printing(pool, tmp_path):
    loop = f"while sleep 0.05; do echo noise || exit; echo x >> {tmp_path}/lives; done"
    began = time.monotonic()
    ran = sh(pool, f"({loop}) & echo $! > {tmp_path}/pid")
    assert ran.code == 0 and time.monotonic() - began < 10
    pid = int((tmp_path / "pid").read_text())
    try:
        pool.close()
        size = (tmp_path / "lives").stat().st_size if (tmp_path / "lives").exists() else 0
        time.sleep(0.5)
        assert (tmp_path / "lives").stat().st_size > size and _lives(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


def test_commands_see_a_clean_world(pool, monkeypatch):
    ran = sh(pool, "env; pwd; umask; ls -l /proc/self/fd | wc -l; cat; ps -o sid= -p $$; echo $$")
    lines = ran.output.split("\n")
    assert "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" in lines
    assert not [one for one in lines if one.startswith("PYTEST")]
    assert lines[-5:-3] == ["0022", "5"]  # the total, the standard three and the listing's own
    assert lines[-3].strip() == lines[-2]


def test_words_that_are_too_long_are_refused_and_the_next_ones_run(pool):
    assert "too long" in pool(["/bin/echo", "x" * 200_000], 5).why
    assert sh(pool, "echo y").output == "y\n"


def test_a_spare_that_somebody_killed_is_replaced(pool):
    assert sh(pool, "true").code == 0
    time.sleep(0.3)
    for child in Path(f"/proc/{pool.pid}/task/{pool.pid}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)
    assert sh(pool, "echo y").output == "y\n"


def test_without_the_nursery_it_is_said(pool, told):
    os.kill(pool.pid, signal.SIGKILL)
    with pytest.raises(GateError, match="gone"):
        for _time in range(100):
            if (ran := sh(pool, "true")).why:
                raise GateError(ran.why)
            time.sleep(0.05)
    assert pool.broken and told == ["the process that starts commands is gone"]


def test_closed_it_ends_what_still_runs(pool, tmp_path):
    thread = threading.Thread(target=lambda: sh(pool, f"echo $$ > {tmp_path}/pid; sleep 600", 60))
    thread.start()
    deadline = time.monotonic() + 10
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    pid = int((tmp_path / "pid").read_text())
    pool.close()
    thread.join(10)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and _lives(pid):
        time.sleep(0.05)
    assert not thread.is_alive() and not _lives(pid)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
