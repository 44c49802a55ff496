"""Reads what people asked for over the control socket: addresses, spans, ports, notes, numbers.

Touches nothing. What is wrong is a WrongError that says what was expected.
Limits: one value at a time; whether it may be done is for the answerer to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tidegate import subject as subjects
from tidegate.model import Micros, Subject
from tidegate.policy.durations import parse_duration
from tidegate.policy.values import ports as read_ports


class WrongError(Exception):
    """The caller's input is wrong: answered with 400 and the text."""


def subject(given: object) -> Subject:
    """An address (IPv6: its /64) or a network, canonical."""
    found = subjects.parse(given) if isinstance(given, str) else None
    if found is None:
        raise WrongError(f"expected an address or a network such as 192.0.2.7, found {given!r}")
    return found


def span(body: Mapping[str, object], default: str, name: str = "for") -> Micros:
    """For how long, or since how long ago."""
    try:
        return parse_duration(body.get(name, default))
    except ValueError as expected:
        raise WrongError(f"{name}: expected {expected}") from expected


def ports(body: Mapping[str, object]) -> tuple[int, ...]:
    """Which ports, sorted; none: every one."""
    try:
        return read_ports(body.get("ports", []))
    except ValueError as expected:
        raise WrongError(f"ports: expected {expected}") from expected


def note(body: Mapping[str, object]) -> str:
    """Why, in the person's words."""
    found = body.get("note", "")
    return found if isinstance(found, str) else ""


def local(body: Mapping[str, object]) -> bool:
    """Whether this host alone is meant, also where it has a fleet."""
    return body.get("local") is True


def number(text: str, most: int) -> int:
    """A whole number from 1 to `most`."""
    if text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= most:
        return int(text)
    raise WrongError(f"limit: expected a whole number from 1 to {most}")


def choice(name: str, given: str, known: Sequence[str]) -> str:
    """One of several words."""
    if given in known:
        return given
    raise WrongError(f"{name}: expected one of {', '.join(known)}, found {given!r}")
