"""Readings of the administrator's own: the number that a command prints or a file holds.

Touches the file or runs the command, in a worker of its own. Limits: see `Custom`.
"""

from __future__ import annotations

import os
import re

from tidegate.errors import SourceError
from tidegate.policy.guards import ReadingSpec
from tidegate.source.readings.taking import Taken, Taker, said

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


class Custom:
    """Takes what `[reading.NAME]` says."""

    def taker(self, spec: ReadingSpec) -> Taker:
        """The taker of this one."""
        return Taker(
            lambda _look: Taken(number(_file(spec.file), spec.file)),
            worker=f"reading {spec.name}",
            deadline=spec.timeout / 1e6 + 2,
        )


def number(data: bytes, origin: str) -> float:
    """The number that the first line begins with. Raises SourceError where it does not."""
    first = data.split(b"\n", 1)[0].decode("utf-8", "replace").strip()
    word = first.split(None, 1)[0] if first else ""
    if not _NUMBER.fullmatch(word):
        raise SourceError(f"{origin}: expected a number on the first line, not {first[:60]!r}")
    return float(word)


def _file(path: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            return os.read(descriptor, 4096)
        finally:
            os.close(descriptor)
    except OSError as error:
        error.filename = path
        raise SourceError(said(error)) from error
