"""The JSON of decisions: exactly these keys, in this order, and always JSON."""

from __future__ import annotations

import json
from datetime import timedelta, timezone

from tidegate.control.views import decision_view, entry_view
from tidegate.ledger.port import Entry
from tidegate.model import MINUTE, SECOND, Decision, Evidence, Subject

NOW = 1_061_280_000 * SECOND
DECISION = Decision(
    id="00c0ffee",
    time=NOW + 1,
    action="ban",
    subject=Subject("192.0.2.7"),
    rule="virus-senders",
    ports=(25,),
    until=NOW + 10 * MINUTE,
    duration=10 * MINUTE,
    count=16,
    step=1,
    mode="enforce",
    reason="16 exim.malware in 5m",
    note="by\udcff hand",
    evidence=(Evidence(NOW, "/var/log/exim4/mainlog", 4711, "a \x1b line\udce9"),),
)
VIEW = {
    "v": 1,
    "id": "00c0ffee",
    "time": "2003-08-19T08:00:00.000001+00:00",
    "action": "ban",
    "subject": "192.0.2.7",
    "rule": "virus-senders",
    "ports": [25],
    "until": "2003-08-19T08:10:00+00:00",
    "count": 16,
    "step": 1,
    "mode": "enforce",
    "spared": "",
    "by": "rule",
    "note": "by\\xff hand",
    "reason": "16 exim.malware in 5m",
    "collateral": False,
    "evidence": [
        {
            "time": "2003-08-19T08:00:00+00:00",
            "file": "/var/log/exim4/mainlog",
            "offset": 4711,
            "line": "a \x1b line\\xe9",
        }
    ],
}


def test_a_decision_has_these_keys_in_this_order() -> None:
    view = decision_view(DECISION)
    assert view == VIEW
    assert list(view) == list(VIEW)
    json.dumps(view, ensure_ascii=False).encode()


def test_with_the_time_it_says_how_many_seconds_are_left() -> None:
    assert decision_view(DECISION, NOW)["left"] == 600
    assert decision_view(DECISION, NOW + 9 * MINUTE + 1)["left"] == 59
    assert decision_view(DECISION, NOW + 11 * MINUTE)["left"] == 0


def test_times_are_shown_in_the_zone_asked_for() -> None:
    view = decision_view(DECISION, zone=timezone(timedelta(hours=2)))
    assert view["until"] == "2003-08-19T10:10:00+02:00"
    assert view["evidence"][0]["time"] == "2003-08-19T10:00:00+02:00"


def test_an_entry_also_says_what_became_of_it() -> None:
    view = entry_view(Entry(DECISION, "refused", "no such\udcff set", NOW), now=NOW)
    assert (view["state"], view["detail"]) == ("refused", "no such\\xff set")
    assert view["settled"] == "2003-08-19T08:00:00+00:00"
    assert list(view)[-1] == "evidence"
    assert entry_view(Entry(DECISION, "intended", "", None))["settled"] is None
