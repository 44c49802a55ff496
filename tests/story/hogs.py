"""Processes that use up what a host has: `python -m tests.story.hogs busy|idle|memory NUMBER`.

Touches processors, the process table or memory, whatever is named; each ends by itself after ten
minutes, and with its parent. `memory` takes MiB; the others so many processes, and print how many.
Limits: where no process more can be made, there are fewer.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time

LONGEST = 600
_PR_SET_PDEATHSIG = 1


def _bounded() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.alarm(LONGEST)


def busy() -> None:
    """Never waits for anything."""
    while True:
        pass


def idle() -> None:
    """Is there, and no more."""
    while True:
        time.sleep(LONGEST)


def many(number: int, act: str) -> int:
    """That many of them; how many there are."""
    for made in range(number):
        try:
            pid = os.fork()
        except OSError:
            return made
        if pid == 0:
            _bounded()
            {"busy": busy, "idle": idle}[act]()
    return number


def main() -> None:
    """Do it, until ended."""
    what, number = sys.argv[1], int(sys.argv[2])
    _bounded()
    if what == "memory":
        held = bytearray(number << 20)
        for page in range(0, len(held), 4096):
            held[page] = 1
    else:
        number = many(number, what)
    print(number, flush=True)
    idle()


if __name__ == "__main__":
    main()
