"""Which notices go out now, and which wait: at most so many letters in a time, the rest as digests.

Touches nothing: pure, told the time. An all-clear is never left out: it may wait, and goes with
what waits beside it. Limits: 100 notices wait for one place to go; what is over is counted; after
a day the news is none.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from tidegate.model import DAY, Micros
from tidegate.text import printable, time_text

MOST_WAITING = 100
LONGEST_SUBJECT = 160
LONGEST_TEXT = 16 << 10
LONGEST_LETTER = 64 << 10
LONGEST_KEPT = 2 << 10


class Notice(NamedTuple):
    """Something that people should know. `about`: what it is about (a gate, a guard); `clear`: the
    end of what was told before."""

    time: Micros
    subject: str
    text: str
    about: str = ""
    clear: bool = False


def notice(time: Micros, subject: str, text: str, about: str = "", clear: bool = False) -> Notice:
    """A notice whose text only tells: one line of subject, nothing that steers a terminal."""
    lines = [printable(line.expandtabs()) for line in text.splitlines()]
    return Notice(
        time,
        _cut(printable(" ".join(subject.split())), LONGEST_SUBJECT),
        _cut("\n".join(lines), LONGEST_TEXT),
        about,
        clear,
    )


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 2] + " …"


class Letter(NamedTuple):
    """What goes out at once. `left_out`: how many more there were."""

    notices: tuple[Notice, ...]
    left_out: int = 0

    @property
    def subject(self) -> str:
        """Of one notice its own, of several how many and the latest."""
        latest = self.notices[-1].subject
        if len(self.notices) + self.left_out == 1:
            return latest
        return f"{len(self.notices) + self.left_out} notices, the latest: {latest}"

    @property
    def text(self) -> str:
        """Of one notice its own text; of several all of them, as far as there is room."""
        if len(self.notices) + self.left_out == 1:
            return self.notices[0].text
        parts = [f"{time_text(one.time, None)}  {one.subject}" for one in self.notices]
        if self.left_out:
            parts.append(f"and {self.left_out} older ones that are left out here: tidegate history")
        summary, rest = "\n".join(parts), ""
        for one, head in zip(self.notices, parts, strict=False):
            more = f"\n\n-- {head}\n\n{one.text}"
            if len(summary) + len(rest) + len(more) > LONGEST_LETTER:
                rest += "\n\n(the rest is too long for one letter)"
                break
            rest += more
        return summary + rest


class Digest:
    """What waits for one place to go: at most `most` letters in `within`."""

    def __init__(self, most: int, within: Micros) -> None:
        self._most, self._within = most, within
        self._waiting: list[Notice] = []
        self._sent: list[Micros] = []
        self._left_out = 0

    @property
    def waiting(self) -> int:
        """How many notices wait."""
        return len(self._waiting)

    def limit(self, most: int, within: Micros) -> None:
        """From now on at most so many."""
        self._most, self._within = most, within

    def add(self, one: Notice) -> None:
        """It waits, till `due`."""
        self._waiting.append(one)
        self._bound()

    def due(self, now: Micros) -> Letter | None:
        """The letter that may go out now, with everything that waits; None: nothing, or not yet."""
        # Also when somebody has set the clock back, nothing waits for longer than `within`.
        self._sent = [sent for sent in self._sent if 0 <= now - sent < self._within]
        fresh = [one for one in self._waiting if now - one.time < DAY]
        self._left_out += len(self._waiting) - len(fresh)
        self._waiting = fresh
        if not fresh or len(self._sent) >= self._most:
            return None
        self._sent.append(now)
        letter = Letter(tuple(fresh), self._left_out)
        self._waiting, self._left_out = [], 0
        return letter

    def back(self, letter: Letter, sent: Micros) -> None:
        """The letter of that moment did not arrive: it waits again, before what came since."""
        if sent in self._sent:
            self._sent.remove(sent)
        self._waiting = [*letter.notices, *self._waiting]
        self._left_out += letter.left_out
        self._bound()

    def packed(self, under_way: Letter | None = None) -> bytes:
        """What waits, what is under way, and when letters went out, to be kept over a restart."""
        waiting = [*(under_way.notices if under_way else ()), *self._waiting]
        left_out = self._left_out + (under_way.left_out if under_way else 0)
        rows = [one._replace(text=_cut(one.text, LONGEST_KEPT)) for one in waiting]
        kept = {"sent": self._sent, "left_out": left_out, "waiting": rows}
        return json.dumps(kept, separators=(",", ":")).encode("ascii")

    def unpack(self, packed: bytes) -> None:
        """Take it back; of what is damaged, nothing. What was under way may go out twice."""
        try:
            found = json.loads(packed)
            sent, left_out = [int(one) for one in found["sent"]], int(found["left_out"])
            waiting = [
                notice(int(time), str(subject), str(text), str(about), bool(clear))
                for time, subject, text, about, clear in found["waiting"]
            ]
        except (ValueError, TypeError, KeyError):
            return
        self._sent, self._left_out = sent, left_out
        self._waiting = waiting
        self._bound()

    def _bound(self) -> None:
        """Leave out the oldest that is no all-clear; of all-clears those that are told anew."""
        while len(self._waiting) > MOST_WAITING:
            number = _dispensable(self._waiting)
            if number is None:
                return  # as many all-clears as there are guards: they are few
            del self._waiting[number]
            self._left_out += 1


def _dispensable(waiting: Sequence[Notice]) -> int | None:
    for number, one in enumerate(waiting):
        if not one.clear:
            return number
    last = {one.about: number for number, one in enumerate(waiting)}
    return next((n for n, one in enumerate(waiting) if last[one.about] != n), None)
