"""Quarantines in the report: how many, again, how long, by whom; and who was let back."""

from __future__ import annotations

from tidegate.daemon.cutoffs import Cutoffs
from tidegate.daemon.effect import Effect
from tidegate.ledger.port import Deed
from tidegate.model import DAY, HOUR, MINUTE, Micros, Subject

NOW = 1000 * DAY
A, USER = Subject("192.0.2.7"), Subject("uid:33")


def deed(subject: Subject = A, *, time: Micros = NOW - 2 * HOUR, span: Micros = HOUR, **more):
    values = {
        "id": f"{subject} {time}", "time": time, "action": "quarantine", "subject": subject,
        "rule": "worm", "by": "rule", "ports": (), "until": time + span, "undone": None,
        "count": 1, "mode": "enforce", "spared": "", "collateral": False, "state": "applied",
        "detail": "",
    }  # fmt: skip
    return Deed(**(values | more))


def view(*deeds: Deed):
    found = Cutoffs(NOW)
    for one in deeds:
        found.take(one)
    return found.view()


def test_of_nothing():
    assert view() == {
        "quarantines": 0, "sources": 0, "again": 0, "minutes": 0, "released": 0, "observed": 0,
        "refused": 0, "spared": {}, "longest": [],
    }  # fmt: skip


def test_sources_are_counted_and_the_longest_comes_first():
    found = view(
        deed(USER, span=30 * MINUTE),
        deed(span=10 * MINUTE),
        deed(time=NOW - HOUR, span=2 * HOUR, rule="", by="anna (uid 1000)"),
    )
    assert (found["quarantines"], found["sources"], found["again"]) == (3, 2, 1)
    assert found["minutes"] == 30 + 10 + 60
    first, second = found["longest"]
    assert (first["subject"], first["times"], first["minutes"]) == (A, 2, 70)
    assert (first["by"], first["cut_off_now"]) == (["worm", "anna (uid 1000)"], True)
    assert (second["subject"], second["cut_off_now"]) == (USER, False)


def test_time_is_counted_once_and_ends_with_a_release():
    found = view(
        deed(undone=NOW - 2 * HOUR + 5 * MINUTE),
        deed(time=NOW - 2 * HOUR + MINUTE, undone=NOW - 2 * HOUR + 5 * MINUTE),
        deed(action="release", by="anna (uid 1000)", span=0),
        deed(action="release", by="reload", span=0),
    )
    assert (found["minutes"], found["released"]) == (5, 1)


def test_what_was_not_done_cut_nobody_off():
    found = view(
        deed(spared="busy", state="spared"),
        deed(mode="observe", state="observed"),
        deed(state="refused"),
        deed(state="skipped"),
        deed(action="ban"),
    )
    assert (found["sources"], found["observed"], found["refused"]) == (0, 1, 1)
    assert found["spared"] == {"busy": 1}


def test_quarantines_are_no_bans():
    effect = Effect(NOW, {})
    effect.take([deed(), deed(action="unban")])
    found = effect.view({})
    assert (found["bans"], found["minutes"], found["outward"]["quarantines"]) == (0, 0, 1)
