"""Opens the files that a verb was given, before privilege is dropped.

Touches the files, only to open them. Limits: a file that is not there is the user's mistake (exit
code 2), one that may not be read is the world's (3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tidegate.errors import OperatorError
from tidegate.model import Quarantined
from tidegate.source.memory import Numbering
from tidegate.source.replay import Replay
from tidegate.text import printable


def opened(paths: Sequence[str], source: Callable[[str], str]) -> list[Replay]:
    """A recording for each path (`-`: standard input), numbered together; `source` names it."""
    register = Numbering("replay")
    found = []
    for path in paths:
        if path != "-" and not Path(path).exists():
            raise OperatorError(f"{path}: no such file")
        recording = Replay(path, source(path), register)
        recording.open()
        found.append(recording)
    return found


def set_aside(path: str, line: Quarantined) -> str:
    """What to say of a line that no detector could be trusted with."""
    return (
        f"{path}: the line at byte {line.offset} was set aside, detector {line.detector}:"
        f" {printable(line.reason)}"
    )
