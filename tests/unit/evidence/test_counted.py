"""Which rules would count an event: the same as `Windows` does, with the reason where not."""

from __future__ import annotations

from typing import Any

import pytest

from tidegate.evidence.counted import Counts, counted
from tidegate.evidence.windows import Windows
from tidegate.model import Batch, Event, Kind, Subject, Term
from tidegate.policy.loader import read

TERMS = 'ban = { ports = [] }\nat-least = 1\nwithin = "5m"\n'
KIND = Kind("door.wrong_key", "abuse", 1, "door.wrong-key", "door")
WEIGHTS = {"door.wrong_key": 1, "door.left": 0}


def event(kind: Kind = KIND, count: int = 1, **fields: str) -> Event:
    return Event(1_000_000, kind, Subject("192.0.2.7"), count, "", 0, 10, fields)


def rules(text: str) -> Any:
    return read([("test", text)]).policy.rules


@pytest.mark.parametrize(
    ("rule", "given", "weight", "why"),
    [
        ('on = ["door.wrong_key"]\n' + TERMS, event(), 1, ""),
        ('on = ["door.wrong_key"]\n' + TERMS, event(count=3), 3, ""),
        ('on = { "door.wrong_key" = 7 }\n' + TERMS, event(), 7, ""),
        ('on = ["door.wrong_key"]\nenabled = false\n' + TERMS, event(), 0, "switched off"),
        ('on = [{ kind = "door.wrong_key", weight = 4, where = { user = "b*" } }]\n' + TERMS,
         event(user="bob"), 4, ""),
        ('on = [{ kind = "door.wrong_key", where = { user = "b*" } }]\n' + TERMS,
         event(user="ann"), 0, "user is 'ann', wanted 'b*'"),
        ('on = [{ kind = "door.wrong_key", where = { user = "b*" } }]\n' + TERMS,
         event(), 0, "no field user"),
        ('on = ["door.wrong_key"]\ndistinct = "user"\n' + TERMS, event(user="ann"), 1, ""),
        ('on = ["door.wrong_key"]\ndistinct = "user"\n' + TERMS, event(), 0, "no field user"),
        ('on = ["door.wrong_key"]\nunless = { user = ["bob", "ann"] }\n' + TERMS,
         event(user="ann"), 0, "excepted: user is 'ann'"),
        ('on = ["door.wrong_key"]\nunless = { user = "bob" }\n' + TERMS, event(), 1, ""),
        ('on = ["door.left"]\n' + TERMS,
         event(Kind("door.left", "abuse", 0, "door.left", "door")), 0, "evidence only"),
    ],
)  # fmt: skip
def test_what_a_rule_makes_of_an_event(rule: str, given: Event, weight: int, why: str) -> None:
    held = rules("[rule.x]\n" + rule)
    (found,) = counted(given, held, WEIGHTS)
    assert (found.rule, found.weight) == ("x", weight)
    assert why in found.why
    assert bool(found.why) == (weight == 0)
    # The rules themselves agree: at the first event that counts, one is enough for all of these.
    verdicts = []
    batch = Batch("s", 0)
    batch.events.append(given)
    Windows(held, WEIGHTS).tally(batch, lambda verdict, _at: verdicts.append(verdict) or Term(0))
    assert bool(verdicts) == bool(weight)


def test_rules_that_do_not_name_the_kind_say_nothing_and_resets_are_told() -> None:
    text = (
        '[rule.a]\non = ["other.kind"]\n' + TERMS
        + '[rule.b]\non = ["other.kind"]\nreset-on = "door.wrong_key"\n' + TERMS
    )  # fmt: skip
    assert counted(event(), rules(text), WEIGHTS) == [
        Counts("b", "at least 1 within 5m", 0, "", resets=True)
    ]
