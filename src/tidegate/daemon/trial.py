"""Tries a condition on this host's readings, once and now, without the daemon.

Touches what the readings touch: /proc, /sys, disks, probes, the administrator's own commands.
Limits: one look, two for rates; what is worked out of minutes of history stays unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tidegate.daemon.clock import now_micros
from tidegate.daemon.published import load
from tidegate.errors import OperatorError
from tidegate.evidence.conditions import Evidence, told
from tidegate.model import Sample
from tidegate.policy.expressions import ExpressionError, parse_noted, text_of, words
from tidegate.policy.guards import Condition, GuardSpec
from tidegate.policy.models import Policy
from tidegate.policy.needs import compares, needed
from tidegate.source.readings.load import whose_load
from tidegate.source.readings.once import once

_VERDICT = {True: "it holds", False: "it does not hold", None: "nobody knows, so nothing is done"}


class Verdict(NamedTuple):
    """What came of it: `holds` None where a reading is unknown and would decide."""

    condition: Condition
    holds: bool | None
    samples: tuple[Sample, ...]
    percent: frozenset[str]
    notes: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """For people: the values, then the condition in words, then the verdict."""
        for sample in self.samples:
            yield told(sample)
            if sample.reading in self.percent and sample.value is not None and sample.whole:
                yield f"  that is {100 * sample.value / sample.whole:.1f}% of its whole"
        yield from (f"note: {note}" for note in self.notes)
        yield f"{text_of(self.condition)}: {_VERDICT[self.holds]}."
        yield f"In words: {words(self.condition)}."

    def view(self) -> dict[str, Any]:
        """For programs."""
        return {
            "v": 1,
            "condition": text_of(self.condition),
            "holds": self.holds,
            "readings": [
                {"reading": one.reading, "value": one.value, "whole": one.whole, "why": one.why}
                for one in self.samples
            ],
            "notes": list(self.notes),
        }


def tried(text: str, config: Path | None, tell: Callable[[str], None]) -> Verdict:
    """Take what the condition needs and judge it. Raises OperatorError where it is faulty.

    `tell` hears what takes longer than a moment.
    """
    policy = load(config).policy
    try:
        condition, notes = parse_noted(text, [one.name for one in policy.readings])
    except ExpressionError as error:
        raise OperatorError(f"{error}") from error
    alone = Policy(readings=policy.readings, guards=(GuardSpec("trial", close=condition),))
    evidence = Evidence(alone)
    names = needed(alone)
    samples = once(names, now_micros, policy.readings, tell)
    inside = whose_load(names)
    moment = now_micros()
    evidence.look(moment, list(samples.values()))
    shares = frozenset(one.reading for one in compares(condition) if one.percent)
    return Verdict(
        condition, evidence.holds(condition, moment), evidence.samples(condition, moment),
        shares, (*notes, inside) if inside else tuple(notes),
    )  # fmt: skip
