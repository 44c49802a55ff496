"""Lean patterns: the same pattern, written so that Python's `re` runs it faster.

Touches nothing. `(?:…)?` becomes `(?:…|)`, skipped by its first byte; `[^…]` becomes the bytes it
takes, looked up at once; `(?!…)(?!…)` becomes one; `.` takes any byte, so `.*` need not look.
Limits: for lines, which hold no newline; no verbose mode; in a `(?i:…)` classes stay as they are.
"""

from __future__ import annotations

import re
from functools import lru_cache

_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\((?:\?P<\w+>|\?[a-zA-Z-]*:|\?)?|.", re.DOTALL)
_FOLDS = re.compile(r"\(\?[a-zA-Z]*i")
_NEWLINE = 10
_NOT_AHEAD = ["(?", "!"]
_CAPTURES = re.compile(r"\((?:\?P<\w+>)?")


def lean(pattern: bytes) -> bytes:
    """A pattern that matches exactly the same where no newline stands, with the same groups."""
    if b"(?#" in pattern:
        return pattern
    written: list[str] = []
    opened: list[int] = []
    tokens = _TOKEN.findall(pattern.decode("latin-1"))
    for index, token in enumerate(tokens):
        if token.startswith("("):
            opened.append(len(written))
        elif token == ")" and tokens[index + 1 : index + 3] == _NOT_AHEAD:  # noqa: S105
            start = opened.pop()
            if written[start : start + 2] == _NOT_AHEAD:
                opened.append(start)
                token = "|"  # noqa: S105
                tokens[index + 1 : index + 3] = ["", ""]
        elif token == ")":  # noqa: S105  (a piece of a pattern)
            start = opened.pop()
            if _optional(written[start], tokens[index + 1 : index + 3]):
                captures = _CAPTURES.fullmatch(written[start])
                written[start] = f"(?:{written[start]}" if captures else written[start]
                token = ")|)" if captures else "|)"
                tokens[index + 1] = ""
        elif token.startswith("[^") and not any(_FOLDS.match(written[start]) for start in opened):
            token = _positive(token)
        written.append(token)
    return "".join(("(?s)", *written)).encode("latin-1")


def _optional(opening: str, behind: list[str]) -> bool:
    """Whether a group of that opening is a plain optional one: `?` behind it, not `??` or `?+`."""
    if behind[:1] != ["?"] or behind[1:] in (["?"], ["+"]):
        return False
    return opening == "(?:" or _CAPTURES.fullmatch(opening) is not None


@lru_cache(maxsize=256)
def _positive(negated: str) -> str:
    """The class of all bytes that a negated class takes; one that excludes one byte stays negated.

    A newline need not be excluded.
    """
    takes = re.compile(negated.encode("latin-1")).match
    taken = [byte for byte in range(256) if takes(bytes((byte,)))]
    if len(taken) >= 255 or not taken:
        return negated
    excluded = set(range(256)) - {_NEWLINE, *taken}
    if len(excluded) == 1:
        return rf"[^\x{excluded.pop():02x}]"
    runs: list[list[int]] = []
    for byte in taken:
        if runs and runs[-1][1] == byte - 1:
            runs[-1][1] = byte
        else:
            runs.append([byte, byte])
    return "[" + "".join(rf"\x{first:02x}-\x{last:02x}" for first, last in runs) + "]"
