"""The page that `tidegate detect --explain` shows of a line, for people.

Touches nothing: makes text of what `cli.explain` put together. A caret stands under the place where
a pattern stopped. Limits: of a long line what is around the caret; hostile text made printable.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from tidegate.detector.explain import Explanation
from tidegate.text import printable, well_formed

WIDTH = 96
_SHOWN = 6
_TIMES = {
    "header": "the header's stamp",
    "journal": "the journal",
    "message": "the group `time` of the pattern",
    "arrival": "its arrival, as the line has no stamp",
}
_IMPOSSIBLE = "its arrival, as the stamp is impossible or more than a minute ahead"
_OUTCOMES = {
    "matched": "matches",
    "no match": "does not match: expected {expected}",
    "no address": "matches, but in its slot stands no address: expected {expected}",
    "no literal": "not asked, as none of its literals is here; it would not match: expected"
    " {expected}",
    "ran away": "set aside: {expected}",
}


def page(view: dict[str, Any], told: Explanation) -> Iterator[str]:
    """One line's explanation as text."""
    place = f"{view['file']}: " if "file" in view else ""
    yield f"{printable(place)}line {view['line']}: {printable(view['text'])}"
    yield f"  header: {_header(told)}"
    if told.literals:
        yield f"  literals: {', '.join(_quoted(text) for text in told.literals)}"
    else:
        yield "  literals: none, so no detector is asked"
        if told.of_program:
            texts = [_quoted(text) for text in told.of_program]
            yield f"    detectors of {printable(told.program)} look for: {_some(texts, 12)}"
    for one in told.tried:
        if one.outcome in _OUTCOMES:
            said = _OUTCOMES[one.outcome].format(expected=printable(one.expected))
            yield f"  {one.detector}: {said}"
            if one.outcome != "matched":
                yield from _caret(told.line, one.at)
    yield from _not_asked(told)
    for event in view["events"]:
        yield from _event(event, told)
    for one in view["dropped"]:
        yield f"  no event of {one['detector']} yet: {one['why']}"
    if not view["events"] and not view["dropped"]:
        yield "  no event"


def _header(told: Explanation) -> str:
    parts = [
        f"{name} {printable(value)}"
        for name, value in (
            ("stamp", told.stamp),
            ("host", told.host),
            ("program", told.program),
            ("process", told.pid),
        )
        if value
    ]
    if told.repeated:
        parts.append(f"message repeated {told.repeated} times")
    what = ", ".join(parts) or "all of it is the message"
    return f"{told.form}: {what}" if told.form != "none" else "none: all of it is the message"


def _not_asked(told: Explanation) -> Iterator[str]:
    other = [one.detector for one in told.tried if one.outcome == "other program"]
    if other:
        why = f"the line is of {printable(told.program)}" if told.program else "no header names it"
        yield f"  not asked, as {why}: {_some(other)}"
    taken = [one.detector for one in told.tried if one.outcome == "already taken"]
    if taken:
        yield f"  not asked, as their pack has its event: {_some(taken)}"


def _event(event: dict[str, Any], told: Explanation) -> Iterator[str]:
    weight = f", weight {event['weight']}" if event["class"] == "abuse" else ""
    many = f", counts {event['count']} times" if event["count"] > 1 else ""
    yield f"  event: {event['kind']} ({event['class']}{weight}{many}) by {event['detector']}"
    origin = event["from"]
    who = f"subject {printable(event['subject']) or 'nobody'}"
    slot = origin["subject"]
    yield f"    {who}" + (f", from the text {_quoted(_cut(told, slot))}" if slot else "")
    source = _TIMES.get(origin["time"], _IMPOSSIBLE if origin["time"] else "the line it waited for")
    yield f"    time {event['time']}, from {source}"
    if event["session"]:
        where = "the pattern" if origin["session"] == "message" else "the header's process id"
        yield f"    session {printable(event['session'])}, from {where}"
    fields = [f"{name} = {_quoted(value)}" for name, value in event["fields"].items()]
    if fields:
        yield f"    fields {', '.join(fields)}"
    for rule in event["rules"]:
        yield f"    rule {rule['rule']} ({rule['stated']}): {_makes(rule)}"
    if not event["rules"]:
        yield "    no rule counts this kind"
    for note in event["notes"]:
        yield f"    note: {note}"


def _makes(rule: dict[str, Any]) -> str:
    if rule.get("resets"):
        return f"does not begin anew: {rule['why']}" if "why" in rule else "begins the count anew"
    if "why" in rule:
        return f"does not count it: {printable(rule['why'])}"
    together = ", together with what all hosts of the fleet count" if "together" in rule else ""
    return f"counts {rule['weight']}{together}"


def _caret(line: bytes, at: int) -> Iterator[str]:
    """The line, and a caret under the byte `at`; of a long line what is around it."""
    before = printable(shown(line[:at]))
    text = before + printable(shown(line[at:]))
    first = max(0, min(len(before) - WIDTH // 2, len(text) - WIDTH))
    piece = text[first : first + WIDTH]
    left, right = "…" if first else "", "…" if first + WIDTH < len(text) else ""
    yield f"      {left}{piece}{right}"
    yield " " * (6 + len(left) + len(before) - first) + "^"


def _cut(told: Explanation, span: Sequence[int]) -> str:
    return shown(told.line[span[0] : span[1]])


def _some(names: Sequence[str], most: int = _SHOWN) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _quoted(text: str) -> str:
    return json.dumps(printable(text), ensure_ascii=False).replace("\\\\", "\\")


def shown(data: bytes) -> str:
    """Bytes of a log as text that JSON takes; what is no UTF-8 is spelt out."""
    return well_formed(data.decode("utf-8", "surrogateescape"))
