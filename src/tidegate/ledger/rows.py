"""Decisions as rows and back: what is stored of them, and how an address becomes a sortable key.

Touches nothing: pure. Both ledgers store these rows, so they keep and cut exactly the same.
Limits: 20 lines of evidence, 1,000 bytes for each of them and for each free text, 64-bit numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from tidegate.ledger.port import Deed, Entry
from tidegate.model import Action, Confined, Decision, Evidence, Micros, Position, Subject
from tidegate.subject import Network, network

MAX_LINES = 20
MAX_BYTES = 1000
_WIDEST = (1 << 63) - 1

DecisionRow = tuple[Any, ...]
_ENCODE = json.JSONEncoder(separators=(",", ":")).encode

UNDOES: dict[str, tuple[Action, ...]] = {
    "unban": ("ban",),
    "allow": ("ban",),
    "disallow": ("allow",),
    "release": ("quarantine", "release"),
}

COLUMNS = (
    "id, time, action, subject, rule, ports, until, duration, count, step,"
    " mode, reason, spared, by, note, collateral, watched"
)


def whose(by: str) -> str:
    """Whose decisions alone an undoing by this one undoes; "": everybody's. What a host of the
    fleet had closed here is taken back without touching what others want closed."""
    return by if by.startswith("fleet:") else ""


def decision_row(decision: Decision) -> DecisionRow:
    """The values of `COLUMNS`, bounded, in text and whole numbers only."""
    d = decision
    return (
        clean(d.id),
        whole(d.time),
        d.action,
        clean(d.subject),
        clean(d.rule),
        ports_text(d.ports),
        whole(d.until),
        whole(d.duration),
        whole(d.count),
        whole(d.step),
        d.mode,
        clean(d.reason),
        clean(d.spared),
        clean(d.by),
        clean(d.note),
        int(d.collateral),
        whole(d.watched),
    )


def decision_of(row: Sequence[Any], evidence: tuple[Evidence, ...]) -> Decision:
    """The decision behind a row (further values behind the columns are passed over)."""
    return Decision(
        id=row[0],
        time=row[1],
        action=row[2],
        subject=Subject(row[3]),
        rule=row[4],
        ports=ports_of(row[5]),
        until=row[6],
        duration=row[7],
        count=row[8],
        step=row[9],
        mode=row[10],
        reason=row[11],
        spared=row[12],
        by=row[13],
        note=row[14],
        collateral=bool(row[15]),
        watched=row[16],
        evidence=evidence,
    )


def lasting(entries: Iterable[Entry], now: Micros) -> list[Entry]:
    """Of quarantines and releases that nothing has undone, for each subject the one that counts: by
    which it is cut off the longest, or else is watched the longest. Sorted by subject."""
    found: dict[Subject, Entry] = {}
    for entry in entries:
        one = entry.decision
        before = found.get(one.subject)
        if max(_cut(one, now), one.watched) > now and (
            before is None or _reach(one, now) > _reach(before.decision, now)
        ):
            found[one.subject] = entry
    return [found[subject] for subject in sorted(found)]


def confined(rows: Iterable[tuple[str, str, Micros, Micros]], now: Micros) -> list[Confined]:
    """Until when each is cut off, and until when it is watched in all, of (subject, action, until,
    watched) of what nothing has undone. Sorted by subject."""
    found: dict[str, tuple[Micros, Micros]] = {}
    for subject, action, until, watched in rows:
        cut = until if action == "quarantine" and until > now else 0
        if max(cut, watched) > now:
            before = found.get(subject, (0, 0))
            found[subject] = max(before[0], cut), max(before[1], cut, watched)
    return [Confined(Subject(one), *found[one]) for one in sorted(found)]


def _cut(decision: Decision, now: Micros) -> Micros:
    """Until when it cuts off; 0: it does not, or not any more."""
    return decision.until if decision.action == "quarantine" and decision.until > now else 0


def _reach(decision: Decision, now: Micros) -> tuple[Micros, Micros]:
    return _cut(decision, now), decision.watched


def deed_of(row: Sequence[Any]) -> Deed:
    """The deed behind a row of its own columns."""
    ports, good = ports_of(row[6]), bool(row[12])
    return Deed._make((*row[:6], ports, *row[7:12], good, *row[13:]))


def evidence_text(decision: Decision) -> str:
    """The *last* lines (those that tipped the scale) as JSON: `[[time, path, offset, line], …]`.

    One text a decision, not one row a line: three times faster to write. Empty without any.
    """
    lines = [
        (whole(e.time), clean(e.path), whole(e.offset), _bounded(e.line))
        for e in decision.evidence[-MAX_LINES:]
    ]
    return _ENCODE(lines) if lines else ""


def evidence_of(text: str | None) -> tuple[Evidence, ...]:
    """The evidence behind the text."""
    return tuple(Evidence(*line) for line in json.loads(text)) if text else ()


def _bounded(text: str) -> str:
    """A line of at most `MAX_BYTES`; stray bytes (lone surrogates) are kept."""
    if len(text) * 4 <= MAX_BYTES:
        return text
    line = text.encode("utf-8", "surrogatepass")
    if len(line) <= MAX_BYTES:
        return text
    end = MAX_BYTES
    while line[end] & 0xC0 == 0x80:  # never cut inside a character
        end -= 1
    return line[:end].decode("utf-8", "surrogatepass")


def latest(positions: Iterable[Position]) -> dict[tuple[str, str, str], Position]:
    """Positions, bounded, by source, path and identity; the last of each holds."""
    bounded = (
        Position(clean(s), clean(p), clean(i), whole(o), clean(c)) for s, p, i, o, c in positions
    )
    return {position[:3]: position for position in bounded}


def clean(text: str) -> str:
    """Text that any UTF-8 file can hold, `MAX_BYTES` at most: lone surrogates are spelt out."""
    if text.isascii():
        return text[:MAX_BYTES]
    line = text.encode("utf-8", "backslashreplace")
    return line[:MAX_BYTES].decode("utf-8", "ignore")


MAX_CAPTURE = 64 << 10
MAX_REMARK = 4 << 10


def capture_text(text: str) -> str:
    """What was captured, bounded, in text that any UTF-8 file can hold."""
    return text.encode("utf-8", "backslashreplace")[:MAX_CAPTURE].decode("utf-8", "ignore")


def remark_text(text: str) -> str:
    """What a person said, bounded likewise."""
    return text.encode("utf-8", "backslashreplace")[:MAX_REMARK].decode("utf-8", "ignore")


def whole(number: int) -> int:
    """A number that fits 64 bits: what is beyond them is as good as the end of them."""
    if -_WIDEST <= number <= _WIDEST:
        return number
    return _WIDEST if number > 0 else -_WIDEST


@lru_cache(maxsize=1024)
def ports_text(ports: tuple[int, ...]) -> str:
    """A scope as text: `25,465`, sorted; empty for everything."""
    return ",".join(str(port) for port in sorted(set(ports)))


@lru_cache(maxsize=1024)
def ports_of(text: str) -> tuple[int, ...]:
    """The scope behind the text."""
    return tuple(int(port) for port in text.split(",")) if text else ()


def place(subject: str) -> bytes:
    """Where a subject stands: family, first address and prefix length, so that ranges sort.

    What is inside a network is one range of places; subjects that are no address stand by name.
    """
    found = network(Subject(subject))
    return b"-" + subject.encode() if found is None else _place(found)


def _place(found: Network) -> bytes:
    return b"%d%b%c" % (found.family, found.bits, found.length)


def places_about(subject: str) -> tuple[list[bytes], bytes, bytes]:
    """The places of a subject and of the networks around it; and the range of those inside it."""
    own = network(Subject(subject))
    if own is None:
        only = place(subject)
        return [only], only, only
    width = len(own.bits) * 8
    around = [
        _place(Network(own.family, length, _masked(own.first, length, width)))
        for length in range(own.length, -1, -1)
    ]
    first, last = _place(own)[:-1], own.last.to_bytes(width // 8)
    return around, first + b"\0", first[:1] + last + b"\xff"


def _masked(first: int, length: int, width: int) -> bytes:
    return (first >> (width - length) << (width - length)).to_bytes(width // 8)
