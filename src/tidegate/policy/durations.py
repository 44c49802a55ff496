"""Durations as people write them (`5m`, `1h30m`, `7d`), to whole microseconds and back.

Touches nothing. Units: s, m, h, d, w; several may follow each other, largest first or not.
Limits: whole numbers only; a bare number is refused, since nobody knows its unit.
"""

from __future__ import annotations

import re

from tidegate.model import DAY, HOUR, MINUTE, SECOND, Micros

_UNITS: dict[str, Micros] = {"w": 7 * DAY, "d": DAY, "h": HOUR, "m": MINUTE, "s": SECOND}
_WHOLE = re.compile(r"(?:\d{1,9}[wdhms])+", re.ASCII)
_PART = re.compile(r"(\d+)([wdhms])", re.ASCII)


def parse_duration(text: object) -> Micros:
    """Microseconds behind `text`; ValueError says what was expected."""
    if isinstance(text, str) and _WHOLE.fullmatch(text.strip()):
        total = sum(int(number) * _UNITS[unit] for number, unit in _PART.findall(text))
        if total > 0:
            return total
    raise ValueError('a duration such as "90s", "5m", "1h30m" or "7d"')


def format_duration(span: Micros) -> str:
    """The shortest text that `parse_duration` reads back as the same span (to the second)."""
    rest, parts = span // SECOND, []
    for unit in "dhms":
        number, rest = divmod(rest, _UNITS[unit] // SECOND)
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts) or "0s"
