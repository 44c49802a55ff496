"""What people ask and order, answered by a watcher in memory."""

from __future__ import annotations

import json

import pytest
from tests.unit.daemon.test_watcher import (  # noqa: F401  (a fixture)
    NOW,
    OTHER,
    VIRUSES,
    bench,
    planned,
)

from tidegate.control.call import Call
from tidegate.control.peer import Peer
from tidegate.decision.allow import Surroundings
from tidegate.errors import GateError, LedgerError, PolicyError
from tidegate.gate.port import Dropped
from tidegate.model import HOUR, MINUTE, SECOND, Subject, Success

ANNA = Peer(1, 1000, 1000, "anna", frozenset())
A, NET = Subject("192.0.2.7"), Subject("192.0.2.0/24")


@pytest.fixture
def ask(bench):  # noqa: F811
    """Asks the watcher: `ask("GET", "/why", address=…)`; the status and the answer."""

    def asked(method, path, **words):
        query, body = (words, {}) if method == "GET" else ({}, words)
        call = Call(method, path, query, body, ANNA)
        bench.watcher.answerer.answer(call, bench.now)
        answer = call.wait(0)
        value = answer.value if answer.lines is None else list(answer.lines)
        json.dumps(value)
        return answer.status, value

    asked.bench = bench
    return asked


def post(ask, path, **words):
    status, value = ask("POST", path, **words)
    assert status == 200, value
    return [(one["action"], one["subject"], one["state"]) for one in value["results"]]


def closed(ask):
    return {(one.subject, one.ports): one.until for one in ask.bench.gate.observe(ask.bench.now)}


def test_a_ban_by_hand(ask):
    assert post(ask, "/ban", subject=A, ports=[465, 25], note="worm", **{"for": "2h"}) == [
        ("ban", A, "applied")
    ]
    assert closed(ask) == {(A, (25, 465)): NOW + 2 * HOUR}
    (entry,) = ask.bench.ledger.history(9)
    assert (entry.decision.by, entry.decision.note) == ("anna (uid 1000)", "worm")
    assert ask.bench.ledger.memory is not None


@pytest.mark.parametrize(
    ("path", "words", "said"),
    [
        ("/ban", {}, "expected an address or a network such as 192.0.2.7, found None"),
        ("/ban", {"subject": 7}, "expected an address or a network"),
        ("/ban", {"subject": "mail.example.com"}, "expected an address or a network"),
        ("/ban", {"subject": "uid:1000"}, "only addresses and networks can be banned"),
        ("/ban", {"subject": A, "for": "soon"}, "for: expected a duration"),
        ("/ban", {"subject": A, "for": 7}, "for: expected a duration"),
        ("/ban", {"subject": A, "for": "31d"}, "for: at most 30d (limits.longest-ban)"),
        ("/ban", {"subject": A, "ports": [0]}, "ports: expected a list of port numbers"),
        ("/ban", {"subject": A, "ports": "25"}, "ports: expected a list of port numbers"),
        ("/ban", {"subject": "::1/128"}, "::1 can't be banned: loopback"),
        ("/unban", {"subject": "x"}, "expected an address or a network"),
        ("/allow", {"subject": A, "for": ""}, "for: expected a duration"),
    ],
)
def test_wrong_orders(ask, path, words, said):
    status, value = ask("POST", path, **words)
    assert status == 400
    assert said in value["error"]
    assert closed(ask) == {}
    assert ask.bench.ledger.history(9) == []


@pytest.mark.parametrize("limit", ["0", "-1", "x", "", "10001", "²", "9" * 5000])
def test_wrong_limits(ask, limit):
    assert ask("GET", "/history", limit=limit) == (
        400,
        {"error": "limit: expected a whole number from 1 to 10000"},
    )


def test_an_unknown_question(ask):
    assert ask("GET", "/secrets") == (404, {"error": "there is no GET /secrets"})
    assert ask("POST", "/status")[0] == 404


def test_a_connected_attacker_can_be_banned_and_a_connected_customer_cannot(ask):
    watcher = ask.bench.watcher
    watcher.pipeline.judge.look(Surroundings((), frozenset({A, Subject("192.0.2.8")})))
    watcher.pipeline.record.tally({Subject("192.0.2.8"): Success(1, 0, NOW, NOW)})
    assert post(ask, "/ban", subject=A) == [("ban", A, "applied")]
    assert ask("POST", "/ban", subject="192.0.2.8") == (
        400,
        {"error": "192.0.2.8 can't be banned: session"},
    )


