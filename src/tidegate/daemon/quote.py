"""Quotes the lines behind a decision, so that every ban explains itself; of a knock, what it was.

Touches nothing itself: lines come from the block at hand, or from the `fetch` it is given.
Limits: 1,000 bytes a line; a line that is gone is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from tidegate.model import Block, Decision, Evidence, Micros
from tidegate.source.port import Source

LINE_LIMIT = 1000

Fetch = Callable[[int, int], bytes | None]
"""Origin number and offset → the line there, without newline; None if it is gone."""


def told(decision: Decision, block: Block | None, sources: Collection[Source]) -> Decision:
    """The decision with its lines, which one of these sources has, or had."""

    def fetch(origin: int, offset: int) -> bytes | None:
        found = (source.fetch(origin, offset) for source in sources)
        return next((line for line in found if line is not None), None)

    def path(number: int) -> str:
        origins = (origin for source in sources for origin in source.origins())
        return next((origin.path for origin in origins if origin.number == number), "?")

    return quoted(decision, block, fetch, path)


def quoted(
    decision: Decision, block: Block | None, fetch: Fetch, path: Callable[[int], str]
) -> Decision:
    """The decision with its lines. `path` names the file behind an origin number; `block`: the one
    that was just read, if any."""
    lines = []
    for time, origin, offset in decision.refs:
        if not origin and block is None:
            lines.append(_knock(decision, time, offset))
            continue
        line = _line_in(block, offset) if block is not None and origin == block.origin else None
        if line is None:
            line = fetch(origin, offset)
        if line is not None:
            text = line[:LINE_LIMIT].decode("utf-8", "backslashreplace")
            lines.append(Evidence(time, path(origin), offset, text))
    return replace(decision, evidence=tuple(lines))


def _knock(decision: Decision, time: Micros, port: int) -> Evidence:
    """What stands in the place of a line where somebody who is closed for tried again: nothing was
    written about it, the kernel told."""
    said = f"a new TCP connection from {decision.subject} to port {port}, dropped"
    return Evidence(time, "nftables", 0, said)


def _line_in(block: Block, offset: int) -> bytes | None:
    start = offset - block.offset
    if block.framing != "lines" or not 0 <= start < len(block.data):
        return None
    end = block.data.find(b"\n", start)
    return block.data[start : end if end >= 0 else len(block.data)]
