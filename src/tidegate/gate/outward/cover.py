"""Who may be cut off from what leaves: judged again by the privileged side, which trusts nobody.

Touches nothing. Only sources that root-owned policy names, never who is spared or busy, nor root;
no longer than is permitted. Limits: `MOST` of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tidegate import subject as subjects
from tidegate.gate.outward.lanes import place, ranges
from tidegate.gate.outward.port import MOST
from tidegate.gate.port import Refusal
from tidegate.model import Confined, Micros, Subject
from tidegate.policy.outward import OutwardSpec
from tidegate.subject import Network

ROOT = Subject("uid:0")


def judge(
    items: Sequence[Any],
    spec: OutwardSpec,
    spared: Sequence[Subject],
    now: Micros,
    longest: Micros,
) -> tuple[list[Confined], list[Refusal]]:
    """Those of `[subject, until, watched]` that may be, and why the others may not.

    A network is spared only where all of it is: a spared address inside it passes in the kernel.
    """
    fit: list[Confined] = []
    refusals: list[Refusal] = []
    left = frozenset((*spared, *spec.busy, ROOT))
    free = list(ranges(left))
    known: set[tuple[str, bytes]] = set()
    for index, item in enumerate(items):
        found = _placed(item, spec, now + longest)
        if isinstance(found, str):
            fault = found
        elif item[0] in left or _inside(item[0], free):
            fault = "it is spared or busy"
        elif found in known:
            fault = "it is named twice"
        elif len(fit) >= MOST:
            fault = f"more than {MOST} would be cut off or watched at once"
        else:
            known.add(found)
            fit.append(Confined(*item))
            continue
        refusals.append(Refusal(index, fault))
    return fit, refusals


def _placed(item: Any, spec: OutwardSpec, latest: Micros) -> tuple[str, bytes] | str:
    """The place of one of them in the kernel; or what is wrong with it."""
    try:
        subject, until, watched = item
    except (TypeError, ValueError):
        return "not a source with two ends"
    if subject.__class__ is not str or until.__class__ is not int or watched.__class__ is not int:
        return "a source is text and an end is a whole number"
    if max(until, watched) > latest:
        return "it ends later than is permitted"
    return place(spec, Subject(subject))


def _inside(subject: Subject, free: Sequence[Network]) -> bool:
    found = subjects.network(subject)
    return found is not None and any(one.holds(found) for one in free)
