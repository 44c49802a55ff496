"""What `tidegate top` shows: rows for people and for JSON.

Touches standard output, and /etc/passwd for the names of users. Hostile text (programs, interfaces)
is made printable. Limits: a table is as wide as the terminal; the rest of it is left out.
"""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from tidegate.cli.common import table
from tidegate.evidence.talkers import Talker
from tidegate.source.traffic.packets import NAMES, PORTED, address_text, destination_text
from tidegate.source.traffic.passing import Report
from tidegate.text import printable

if TYPE_CHECKING:
    from rich.console import Group

TITLE = ("WAY", "SOURCE", "USER", "PROGRAM", "PORT", "PACKETS/S", "BYTES/S", "NEW/S", "LOOKS LIKE")
_NUMBERS = TITLE[5:8]


def worth(report: Report, limit: int) -> list[Talker]:
    """The rows that are shown. What was seen once or twice among one in many is chance."""
    least = 3 if report.thinned > 1 else 1
    return [row for row in report.talkers if row.looked >= least][:limit]


def cells(row: Talker, names: Mapping[int, str], *, about: bool = False) -> tuple[str, ...]:
    """A row for people; `about`: its figures are estimates."""
    mark = "~" if about else ""
    source = source_text(row)
    if row.who is None:
        source += f" via {names.get(row.interface, '?')}"
    return (
        row.way,
        source,
        user_text(row.who.user) if row.who is not None else "",
        _program(row),
        port_text(row),
        mark + short(row.packets),
        mark + short(row.volume),
        mark + short(row.new),
        row.looks,
    )


def _program(row: Talker) -> str:
    """ "" of what the kernel does by itself mostly: it has no ports, and no socket."""
    if row.who is None or (not row.who.program and row.protocol not in PORTED):
        return ""
    return row.who.program or "unknown"


def as_object(row: Talker, names: Mapping[int, str]) -> dict[str, Any]:
    """A row for programs; unknown things are null."""
    who = row.who
    return {
        "way": row.way,
        "source": _address(row.source) if row.source else None,
        "sources": row.sources,
        "forged": row.forged,
        "here": who is not None,
        "interface": names.get(row.interface),
        "uid": who.user if who is not None else None,
        "program": who.program or None if who is not None else None,
        "protocol": NAMES.get(row.protocol, str(row.protocol)),
        "port": None if row.answers else row.port or None,
        "source_port": row.port or None if row.answers else None,
        "packets": round(row.packets, 1),
        "bytes": round(row.volume),
        "new": round(row.new, 1),
        "looks": row.looks or None,
        "looked": row.looked,
        "destinations": [
            destination_text(address, row.protocol, port) for address, port in row.destinations
        ],
    }


def totals(report: Report) -> dict[str, Any]:
    """The last object: all that was seen."""
    return {
        "seconds": round(report.seconds, 3),
        "packets": {way: round(count) for way, count in report.packets.items()},
        "bytes": {way: round(count) for way, count in report.bytes.items()},
        "one_in": report.thinned,
        "unseen": report.lost,
    }


def summary(report: Report) -> str:
    """All that was seen, in a line."""
    parts = [
        f"{way} {short(report.packets[way])} packets, {short(report.bytes[way])} bytes a second"
        for way in ("in", "out")
    ]
    if report.thinned > 1:
        parts.append(f"one packet in {report.thinned} was looked at")
    if report.lost:
        parts.append(f"{report.lost} more were too many")
    return "; ".join(parts)


def show(report: Report, names: Mapping[int, str], limit: int) -> None:
    """One table on standard output, all that was seen on standard error."""
    about = report.thinned > 1
    rows = [cells(row, names, about=about) for row in worth(report, limit)]
    table(TITLE, rows, "Nothing passed.")
    click.echo(f"{report.seconds:.1f} s: {summary(report)}", err=True)


def drawn(report: Report, names: Mapping[int, str], limit: int) -> Group:
    """The live view."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    whole = Table(box=None, header_style="bold", pad_edge=False)
    for name in TITLE:
        whole.add_column(
            name,
            overflow="ellipsis",
            no_wrap=True,
            justify="right" if name in _NUMBERS else "left",
            ratio=3 if name == "PROGRAM" else None,
        )
    lines = max(1, min(limit, _lines() - 4))
    for row in worth(report, lines):
        style = "bold red" if row.looks else ""
        about = report.thinned > 1
        found = (printable(cell) for cell in cells(row, names, about=about))
        whole.add_row(*(Text(cell, style=style) for cell in found))
    now = datetime.now().astimezone().isoformat(" ", "seconds")
    head = Text(f"{now}  {summary(report)}", overflow="ellipsis", no_wrap=True)
    return Group(head, Text(""), whole, *([] if report.talkers else [Text("Nothing passes.")]))


def _lines() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).lines
    except (OSError, ValueError):
        return 24


def source_text(row: Talker) -> str:
    """Who sends it, as it says itself."""
    if row.forged:
        return "forged addresses"
    if not row.source:
        return f"{row.sources} sources"
    return _address(row.source)


def _address(packed: bytes) -> str:
    return f"{address_text(packed + bytes(8))}/64" if len(packed) == 8 else address_text(packed)


def user_text(user: int | None) -> str:
    """`www-data (33)`, or the number alone where nobody has it."""
    if user is None:
        return ""
    try:
        return f"{pwd.getpwuid(user).pw_name} ({user})"
    except KeyError:
        return str(user)


def port_text(row: Talker) -> str:
    """`1434/udp`; `from 443/tcp` of answers; the protocol alone where there are many."""
    name = NAMES.get(row.protocol, str(row.protocol))
    if not row.port:
        return name
    return f"{'from ' if row.answers else ''}{row.port}/{name}"


def short(number: float) -> str:
    """`12`, `3.4k`, `56M`."""
    for unit in ("", "k", "M", "G"):
        if number < 999.5 or unit == "G":
            return f"{number:.1f}{unit}" if 0 < number < 9.95 else f"{number:.0f}{unit}"
        number /= 1000
    return ""
