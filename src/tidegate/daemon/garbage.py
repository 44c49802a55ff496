"""Tells Python's garbage collector that our data has no cycles worth looking for often.

Touches the interpreter's collector and the C library's heap. Events and tallies are tuples, bytes
and text, freed by count; looking through them for cycles would cost a tenth of all time.
Limits: cycles are found later.
"""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

SELDOM = (100_000, 20, 20)


def seldom() -> None:
    """Leave what is loaded now out of every search, and search seldom. Call when loaded."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*SELDOM)


def give_back() -> None:
    """Give back to the system what building the scanners needed: two thirds of a process with many
    of them. Call when they are built, and before whoever is measured begins to wait."""
    with suppress(AttributeError, OSError):  # malloc_trim(3) is glibc's
        ctypes.CDLL(None).malloc_trim(0)
