"""The journal's framing: what the entry around a message says, in `journalctl -o export` text.

Touches nothing. Entries end with an empty line; a field is `NAME=value` on a line of its own.
Limits: fields that are not plain text, which would break the lines, are the source's to mend.
"""

from __future__ import annotations

import re

from tidegate.detector.lean import lean
from tidegate.detector.line import OWN_STAMP, Header

_MESSAGE = b"MESSAGE="
_DIGITS = 18
_before_message = re.compile(lean(OWN_STAMP.header())).match
_OPENING = b"[k0123456789"  # what OWN_STAMP can begin with


def entry_header(data: bytes, start: int, stop: int) -> Header | None:
    """The header of the entry whose message is the line [start, stop); None if it is no message."""
    if not data.startswith(_MESSAGE, start):
        return None
    begin = data.rfind(b"\n\n", 0, start) + 1  # at the newline before its first line, or at 0
    end = data.find(b"\n\n", stop)
    if end < 0:
        end = len(data)
    program = _field(data, b"\nSYSLOG_IDENTIFIER=", begin, end)
    pid = _field(data, b"\n_PID=", begin, end) or _field(data, b"\nSYSLOG_PID=", begin, end)
    stamp = _field(data, b"\n__REALTIME_TIMESTAMP=", begin, end)
    valid = stamp is not None and stamp.isdigit() and len(stamp) <= _DIGITS
    start += len(_MESSAGE)
    if data[start] in _OPENING:
        found = _before_message(data, start, stop)
        start = found.end() if found else start
    return Header(-1, start, stop, None, program, pid, int(stamp) if stamp and valid else None)


def _field(data: bytes, name: bytes, begin: int, end: int) -> bytes | None:
    at = data.find(name, begin, end)
    if at >= 0:
        at += len(name)
    elif begin == 0 and data.startswith(name[1:]):  # the very first line of the block
        at = len(name) - 1
    else:
        return None
    stop = data.find(b"\n", at, end)
    return data[at : stop if stop >= 0 else end]
