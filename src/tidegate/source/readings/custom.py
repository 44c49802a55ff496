"""Readings of the administrator's own: the number that a command prints or a file holds.

Touches the file, or runs the command as `commands` says, in a worker of its own for each.
Limits: the number stands first on the first line; whatever follows it is not looked at.
"""

from __future__ import annotations

import os
import re

from tidegate.errors import SourceError
from tidegate.policy.guards import ReadingSpec
from tidegate.source.opening import explain, open_log
from tidegate.source.readings import commands
from tidegate.source.readings.taking import Taken, Taker
from tidegate.text import printable

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


class Custom:
    """Takes what `[reading.NAME]` says."""

    def taker(self, spec: ReadingSpec) -> Taker:
        """The taker of this one."""
        seconds = spec.timeout / 1e6

        def take(_look: int) -> Taken:
            if spec.command:
                return Taken(number(commands.run(spec.command, seconds), spec.command[0]))
            return Taken(number(_head(spec.file), spec.file))

        # The command ends itself by its time; the deadline is for what hangs in the kernel.
        return Taker(take, worker=f"reading {spec.name}", deadline=seconds + 2)


def number(data: bytes, origin: str) -> float:
    """The number that the first line begins with. Raises SourceError where it does not."""
    first = data.split(b"\n", 1)[0][:4096].decode("utf-8", "replace").strip()
    word = first.split(None, 1)[0] if first else ""
    if not _NUMBER.fullmatch(word):
        found = f'"{printable(first[:60])}"' if first else "nothing"
        raise SourceError(f"{printable(origin)}: expected a number on the first line, not {found}")
    return float(word)


def _head(path: str) -> bytes:
    # As logs are opened: whoever owns the folder may not have us read what only we may read.
    descriptor, _status = open_log(path, "the file of a reading")
    try:
        return os.read(descriptor, 4096)
    except OSError as error:
        raise SourceError(explain(path, error)) from error
    finally:
        os.close(descriptor)
