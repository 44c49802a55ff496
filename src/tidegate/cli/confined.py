"""Quarantine and probation in words for a terminal: for `list`, `why`, `status`.

Touches standard output. What to do next stands last. Limits: of whom the caps kept back, the ten
that lost most.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import click

from tidegate.cli.common import clock, left_text, local, table
from tidegate.cli.whom import source_text
from tidegate.text import printable


def confined_rows(rows: Iterable[Mapping[str, Any]]) -> None:
    """The table of sources that `list` prints below the bans."""
    table(
        ("SOURCE", "IS", "BY", "COUNT", "LEFT", "UNTIL", "THEN"),
        [
            (
                source_text(row["subject"]),
                row["confined"],
                row["rule"] or row["by"],
                str(row["count"] or "-"),
                left_text(row["left"]),
                clock(_end(row)),
                _then(row),
            )
            for row in rows
        ],
        "",
    )


def _end(row: Mapping[str, Any]) -> str:
    end: str = row["until"] if row["confined"] == "cut off" else row["watched"]
    return end


def _then(row: Mapping[str, Any]) -> str:
    if row["confined"] != "cut off":
        return "free"
    return f"probation until {clock(row['watched'])}" if row["watched"] else "free"


def heading(row: Mapping[str, Any]) -> Iterator[str]:
    """What `why` says of one source first: how it stands."""
    who, again = source_text(row["subject"]), "for the next step of its ladder"
    if row["next"]:
        again = f"for {row['next']}"
    if row["confined"] == "cut off":
        yield (
            f"{who}: cut off until {local(row['until'])}: nothing that it begins gets out;"
            " answers to those who call it do."
        )
        if row["watched"]:
            yield (
                f"  Then on probation until {local(row['watched'])}: under a tighter cap, and one"
                f" more offence cuts it off at once {again}."
            )
    else:
        yield (
            f"{who}: let back, and on probation until {local(row['watched'])}: under a tighter"
            f" cap, and one more offence cuts it off at once {again}."
        )


def advice(row: Mapping[str, Any]) -> Iterator[str]:
    """What `why` says of one source last: what to type."""
    who = row["subject"]
    if row["confined"] == "cut off":
        yield f"  To let it back, on probation: tidegate release {who}"
    yield f"  To free it for good, once it is clean: tidegate release {who} --trust"


def outward(answer: Mapping[str, Any]) -> Iterator[str]:
    """What `status` says of what leaves."""
    state = "" if answer["state"] == "ok" else f": {printable(answer['state'])}"
    yield (
        f"outward  {answer['mode']}{state}; {answer['cut_off']} cut off,"
        f" {answer['on_probation']} on probation, {answer['capped']} capped"
    )
    if answer["most_capped"]:
        yield f"         kept back most: {', '.join(_capped(answer['most_capped'][:3]))}"
    for one in answer["filters"]:
        yield f"         filter {one['name']}: {one['packets']:,} packets dropped"
    for who, why in answer["refused"].items():
        yield f"WARNING  {who} could not be cut off: {printable(why)}"


def _capped(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for one in rows:
        yield f"{source_text(one['subject'])} {one['what']} ({one['packets']:,} packets)"


def say(lines: Iterable[str]) -> None:
    """Print them."""
    for line in lines:
        click.echo(line)
