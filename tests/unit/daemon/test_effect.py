"""The report's numbers from deeds, courses and drops."""

from __future__ import annotations

import json

import pytest

from tidegate.daemon.effect import Effect
from tidegate.evidence.aftermath import SPAN, Course
from tidegate.ledger.port import Deed
from tidegate.model import HOUR, MINUTE, SECOND, Subject

NOW = 1_700_000_000 * SECOND
A, B = Subject("192.0.2.7"), Subject("2001:db8:7::/64")


def deed(name="one", *, time=NOW - 2 * HOUR, span=HOUR, **more):
    values = {
        "id": name, "time": time, "action": "ban", "subject": A, "rule": "virus", "by": "rule",
        "ports": (25,), "until": time + span, "undone": None, "count": 16, "mode": "enforce",
        "spared": "", "collateral": False, "state": "applied", "detail": "",
    }  # fmt: skip
    return Deed(**values | more)


def report(*deeds, courses=None, drops=None):
    effect = Effect(NOW, courses or {})
    effect.take(deeds)
    view = effect.view(drops or {})
    json.dumps(view)
    return view


def test_of_nothing():
    view = report()
    assert (view["bans"], view["minutes"], view["rules"], view["sources"]) == (0, 0, [], [])
    assert view["rates"] == {"followed": 0, "before": None, "during": None, "after": None}


def test_bans_by_rule_and_source():
    view = report(
        deed(),
        deed("two", time=NOW - 10 * MINUTE),
        deed("three", time=NOW - 5 * MINUTE, subject=B, rule="scan", ports=(), count=40),
        deed("four", time=NOW - MINUTE, rule="", by="anna (uid 1000)", count=0),
    )
    assert [(row["rule"], row["bans"], row["subjects"], row["standing"]) for row in view["rules"]] == [
        ("virus", 2, 1, 1), ("by hand", 1, 1, 1), ("scan", 1, 1, 1),
    ]  # fmt: skip
    assert (view["bans"], view["subjects"], view["standing"]) == (4, 2, 3)
    assert [(row["subject"], row["events"], row["bans"]) for row in view["sources"]] == [
        (B, 40, 1), (A, 32, 3),
    ]  # fmt: skip
    assert view["sources"][1]["rules"] == ["virus", "by hand"]


@pytest.mark.parametrize(
    ("second", "minutes"),
    [
        ({"time": NOW - 90 * MINUTE}, 90),  # the second prolongs the first
        ({"time": NOW - 110 * MINUTE, "span": MINUTE}, 60),  # it lies inside
        ({"time": NOW - 110 * MINUTE, "ports": (22,)}, 120),  # other ports
        ({"time": NOW - 110 * MINUTE, "subject": B}, 120),
        ({"time": NOW - 30 * MINUTE}, 90),  # half of it lies ahead
        ({"time": NOW - 30 * MINUTE, "undone": NOW - 20 * MINUTE}, 70),
        ({"time": NOW - 30 * MINUTE, "state": "refused"}, 60),
        ({"time": NOW - 30 * MINUTE, "mode": "observe"}, 60),
        ({"time": NOW - 30 * MINUTE, "spared": "allowlist"}, 60),
    ],
)
def test_minutes_closed_are_counted_once(second, minutes):
    assert report(deed(), deed("two", **second))["minutes"] == minutes


def test_rates_before_during_and_after():
    time = NOW - 2 * HOUR
    courses = {
        "one": Course(A, time, time + HOUR, time + HOUR + SPAN, before=20, during=6, after=5),
        "two": Course(B, NOW - MINUTE, NOW + HOUR, NOW + HOUR + SPAN, before=0, during=1),
    }
    view = report(deed(), deed("two", time=NOW - MINUTE, subject=B), courses=courses)
    assert view["rates"] == {
        "followed": 2,
        "before": 1.0,  # 20 in twice ten minutes
        "during": round(7 / 61, 2),
        "after": 0.5,
    }
    assert view["sources"][0]["events"] == 16


def test_good_clients():
    view = report(
        deed(collateral=True),
        deed("two", spared="allowlist", state="spared"),
        deed("three", spared="good record", state="spared"),
        deed("four", action="unban", by="anna (uid 1000)", rule=""),
        deed("five", action="unban", by="reload"),
        deed("six", action="unban", by="fleet"),  # what a revoked host had caused
        deed("seven", action="unban", by="fleet:web2"),
    )
    assert view["good"] | {"unbans": []} == {
        "banned": 1, "subjects": [A], "spared": {"allowlist": 1, "good record": 1},
        "unbanned": 1, "unbans": [],
    }  # fmt: skip
    assert [(one["subject"], one["by"]) for one in view["good"]["unbans"]] == [
        (A, "anna (uid 1000)")
    ]
    assert (view["rules"][0]["good"], view["rules"][0]["spared"]) == (1, 2)


def test_what_the_kernel_refused():
    view = report(
        deed(state="refused", detail="the set is full"),
        deed("two", action="allow", state="refused", detail="no"),
        deed("three", mode="observe", state="observed"),
    )
    assert view["refused"] == {"the set is full": 1, "no": 1}
    assert (view["rules"][0]["refused"], view["rules"][0]["observed"]) == (1, 1)
    assert view["bans"] == 0


def test_drops_stand_beside_the_bans_of_the_same_ports():
    view = report(deed(), deed("two", rule="scan"), drops={(25,): (100, 6000), (22, 23): (5, 300)})
    assert view["kernel"] == [
        {"ports": [22, 23], "packets": 5, "bytes": 300, "bans": 0, "per_ban": None, "rules": []},
        {"ports": [25], "packets": 100, "bytes": 6000, "bans": 2, "per_ban": 50.0,
         "rules": ["virus", "scan"]},
    ]  # fmt: skip


def test_lists_are_bounded():
    many = [deed(str(n), subject=Subject(f"192.0.2.{n}"), collateral=True) for n in range(50)]
    many += [deed(f"u{n}", action="unban", by="anna") for n in range(50)]
    many += [deed(f"r{n}", state="refused", detail=str(n)) for n in range(50)]
    view = report(*many)
    assert len(view["sources"]) == len(view["good"]["subjects"]) == len(view["refused"]) == 10
    assert len(view["good"]["unbans"]) == 10
    assert (view["good"]["banned"], view["good"]["unbanned"]) == (50, 50)
