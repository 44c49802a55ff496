"""A kept day judged again: records of chronicles in, the decisions of a policy out, no lines read.

Touches nothing. What is not in a chronicle does not count here: who was closed for before it began,
offences of earlier days, connections that stood. Limits: as the pipeline's, whose code it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

from tidegate.chronicle.records import Knock, Noted, Pardon, Record, Tide
from tidegate.daemon.build import Plan
from tidegate.daemon.pipeline import Pipeline
from tidegate.decision.allow import Surroundings
from tidegate.model import Decision, Success
from tidegate.policy.guards import Level


class Rehearsal:
    """One machine that sees what chronicles tell, under one policy."""

    def __init__(self, found: Plan, surroundings: Surroundings | None = None) -> None:
        self.pipeline = Pipeline(
            found.loaded.policy, {}, found.weights(), durable=False
        )  # no engines: there are no lines
        if surroundings is not None:
            self.pipeline.judge.look(surroundings)
        self.events = 0

    def play(self, records: Iterable[Record]) -> Iterator[Decision]:
        """The decisions, in the order of what led to them."""
        for record in records:
            yield from self.hear(record)
            self.pipeline.judge.take_notes()

    def hear(self, record: Record) -> list[Decision]:
        """What one record leads to."""
        pipeline = self.pipeline
        match record:
            case Noted(batch, known):
                pipeline.record.tally(
                    {one: Success(1, 0, time, time) for one, time in known.items()}
                )
                self.events += len(batch.events)
                return pipeline.weigh(batch)
            case Knock(time, subject, port):
                return pipeline.knock(subject, port, time)
            case Pardon(time, subject, span):
                pipeline.pardon(subject, time, span)
            case Tide(level):
                pipeline.tide = cast(Level, level)
            case _:
                pass
        return []
