"""docs/guards.md names every reading with the limits that go with it, and every kind of gate."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from tidegate.policy.gatereader import KINDS
from tidegate.policy.limits import parse_limit
from tidegate.policy.readings import CATALOGUE

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "guards.md").read_text("utf-8")
NAME = re.compile(r"`([a-z][a-z0-9.*-]*)`")


def rows(header: str) -> list[list[str]]:
    """The cells of the table that begins with this header."""
    table = PAGE.partition(f"| {header} |")[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table]


def test_every_reading_stands_beside_its_limits() -> None:
    by_unit = defaultdict(set)
    for known in CATALOGUE.values():
        by_unit[known.unit].add("psi.*" if known.name.startswith("psi.") else known.name)
    named = [set(NAME.findall(readings)) for _limit, _for, readings in rows("limit")]
    assert named[:-1] == [by_unit[unit] for unit in by_unit_order()]


def by_unit_order() -> list[str]:
    return ["number", "bytes", "seconds", "percent", "bytes/s", "per second", "flag"]


def test_the_limits_are_read_by_the_readings_beside_them() -> None:
    for limits, _for, readings in rows("limit")[:-1]:
        for name in NAME.findall(readings):
            for limit in re.findall(r"`([^`]+)`", limits):
                parse_limit(limit, CATALOGUE[name.replace("*", "io.full")])


def test_what_has_a_whole_is_named() -> None:
    said = PAGE.partition("A percentage of the whole goes with")[2].partition(":")[0]
    whole = {one.name for one in CATALOGUE.values() if one.whole and one.unit != "percent"}
    assert set(NAME.findall(said)) == whole


def test_every_kind_of_gate_has_its_row() -> None:
    assert {name for row in rows("gate") for name in NAME.findall(row[0])} == set(KINDS)
