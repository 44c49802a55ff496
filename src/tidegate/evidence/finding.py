"""Findings on traffic: what was seen of whom, and the line that says it in our own text format.

Touches nothing. A finding names whoever sends (never who is merely named in packets anybody can
forge: for those it is the service). Limits: `LONGEST` characters of text, `SHOWN` destinations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from tidegate.model import Micros, Subject
from tidegate.text import printable, time_text

LONGEST = 400
SHOWN = 3
"""So many destinations are named in a finding's text."""

FindingKind = Literal[
    "outward.scan", "outward.capped", "outward.syn_flood", "outward.udp_flood",
    "outward.smtp_flood", "outward.irc", "outward.signature", "outward.guessing",
    "inward.syn_flood", "inward.guessing",
]  # fmt: skip

_WORDS = {"outward.capped": "cap"}
_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp"}


class Finding(NamedTuple):
    """One thing found. `name`: of a signature, the filter's."""

    time: Micros
    kind: FindingKind
    subject: Subject
    text: str
    name: str = ""


def line(finding: Finding) -> str:
    """`TIME tidegate outward: scan uid:33: TEXT`, without a line end: what the packs `outward` and
    `inward` read. Nothing in TEXT can end the line or look like another one's beginning."""
    way, _dot, word = finding.kind.partition(".")
    word = _WORDS.get(finding.kind, word.replace("_", "-"))
    if finding.name:
        word = f"{word} {finding.name}"
    text = printable(finding.text)
    if len(text) > LONGEST:
        text = text[: LONGEST - 2] + " …"
    time = time_text(finding.time)
    return f"{time} tidegate {way}: {word} {finding.subject}: {text}"


def endpoint(destination: str, port: int, protocol: int) -> str:
    """`198.51.100.4:1434/udp`, IPv6 in brackets; without the port where there is none."""
    name = _PROTOCOLS.get(protocol, str(protocol))
    if not port:
        return f"{destination}/{name}"
    return (
        f"[{destination}]:{port}/{name}" if ":" in destination else f"{destination}:{port}/{name}"
    )


def listed(destinations: Sequence[str], everything: int = 0) -> str:
    """Some of them by name, and how many more; "" without any."""
    if not destinations:
        return ""
    shown = destinations[:SHOWN]
    more = max(everything, len(destinations)) - len(shown)
    return ": " + ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def span_text(span: Micros) -> str:
    """A span for people: `0.2s`, `14s`, `3m`, `5h`."""
    seconds = max(span, 0) / 1_000_000
    if seconds < 10:
        return f"{seconds:.1f}s"
    if seconds < 120:
        return f"{seconds:.0f}s"
    return f"{seconds / 60:.0f}m" if seconds < 7200 else f"{seconds / 3600:.0f}h"
