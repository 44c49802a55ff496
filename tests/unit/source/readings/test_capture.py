"""Captures: this host as it is, with hostile processes and commands in it."""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path

import pytest

from tidegate.model import SECOND
from tidegate.policy.guards import Capture, GuardSpec
from tidegate.policy.models import Policy
from tidegate.source.readings.capture import MOST_ASKED, Captures, within


def captured(terms: Capture | None = None, name: str = "web") -> str:
    policy = Policy(guards=(GuardSpec("web", capture=terms),))
    bell = threading.Event()
    captures = Captures(policy, lambda: 77, bell.set)
    try:
        captures.ask(name)
        captures.ask(name)  # under way
        assert bell.wait(30)
        (frame,) = captures.taken()
        assert captures.taken() == []
    finally:
        captures.close()
    assert (frame["type"], frame["name"], frame["time"]) == ("captured", name, 77)
    return frame["text"]


def test_it_shows_load_memory_processes_and_connections():
    busy = subprocess.Popen(["sh", "-c", "while :; do :; done"])
    try:
        text = captured()
    finally:
        busy.kill()
        busy.wait()
    lines = text.splitlines()
    for start in ("load ", "pressure on cpu: ", "memory used: ", "processes: ", "TCP connections"):
        assert any(line.startswith(start) for line in lines), start
    assert any(f" {busy.pid} " in line and "% " in line for line in lines)


def test_the_commands_of_the_guard_are_shown_one_after_the_other():
    terms = Capture(commands=(("echo", "a b"), ("sh", "-c", "echo no >&2; exit 1"), ("/no",)))
    tail = captured(terms).splitlines()[-6:]
    assert tail == [
        "$ echo 'a b'",
        "a b",
        "$ sh -c 'echo no >&2; exit 1'",
        "(sh failed with exit code 1: no)",
        "$ /no",
        "(/no can't be started: no such file or directory)",
    ]


def test_time_is_for_all_of_them_together():
    terms = Capture(commands=(("sleep", "100"), ("echo", "late")), timeout=SECOND // 2)
    tail = captured(terms).splitlines()[-4:]
    assert tail[0] == "$ sleep 100"
    assert "did not end within 0.5 s" in tail[1]
    assert tail[2:] == ["$ echo late", "(left out: the time for capture commands is over)"]


@pytest.mark.parametrize("largest", [200, 5000])
def test_size_is_for_all_of_the_text(largest):
    text = captured(Capture(commands=(("yes", "ä" * 50),), largest=largest))
    assert len(text.encode()) <= largest + 20
    assert text.endswith("(cut here)")


def test_a_command_that_floods_is_kept_as_far_as_there_is_room():
    text = captured(Capture(commands=(("yes", "x"),), largest=4 << 10))
    assert "\nx\nx\n" in text
    assert len(text) < 5 << 10


def test_nothing_in_it_can_steer_a_terminal(tmp_path):
    name = tmp_path / "evil\x1b[31m\u202e\n"
    name.symlink_to("/bin/sh")
    evil = subprocess.Popen([str(name), "-c", "while :; do :; done"])
    try:
        text = captured(
            Capture(commands=(("printf", r"\033]0;x\007\tb\377\r\n"), ("cat", str(name))))
        )
    finally:
        evil.kill()
        evil.wait()
    assert all(line.isprintable() for line in text.split("\n"))
    assert r"evil\x1b[31m\u202e\x0a" in text  # among those that use most cpu time
    assert r"\x1b]0;x\x07" in text
    assert r"\xff" in text


def test_a_guard_without_terms_gets_the_portrait_alone():
    assert "$ " not in captured(None, "nobody-knows")


def test_within_does_not_ask_for_more_than_fits():
    asked = 0

    def lines():
        nonlocal asked
        while True:
            asked += 1
            yield "x" * 9

    assert within(lines(), 30).splitlines() == ["x" * 9] * 3 + ["… (cut here)"]
    assert asked == 4


def test_over_the_socket_while_samples_go_on(host, tmp_path):
    began = time.monotonic()
    terms = Capture(commands=(("sleep", "1"), ("cat", "/proc/loadavg")))
    host.policy[0] = Policy(guards=(GuardSpec("web", capture=terms),))
    host.readings.reload()
    host.readings.want({"la1": SECOND // 10})
    host.readings.capture("web")
    host.until(lambda: bool(host.captured))
    assert host.captured[0].name == "web"
    assert Path("/proc/loadavg").read_text().split()[2] in host.captured[0].text
    assert len(host.of("la1")) >= 5 or time.monotonic() - began > 10


def test_only_so_many_are_asked_for_at_once(monkeypatch):
    monkeypatch.setattr(Captures, "_run", lambda _self: None)
    captures = Captures(Policy(), lambda: 77, lambda: None)
    for number in range(3 * MOST_ASKED):
        captures.ask(f"x{number}")
    assert captures._asked.qsize() == MOST_ASKED
