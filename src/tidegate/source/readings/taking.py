"""What taking a reading is made of: takers, files kept open, looks shared by many, rates.

Touches the files it is given (opened once, read again by pread). Nothing here waits by itself; what
may hang names a worker to be taken in. Limits: a file's first 256 KiB are read.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from tidegate.errors import SourceError

LARGEST = 256 << 10
NO_RATE = "a rate needs two looks, and this was the first"
_PAGE = 16 << 10

T = TypeVar("T")


class Places(NamedTuple):
    """Where the kernel shows itself; only tests look elsewhere."""

    proc: str = "/proc"
    sys: str = "/sys"
    root: str = "/"


class Taken(NamedTuple):
    """What taking gave: a number in its base unit, or None and why. `whole`: see `Sample`."""

    value: float | None
    whole: float | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Taker:
    """How a reading is taken. `take` is told the number of the look, so that readings of one look
    share what they read; it raises SourceError or OSError where the reading is unknown.

    `worker` "": at once, it never waits. Otherwise in the thread of this name, all of one name
    after each other, and given up for this time after `deadline` seconds.
    """

    take: Callable[[int], Taken]
    worker: str = ""
    deadline: float = 5.0

    def attempt(self, look: int) -> Taken:
        """Take it; what goes wrong is an unknown reading with one line that says why."""
        try:
            return self.take(look)
        except SourceError as error:
            return Taken(None, why=one_line(str(error)))
        except OSError as error:
            return Taken(None, why=one_line(said(error)))
        except (ValueError, LookupError, ArithmeticError) as error:
            return Taken(None, why=one_line(f"what was read makes no sense: {error!r}"))


def unknown(why: str) -> Taker:
    """The taker of a reading that can't be taken at all."""
    return Taker(lambda _look: Taken(None, why=why))


def said(error: OSError) -> str:
    """One line for an OSError: the file, and what is wrong with it."""
    text = (error.strerror or str(error) or type(error).__name__).lower()
    return f"{error.filename}: {text}" if error.filename else text


def one_line(text: str) -> str:
    """At most 300 characters without line ends: why a reading is unknown."""
    line = " ".join(text.split())
    return line if len(line) <= 300 else line[:299] + "…"


class Held:
    """A file of the kernel's, opened at the first look and kept open.

    `pieces`: it has more records than one read gives (/proc/net/dev).
    """

    def __init__(self, path: str, *, pieces: bool = False) -> None:
        self.path = path
        self._pieces = pieces
        self._descriptor = -1

    def read(self) -> bytes:
        """What it holds now. Raises OSError where it can't be opened or read."""
        if self._descriptor < 0:
            self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.pread(self._descriptor, _PAGE, 0)
            part = data
            while (self._pieces or len(part) == _PAGE) and part and len(data) < LARGEST:
                part = os.pread(self._descriptor, _PAGE, len(data))
                data += part
        except OSError as error:
            self.close()  # what it showed is gone (a control group, a module): open it anew
            error.filename = self.path
            raise
        return data

    def close(self) -> None:
        """Give the descriptor back; twice is harmless."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        self.close()


class Shared(Generic[T]):
    """Something read once a look, however many readings are made of it; its error is shared too."""

    def __init__(self, read: Callable[[], T]) -> None:
        self._read = read
        self._look = -1
        self._found: T | None = None
        self._error: SourceError | OSError | None = None

    def at(self, look: int) -> T:
        """What it is at this look. Raises as the read did."""
        if look != self._look:
            self._look, self._found, self._error = look, None, None
            try:
                self._found = self._read()
            except (SourceError, OSError) as error:
                self._error = error
        if self._error is not None:
            raise self._error
        assert self._found is not None
        return self._found


class Rate:
    """How much a counter grows each second, between two looks."""

    def __init__(self) -> None:
        self._before: tuple[float, float] | None = None

    def of(self, counter: float, now: float | None = None) -> float | None:
        """Per second since the last look; None at the first, and where the counter began anew."""
        at = time.monotonic() if now is None else now
        before, self._before = self._before, (counter, at)
        if before is None or counter < before[0] or at <= before[1]:
            return None
        return (counter - before[0]) / (at - before[1])

    def taken(self, counter: float) -> Taken:
        """The same as what taking gives."""
        value = self.of(counter)
        return Taken(value, why="" if value is not None else NO_RATE)
