"""Readers for single policy values: each takes what TOML gave and returns it checked.

Touches nothing. A ValueError carries what was expected, in the words of the message that follows
`expected`. Limits: one value at a time; what spans keys is checked in `tables`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tidegate import subject as subjects
from tidegate.model import DAY, HOUR, MINUTE, SECOND, Micros, Mode, Subject
from tidegate.policy.durations import parse_duration
from tidegate.policy.models import Counted, Where

SERVICE = "service"
MOST_PORTS = 40
"""Ports in one scope; a gate compares them one by one."""

_SIZE = re.compile(r"(\d{1,6})\s*(KiB|MiB|GiB)", re.ASCII)
_MATCH = re.compile(r"_[A-Z][A-Z0-9_]*=\S+")
_KIND = re.compile(r"!?[a-z0-9_*-]+(?:\.[a-z0-9_*-]+)+", re.ASCII)
_NETWORKS: dict[str, tuple[Literal[4, 6], int]] = {
    "ipv4/24": (4, 24),
    "ipv6/56": (6, 56),
    "ipv6/48": (6, 48),
}
_FIELD = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)
_PER = {"second": SECOND, "minute": MINUTE, "hour": HOUR, "day": DAY, "week": 7 * DAY}
_DECAY = re.compile(rf"([1-9][0-9]{{0,5}})/(?:({'|'.join(_PER)})|([0-9a-z]+))", re.ASCII)


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


def ports_or_service(value: object) -> tuple[int, ...] | str:
    """Port numbers, or "service": those of the service that was attacked."""
    return SERVICE if value == SERVICE else ports(value)


def ladder(value: object) -> tuple[Micros, ...]:
    """A list of durations, the first offence first."""
    if isinstance(value, list) and value:
        try:
            return tuple(parse_duration(one) for one in value)
        except ValueError:
            pass
    raise ValueError('a list of durations such as ["10m", "1h", "24h", "7d"]')


def counted(value: object) -> tuple[Counted, ...]:
    """What a rule counts: a list of kinds (each with its detector's weight) and of tables with
    `kind`, `weight` and `where`; or a table kind = weight. `*` in a kind takes any part of one,
    and `!` in front leaves kinds out."""
    if isinstance(value, dict) and value:
        found = [Counted(kind, weight) for kind, weight in value.items()]
    elif isinstance(value, list) and value:
        found = [_counted(one) for one in value]
    else:
        raise ValueError('a list of kinds such as ["exim.malware"], or a table kind = weight')
    for kind, weight, conditions, _unless in found:
        if kind.startswith("!") and (weight is not None or conditions):
            raise ValueError(f"what is left out without weight and where; found {kind!r}")
        if not _KIND.fullmatch(kind):
            raise ValueError(f'kinds such as "exim.malware" or "*.auth_failed"; {kind!r} is none')
        if weight is not None and not _is_weight(weight):
            said = "weights from 1 to 1000 (a score may take points off)"
            raise ValueError(f"{said}; {kind} = {weight!r}")
    return tuple(dict.fromkeys(found))


def _counted(one: object) -> Counted:
    if isinstance(one, str):
        return Counted(one)
    if isinstance(one, dict) and isinstance(one.get("kind"), str):
        unknown = set(one) - {"kind", "weight", "where"}
        if not unknown:
            return Counted(one["kind"], one.get("weight"), where(one.get("where", {})))
    raise ValueError(
        'kinds, or tables such as { kind = "web.probe", weight = 15, where = { uri = "/wp-*" } }'
    )


def where(value: object) -> Where:
    """Conditions on fields: a table field = value, or = a list of values; `*` takes any text."""
    if not isinstance(value, dict):
        raise ValueError('a table of fields such as { id = [300040, 300061], uri = "/wp-*" }')
    found = []
    for name, wanted in value.items():
        several = wanted if isinstance(wanted, list) else [wanted]
        good = all(isinstance(one, str | int) and not isinstance(one, bool) for one in several)
        if not _FIELD.fullmatch(name) or not several or not good:
            said = "fields with a text, a number or a list of these"
            raise ValueError(f"{said}; {name} = {wanted!r}")
        found.append((name, tuple(str(one) for one in several)))
    return tuple(found)


def field(value: object) -> str:
    """The name of an event's field."""
    if isinstance(value, str) and _FIELD.fullmatch(value):
        return value
    raise ValueError('the name of a field, such as "user"')


def kinds(value: object) -> tuple[str, ...]:
    """Kinds without weights."""
    found = texts(value)
    if all(_KIND.fullmatch(one) for one in found):
        return found
    raise ValueError('kinds such as "sshd.auth_ok"')


def _is_weight(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= abs(value) <= 1000


def decay(value: object) -> tuple[int, Micros]:
    """Points per time, such as "3/day": (3, a day)."""
    found = _DECAY.fullmatch(value) if isinstance(value, str) else None
    if found:
        number, unit, span = found.groups()
        try:
            return int(number), _PER[unit] if unit else parse_duration(span)
        except ValueError:
            pass
    raise ValueError('points per time, such as "3/day", "1/hour" or "2/5m"')


def network(value: object) -> tuple[Literal[4, 6], int]:
    """The size of a network to escalate to: family and prefix length."""
    if isinstance(value, str) and value in _NETWORKS:
        return _NETWORKS[value]
    raise ValueError("one of " + ", ".join(f'"{one}"' for one in _NETWORKS))


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
