"""What owners are told of their sources: cut off, capped, let back; in plain English, with lines.

Touches nothing, except that times are shown by this host's zone. What is not theirs alone comes
without its lines. Limits: `LINES` lines of evidence for each, at most `LONGEST` characters of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from tidegate.model import SECOND, Micros
from tidegate.policy.durations import format_duration
from tidegate.text import printable, time_text

LINES = 5
LONGEST = 300

Happening = Literal["cut", "warned", "back"]
_VERBS: dict[Happening, tuple[str, str]] = {
    "cut": ("is cut off", "are cut off"),
    "warned": ("was held back", "were held back"),
    "back": ("is let back", "are let back"),
}


class News(NamedTuple):
    """Something that an owner should know of one source. `until`: cut off until then; `watched`: on
    probation until then (0: not); `by`: who, if a person; `lines`: why."""

    what: Happening
    time: Micros
    subject: str
    until: Micros = 0
    watched: Micros = 0
    reason: str = ""
    by: str = ""
    lines: tuple[str, ...] = ()

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> News:
        """Take it back from JSON. Raises TypeError or ValueError where it is none."""
        what, time, subject, until, watched, reason, by, lines = row
        if what not in _VERBS:
            raise ValueError(what)
        return cls(
            what, int(time), str(subject), int(until), int(watched), str(reason), str(by),
            tuple(str(line) for line in lines)[:LINES],
        )  # fmt: skip


def subject_line(owner: str, news: Sequence[News]) -> str:
    """What happened, in a line: of one source its name, of several how many."""
    latest = news[-1]
    if len(news) == 1:
        end = f" until {moment_text(latest.until)}" if latest.what == "cut" else ""
        return f"{owner}: {latest.subject} {_VERBS[latest.what][0]}{end}"
    parts = []
    for what, (one, many) in _VERBS.items():
        count = sum(1 for item in news if item.what == what)
        if count:
            parts.append(f"{count} {one if count == 1 else many}")
    return f"{owner}: {', '.join(parts)}"


def body(owner: str, news: Sequence[News], left_out: int) -> str:
    """All of it, the oldest first. `left_out`: how many more there were that nobody was told of."""
    blocks = [_block(one) for one in news]
    if left_out:
        blocks.append(
            [
                f"Since the last notice there {'was' if left_out == 1 else 'were'} {left_out} more"
                f" {'thing' if left_out == 1 else 'things'} of the kind, not listed here."
            ]
        )
    blocks.append(
        [
            f"You get this because the policy of this host names you as owner {owner}.",
            "There is at most one such notice in ten minutes; what happens in between comes with"
            " the next.",
        ]
    )
    return "\n\n".join("\n".join(block) for block in blocks)


def moment_text(moment: Micros) -> str:
    """A moment for people, to the second."""
    return time_text(moment // SECOND * SECOND, None).replace("T", " ", 1)


def _block(one: News) -> list[str]:
    name = printable(one.subject)
    when = f"When:  {moment_text(one.time)}"
    if one.what == "cut":
        lines = [
            f"{name} is cut off: it can't begin connections to others. Who asks something of it is",
            "answered as before.",
            "",
            when,
            f"Until: {moment_text(one.until)} ({format_duration(_whole(one.until - one.time))}),"
            " then it is let back by itself",
        ]
        lines += _probation(one, "After:")
        lines += _why(one)
        lines += [
            "",
            "What to do: find and stop the program that does this, then change what let it in.",
            "Who runs this host can let it back at once:",
            f"  tidegate release {name}",
        ]
        return lines
    if one.what == "warned":
        lines = [
            f"{name} sends what looks like a worm, a bot or a scan. It is not cut off,",
            "but whatever was over a cap was held back. If it goes on, it is cut off.",
            "",
            when,
        ]
        return [*lines, *_why(one), "", "What to do: see what runs there, before it is cut off."]
    early = f", by {printable(one.by)}" if one.by else ""
    lines = [f"{name} is let back{early}: it can begin connections again.", "", when]
    return [*lines, *_probation(one, "Watch:")]


def _probation(one: News, label: str) -> list[str]:
    if one.watched <= max(one.until if one.what == "cut" else 0, one.time):
        return []
    return [
        f"{label:<6} on probation until {moment_text(one.watched)}, under a tighter cap;"
        " if it does it again",
        "       before that, it is cut off at once, for longer",
    ]


def _why(one: News) -> list[str]:
    lines = [f"Why:   {printable(one.reason)}"] if one.reason else []
    if one.by:
        lines += [f"By:    {printable(one.by)}"]
    if one.lines:
        lines += ["", "What was seen:"]
        lines += [f"  {printable(line)[:LONGEST]}" for line in one.lines[-LINES:]]
    return lines


def _whole(span: Micros) -> Micros:
    return max(SECOND, span // SECOND * SECOND)
