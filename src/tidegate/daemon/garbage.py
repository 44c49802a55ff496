"""Tells Python's garbage collector that our data has no cycles worth looking for often.

Touches the interpreter's collector. Events and tallies are tuples, bytes and text, freed by count;
looking through them for cycles would cost a tenth of all time. Limits: cycles are found later.
"""

from __future__ import annotations

import gc

SELDOM = (100_000, 20, 20)


def seldom() -> None:
    """Leave what is loaded now out of every search, and search seldom. Call when loaded."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*SELDOM)
