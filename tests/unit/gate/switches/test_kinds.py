"""What a command or a balancer said, as one line for people."""

from __future__ import annotations

from tidegate.gate.switches.kinds import Ran, brief


def test_what_was_said_is_short_and_steers_no_terminal() -> None:
    assert brief("no\n such \x1b[2Jserver") == "no such \\x1b[2Jserver"
    assert len(brief("x" * 5000)) < 310
    assert "\x1b" not in Ran(1, "\x1b]0;title\x07").fault(["stop"])
