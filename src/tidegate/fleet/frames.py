"""What the watcher and the fleet's process say to each other, as frames of JSON.

Touches nothing. What comes from the process is looked at as if it were a stranger's: what is odd is
left out. Limits: `ROWS` rows of a kind in a frame, and texts of `_LONGEST` characters.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar, get_args, get_type_hints

from tidegate.fleet.port import (
    Closing,
    Conviction,
    Health,
    Heard,
    Opening,
    Quote,
    Report,
    Row,
    Seat,
    Share,
    State,
    Told,
    Why,
)
from tidegate.frames import MAX_FRAME, Frame
from tidegate.model import Change, Decision, Shared, Subject
from tidegate.text import printable

ROWS = 1_000
_ROOM = MAX_FRAME - 4096
_LONGEST = 2_000
_LARGEST = 1 << 62
_DEEP = 64  # items of `more`

T = TypeVar("T")

_SAID = (
    "id",
    "time",
    "action",
    "subject",
    "rule",
    "ports",
    "until",
    "mode",
    "spared",
    "by",
    "note",
)
"""What of a decision the process needs."""


def chunks(rows: Iterable[T], most: int = ROWS) -> Iterator[list[T]]:
    """The rows, so many at a time."""
    found: list[T] = []
    for one in rows:
        found.append(one)
        if len(found) == most:
            yield found
            found = []
    if found:
        yield found


def fitting(rows: Iterable[list[Any]], most: int = ROWS) -> Iterator[list[list[Any]]]:
    """The same of rows that may be long, so that a frame takes them; one that it can't is left out.
    A frame that is too large would end the process that says it."""
    found: list[list[Any]] = []
    size = 0
    for row in rows:
        own = len(json.dumps(row, separators=(",", ":"))) + 1
        if own > _ROOM:
            continue
        if found and (len(found) == most or size + own > _ROOM):
            yield found
            found, size = [], 0
        found.append(row)
        size += own
    if found:
        yield found


def decision_row(one: Decision) -> list[Any]:
    """A decision, as far as it is said to others."""
    return [getattr(one, name) for name in _SAID]


def read_decision(row: list[Any]) -> Decision:
    """It again."""
    said = dict(zip(_SAID, row, strict=True))
    said["ports"] = tuple(said["ports"])
    return Decision(
        **said, duration=max(0, said["until"] - said["time"]), count=0, step=0, reason=""
    )


def read_shared(row: list[Any]) -> Shared:
    """Something that was counted."""
    return Shared(*row)


def change_row(one: Change) -> list[Any]:
    """A piece of memory."""
    return [one.part, one.key, None if one.value is None else text_of(one.value)]


def read_change(row: list[Any]) -> Change:
    """It again. ValueError where it is none."""
    part, key, value = row
    return Change(str(part), str(key), None if value is None else bytes_of(value))


def text_of(data: bytes) -> str:
    """Bytes as text."""
    return base64.b64encode(data).decode("ascii")


def bytes_of(text: str) -> bytes:
    """They again. ValueError where it is none."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError) as error:
        raise ValueError("not base64") from error


def heard_frames(heard: Heard) -> Iterator[Frame]:
    """What was heard, in frames that are not too large."""
    lists: tuple[tuple[str, tuple[Any, ...]], ...] = (
        ("openings", heard.openings), ("convictions", heard.convictions),
        ("closings", heard.closings), ("changes", heard.changes),
        ("seats", heard.seats),
    )  # fmt: skip
    for name, rows in lists:
        for some in fitting(change_row(one) if name == "changes" else list(one) for one in rows):
            yield {"type": "heard", name: some}
    for one in heard.journal:
        yield {"type": "heard", "journal": [text_of(one)]}
    for number, found in heard.told:
        said = (["quote" if isinstance(one, Quote) else "report", *one] for one in found)
        yield {"type": "heard", "told": [[number, next(fitting(said), [])]]}


def read_heard(frame: Frame) -> Heard:
    """What was heard, those rows that are what they should be."""
    return Heard(
        tuple(_rows(frame.get("convictions"), _conviction)),
        tuple(_rows(frame.get("closings"), lambda row: _made(Closing, row))),
        tuple(_rows(frame.get("openings"), _opening)),
        tuple(_rows(frame.get("changes"), read_change)),
        tuple(_rows(frame.get("journal"), bytes_of)),
        tuple(_rows(frame.get("told"), _told)),
        tuple(_rows(frame.get("seats"), lambda row: _made(Seat, row))),
    )


def read_health(frame: Mapping[str, Any]) -> Health:
    """How it is."""
    said = {name: frame[name] for name in Health._fields if name in frame}
    if said.get("state") not in get_args(State):
        raise ValueError("no such state")
    refused = said.pop("refused", {})
    troubles = said.pop("troubles", [])
    cost = said.pop("cost", 0.0)
    return Health(
        **{name: _field(Health, name, value) for name, value in said.items()},
        refused={text(name): _number(number) for name, number in list(refused.items())[:1000]},
        cost=float(cost),
        troubles=tuple(text(one) for one in troubles[:8]),
    )


def text(part: object) -> str:
    """Text that may be shown."""
    return printable(str(part)[:_LONGEST])


def _rows(rows: Any, read: Callable[[Any], T]) -> Iterator[T]:
    if not isinstance(rows, list):
        return
    for row in rows:
        try:
            yield read(row)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            continue


def _conviction(row: list[Any]) -> Conviction:
    found = _made(Conviction, row)
    return found._replace(shares=tuple(map(_share, found.shares)))


def _share(row: Any) -> Share:
    host, count = row
    return text(host), _number(count)


def _opening(row: list[Any]) -> Opening:
    found = _made(Opening, row)
    if found.why not in get_args(Why):
        raise ValueError("no such reason")
    return found


def _told(row: list[Any]) -> Told:
    number, rows = row
    return _number(number), tuple(_rows(rows, _told_row))


def _told_row(row: list[Any]) -> Row:
    kind, *rest = row
    if kind == "quote":
        return _made(Quote, rest)
    *plain, member, more = rest
    shown = {text(name): _plain(value) for name, value in list(dict(more).items())[:_DEEP]}
    found = _made(Report, [*plain, 0, {}])
    return found._replace(member=bool(member), more=shown)


def _plain(value: Any) -> Any:
    """What may be shown of a value that JSON had: numbers, texts, and short lists of them."""
    if isinstance(value, bool | int | float) or value is None:
        return value
    if isinstance(value, list):
        return [_plain(one) for one in value[:_DEEP] if not isinstance(one, list | dict)]
    return text(value)


def _made(kind: type[T], row: list[Any]) -> T:
    """A value of plain fields. ValueError where one is of another type."""
    names: tuple[str, ...] = kind._fields  # type: ignore[attr-defined]
    said = zip(names, row, strict=True)
    return kind(*(_field(kind, name, value) for name, value in said))


_HINTS: dict[type, dict[str, Any]] = {}


def _field(kind: type, name: str, value: Any) -> Any:
    hints = _HINTS.get(kind)
    if hints is None:
        hints = _HINTS[kind] = get_type_hints(kind)
    hint = hints[name]
    if hint is int:
        return _number(value)
    if hint is str or hint is Subject:
        if not isinstance(value, str):
            raise ValueError(f"{name} is no text")
        return text(value)
    if hint is bool:
        return value is True
    if name == "ports":
        return tuple(_number(one) for one in value)
    return value


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > _LARGEST:
        raise ValueError("no number")
    return value
