"""`tidegate report`: what was done in the last days, and what it was good for.

Touches the daemon through its control socket. Limits: what the ledger still keeps (30 days), and
what `docs/commands.md` says of each number.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import click

from tidegate.cli.common import (
    as_json,
    client,
    clock,
    emit,
    local,
    ports_text,
    put,
    socket_option,
    table,
)
from tidegate.cli.whom import source_text
from tidegate.text import printable

_NOTHING = ("0", "-", "")
_MOST_INCIDENTS = 20


class Section(NamedTuple):
    """A table of the report with its heading, and what stands there if it is empty."""

    heading: str
    title: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    empty: str


@click.command(
    epilog="""\b
Examples:
  tidegate report
  tidegate report --since 24h --md > report.md
  tidegate report --since 30d --json | jq .rules
"""
)
@click.option("--since", default="7d", show_default=True, help="How far back: 24h, 7d, 4w …")
@click.option("--md", is_flag=True, help="Markdown, for a ticket or a page.")
@socket_option
@as_json
def command(since: str, md: bool, socket: str | None, as_json: bool) -> int:
    """What was done, and what it was good for: bans and their effect, good clients touched, cost.

    Rates are events a minute of those who were banned: in the ten minutes before, while they were
    closed for, and in the ten minutes after.
    """
    answer = client(socket).get("/report", {"since": since})
    if as_json:
        emit(answer)
        return 0
    mark = ("# ", "## ") if md else ("", "")
    click.echo(f"{mark[0]}From {local(answer['since'])} to {local(answer['time'])}")
    for line in summary(answer):
        if md:
            click.echo(f"* {line}")
        else:
            put(line, "  ")
    for section in sections(answer):
        click.echo(f"\n{mark[1]}{section.heading}" + ("\n" if md else ""))
        if not md:
            title, rows = _narrowed(section) if sys.stdout.isatty() else section[1:3]
            table(title, rows, section.empty)
        elif section.rows:
            for line in markdown(section.title, section.rows):
                click.echo(line)
        else:
            click.echo(section.empty)
    return 0


def summary(answer: Mapping[str, Any]) -> Iterator[str]:
    """The report in a few lines."""
    good, force = answer["good"], answer["in_force"]
    yield (
        f"{_many(answer['bans'], 'ban')} of {_many(answer['subjects'], 'subject')},"
        f" {answer['minutes']} minutes closed in all;"
        f" {'the ledger cannot say how many' if force is None else force} still in force"
    )
    yield (
        "events a minute of whom was banned: "
        + ", ".join(f"{_rate(answer['rates'][when])} {when}" for when in ("before", "during"))
        + f", {_rate(answer['rates']['after'])} afterwards ({answer['rates']['followed']} followed)"
    )
    packets = sum(row["packets"] for row in answer["kernel"])
    size = sum(row["bytes"] for row in answer["kernel"])
    yield f"{_many(packets, 'packet')} ({_size(size)}) dropped in the kernel"
    spared = sum(good["spared"].values())
    yield (
        f"good clients touched: {_many(good['banned'], 'ban')} of those with a good record,"
        f" {good['unbanned']} opened by a person, {spared} spared"
    )
    if gates := answer["gates"]:
        closed = [row for row in gates if row["closings"]]
        parts = [
            f"{_many(sum(row['closings'] for row in closed), 'closing')} of"
            f" {_many(len(closed), 'gate')}, {sum(row['minutes'] for row in gates)} minutes",
            _many(sum(row["restarts"] for row in gates), "restart or run", "restarts or runs"),
            _many(sum(row["warnings"] for row in gates), "warning"),
        ]
        yield f"guards: {', '.join(parts)}"
    if found := answer.get("incidents"):
        going = sum(one["state"] == "open" for one in found)
        more = " or more" if len(found) >= _MOST_INCIDENTS else ""
        yield f"{_many(len(found), 'incident')}{more}, {going} of them open: tidegate incident list"
    outward = answer.get("outward")
    if outward and (outward["quarantines"] or outward["observed"]):
        yield (
            f"{_many(outward['quarantines'], 'quarantine')} of"
            f" {_many(outward['sources'], 'source')}, {outward['again']} of them more than once;"
            f" {outward['minutes']} minutes cut off, {outward['released']} let back by a person"
            + (f", {outward['observed']} only observed" if outward["observed"] else "")
        )
    yield f"{sum(answer['refused'].values())} decisions refused by the kernel or the keeper"


_COUNTED = ("RESTARTS", "WARNINGS", "OBSERVED", "REFUSED")


def sections(answer: Mapping[str, Any]) -> Iterator[Section]:
    """Its tables."""
    rules = ("RULE", "BANS", "SUBJECTS", "IN FORCE", "MINUTES", "BEFORE", "DURING", "AFTER", "GOOD")
    yield Section(
        "Bans by rule",
        (*rules, "SPARED", "OBSERVED", "REFUSED"),
        [_rule(row) for row in answer["rules"]],
        "Nobody was banned.",
    )
    yield Section(
        "Dropped in the kernel, by what was closed",
        ("PORTS", "PACKETS", "BYTES", "BANS", "PACKETS A BAN", "RULES"),
        [_scope(row) for row in answer["kernel"]],
        "Nothing was closed.",
    )
    yield Section(
        "The costliest sources",
        ("SUBJECT", "EVENTS", "BANS", "MINUTES", "RULES", "LAST"),
        [_source(row) for row in answer["sources"]],
        "None.",
    )
    if answer["gates"]:
        yield Section(
            "Gates of guards",
            ("GATE", "CLOSED", "MINUTES", "BY", *_COUNTED, "LAST"),
            [_gate(row) for row in answer["gates"]],
            "",
        )
    if answer.get("incidents"):
        yield Section(
            "Incidents",
            ("ID", "STATE", "SINCE", "UNTIL", "WHAT"),
            [_incident(row) for row in answer["incidents"]],
            "",
        )
    if answer.get("outward", {}).get("longest"):
        yield Section(
            "Cut off from what leaves",
            ("SOURCE", "TIMES", "MINUTES", "NOW", "BY", "LAST"),
            [_cut(row) for row in answer["outward"]["longest"]],
            "",
        )
    touched, titles = _touched(answer["good"]), ("WHAT", "WHO OR WHY", "BY", "WHEN")
    yield Section("Good clients", titles, touched, "None was touched.")
    if answer["refused"]:
        yield Section(
            "Refused by the kernel or the keeper",
            ("REASON", "DECISIONS"),
            [(why, str(count)) for why, count in answer["refused"].items()],
            "",
        )


def _touched(good: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The good clients whom anything was done to, or nearly."""
    rows = [("banned with a good record", subject, "", "") for subject in good["subjects"]]
    rows += [
        ("opened by a person", one["subject"], one["by"], local(one["time"]))
        for one in good["unbans"]
    ]
    return rows + [("spared", why, f"{count} times", "") for why, count in good["spared"].items()]


