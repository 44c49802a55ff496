"""The table of inputs: each has sysfence's verdict, and what the lenient reading makes of it."""

from __future__ import annotations

import pytest
from tests.unit.policy.sysfence.table import ROWS, Row

from tidegate.policy.sysfence import grammar, repair, understand
from tidegate.policy.sysfence.lexer import Refused
from tidegate.policy.sysfence.tree import written

USERS = {"root", "www-data"}.__contains__
NAMED = [pytest.param(row, id=f"{number}-{row.text[:40]!r}") for number, row in enumerate(ROWS)]


def test_the_table_is_long_and_says_nothing_twice() -> None:
    assert len(ROWS) >= 120
    assert len({row.text for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", NAMED)
def test_strict_has_sysfences_verdict(row: Row) -> None:
    try:
        rules, _remarks = grammar.read(row.text, USERS)
    except Refused:
        rules = []
    assert [written(rule.when) for rule in rules] == ([] if row.strict is None else [row.strict])


@pytest.mark.parametrize("row", NAMED)
def test_lenient_repairs_what_can_only_be_one_thing(row: Row) -> None:
    rules, _remarks, refused = repair.read(row.text, USERS)
    whens = [written(rule.when) for rule in rules]
    if row.lenient is None:
        assert refused, whens
    else:
        assert (whens, refused) == ([row.lenient], [])


@pytest.mark.parametrize("row", NAMED)
def test_lenient_says_what_it_did(row: Row) -> None:
    outcome = understand("", [("f", row.text)], "lenient", USERS)
    told = outcome.notes if row.lenient is not None else outcome.faults
    if row.says:
        assert any(row.says in one for one in told), told
        assert all(one.startswith("f:") for one in told)
    else:
        assert told == ()


@pytest.mark.parametrize("row", [one for one in NAMED if one.values[0].strict is not None])  # type: ignore[union-attr]
def test_what_sysfence_takes_is_read_the_same_way(row: Row) -> None:
    rules, _remarks = grammar.read(row.text, USERS)
    assert repair.read(row.text, USERS)[0] == rules
    again, _said, refused = repair.repaired(row.text, USERS)
    assert ([one.when for one in again], refused) == ([one.when for one in rules], [])
