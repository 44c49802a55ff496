"""How gates stand, in words: what needs a person is said, with what to type."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tidegate.cli.standing import closed_rows, show_guards, show_why

GATE: dict[str, Any] = {
    "gate": "web.stop", "what": "service", "does": "apache2 is stopped", "state": "open",
    "wanted": "open", "observed": "open", "since": None, "detail": "", "opens": "",
    "kept": "", "left_alone": None, "held": None, "fired": [], "at_most": None,
}  # fmt: skip
SINCE = "2026-08-21T03:00:00+00:00"
HELD = {"by": "anna\x1b[2J (uid 1000)", "since": SINCE, "until": None, "note": "upgrade"}


@pytest.fixture(autouse=True)
def zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")


def listed(capsys: pytest.CaptureFixture[str], **changed: Any) -> str:
    """What `guard list` prints of such a gate."""
    guard = {"name": "web", "mode": "enforce", "stated": "close when la1 >= 10", "now": ["la1 3"],
             "unknown": [], "gates": [GATE | changed]}  # fmt: skip
    show_guards({"tide": "high", "guards": [guard]})
    return capsys.readouterr().out


def test_open_and_closed(capsys: pytest.CaptureFixture[str]) -> None:
    head = "tide: high\n\nweb: close when la1 >= 10\n  now: la1 3\n"
    assert listed(capsys) == head + "  web.stop: open\n"
    shut = {"state": "closed", "wanted": "closed", "since": SINCE, "opens": "when la1 <= 2"}
    said = listed(capsys, **shut, detail="stopped in 0.1 s")
    assert "  web.stop: closed for " in said
    assert " (since 2026-08-21 03:00:00+00:00)\n" in said
    assert "    apache2 is stopped (stopped in 0.1 s); opens when la1 <= 2\n" in said
    by_hand = listed(capsys, **shut | {"opens": f"at {SINCE}"})
    assert "; opens at 2026-08-21 03:00:00+00:00\n" in by_hand


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"state": "away", "detail": "apache2 does not run"},
         "web.stop: left as it is: a person had stopped it: apache2 does not run\n"),
        ({"state": "taken", "left_alone": SINCE}, "web.stop: left alone: a person opened it\n"),
        ({"left_alone": SINCE}, "its guard decides again at 2026-08-21 03:00:00+00:00, or when all"),
        ({"state": "refused", "detail": "no such unit"}, "web.stop: refused: no such unit\n"),
        ({"state": "given up", "at_most": 2, "fired": [SINCE, SINCE]},
         "web.stop: given up, and needs you\n    restarted 2 of 2 times, the last time "),
        ({"held": HELD}, "held by anna\\x1b[2J (uid 1000) since 2026-08-21 03:00:00+00:00: upgrade\n"),
        ({"held": HELD}, "its guard closes it no more until: tidegate resume web.stop\n"),
        ({"held": HELD | {"until": SINCE}, "state": "ready"},
         "does not run it until 2026-08-21 03:00:00+00:00, or until: tidegate resume web.stop\n"),
        ({"kept": "pool web needs 1"}, "its guard would close it, but pool web needs 1\n"),
        ({"observed": "closed"}, "its guard would have closed it; it only observes"),
    ],
)  # fmt: skip
def test_what_needs_a_look(
    capsys: pytest.CaptureFixture[str], changed: dict[str, Any], expected: str
) -> None:
    assert expected in listed(capsys, **changed)


def test_no_guards_and_those_without_a_gate(capsys: pytest.CaptureFixture[str]) -> None:
    show_guards({"tide": "low", "guards": []})
    assert "No guards in this policy" in capsys.readouterr().out
    guard = {"name": "load", "mode": "observe", "stated": "warn when la1 >= 8", "now": [],
             "unknown": [{"reading": "la1", "why": "no /proc"}], "gates": []}  # fmt: skip
    show_guards({"tide": "low", "guards": [guard]})
    said = capsys.readouterr().out
    assert "load (observe): warn when la1 >= 8\n  la1 is unknown: no /proc\n" in said
    assert "  only tells; it has no gate\n" in said


def test_why_ends_with_what_to_type(capsys: pytest.CaptureFixture[str]) -> None:
    move = {"time": SINCE, "action": "close", "subject": "gate:web.stop", "by": "guard",
            "rule": "web", "note": "", "reason": "la1 11 (limit 10)", "state": "applied",
            "detail": "", "evidence": [{"line": "la1 = 11"}], "captured": "load 11\x1b[2J\nmore"}  # fmt: skip
    answer = {"name": "web.stop", "guard": "web", "stated": "close when la1 >= 10", "now": [],
              "unknown": [], "moves": [move, move | {"captured": "older"}],
              "gates": [GATE | {"state": "closed", "wanted": "closed"}]}  # fmt: skip
    show_why(answer)
    said = capsys.readouterr().out
    assert "  close web.stop by guard web: la1 11 (limit 10) [applied]\n  la1 = 11\n" in said
    assert "  what the host looked like:\n  | load 11\\x1b[2J\n  | more\n" in said
    assert "older" not in said
    assert "What the host looked like earlier: tidegate why web.stop --json\n" in said
    assert said.endswith(
        "To open: tidegate open web.stop\n"
        "To keep its guard from closing it again: tidegate hold web.stop\n"
    )
    show_why(answer | {"moves": [], "gates": [GATE | {"state": "given up", "held": HELD}]})
    said = capsys.readouterr().out
    assert "It has never moved.\n" in said
    assert "To let its guard act again: tidegate resume web.stop\n" in said
    assert "It is left to you." in said


def test_closed_gates_are_a_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = GATE | {"rule": "web", "by": "root (uid 0)", "time": SINCE, "opens": f"at {SINCE}"}
    closed_rows([row])
    assert capsys.readouterr().out == (
        "GATE\tWHAT\tBY\tSINCE\tOPENS\n"
        "web.stop\tapache2 is stopped\troot (uid 0)\t2026-08-21 03:00:00+00:00"
        "\tat 2026-08-21 03:00:00+00:00\n"
    )
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    closed_rows([row])
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert "+00:00" not in shown, "on a terminal as short as can be"
