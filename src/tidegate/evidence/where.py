"""Whether an event's fields are as a rule wants them.

Touches nothing. `*` in a condition takes any text, and `file` may be a bare name. Limits: texts
only, as a line has them; what is not in a line holds for no condition.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fnmatch import translate
from functools import lru_cache

from tidegate.policy.models import Counted, Where


def counts(one: Counted, fields: Mapping[str, str]) -> bool:
    """Whether an event with these fields counts."""
    return holds(one.where, fields) and not any(holds((each,), fields) for each in one.unless)


def holds(where: Where, fields: Mapping[str, str]) -> bool:
    """Whether an event's fields are as the conditions want them. `file` may be a bare name."""
    return all(name in fields and _taken(wanted, name, fields[name]) for name, wanted in where)


def _taken(wanted: tuple[str, ...], name: str, value: str) -> bool:
    taken = _any_of(wanted)
    found = taken(value) or (name == "file" and taken(value.rpartition("/")[2]))
    return bool(found)


@lru_cache(maxsize=1024)
def _any_of(patterns: tuple[str, ...]) -> Callable[[str], re.Match[str] | None]:
    """Matches what any of the patterns takes: one expression, however many there are."""
    return re.compile("|".join(map(translate, patterns))).match
