"""What the watcher keeps of a day: the chronicle beside its ledger, as policy sees at the moment.

Touches the chronicle's folder, by it. Limits: `limits.events` bytes; of fields only those that some
rule looks at, of successes as events only those that some rule counts.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tidegate.chronicle.records import Head
from tidegate.chronicle.store import FOLDER, Chronicle
from tidegate.daemon.build import Plan
from tidegate.model import Micros
from tidegate.policy.models import Policy


def chronicle(where: Path | None, plan: Callable[[], Plan]) -> Chronicle:
    """The chronicle in a folder (None: nothing is kept); `plan` is the one by which events are seen
    when it is asked."""

    def seen(now: Micros) -> Head:
        return head(plan(), now)

    return Chronicle(where or Path(os.devnull), most(where, plan().loaded.policy), seen)


def most(where: Path | None, policy: Policy) -> int:
    """How many bytes are kept."""
    return 0 if where is None else policy.limits.events_bytes


def folder(policy: Policy) -> Path:
    """Where its stretches are."""
    return Path(policy.paths.state) / FOLDER


def head(found: Plan, now: Micros) -> Head:
    """How events are seen from now on."""
    policy = found.loaded.policy
    return Head(now, policy.hash, found.fields_of(), fields(policy), found.told())


def fields(policy: Policy) -> frozenset[str]:
    """The fields that some rule looks at."""
    rules = [rule for rule in policy.rules if rule.enabled]
    names = {name for rule in rules for one in rule.on for name, _values in one.where + one.unless}
    return frozenset(names | {rule.distinct for rule in rules if rule.distinct})


def told(trouble: str) -> str:
    """What is said where events can't be kept."""
    return f"{trouble}; what is seen just now will be missing in plans, bans go on"
