"""Captures: the moment before a guard moves, kept for people: the host's portrait, and what the
guard's own commands print.

Touches what `portrait` does, and runs the commands as `commands` says, in one thread of its own.
Limits: `timeout` for all commands together, `largest` bytes for all of the text; one at a time.
"""

from __future__ import annotations

import queue
import shlex
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from tidegate.errors import SourceError
from tidegate.frames import Frame
from tidegate.model import Micros
from tidegate.policy.guards import Capture
from tidegate.policy.models import Policy
from tidegate.source.readings import commands
from tidegate.source.readings.portrait import Portrait
from tidegate.source.readings.taking import Places
from tidegate.text import printable

MOST_ASKED = 1000
"""Captures that may be asked for at once: one for each guard, so it is never reached."""
LARGEST = 512 << 10
"""Bytes of text at most, whatever the guard says: it goes out in one frame."""
_HERE = Places()
_CUT = "… (cut here)"


class Captures:
    """Captures asked for by guards' names; `taken` gives those that are done, as frames.

    `wake` is called, in the thread, when there is one to be fetched.
    """

    def __init__(
        self,
        policy: Policy,
        clock: Callable[[], Micros],
        wake: Callable[[], None],
        places: Places = _HERE,
    ) -> None:
        self.policy = policy
        self._clock = clock
        self._wake = wake
        self._portrait = Portrait(places)
        self._asked: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        self._pending: set[str] = set()
        self._thread: threading.Thread | None = None

    def ask(self, name: str) -> None:
        """Begin one; where one is under way for this guard, that is it."""
        if name in self._pending or len(self._pending) >= MOST_ASKED:
            return
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="capture", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the host has no room for another thread
                text = "nothing could be captured: the host is at its limits"
                self._done.put(_frame(name, self._clock(), text))
                return
            self._thread = thread
        self._pending.add(name)
        self._asked.put(name)

    def taken(self) -> list[Frame]:
        """What is done since last asked."""
        found = []
        while not self._done.empty():
            found.append(self._done.get())
            self._pending.discard(found[-1]["name"])
        return found

    def close(self) -> None:
        """Begin no more; commands that run are ended by `commands.stop_all`."""
        self._asked.put(None)

    def _run(self) -> None:
        while (name := self._asked.get()) is not None:
            terms = next((one.capture for one in self.policy.guards if one.name == name), None)
            now = self._clock()
            text = within(self._lines(terms or Capture()), terms.largest if terms else LARGEST)
            self._done.put(_frame(name, now, text))
            self._wake()

    def _lines(self, terms: Capture) -> Iterator[str]:
        yield from self._portrait.lines()
        deadline = time.monotonic() + terms.timeout / 1e6
        for command in terms.commands:
            yield printable(f"$ {shlex.join(command)}")
            yield from _printed(command, deadline - time.monotonic(), terms.largest)


def _frame(name: str, time: Micros, text: str) -> Frame:
    return {"type": "captured", "name": name, "time": time, "text": text}


def within(lines: Iterator[str], largest: int) -> str:
    """As many of the lines as fit into so many bytes; what follows is not even looked for."""
    room = min(largest, LARGEST)
    kept: list[str] = []
    for line in lines:
        room -= len(line.encode("utf-8", "replace")) + 1
        if room < 0:
            kept.append(_CUT)
            break
        kept.append(line)
    return "\n".join(kept)


def _printed(command: Sequence[str], seconds: float, largest: int) -> Iterator[str]:
    if seconds <= 0:
        yield "(left out: the time for capture commands is over)"
        return
    flood = ""
    try:
        printed = commands.run(command, seconds, largest)
    except commands.Flood as error:
        printed, flood = error.began, str(error)
    except SourceError as error:
        yield f"({error})"
        return
    for line in printed.decode("utf-8", "surrogateescape").splitlines():
        yield printable(line.expandtabs(2))
    if flood:
        yield f"({flood})"
