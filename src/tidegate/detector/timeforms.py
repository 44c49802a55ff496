"""Time forms: how programs write a moment, beyond those that line headers begin with.

Touches nothing. One table of shapes, each read into the same parts; `timestamps` turns parts into a
moment. Limits: English month names; of zone names only UTC, GMT and Z, since others mean several.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from tidegate.model import HOUR, MINUTE, Micros

_MONTHS = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
MONTHS = {month: number for number, month in enumerate(_MONTHS, 1)}


class Wall(NamedTuple):
    """What a stamp says. `year` None: it says none. `ahead` of UTC; None: it names no zone."""

    year: int | None
    month: int
    day: int
    hour: int
    minute: int
    second: int
    fraction: bytes
    ahead: Micros | None


_DAY_NAME = rb"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? +)?"
_YEAR = rb"(?P<year>[0-9]{4})"
_SHORT = rb"(?P<short>[0-9]{2})"
_MONTH = rb"(?P<month>[0-9]{1,2})"
_NAMED = rb"(?P<name>[A-Z][A-Za-z]{2})[a-z]{0,6}"
_DAY = rb"(?P<day>[0-9]{1,2})"
_CLOCK = (
    rb"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
    rb"(?:[.,:](?P<fraction>[0-9]{1,9}))?"
)
_HALF = rb"(?: ?(?P<half>[AaPp])\.?[Mm]\.?)?"
_ZONE = rb"(?: ?(?:(?P<utc>Z|UTC|GMT)|(?P<sign>[+-])(?P<hours>[0-9]{2}):?(?P<minutes>[0-9]{2})))?"

FORMS = tuple(
    re.compile(form).fullmatch
    for form in (
        # 21/Aug/2026:14:03:22 +0200 (Common Log Format), 21-Aug-2026 14:03:22.123 (BIND, PHP)
        _DAY + rb"[/-]" + _NAMED + rb"[/-]" + _YEAR + rb"[: ]" + _CLOCK + _ZONE,
        # Fri Aug 21 14:03:22.123456 2026 (asctime: Apache, vsftpd)
        _DAY_NAME + _NAMED + rb" +" + _DAY + rb" " + _CLOCK + _ZONE + rb" " + _YEAR,
        # 2026/08/21 14:03:22 (nginx, Go), 2026.08.21, 2026-8-21
        _YEAR + rb"(?P<by>[/.-])" + _MONTH + rb"(?P=by)" + _DAY + rb"[T :-]+" + _CLOCK + _ZONE,
        # Fri, 21 Aug 2026 14:03:22 +0200 (RFC 5322)
        _DAY_NAME + _DAY + rb" " + _NAMED + rb" " + _YEAR + rb",? +" + _CLOCK + _ZONE,
        # Aug 21, 2026 2:03:22 PM (Java)
        _DAY_NAME + _NAMED + rb" +" + _DAY + rb",? " + _YEAR + rb",? +" + _CLOCK + _HALF + _ZONE,
        # 08/21/2026:14:03:22 -0000 (cPanel), 8/21/2026 2:03:22 PM: with a colon or a half the month
        # stands first
        _MONTH + rb"/" + _DAY + rb"/" + _YEAR + rb":" + _CLOCK + _ZONE,
        _MONTH + rb"/" + _DAY + rb"/" + _YEAR + rb",? " + _CLOCK + rb" ?(?P<half>[AaPp])[Mm]",
        # 08/21/2026-14:03:22.123456, 08/21-14:03:22.123456 (Snort), 08/21/2026 - 14:03:22 (games)
        _MONTH + rb"/" + _DAY + rb"(?:/(?:" + _YEAR + rb"|" + _SHORT + rb"))? ?- ?" + _CLOCK,
        # 21/08/2026 14:03:22, 21.08.2026 14:03:22
        _DAY + rb"(?P<by>[/.-])" + _MONTH + rb"(?P=by)" + _YEAR + rb",? +" + _CLOCK + _ZONE,
        # 260821 14:03:22, 260821  9:03:22 (MySQL 5), 20260821 14:03:22
        rb"(?:" + _YEAR + rb"|" + _SHORT + rb")(?P<month>[0-9]{2})(?P<day>[0-9]{2}) +" + _CLOCK,
        # 20260821-14:03:22 (xrdp), 2026:08:21-14:03:22 (Sophos)
        _YEAR + rb"(?P<by>:?)(?P<month>[0-9]{2})(?P=by)(?P<day>[0-9]{2})-" + _CLOCK,
        # 26/8/21@14:03:22 (xinetd)
        _SHORT + rb"/" + _MONTH + rb"/" + _DAY + rb"@" + _CLOCK,
        # 20260821:140322.123 (Zabbix), 20260821T140322Z
        _YEAR + rb"(?P<month>[0-9]{2})(?P<day>[0-9]{2})[:T](?P<hour>[0-9]{2})"
        rb"(?P<minute>[0-9]{2})(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]{1,9}))?" + _ZONE,
        # Aug 21 14:03:22 (without a year)
        _DAY_NAME + _NAMED + rb" +" + _DAY + rb",? " + _CLOCK + _HALF + _ZONE,
        # 21/Aug 14:03:22, 21 Aug 14:03:22
        _DAY + rb"[ /]" + _NAMED + rb" " + _CLOCK + _ZONE,
        # 08/21 14:03:22, 08-21 14:03:22
        rb"(?P<month>[0-9]{2})[/-](?P<day>[0-9]{2}) +" + _CLOCK,
    )
)
"""In this order: a stamp is read by the first that takes all of it."""


def read(stamp: bytes) -> Wall | None:
    """What a stamp says; None if it is in none of the forms, or names a month that there is not.

    Raises ValueError for an hour that a clock with two halves does not have.
    """
    for form in FORMS:
        found = form(stamp)
        if found is not None:
            return _wall(found.groupdict())
    return None


def _wall(said: dict[str, bytes | None]) -> Wall | None:
    name, numbered = said.get("name"), said.get("month")
    month = MONTHS.get(name.capitalize()) if name else int(numbered or b"0")
    if month is None:
        return None
    year, short = said.get("year"), said.get("short")
    hour = int(said["hour"] or b"0")
    half = said.get("half")
    if half:
        if not 1 <= hour <= 12:
            raise ValueError("an hour from 1 to 12")
        hour = hour % 12 + (12 if half in b"Pp" else 0)
    return Wall(
        int(year) if year else 2000 + int(short) if short else None,
        month,
        int(said["day"] or b"0"),
        hour,
        int(said["minute"] or b"0"),
        int(said["second"] or b"0"),
        said.get("fraction") or b"",
        _ahead(said),
    )


def _ahead(said: dict[str, bytes | None]) -> Micros | None:
    if said.get("utc"):
        return 0
    sign = said.get("sign")
    if not sign:
        return None
    span = int(said["hours"] or b"0") * HOUR + int(said["minutes"] or b"0") * MINUTE
    return -span if sign == b"-" else span
