"""Readers for single values of `[outward]` and `[owner.NAME]`: rates, sources, whom they spare.

Touches the host's list of users, to know the number behind a name. A ValueError carries what was
expected. Limits: one value at a time; what spans keys is checked in `outwardreader`.
"""

from __future__ import annotations

import pwd
import re
from collections.abc import Callable
from typing import NamedTuple

from tidegate import subject as subjects
from tidegate.model import DAY, HOUR, MINUTE, SECOND, Micros, Subject
from tidegate.policy import values
from tidegate.policy.durations import parse_duration
from tidegate.policy.outward import Rate

MOST_NETWORKS = 1024
MOST_BUSY = 4096
_PER: dict[str, Micros] = {
    "s": SECOND, "sec": SECOND, "second": SECOND, "m": MINUTE, "min": MINUTE, "minute": MINUTE,
    "h": HOUR, "hour": HOUR, "d": DAY, "day": DAY,
}  # fmt: skip
_RATE = re.compile(
    rf"([1-9]\d{{0,5}})\s*/\s*({'|'.join(_PER)})(?:\s+burst\s+([1-9]\d{{0,5}}))?", re.ASCII
)
_INTERFACE = re.compile(r"(?=.*[A-Za-z_])[A-Za-z0-9_.@-]{1,15}", re.ASCII)
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.\\@-]{0,63}\$?", re.ASCII)
_UID = re.compile(r"uid:(\d{1,10})", re.ASCII)
_HIGHEST_UID = (1 << 32) - 2  # -1 is nobody at all
_LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?"
_VHOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


class Sources(NamedTuple):
    """What `sources` names: the users of this host, networks, interfaces."""

    uids: bool = False
    networks: tuple[Subject, ...] = ()
    interfaces: tuple[str, ...] = ()


def rate(times: int) -> Callable[[object], Rate | None]:
    """A reader of `50/s`, `50/s burst 200` or `off` (None); `times` the number is the burst of one
    that states none."""

    def read(value: object) -> Rate | None:
        if value == "off":
            return None
        found = _RATE.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            said = 'so many per second, minute, hour or day, such as "50/s" or "20/m burst 40"'
            raise ValueError(f'{said}, or "off"')
        number = int(found[1])
        burst = int(found[3]) if found[3] else number * times
        return Rate(number, _PER[found[2]], burst)

    return read


def remembered(value: object) -> Micros:
    """For how long a destination holds its place: from a second to an hour."""
    try:
        found = parse_duration(value)
    except ValueError:
        found = 0
    if SECOND <= found <= HOUR:
        return found
    raise ValueError('a duration from 1s to 1h, such as "10s"')


def network(text: str) -> Subject:
    """A network (or an IPv4 address) whose traffic is capped; IPv6 from /64 on up."""
    # An address of IPv6 would be read as its /64, which it does not say.
    found = subjects.parse(f"{text}/128" if ":" in text and "/" not in text else text)
    range_ = subjects.network(found) if found is not None else None
    if found is None or range_ is None:
        raise ValueError(f"addresses and networks such as 192.0.2.0/24; {text!r} is neither")
    if range_.family == 6 and range_.length > 64:
        raise ValueError(f"IPv6 networks of a /64 or wider, as hosts change theirs; {text!r}")
    if not range_.length:
        raise ValueError(f"a part of the Internet, not all of it; {text!r}")
    return found


def sources(value: object) -> Sources:
    """Who may be capped: "uids", networks, and interfaces that forwarded packets come in by."""
    networks: list[Subject] = []
    interfaces: list[str] = []
    uids = False
    for one in _listed(value, MOST_NETWORKS, '"uids", "lan0" or "192.0.2.0/24"'):
        if one == "uids":
            uids = True
        elif "/" in one or ":" in one or not _INTERFACE.fullmatch(one):
            try:
                networks.append(network(one))
            except ValueError as error:
                raise ValueError(f'"uids", names of interfaces, or {error}') from None
        else:
            interfaces.append(one)
    return Sources(uids, tuple(dict.fromkeys(networks)), tuple(dict.fromkeys(interfaces)))


def customers(value: object) -> tuple[Subject, ...]:
    """Networks of which each is capped as a whole."""
    found = _listed(value, MOST_NETWORKS, '"198.51.100.0/28"')
    return tuple(dict.fromkeys(network(one) for one in found))


def busy(value: object) -> tuple[str, ...]:
    """Who is never capped: users by name or `uid:N`, addresses and networks; still as written,
    but for numbers and addresses, which are made canonical."""
    found = _listed(value, MOST_BUSY, '"postfix", "uid:33" or "192.0.2.25"')
    return tuple(dict.fromkeys(_user_or_network(one) for one in found))


def users(value: object) -> tuple[str, ...]:
    """Users by name or `uid:N`."""
    found = _listed(value, MOST_BUSY, '"www-data" or "uid:33"')
    for one in found:
        if not _USER.fullmatch(one) and _uid(one) is None:
            raise ValueError(f'users by name or number, such as "www-data" or "uid:33"; {one!r}')
    return tuple(dict.fromkeys(_canonical(one) for one in found))


def vhosts(value: object) -> tuple[str, ...]:
    """Names of web hosts, in small letters."""
    found = tuple(one.lower() for one in _listed(value, MOST_BUSY, '"shop.example"'))
    for one in found:
        if len(one) > 253 or not _VHOST.fullmatch(one) or one.replace(".", "").isdigit():
            raise ValueError(f'names of web hosts, such as "shop.example"; {one!r} is none')
    return tuple(dict.fromkeys(found))


def uid_of(user: str) -> int | None:
    """The number of a user, by name or `uid:N`; None where this host has no such user."""
    number = _uid(user)
    if number is not None:
        return number
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return None


def is_user(text: str) -> bool:
    """Whether an entry that `busy` has taken names a user."""
    return text.startswith("uid:") or subjects.network(Subject(text)) is None


def _user_or_network(text: str) -> str:
    if _uid(text) is not None:
        return _canonical(text)
    if not text.startswith("uid:"):
        try:
            return values.addresses([text])[0]
        except ValueError:
            pass
        if _USER.fullmatch(text):
            return text
    said = "users by name or uid:N, addresses and networks"
    raise ValueError(f"{said}; {text!r} is none of these")


def _uid(text: str) -> int | None:
    found = _UID.fullmatch(text)
    return int(found[1]) if found and int(found[1]) <= _HIGHEST_UID else None


def _canonical(user: str) -> str:
    number = _uid(user)
    return user if number is None else f"uid:{number}"


def _listed(value: object, most: int, such_as: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise ValueError(f"a list such as [{such_as.replace(' or ', ', ')}]")
    if len(value) > most:
        raise ValueError(f"at most {most} of them")
    return value
