"""What can stand in a chronicle: batches of events, and what else changes how they are judged.

Touches nothing. Of an event its line, length and origin's path are not here; of a rule's fields
only those that the policy of that time looked at. Limits: names and hosts as they were seen.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from tidegate.chronicle.columns import Damaged
from tidegate.model import HOUR, Batch, Kind, Micros, Subject

MOST_NAMES = 4096
LONGEST_NAME = 200


class Head(NamedTuple):
    """How what follows was seen: since when, under which policy (its hash), which kinds came with
    their fields, which fields of those were kept, which kinds of success were events too."""

    begun: Micros
    policy: str
    asked: frozenset[str] = frozenset()
    fields: frozenset[str] = frozenset()
    told: frozenset[str] = frozenset()


class Noted(NamedTuple):
    """A batch without its lines. `known`: newest success of subjects that are new here, from before
    this batch; of successes in it only those that tell something new are there."""

    batch: Batch
    known: Mapping[Subject, Micros]


class Knock(NamedTuple):
    """Somebody who was closed for tried again at this port."""

    time: Micros
    subject: Subject
    port: int


class Pardon(NamedTuple):
    """A person unbanned somebody, who is left alone for so long."""

    time: Micros
    subject: Subject
    span: Micros = HOUR


class Tide(NamedTuple):
    """From here on the host's tide was so."""

    level: str


class Tap(Protocol):
    """Whoever notes what is judged, so that it can be judged again."""

    def note(self, batch: Batch, known: Callable[[Subject], Micros]) -> None:
        """A batch that is about to be counted, and when a subject succeeded last before it."""

    def also(self, what: Knock | Pardon | Tide) -> None:
        """Something else by which events are judged otherwise."""


Record = Head | Noted | Knock | Pardon | Tide


def encode_head(head: Head) -> bytes:
    """A head as bytes."""
    told = {
        "begun": head.begun,
        "policy": head.policy,
        "asked": sorted(head.asked),
        "fields": sorted(head.fields),
        "told": sorted(head.told),
    }
    return json.dumps(told).encode()


def decode_head(data: bytes) -> Head:
    """The head in some bytes. Damaged if it is none."""
    try:
        found: Any = json.loads(data)
        begun, policy = found["begun"], found["policy"]
        names = [frozenset(found[key]) for key in ("asked", "fields", "told")]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise Damaged("a head that is none") from error
    if type(begun) is not int or not isinstance(policy, str) or len(policy) > LONGEST_NAME:
        raise Damaged("a head that is none")
    for group in names:
        if len(group) > MOST_NAMES or not all(
            isinstance(one, str) and len(one) <= LONGEST_NAME for one in group
        ):
            raise Damaged("a head with names that are none")
    return Head(begun, policy, *names)


def spoken(kind: Kind) -> Kind:
    """A kind as it is read again: what judges an event asks for its name alone."""
    return Kind(kind.name, kind.klass, kind.weight, kind.detector, "")
