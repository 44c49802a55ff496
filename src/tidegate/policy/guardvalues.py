"""Readers for single values of guards and gates: spans, rates, shares, commands, addresses.

Touches nothing. A ValueError carries what was expected, in the words of the message that follows
`expected`. Limits: one value at a time; what spans keys is checked in `gatereader`, `guardreader`.
"""

from __future__ import annotations

import re

from tidegate.model import DAY, HOUR, MINUTE, SECOND, Micros
from tidegate.policy import values
from tidegate.policy.durations import parse_duration
from tidegate.policy.guards import Service
from tidegate.policy.limits import seconds

_PER: dict[str, Micros] = {
    "s": SECOND, "sec": SECOND, "second": SECOND, "m": MINUTE, "min": MINUTE, "minute": MINUTE,
    "h": HOUR, "hour": HOUR, "d": DAY, "day": DAY,
}  # fmt: skip
_RATE = re.compile(r"([1-9]\d{0,6})\s*/\s*([a-z]+|\d[0-9a-z]*)", re.ASCII)
_SHARE = re.compile(r"(\d{1,3})\s*%?", re.ASCII)
_ENDPOINT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):(\d{1,5})", re.ASCII)
_UNIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9:_.\\@-]{0,254}", re.ASCII)
_MAIL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=-]*(?:@[A-Za-z0-9][A-Za-z0-9.-]*)?", re.ASCII)
_PROPERTY = re.compile(r"[A-Z][A-Za-z]{2,63}", re.ASCII)


def span(value: object) -> Micros:
    """A time that may be nothing: `0s`, `30s`, `1h30m`."""
    if isinstance(value, str):
        try:
            return int(seconds(value) * SECOND)
        except ValueError:
            pass
    raise ValueError('a time such as "0s", "30s" or "5m"')


def rate(value: object) -> tuple[int, Micros]:
    """So many per time, such as `20/m`, `2/day` or `4/30m`: (20, a minute)."""
    found = _RATE.fullmatch(value) if isinstance(value, str) else None
    if found:
        try:
            return int(found[1]), _PER.get(found[2]) or parse_duration(found[2])
        except ValueError:
            pass
    raise ValueError('so many per time, such as "20/m", "4/hour" or "2/day"')


def share(value: object) -> int:
    """A percentage from 0 to 100, as `"25%"` or 25."""
    found = _SHARE.fullmatch(value) if isinstance(value, str) else None
    number = int(found[1]) if found else value
    if isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= 100:
        return number
    raise ValueError('a percentage such as "25%"')


def ports(value: object) -> tuple[int, ...]:
    """Port numbers, at least one."""
    found = values.ports(value) if value else ()
    if not found:
        raise ValueError("the ports that are meant, such as [80, 443]")
    return found


def words(value: object) -> tuple[str, ...]:
    """A command as a list of words; nothing in it is read by a shell."""
    good = isinstance(value, list) and value and all(isinstance(one, str) for one in value)
    if good and value[0] and not any("\0" in one for one in value):  # type: ignore[index,attr-defined]
        return tuple(value)  # type: ignore[arg-type]
    raise ValueError('a command as a list of words, such as ["/usr/local/sbin/drain", "mail"]')


def commands(value: object) -> tuple[tuple[str, ...], ...]:
    """A list of commands."""
    if isinstance(value, list) and len(value) <= 16:
        try:
            return tuple(words(one) for one in value)
        except ValueError:
            pass
    said = 'at most 16 commands, each a list of words, such as [["ss", "-s"]]'
    raise ValueError(said)


def endpoint(value: object) -> str:
    """A host with a port, such as `127.0.0.1:7777`."""
    found = _ENDPOINT.fullmatch(value) if isinstance(value, str) else None
    if found is None or not 1 <= int(found[2]) <= 65535:
        raise ValueError('an address with a port, such as "127.0.0.1:7777"')
    return found[0]


def socket(value: object) -> str:
    """A socket's path, or a host with a port."""
    if isinstance(value, str) and value.startswith("/"):
        return value
    try:
        return endpoint(value)
    except ValueError:
        raise ValueError("the path of a socket, or an address with a port") from None


def unit(value: object) -> str:
    """A systemd unit, or the name of an init script."""
    if isinstance(value, str) and _UNIT.fullmatch(value):
        return value
    raise ValueError('a unit such as "apache2.service"')


def group(value: object) -> str:
    """A systemd unit, or the path of a control group."""
    if isinstance(value, str) and value.startswith("/") and ".." not in value.split("/"):
        return value
    return unit(value)


def service(value: object) -> Service:
    """A unit, or a table that also says how long stopping may take."""
    if isinstance(value, str):
        return Service(unit(value))
    if isinstance(value, dict) and "service" in value and value.keys() <= {"service", "within"}:
        if "within" not in value:
            return Service(unit(value["service"]))
        return Service(unit(value["service"]), parse_duration(value["within"]))
    raise ValueError('a unit such as "apache2.service", or { service = "zope", within = "5m" }')


def settings(value: object) -> tuple[tuple[str, str], ...]:
    """Properties of a unit with their values, sorted by name; `unit` itself left out."""
    assert isinstance(value, dict)
    found = []
    for name, wanted in sorted(value.items()):
        plain = isinstance(wanted, str | int) and not isinstance(wanted, bool)
        if not _PROPERTY.fullmatch(name) or not plain or not str(wanted).isprintable():
            raise ValueError(f'properties such as CPUWeight = "20"; {name} = {wanted!r} is none')
        found.append((name, str(wanted)))
    if not found:
        raise ValueError('properties such as CPUWeight = "20" and MemoryHigh = "512M"')
    return tuple(found)


def mail(value: object) -> str:
    """An address that mail goes to."""
    if isinstance(value, str) and _MAIL.fullmatch(value):
        return value
    raise ValueError('an address such as "root" or "admins@example.org"')


def webhook(value: object) -> str:
    """Where a notice is posted to."""
    good = isinstance(value, str) and value.isprintable() and " " not in value
    if good and str(value).startswith(("https://", "http://")) and len(str(value)) > 10:
        return str(value)
    raise ValueError('an address such as "https://example.org/hook"')