def markdown(title: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table in Markdown; what could end a cell, or begin markup, is escaped."""
    yield "| " + " | ".join(title) + " |"
    yield "|" + " --- |" * len(title)
    for row in rows:
        yield "| " + " | ".join(_cell(one) for one in row) + " |"


def _narrowed(section: Section) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Without the columns that say nothing: a terminal is not that wide."""
    kept = [
        number
        for number in range(len(section.title))
        if number < 2 or any(row[number] not in _NOTHING for row in section.rows)
    ]
    rows = [[row[number] for number in kept] for row in section.rows]
    return [section.title[number] for number in kept], rows


def _cell(text: str) -> str:
    return "".join(f"\\{char}" if char in "\\`*_[]<>|&#!~" else char for char in printable(text))


def _rule(row: Mapping[str, Any]) -> tuple[str, ...]:
    numbers = (row[key] for key in ("bans", "subjects", "standing", "minutes"))
    rates = (_rate(row["rates"][when]) for when in ("before", "during", "after"))
    left = (row[key] for key in ("good", "spared", "observed", "refused"))
    return (row["rule"], *map(str, numbers), *rates, *map(str, left))


def _scope(row: Mapping[str, Any]) -> tuple[str, ...]:
    each = "-" if row["per_ban"] is None else str(row["per_ban"])
    numbers = (str(row["packets"]), _size(row["bytes"]), str(row["bans"]))
    return (ports_text(row["ports"]), *numbers, each, ", ".join(row["rules"]))


def _source(row: Mapping[str, Any]) -> tuple[str, ...]:
    numbers = (str(row[key]) for key in ("events", "bans", "minutes"))
    return (row["subject"], *numbers, ", ".join(row["rules"]), clock(row["last"]))


def _gate(row: Mapping[str, Any]) -> tuple[str, ...]:
    times = f"{row['closings']}" + (", now too" if row["closed_now"] else "")
    by = ", ".join(f"{who} {count}" for who, count in row["by"].items())
    given_up = f", given up {row['given_up']}" if row["given_up"] else ""
    counts = (str(row[what]) for what in ("warnings", "observed", "refused"))
    restarts = f"{row['restarts']}{given_up}"
    return (row["gate"], times, str(row["minutes"]), by, restarts, *counts, clock(row["last"]))


def _incident(row: Mapping[str, Any]) -> tuple[str, ...]:
    end = clock(row["end"]) if row["end"] else "-"
    return (row["id"][:8], row["state"], clock(row["start"]), end, row["title"])


def _cut(row: Mapping[str, Any]) -> tuple[str, ...]:
    now = "cut off" if row["cut_off_now"] else "-"
    who, numbers = source_text(row["subject"]), (str(row["times"]), str(row["minutes"]))
    return (who, *numbers, now, ", ".join(row["by"]), clock(row["last"]))


def _rate(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:g}"


def _many(count: int, name: str, many: str = "") -> str:
    return f"{count} {name if count == 1 else many or name + 's'}"


def _size(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