def test_an_unban_opens_forgets_spares_and_names_what_stays_closed(ask):
    post(ask, "/ban", subject=A)
    post(ask, "/ban", subject=NET)
    ask.bench.turn(*VIRUSES[:2])
    ask.bench.turn()
    status, value = ask("POST", "/unban", subject=A)
    assert (status, value["still"]) == (200, [NET])
    assert set(closed(ask)) == {(NET, ())}
    for chunk in VIRUSES[2:]:
        ask.bench.turn(chunk)
        ask.bench.turn()
    assert {one.decision.spared for one in ask.bench.ledger.history(9)} == {"", "exempt"}
    assert ask("POST", "/unban", all=True)[1]["still"] == []
    assert closed(ask) == {}


def test_an_allow_and_its_end_by_a_ban(ask):
    assert post(ask, "/allow", subject=A, **{"for": "1d"}) == [("allow", A, "applied")]
    assert [one.allow for one in ask.bench.gate.observe(NOW)] == [True]
    assert post(ask, "/ban", subject=A) == [("disallow", A, "applied"), ("ban", A, "applied")]
    assert [one.allow for one in ask.bench.gate.observe(NOW)] == [False]


def test_why_tells_ban_count_and_protection(ask):
    ask.bench.turn(*VIRUSES[:2])
    ask.bench.turn()
    status, value = ask("GET", "/why", address=A)
    assert (status, value["banned"], value["protected"]) == (200, [], "")
    assert value["tallies"] == [
        {"rule": "virus-senders", "stated": "at least 3 within 5m", "count": 2}
    ]
    ask.bench.turn(VIRUSES[2])
    (row,) = ask("GET", "/why", address=A)[1]["banned"]
    assert [line["offset"] for line in row["evidence"]] == [0, len(VIRUSES[0]), 2 * len(VIRUSES[0])]
    assert ask("GET", "/why", address="127.0.0.1")[1]["protected"] == "loopback"
    ask("POST", "/unban", subject=A)
    after = ask("GET", "/why", address=A)[1]
    assert after["banned"] == []
    assert {row["action"] for row in after["earlier"]} == {"ban", "unban"}
    assert after["protected"] == "exempt"


def test_why_looks_inside_banned_networks(ask):
    post(ask, "/ban", subject=NET)
    assert [row["subject"] for row in ask("GET", "/why", address=A)[1]["banned"]] == [NET]


def test_list_and_history(ask):
    post(ask, "/ban", subject=A, **{"for": "10m"})
    post(ask, "/ban", subject="2001:db8:7::25", **{"for": "1h"})
    ask.bench.now += 4 * MINUTE
    rows = ask("GET", "/list")[1]
    assert [(row["subject"], row["left"]) for row in rows] == [(A, 360), ("2001:db8:7::/64", 3360)]
    assert len(ask("GET", "/history", limit="1")[1]) == 1
    assert [row["subject"] for row in ask("GET", "/history", subject=A)[1]] == [A]


def test_status_counts_what_went_through(ask):
    for chunk in VIRUSES:
        ask.bench.turn(chunk)
    ask.bench.turn(seconds=2)
    status, value = ask("GET", "/status")
    assert status == 200
    assert (value["lines"], value["events"], value["bans"]) == (5, {"exim.malware": 5}, 1)
    assert value["gate"] | {"kind": ""} == {
        "kind": "", "state": "ok", "applied": 1, "refused": 0, "repaired": 0, "evicted": 0,
        "knocks": 0, "knocks_missed": 0,
    }  # fmt: skip
    (rule,) = value["rules"]
    assert (rule["verdicts"], rule["last_verdict"]["subject"]) == (1, A)
    assert value["off"] is False
    assert value["breaker"] == {"tripped_until": None, "trips": 0}


def test_status_works_while_the_ledger_does_not(ask):
    ask.bench.ledger.unreadable = True
    status, value = ask("GET", "/status")
    assert (status, value["bans"]) == (200, None)


def test_a_ledger_in_trouble_is_told(ask, monkeypatch):
    def refuse(*_words):
        raise LedgerError("it is damaged")

    monkeypatch.setattr(ask.bench.ledger, "history", refuse)
    assert ask("GET", "/history") == (503, {"error": "it is damaged"})


def test_what_cannot_be_answered_never_ends_the_daemon(ask, monkeypatch, caplog):
    def odd(*_words):
        raise ZeroDivisionError("odd")

    monkeypatch.setattr(ask.bench.ledger, "history", odd)
    assert ask("GET", "/history") == (500, {"error": "an error inside; the daemon's log has it"})
    assert "ZeroDivisionError: odd" in caplog.text
    assert ask("GET", "/status")[0] == 200


