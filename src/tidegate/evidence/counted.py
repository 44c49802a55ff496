"""Which rules would count an event, with what weight, and if not, why not.

Touches nothing, and counts nothing: for explanations. Says what `windows` would do with the event.
Limits: one event by itself; what was counted before it, or bans that stand, are not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tidegate.evidence.where import counts, holds
from tidegate.model import Event
from tidegate.policy.models import Counted, Rule


class Counts(NamedTuple):
    """What a rule makes of an event. `weight` 0: it does not count, and `why` says why.

    `resets`: it begins the subject's count anew. `together`: all hosts of a fleet count it.
    """

    rule: str
    stated: str
    weight: int
    why: str = ""
    resets: bool = False
    together: bool = False


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
    held = [one for one in entries if counts(one, event.fields)]
    if not held:
        return none(_refused(event, entries))
    each = [weights.get(one.kind, 1) if one.weight is None else one.weight for one in held]
    weight = next(filter(None, each), 0)
    if not weight:
        return none("its kind has weight 0: evidence only")
    if rule.distinct and rule.score is None:
        if rule.distinct not in event.fields:
            return none(f"the line has no field {rule.distinct}")
        return Counts(rule.name, rule.stated, 1, together=rule.shared)
    return Counts(rule.name, rule.stated, weight * event.count, together=rule.shared)


def _refused(event: Event, entries: Sequence[Counted]) -> str:
    """Which exception or condition keeps these entries from counting the event."""
    for one in entries:
        for name, _texts in (each for each in one.unless if holds((each,), event.fields)):
            return f"it is excepted: {name} is {event.fields[name]!r}"
    names = dict.fromkeys(name for one in entries for name, _wanted in one.where)
    wanted = {name: [text for one in entries for key, texts in one.where if key == name
                     for text in texts] for name in names}  # fmt: skip
    return "its condition does not hold: " + ", ".join(
        f"{name} is {event.fields[name]!r}, wanted {' or '.join(map(repr, wanted[name]))}"
        if name in event.fields
        else f"the line has no field {name}"
        for name in names
    )
