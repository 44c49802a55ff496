"""Sections of a policy: each key of a table read by its reader, unknown ones with the nearest.

Touches nothing. Every fault is collected with its key; none stops the reading of the rest.
Limits: knows no section; `tables`, `gatereader` and `guardreader` say which there are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

Read = Callable[[object], Any]
Fault = tuple[str, str]
"""A key path and what is wrong with it."""

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)


def subtable(value: object) -> None:
    """Stands in the schema for a table with keys of its own, which is read by its section."""


class Sections:
    """A merged policy table; `faults` holds everything that was wrong, `notes` what is allowed
    and yet worth a look."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = data
        self.faults: list[Fault] = []
        self.notes: list[Fault] = []

    def fault(self, path: str, said: str) -> None:
        """Something is wrong at that key."""
        self.faults.append((path, said))

    def note(self, path: str, said: str) -> None:
        """Something at that key is worth a look."""
        self.notes.append((path, said))

    def table(self, path: str, data: object) -> Mapping[str, Any]:
        """`data` if it is a table, else a fault and an empty one."""
        if isinstance(data, Mapping):
            return data
        self.faults.append((path, f"expected a table, found {data!r}"))
        return {}

    def names(self, section: str, table: Mapping[str, Any] | None = None) -> list[str]:
        """The names in `[section.NAME]`; `table`: what stands there, where that is further down."""
        names = list(self.table(section, self.data.get(section, {})) if table is None else table)
        for name in names:
            if not _NAME.fullmatch(name):
                said = "expected a name of letters, digits, dots, - and _"
                self.faults.append((f"{section}.{name}", said))
        return names

    def section(
        self, path: str, data: Mapping[str, Any], keys: Mapping[str, Read]
    ) -> dict[str, Any]:
        """What the keys of a table say, without those that have tables of their own."""
        found = {}
        for key, value in data.items():
            where = f"{path}.{key}" if path else key
            read = keys.get(key)
            if read is None:
                self.faults.append((where, unknown(key, keys)))
            elif read is not subtable:
                try:
                    found[key] = read(value)
                except ValueError as expected:
                    self.faults.append((where, f"expected {expected}; found {value!r}"))
        return found


def unknown(key: str, keys: Mapping[str, object]) -> str:
    """What to say of a key that there is not."""
    near = get_close_matches(key, keys, n=1, cutoff=0.5)
    hint = f'did you mean "{near[0]}"?' if near else "known keys: " + ", ".join(keys)
    return f"unknown key; {hint}"
