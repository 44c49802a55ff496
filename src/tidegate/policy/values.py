"""Readers for single policy values: each takes what TOML gave and returns it checked.

Touches nothing. A ValueError carries what was expected, in the words of the message that follows
`expected`. Limits: one value at a time; what spans keys is checked in `tables`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tidegate import subject as subjects
from tidegate.model import Micros, Mode, Subject
from tidegate.policy.durations import parse_duration

MOST_PORTS = 40
"""Ports in one scope; a gate compares them one by one."""

_SIZE = re.compile(r"(\d{1,6})\s*(KiB|MiB|GiB)", re.ASCII)
_MATCH = re.compile(r"_[A-Z][A-Z0-9_]*=\S+")
_KIND = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)+", re.ASCII)


def boolean(value: object) -> bool:
    """`true` or `false`."""
    if isinstance(value, bool):
        return value
    raise ValueError("true or false")


def text(value: object) -> str:
    """A text that is not empty."""
    if isinstance(value, str) and value:
        return value
    raise ValueError("a text")


def mode(value: object) -> Mode:
    """`enforce` or `observe`."""
    if value in ("enforce", "observe"):
        return value
    raise ValueError('"enforce" or "observe"')


def whole(lowest: int, highest: int) -> Callable[[object], int]:
    """A reader for a whole number in a range."""

    def read(value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest:
            return value
        raise ValueError(f"a whole number from {lowest} to {highest}")

    return read


def choice(*known: str) -> Callable[[object], str]:
    """A reader for one of some words."""

    def read(value: object) -> str:
        if isinstance(value, str) and value in known:
            return value
        raise ValueError("one of " + ", ".join(f'"{word}"' for word in known))

    return read


def texts(value: object) -> tuple[str, ...]:
    """One text, or a list of texts."""
    if isinstance(value, str) and value:
        return (value,)
    if isinstance(value, list) and value and all(isinstance(one, str) and one for one in value):
        return tuple(value)
    raise ValueError('a text or a list of texts, such as ["exim", "sshd"]')


def paths(value: object) -> tuple[str, ...]:
    """One absolute path or glob, or a list of them."""
    found = texts(value)
    if all(path.startswith("/") for path in found):
        return found
    raise ValueError('an absolute path or glob such as "/var/log/exim4/mainlog", or a list of them')


def path(value: object) -> str:
    """One absolute path."""
    if isinstance(value, str) and value.startswith("/"):
        return value
    raise ValueError("an absolute path")


def addresses(value: object) -> tuple[Subject, ...]:
    """A list of addresses and networks, made canonical."""
    if not isinstance(value, list):
        raise ValueError('a list of addresses and networks, such as ["192.0.2.0/24"]')
    found = []
    for one in value:
        # An allowlisted IPv6 address means that address, not its /64: the narrowest reading.
        given = f"{one}/128" if isinstance(one, str) and ":" in one and "/" not in one else one
        subject = subjects.parse(given) if isinstance(given, str) else None
        if subject is None or subjects.network(subject) is None:
            raise ValueError(f"addresses and networks such as 192.0.2.0/24; {one!r} is neither")
        found.append(subject)
    return tuple(found)


def ports(value: object) -> tuple[int, ...]:
    """A list of port numbers, sorted and unique; [] means every port."""
    if isinstance(value, list) and all(
        isinstance(one, int) and not isinstance(one, bool) and 1 <= one <= 65535 for one in value
    ):
        found = tuple(sorted(set(value)))
        if len(found) <= MOST_PORTS:
            return found
        raise ValueError(f"at most {MOST_PORTS} ports in one ban; [] is every port")
    raise ValueError("a list of port numbers from 1 to 65535, such as [25]; [] is every port")


def ladder(value: object) -> tuple[Micros, ...]:
    """A list of durations, the first offence first."""
    if isinstance(value, list) and value:
        try:
            return tuple(parse_duration(one) for one in value)
        except ValueError:
            pass
    raise ValueError('a list of durations such as ["10m", "1h", "24h", "7d"]')


def weights(value: object) -> tuple[tuple[str, int | None], ...]:
    """Kinds to count: a list (each with its detector's weight) or a table kind = weight."""
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        found: list[tuple[str, int | None]] = [(one, None) for one in dict.fromkeys(value)]
    elif isinstance(value, dict) and value and all(_is_weight(one) for one in value.values()):
        found = list(value.items())
    else:
        raise ValueError('a list of kinds such as ["exim.malware"], or a table kind = weight')
    for kind, _weight in found:
        if not _KIND.fullmatch(kind):
            raise ValueError(f'kinds such as "exim.malware"; {kind!r} is none')
    return tuple(found)


def _is_weight(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1000


def journal(value: object) -> tuple[tuple[str, ...], ...] | None:
    """`true` (the packs' own trusted matches), `false`, or texts such as "_COMM=sshd _UID=0"."""
    if value is True:
        return ()
    if value is False:
        return None
    try:
        lines = tuple(tuple(line.split()) for line in texts(value))
    except ValueError:
        lines = ((),)
    if all(line and all(_MATCH.fullmatch(match) for match in line) for line in lines):
        return lines
    raise ValueError('true, or trusted matches such as "_COMM=sshd _UID=0" (fields with _ only)')


def zone(value: object) -> str:
    """The name of a time zone that this host knows."""
    if isinstance(value, str):
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            pass
        else:
            return value
    raise ValueError('a time zone such as "Europe/Zurich" or "UTC"')


def size(value: object) -> int:
    """A size such as "256MiB", in bytes."""
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError('a size such as "256MiB"')
    return int(found[1]) << {"KiB": 10, "MiB": 20, "GiB": 30}[found[2]]
