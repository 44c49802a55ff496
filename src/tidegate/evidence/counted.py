"""Which rules would count an event, with what weight, and if not, why not.

Touches nothing, and counts nothing: for explanations. Says what `windows` would do with the event.
Limits: one event by itself; what was counted before it, or bans that stand, are not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tidegate.evidence.windows import holds
from tidegate.model import Event
from tidegate.policy.models import Counted, Rule


class Counts(NamedTuple):
    """What a rule makes of an event. `weight` 0: it does not count, and `why` says why.

    `resets`: it begins the subject's count anew.
    """

    rule: str
    stated: str
    weight: int
    why: str = ""
    resets: bool = False


def counted(event: Event, rules: Sequence[Rule], weights: Mapping[str, int]) -> list[Counts]:
    """The rules that name the event's kind; `weights`: each kind's default weight."""
    found = []
    for rule in rules:
        entries = [one for one in rule.on if one.kind == event.kind.name]
        if entries:
            found.append(_entry(event, rule, entries, weights))
        if event.kind.name in rule.reset_on:
            why = "" if rule.enabled else "the rule is switched off"
            found.append(Counts(rule.name, rule.stated, 0, why, resets=True))
    return found


def _entry(
    event: Event, rule: Rule, entries: Sequence[Counted], weights: Mapping[str, int]
) -> Counts:
    def none(why: str) -> Counts:
        return Counts(rule.name, rule.stated, 0, why)

    if not rule.enabled:
        return none("the rule is switched off")
    held = [one for one in entries if holds(one.where, event.fields)]
    if not held:
        return none(f"its condition does not hold: {_conditions(event, entries)}")
    each = [weights.get(one.kind, 1) if one.weight is None else one.weight for one in held]
    weight = next(filter(None, each), 0)
    if not weight:
        return none("its kind has weight 0: evidence only")
    if rule.distinct and rule.score is None:
        if rule.distinct not in event.fields:
            return none(f"the line has no field {rule.distinct}")
        return Counts(rule.name, rule.stated, 1)
    return Counts(rule.name, rule.stated, weight * event.count)


def _conditions(event: Event, entries: Sequence[Counted]) -> str:
    """The conditions of these entries, and what the fields are."""
    names = dict.fromkeys(name for one in entries for name, _wanted in one.where)
    wanted = {name: [text for one in entries for key, texts in one.where if key == name
                     for text in texts] for name in names}  # fmt: skip
    return ", ".join(
        f"{name} is {event.fields[name]!r}, wanted {' or '.join(map(repr, wanted[name]))}"
        if name in event.fields
        else f"the line has no field {name}"
        for name in names
    )
