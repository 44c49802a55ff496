"""An incident as a page: plain text for a terminal, Markdown for a ticket.

Touches nothing: makes lines of what the daemon answered. What people and logs said is escaped, so
that it neither steers a terminal nor becomes markup. Limits: times by this host's clock.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tidegate.cli.common import local
from tidegate.cli.whom import source_text
from tidegate.text import printable

_MARKUP = frozenset("\\`*_[]<>|&#!~")
_STARTS = re.compile(r"^(\s*\d+)([.)])(?=\s|$)")


def markdown(view: Mapping[str, Any]) -> Iterator[str]:
    """The whole page."""
    yield f"# {escaped(view['title'])}"
    yield ""
    yield f"**{_state(view)}** · incident `{view['id'][:8]}`"
    yield ""
    for line in view["summary"]:
        yield f"* {escaped(line)}"
    yield from _markdown_commands(view)
    if view.get("lines"):
        yield from ("", "What was seen first:", "")
        for line in view["lines"]:
            yield f"    {printable(line)}"
    if view["updates"]:
        yield from ("", "## What we say", "")
        for one in view["updates"]:
            yield f"**{local(one['time'])}, {escaped(one['by'])}:**"
            yield ""
            for line in one["text"].splitlines():
                yield f"> {escaped(line)}  "
            yield ""
    affected = view["affected"]
    yield from ("", "## Who was affected", "")
    for line in _affected(affected):
        yield f"* {escaped(line)}"
    yield ""
    title, rows = _rows(view)
    yield "| " + " | ".join(title) + " |"
    yield "|" + " --- |" * len(title)
    for row in rows:
        yield "| " + " | ".join(escaped(cell) for cell in row) + " |"
    if affected["left_out"]:
        yield ""
        yield f"… and {affected['left_out']} more closings."
    yield from _section("## What was done", view["done"], "")
    admitted = [f"{local(one['time'])}: {one['text']}" for one in view["admitted"]]
    yield from _section("## What we got wrong", admitted, "Nothing that we know of.")
    beside = [f"{one['id'][:8]}: {one['title']}" for one in view["beside"]]
    if beside:
        yield from _section("## At the same time", beside, "")
    if view.get("decisions"):
        yield from ("", "## Decisions", "")
        more = view["decisions_left_out"]
        yield " ".join(f"`{one}`" for one in view["decisions"]) + (
            f" and {more} more" if more else ""
        )


def plain(view: Mapping[str, Any]) -> Iterator[str]:
    """The same for a terminal."""
    yield printable(f"{view['title']}")
    yield printable(f"{_state(view)}; incident {view['id'][:8]}")
    yield ""
    for line in view["summary"]:
        yield f"  {printable(line)}"
    for one in view.get("next", ()):
        yield f"  {printable(one['what'])}: {printable(one['command'])}"
    for line in view.get("lines", ()):
        yield f"  seen: {printable(line)}"
    for one in view["updates"]:
        yield ""
        yield printable(f"{local(one['time'])}, {one['by']}:")
        for line in one["text"].splitlines():
            yield f"  {printable(line)}"
    yield ""
    yield "who was affected"
    for line in _affected(view["affected"]):
        yield f"  {printable(line)}"
    for row in _rows(view)[1]:
        yield f"  {printable('  '.join(filter(None, row)))}"
    if view["affected"]["left_out"]:
        yield f"  … and {view['affected']['left_out']} more closings"
    yield "what was done"
    for line in view["done"]:
        yield f"  {printable(line)}"
    yield "what we got wrong"
    for one in view["admitted"]:
        yield f"  {printable(local(one['time']))}: {printable(one['text'])}"
    if not view["admitted"]:
        yield "  nothing that we know of"
    if view["beside"]:
        yield "at the same time"
        for one in view["beside"]:
            yield f"  {one['id'][:8]}: {printable(one['title'])}"


def escaped(text: str) -> str:
    """Text as Markdown that shows just that: no markup, no list, no heading, no cell's end."""
    shown = "".join(f"\\{char}" if char in _MARKUP else char for char in printable(text))
    if shown[:1] in ("-", "+", "="):
        return f"\\{shown}"
    return _STARTS.sub(r"\1\\\2", shown)


def _markdown_commands(view: Mapping[str, Any]) -> Iterator[str]:
    if not view.get("next"):
        return
    yield from ("", "What to type next:", "")
    for one in view["next"]:
        # Indented: a block that nothing inside can end.
        yield f"    {printable(one['command'])}    # {printable(one['what'])}"


def _state(view: Mapping[str, Any]) -> str:
    if view["state"] == "open":
        return f"Open since {local(view['start'])}"
    if not view["end"] or view["end"] == view["start"]:
        return f"Over; {local(view['start'])}"
    return f"Over; from {local(view['start'])} to {local(view['end'])}"


def _affected(affected: Mapping[str, Any]) -> Iterator[str]:
    services = ", ".join(affected["services"])
    if affected["subjects"]:
        count = affected["subjects"]
        yield f"{count} {'source' if count == 1 else 'sources'}; what was closed: {services}"
    else:
        yield f"everybody who uses {services}"
    if affected["gates"]:
        yield f"gates: {', '.join(affected['gates'])}"
    if affected["owners"]:
        yield f"owners: {', '.join(affected['owners'])}"


def _rows(view: Mapping[str, Any]) -> tuple[Sequence[str], list[tuple[str, ...]]]:
    rows = []
    owned = any(row["owners"] for row in view["affected"]["rows"])
    for row in view["affected"]["rows"]:
        until = local(row["until"]) if row["until"] else "still closed"
        if row["until"] and row["closed"]:
            until = f"{until}, still closed"
        elif row["opened_early"]:
            until = f"{until}, opened early"
        cells: tuple[str, ...] = (source_text(row["who"]), row["what"], local(row["from"]), until)
        rows.append((*cells, ", ".join(row["owners"])) if owned else cells)
    title: tuple[str, ...] = ("who", "what", "from", "until")
    return ((*title, "owner") if owned else title), rows


def _section(heading: str, lines: Sequence[str], empty: str) -> Iterator[str]:
    yield ""
    yield heading
    yield ""
    for line in lines:
        yield f"* {escaped(line)}"
    if not lines:
        yield empty
