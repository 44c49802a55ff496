"""What is under attack: names taken from events, ten minutes kept, the flood sampled."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.evidence.targets import CAPACITY, FEW, LOOKED_AT, MINUTES, Targets, aimed_at
from tidegate.model import MINUTE, SECOND, Event, Kind, Subject

NOW = 1_700_000_040 * SECOND // MINUTE * MINUTE
LOGIN = Kind("wordpress.auth_failed", "abuse", 1, "wordpress.login", "wordpress")
SCAN = Kind("web.scan", "abuse", 1, "web.scan", "web")
GOOD = Kind("wordpress.login", "success", 0, "wordpress.ok", "wordpress")


def event(fields=None, *, kind=LOGIN, time=NOW, subject="192.0.2.7", count=1):
    return Event(time, kind, Subject(subject), count, "", 0, 10, fields or {})


def tallied(*events, span=MINUTE):
    targets = Targets(span)
    targets.tally(events, lambda _event: {})
    return targets


def told(rows):
    return {(row.what, row.target): row.events for row in rows}


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({}, []),
        (
            {"vhost": "Shop.Example.", "uri": "/wp-login.php?user=1#x"},
            [("site", "shop.example"), ("page", "shop.example/wp-login.php")],
        ),
        ({"uri": "/xmlrpc.php#?"}, [("page", "/xmlrpc.php")]),
        ({"uri": ""}, [("page", "/")]),
        ({"uri": "http://other.example/a/b?c"}, [("page", "/a/b")]),
        ({"uri": "/go?to=http://x"}, [("page", "/go")]),
        ({"vhost": "", "uri": "*"}, [("page", "*")]),
        ({"rcpt": "<Info@Example.ORG>"}, [("mailbox", "info@example.org")]),
        ({"rcpt": "<>"}, []),
        ({"user": "root"}, [("user", "root (wordpress)")]),
        ({"user": ""}, []),
        ({"dport": "23", "proto": "TCP"}, [("port", "23/tcp")]),
        ({"dport": "53", "proto": "17"}, [("port", "53/udp")]),
        ({"dport": "53"}, [("port", "53")]),
        ({"uri": "/" + "x" * 500}, [("page", "/" + "x" * 119)]),
    ],
)
def test_what_an_event_was_aimed_at(fields, names):
    assert list(aimed_at(event(), fields)) == [("service", "wordpress"), *names]


def test_a_target_tells_its_kinds_rate_subjects_and_last_event():
    fields = {"vhost": "shop.example", "uri": "/wp-login.php"}
    targets = tallied(
        event(fields, time=NOW - 2 * MINUTE),
        event(fields, time=NOW - MINUTE, subject="192.0.2.8", count=3),
        event(fields, time=NOW - MINUTE + 5, kind=SCAN),
        event(fields, time=NOW + 7),
        event(fields, kind=GOOD, time=NOW + 9),
    )
    (row,) = targets.rows(NOW + SECOND, "site")
    assert row.target == "shop.example"
    assert row.kinds == ("wordpress.auth_failed", "web.scan")
    assert (row.events, row.at_most, row.subjects, row.last) == (6, 6, 2, NOW + 7)
    assert row.minutes == (*[0] * (MINUTES - 2), 1, 4, 1)
    assert row.per_minute == 4
    assert told(targets.rows(NOW)) == {
        ("site", "shop.example"): 6,
        ("page", "shop.example/wp-login.php"): 6,
        ("service", "wordpress"): 5,
        ("service", "web"): 1,
    }


def test_ten_minutes_are_kept_by_the_time_of_the_events_and_of_who_asks():
    targets = tallied(event(), event(time=NOW + (MINUTES + 1) * MINUTE), event(time=NOW))
    assert told(targets.rows()) == {("service", "wordpress"): 1}
    assert targets.rows(NOW + (2 * MINUTES + 2) * MINUTE) == []
    assert len(targets._periods) == 1
    assert targets.rows(NOW + MINUTES * MINUTE) == []  # it was after that


def test_of_a_recording_all_is_kept():
    targets = tallied(event(), event(time=NOW + 9000 * MINUTE), event(time=5), span=0)
    assert told(targets.rows()) == {("service", "wordpress"): 3}


def test_fields_are_read_only_where_an_event_came_without():
    asked = []

    def read(one):
        asked.append(one.subject)
        return {"user": "root"}

    targets = Targets()
    targets.tally([event({"user": "anna"}), event(subject="192.0.2.9")], read)
    assert asked == ["192.0.2.9"]
    assert set(told(targets.rows(NOW, "user"))) == {
        ("user", "anna (wordpress)"),
        ("user", "root (wordpress)"),
    }


def test_of_a_flood_some_are_looked_at_and_stand_for_the_others():
    asked = []
    targets = Targets()
    flood = [event({"n": str(n)}, subject=f"192.0.2.{n % 2}") for n in range(6400)]

    def aimed(one):
        asked.append(one)
        return {"user": "root"} if one.subject == "192.0.2.0" else {"user": "admin"}

    targets.tally([one._replace(fields={}) for one in flood], aimed)
    assert len(asked) <= LOOKED_AT
    rows = told(targets.rows(NOW))
    assert rows["service", "wordpress"] == 6400
    # They take turns, and yet both are seen.
    assert rows["user", "root (wordpress)"] == pytest.approx(3200, rel=0.4)
    assert rows["user", "admin (wordpress)"] == pytest.approx(3200, rel=0.4)


def test_what_too_few_stand_for_is_left_out():
    targets = Targets()
    odd = [event(subject=f"192.0.2.{n % 250}") for n in range(6400)]
    names = iter(["root"] * (LOOKED_AT - FEW + 1) + ["odd"] * (FEW - 1))
    targets.tally(odd, lambda _event: {"user": next(names)})
    assert set(told(targets.rows(NOW, "user"))) == {("user", "root (wordpress)")}


USERS = st.lists(
    st.tuples(st.sampled_from(["root"] * 4 + ["anna", "bert", "carl"]), st.integers(0, 12)),
    max_size=60,
)


@given(USERS)
def test_without_a_flood_it_is_what_counting_by_hand_gives(seen):
    events = [event({"user": user}, time=NOW + minute * MINUTE) for user, minute in seen]
    targets = Targets()
    for one in events:
        targets.tally([one], lambda _event: {})
    latest = max((minute for _user, minute in seen), default=0)
    exact = Counter(f"{user} (wordpress)" for user, minute in seen if latest - minute <= MINUTES)
    assert {row.target: row.events for row in targets.rows(what="user")} == exact


def test_a_flood_of_names_leaves_the_heavy_one():
    targets = Targets()
    for n in range(20 * CAPACITY):
        targets.tally(
            [event({"uri": f"/{n}"}), *[event({"uri": "/login"})] * (n % 10 == 0)], lambda _e: {}
        )
    first, *rest = targets.rows(NOW, "page")
    assert first.target == "/login"
    assert first.events > CAPACITY
    assert all(row.events <= 2 for row in rest)
    assert len(rest) < CAPACITY


def test_what_we_find_of_those_who_send_was_aimed_at_nothing_here():
    scan = Kind("outward.scan", "abuse", 1, "outward.scan", "outward")
    assert tallied(event(kind=scan, subject="uid:33", count=9)).rows(NOW) == []
