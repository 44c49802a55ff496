"""Users of this host by name and by number, as people say them and as the ledger keeps them.

Touches the user database, to read: here and not in the daemon, since a directory server that does
not answer must hold up nobody but who asks. Limits: what is a number already stays one.
"""

from __future__ import annotations

import pwd
from functools import cache

_PREFIX = "uid:"


def user_number(name: str | None) -> str:
    """`uid:33` for `www-data`; "" where no user is called so."""
    try:
        return f"{_PREFIX}{pwd.getpwnam(name).pw_uid}" if name else ""
    except (KeyError, ValueError):
        return ""


@cache
def source_text(subject: str) -> str:
    """A source for people: `uid:33 (www-data)`."""
    number = subject.removeprefix(_PREFIX)
    if number == subject or not number.isdecimal():
        return subject
    try:
        return f"{subject} ({pwd.getpwuid(int(number)).pw_name})"
    except (KeyError, OverflowError):
        return subject
