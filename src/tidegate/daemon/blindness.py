"""Where a policy can't be judged by kept events, since what it would look at was not kept.

Touches nothing. Limits: said by rule and kind; how much of the time it concerns, in stretches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from tidegate.chronicle.records import Head
from tidegate.daemon.build import Plan
from tidegate.policy.models import Counted, Rule


class Blind(NamedTuple):
    """A rule that misses something in so many of all stretches: `fields` of a kind, or (with none)
    the kind itself, which nobody saw then."""

    rule: str
    kind: str
    fields: tuple[str, ...]
    stretches: int
    of: int


def blind(found: Plan, before: Plan, heads: Iterable[Head]) -> list[Blind]:
    """What this policy can't see; `before` is the one that saw what was kept."""
    known = {detector.kind.name for pack in before.packs for detector in pack.detectors}
    klass = {one.kind.name: one.kind.klass for pack in found.packs for one in pack.detectors}
    told = list(heads)
    rows = []
    for rule in found.loaded.policy.rules:
        if rule.enabled:
            for kind, fields in _wanted(rule):
                missing = _missing(kind, fields, known, klass.get(kind) == "success", told)
                if missing:
                    lacking = tuple(sorted(set().union(*missing)))
                    rows.append(Blind(rule.name, kind, lacking, len(missing), len(told)))
    return rows


def _missing(
    kind: str, fields: frozenset[str], known: set[str], success: bool, heads: Sequence[Head]
) -> list[frozenset[str]]:
    """What is missing in each stretch where something is."""
    if kind not in known:
        return [frozenset() for _head in heads]
    rows = []
    for head in heads:
        if success and kind not in head.told:
            rows.append(frozenset[str]())
        elif lacking := fields - (head.fields if kind in head.asked else frozenset()):
            rows.append(lacking)
    return rows


def _wanted(rule: Rule) -> Iterator[tuple[str, frozenset[str]]]:
    """Each kind that a rule looks at, with the fields it asks for."""
    for kind in rule.kinds:
        yield (
            kind,
            frozenset[str]().union(
                *(_fields(one, rule.distinct) for one in rule.on if one.kind == kind)
            ),
        )
    for kind in rule.reset_on:
        yield kind, frozenset()


def _fields(one: Counted, distinct: str) -> frozenset[str]:
    names = {name for name, _values in one.where + one.unless}
    return frozenset(names | {distinct} if distinct else names)