def test_a_faulty_reload_tells_every_fault(ask):
    ask.bench.wiring.next = PolicyError(["x:1: mode: expected", "x:2: allow: expected"])
    assert ask("POST", "/reload") == (
        400,
        {
            "error": "x:1: mode: expected\nx:2: allow: expected",
            "faults": ["x:1: mode: expected", "x:2: allow: expected"],
        },
    )


def test_what_a_person_did_is_saved_at_once(ask):
    ask.bench.turn(*VIRUSES[:2])
    ask.bench.turn()
    ask("POST", "/unban", subject=A)
    parts = {change.part for change in ask.bench.ledger.memory()}
    assert "exempt" in parts
    assert ask.bench.now - NOW < SECOND


def test_status_counts_every_bound_that_was_reached(ask):
    pipeline = ask.bench.watcher.pipeline
    pipeline.windows.evicted, pipeline.record.evicted, pipeline.judge.ladder.evicted = 1, 20, 300
    assert ask("GET", "/status")[1]["limits"]["evicted"] == 321


def test_what_is_under_attack(ask):
    for chunk in VIRUSES[:3]:
        ask.bench.turn(chunk)
    ask.bench.turn()
    status, rows = ask("GET", "/targets")
    assert status == 200
    assert [(row["what"], row["target"], row["events"]) for row in rows] == [("service", "exim", 3)]
    assert rows[0] | {"minutes": [], "last": ""} == {
        "v": 1, "what": "service", "target": "exim", "kinds": ["exim.malware"], "events": 3,
        "at_most": 3, "looked_at": 3, "per_minute": 3, "minutes": [], "subjects": 1, "last": "",
    }  # fmt: skip
    assert ask("GET", "/targets", by="page") == (200, [])
    assert len(ask("GET", "/targets", by="service", limit="1")[1]) == 1
    ask.bench.now += 20 * MINUTE
    assert ask("GET", "/targets") == (200, [])


def test_wrong_targets(ask):
    assert ask("GET", "/targets", by="moon") == (
        400,
        {
            "error": "by: expected one of target, site, page, mailbox, user, port, service,"
            " found 'moon'"
        },
    )


def test_a_reload_keeps_what_is_under_attack(ask):
    ask.bench.turn(VIRUSES[0])
    ask.bench.turn()
    ask.bench.wiring.next = planned(OTHER)
    assert ask("POST", "/reload")[0] == 200
    assert [row["target"] for row in ask("GET", "/targets")[1]] == ["exim"]


def test_the_report(ask):
    for chunk in VIRUSES:
        ask.bench.turn(chunk, seconds=1)
    ask.bench.gate.dropped = lambda: [Dropped("ban4_32_25", (25,), 30, 1800)]
    ask.bench.now += 30 * MINUTE
    status, value = ask("GET", "/report", since="1d")
    assert status == 200
    assert (value["bans"], value["in_force"], value["minutes"]) == (1, 1, 30)
    assert value["rates"]["followed"] == 1
    assert value["rates"]["before"] == 0.3
    (source,) = value["sources"]
    assert (source["subject"], source["events"]) == (A, 3)
    (scope,) = value["kernel"]
    assert (scope["ports"], scope["packets"], scope["per_ban"]) == ([25], 30, 30.0)
    ask("POST", "/unban", subject=A)
    after = ask("GET", "/report", since="1d")[1]
    assert (after["standing"], after["good"]["unbanned"]) == (0, 1)
    assert ask("GET", "/report", since="1s")[1]["bans"] == 0


def test_wrong_reports(ask):
    assert ask("GET", "/report", since="yesterday") == (
        400,
        {"error": 'since: expected a duration such as "90s", "5m", "1h30m" or "7d"'},
    )


def test_a_report_while_the_gate_is_away(ask):
    def away():
        raise GateError("the keeper is gone")

    ask.bench.gate.dropped = away
    assert ask("GET", "/report")[0] == 200


def test_what_followed_a_ban_is_remembered_over_a_restart(ask):
    for chunk in VIRUSES:
        ask.bench.turn(chunk, seconds=1)
    ask.bench.gate.dropped = lambda: [Dropped("ban4_32_25", (25,), 30, 1800)]
    ask("GET", "/report")
    ask.bench.watcher.checkpoint(ask.bench.now)
    fresh = planned().pipeline()
    assert fresh.restore(ask.bench.ledger.memory()) == []
    assert list(fresh.aftermath.courses.values()) == list(
        ask.bench.watcher.pipeline.aftermath.courses.values()
    )
    assert fresh.drops.since(0) == {(25,): (30, 1800)}
    assert {change.part for change in ask.bench.ledger.memory()} <= fresh.parts()
