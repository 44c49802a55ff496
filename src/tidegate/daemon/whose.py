"""Whose a source is: the owners that root-owned policy names for an address, a user or a web host.

Touches nothing. A web host counts only where nobody has the source by address or user: its name is
looked for in evidence, and finds no more than an owner that the policy names anyway.
Limits: owners of a few thousand networks; a name inside a longer one is not it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from tidegate import subject as subjects
from tidegate.model import Subject
from tidegate.policy.outward import Owner

_UID = "uid:"


def owners_of(
    owners: Sequence[Owner], subject: Subject, lines: Iterable[str] = ()
) -> tuple[Owner, ...]:
    """Everybody whose it is, or a part of it; in the policy's order."""
    found = tuple(one for one in owners if whole(one, subject) or _part(one, subject))
    if found:
        return found
    text = "\n".join(lines)
    return tuple(one for one in owners if any(_named(host, text) for host in one.vhosts))


def whole(owner: Owner, subject: Subject) -> bool:
    """Whether all of the source is this owner's: then what it did is nobody else's secret."""
    if subject.startswith(_UID):
        return any(subject == f"{_UID}{uid}" for uid in owner.uids)
    own = subjects.network(subject)
    if own is None:
        return False
    theirs = (subjects.network(one) for one in owner.addresses)
    return any(one is not None and one.holds(own) for one in theirs)


def _part(owner: Owner, subject: Subject) -> bool:
    own = subjects.network(subject)
    if own is None:
        return False
    theirs = (subjects.network(one) for one in owner.addresses)
    return any(one is not None and own.holds(one) for one in theirs)


def _named(host: str, text: str) -> bool:
    """Whether the name stands there as a whole: `shop.example`, but not `my-shop.example`."""
    if not host or host.lower() not in text.lower():
        return False
    return bool(re.search(rf"(?<![\w.-]){re.escape(host)}(?![\w-]|\.\w)", text, re.IGNORECASE))
