"""The master: starts its children, starts all anew when one dies, and gives up only before it ever worked."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

PATIENCE = 30.0
HEAD = """
import logging, os, signal, sys, time
from tidegate.daemon import master
from tidegate.errors import WorldError, OperatorError

logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
lives = open(sys.argv[1], "a", buffering=1)

def life(role):
    lives.write(f"{role} {os.getpid()}\\n")

def keeper(end):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    life("keeper")
    end.recv(1)

children = {"keeper": keeper}

def works(ends, alive):
    signal.signal(signal.SIGHUP, lambda *_: lives.write("hup\\n"))
    signal.signal(signal.SIGTERM, lambda *_: (lives.write("saved\\n"), os._exit(0)))
    life("watcher")
    alive(b"R")
    while True:
        time.sleep(0.05)
        alive(b".")
"""


class Script:
    """A master with these children, in a process of its own, and what it and they wrote."""

    def __init__(self, folder: Path, body: str, environment: dict[str, str]) -> None:
        self._lives, self._said = folder / "lives", folder / "said"
        code = HEAD + textwrap.dedent(body)
        with self._said.open("w") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code, str(self._lives)],
                stderr=said, env=os.environ | environment,
            )  # fmt: skip

    def lives(self, role: str) -> list[int]:
        rows = self._lives.read_text().splitlines() if self._lives.exists() else []
        return [int(row.split()[1]) for row in rows if row.startswith(f"{role} ")]

    def wrote(self, word: str) -> int:
        return self._lives.read_text().split().count(word) if self._lives.exists() else 0

    def said(self) -> str:
        return self._said.read_text()

    def until(self, check) -> None:
        deadline = time.monotonic() + PATIENCE
        while not check():
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.01)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(15)
        pids = [*self.lives("keeper"), *self.lives("watcher"), self.process.pid]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def script(folder: Path, body: str, **environment: str) -> Iterator[Script]:
    made = Script(folder, body, environment)
    try:
        yield made
    finally:
        made.end()


RUN = "sys.exit(master.Master(children, works).run())"


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_told_to_stop_it_lets_the_watcher_save_and_ends_with_zero(tmp_path):
    with script(tmp_path, RUN) as here:
        here.until(lambda: here.lives("keeper") and here.lives("watcher"))
        here.process.terminate()
        assert here.process.wait(PATIENCE) == 0
        assert here.wrote("saved") == 1
        assert not any(map(running, here.lives("keeper") + here.lives("watcher")))


@pytest.mark.parametrize("role", ["keeper", "watcher"])
def test_when_one_dies_both_are_started_anew(tmp_path, role):
    with script(tmp_path, RUN) as here:
        for life in range(1, 4):
            here.until(
                lambda life=life: len(here.lives("keeper")) == len(here.lives("watcher")) == life
            )
            os.kill(here.lives(role)[-1], signal.SIGKILL)
        here.until(lambda: len(here.lives("watcher")) == 4)
        assert len(set(here.lives("keeper"))) >= 3
        assert f"the {role} ended: killed by SIGKILL" in here.said()
        assert "starting all again in 0.2 s; bans stand in the kernel" in here.said()
        assert "starting all again in 0.8 s" in here.said(), "the pause grows"


def test_where_no_process_can_be_made_it_is_tried_until_one_can(tmp_path):
    body = """
    fork, tries = os.fork, []

    def crowded():
        tries.append(1)
        if len(tries) in (1, 4, 6):
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return fork()

    os.fork = crowded
    sys.exit(master.Master(children, works).run())
    """
    with script(tmp_path, body) as here:
        here.until(lambda: here.lives("watcher") and here.lives("keeper"))
        os.kill(here.lives("keeper")[-1], signal.SIGKILL)
        here.until(lambda: len(here.lives("watcher")) == 2)
        assert "for the keeper: Resource temporarily unavailable" in here.said()
        assert "for the watcher: Resource temporarily unavailable" in here.said()
        assert "Traceback" not in here.said()
        here.process.terminate()
        assert here.process.wait(PATIENCE) == 0
        assert not any(map(running, here.lives("keeper") + here.lives("watcher")))


@pytest.mark.parametrize(("error", "code"), [("WorldError", 3), ("OperatorError", 2)])
def test_what_never_worked_is_given_up_with_its_own_exit_code(tmp_path, error, code):
    body = f"""
    def broken(ends, alive):
        raise {error}("the reason in one line")
    sys.exit(master.Master(children, broken).run())
    """
    with script(tmp_path, body) as here:
        assert here.process.wait(PATIENCE) == code
        assert "watcher: the reason in one line" in here.said()
        assert "Traceback" not in here.said()


def test_what_worked_once_is_never_given_up(tmp_path):
    body = """
    def once(ends, alive):
        life("watcher")
        if open(sys.argv[1]).read().count("watcher") == 1:
            alive(b"R")
            time.sleep(0.2)
        raise WorldError("no more")
    sys.exit(master.Master(children, once).run())
    """
    with script(tmp_path, body) as here:
        here.until(lambda: len(here.lives("watcher")) >= 3)
        assert here.process.poll() is None


def test_an_unexpected_error_is_told_whole_and_both_start_anew(tmp_path):
    body = """
    def odd(ends, alive):
        life("watcher")
        alive(b"R")
        raise ZeroDivisionError("odd")
    sys.exit(master.Master(children, odd).run())
    """
    with script(tmp_path, body) as here:
        here.until(lambda: len(here.lives("watcher")) >= 2)
        assert "watcher: unexpected error" in here.said()
        assert "ZeroDivisionError: odd" in here.said()


def test_one_that_hangs_is_ended_and_started_anew(tmp_path):
    body = """
    master.SILENT_AFTER = 0.5
    def hangs(ends, alive):
        life("watcher")
        alive(b"R")
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(1000)
    sys.exit(master.Master(children, hangs).run())
    """
    with script(tmp_path, body) as here:
        here.until(lambda: len(here.lives("watcher")) >= 2)
        assert "the watcher has said nothing" in here.said()
        here.process.kill()
        here.process.wait()


def test_one_that_will_not_stop_is_ended(tmp_path):
    body = """
    master.STOP_WITHIN = 0.3
    def stubborn(ends, alive):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        alive(b"R")
        life("watcher")
        while True:
            time.sleep(0.05)
            alive(b".")
    sys.exit(master.Master(children, stubborn).run())
    """
    with script(tmp_path, body) as here:
        here.until(lambda: here.lives("watcher"))
        here.process.terminate()
        assert here.process.wait(PATIENCE) == 0
        assert not any(map(running, here.lives("keeper") + here.lives("watcher")))


def test_a_reload_is_handed_on_when_the_pair_is_ready_and_not_before(tmp_path):
    body = """
    def slow(ends, alive):
        lives.write("begun\\n")
        time.sleep(1.5)
        works(ends, alive)
    sys.exit(master.Master(children, slow).run())
    """
    with script(tmp_path, body) as here:
        here.until(lambda: here.wrote("begun"))
        os.kill(here.process.pid, signal.SIGHUP)
        here.until(lambda: here.wrote("hup") == 1)
        assert (len(here.lives("watcher")), here.said()) == (1, "")


def test_without_a_keeper_the_watcher_is_supervised_alone(tmp_path):
    with script(tmp_path, RUN.replace("children, ", "{}, ")) as here:
        here.until(lambda: here.lives("watcher"))
        os.kill(here.lives("watcher")[0], signal.SIGKILL)
        here.until(lambda: len(here.lives("watcher")) == 2)
        assert here.lives("keeper") == []


def test_the_service_manager_hears_ready_beats_and_stopping(tmp_path):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(path)
        told.settimeout(PATIENCE)
        with script(tmp_path, RUN, NOTIFY_SOCKET=path) as here:
            assert told.recv(99) == b"READY=1"
            assert told.recv(99) == b"WATCHDOG=1"
            here.process.terminate()
            heard = {told.recv(99)}
            while b"STOPPING=1" not in heard:
                heard.add(told.recv(99))
            assert heard <= {b"WATCHDOG=1", b"STOPPING=1"}
            assert here.process.wait(PATIENCE) == 0


SPARED = """
def fleet(end):
    life("fleet")
    raise {error}

def together(ends, alive):
    if "fleet" not in ends:
        works(ends, alive)
    ends["fleet"].recv(1)
    os._exit(0)

children["fleet"] = fleet
sys.exit(master.Master(children, together, spare=("fleet",)).run())
"""


@pytest.mark.parametrize(
    ("error", "tries"), [("ValueError('poison')", 3), ("WorldError('the disk is full')", 1)]
)
def test_who_can_be_spared_and_does_not_live_is_left_out(tmp_path, error, tries):
    with script(tmp_path, SPARED.replace("{error}", error)) as here:
        here.until(lambda: here.lives("watcher"))
        assert len(here.lives("fleet")) == tries
        assert here.said().count("going on without the fleet: mend what it said, then") == 1
        here.process.terminate()
        assert here.process.wait(PATIENCE) == 0
        assert len(here.lives("watcher")) == 1


def test_who_can_be_spared_is_kept_where_it_lived_for_long(tmp_path):
    with script(
        tmp_path, "master.STEADY_AFTER = 0\n" + SPARED.replace("{error}", "ValueError()")
    ) as here:
        here.until(lambda: len(here.lives("fleet")) == 5)
        assert "going on without" not in here.said()
