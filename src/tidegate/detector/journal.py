"""The journal's framing: what the entry around a message says, in `journalctl -o export` text.

Touches nothing. Entries end with an empty line; a field is `NAME=value` on a line of its own.
Limits: fields that are not plain text, which would break the lines, are the source's to mend.
"""

from __future__ import annotations

import re

from tidegate.detector.lean import lean
from tidegate.detector.line import OWN_STAMP, Header

_MESSAGE = b"MESSAGE="
_PROGRAM = b"\nSYSLOG_IDENTIFIER="
_PID = b"\n_PID="
_STATED_PID = b"\nSYSLOG_PID="
_TIME = b"\n__REALTIME_TIMESTAMP="
_DIGITS = 18
_before_message = re.compile(lean(OWN_STAMP.header())).match
_OPENING = b"[k0123456789"  # what OWN_STAMP can begin with


def entry_header(data: bytes, start: int, stop: int) -> Header | None:
    """The header of the entry whose message is the line [start, stop); None if it is no message."""
    if not data.startswith(_MESSAGE, start):
        return None
    # An entry begins behind an empty line, or with the block. One byte before it there is a
    # newline, so that each of its lines is found behind one.
    before = data.rfind(b"\n\n", 0, start) + 1
    end = data.find(b"\n\n", stop)
    if end < 0:
        end = len(data)
    stamp = _field(data, _TIME, before, end)
    pid = _field(data, _PID, before, end)
    if pid is None:
        pid = _field(data, _STATED_PID, before, end)
    program = _field(data, _PROGRAM, before, end)
    time = int(stamp) if stamp and stamp.isdigit() and len(stamp) <= _DIGITS else None
    start += len(_MESSAGE)
    if data[start] in _OPENING:
        found = _before_message(data, start, stop)
        start = found.end() if found else start
    return Header(-1, start, stop, None, program, pid, time)


def _field(data: bytes, name: bytes, before: int, end: int) -> bytes | None:
    at = data.find(name, before, end)
    if at >= 0:
        at += len(name)
    elif before == 0 and data.startswith(name[1:]):  # the very first line of the block
        at = len(name) - 1
    else:
        return None
    return data[at : data.find(b"\n", at)]
