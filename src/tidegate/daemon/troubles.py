"""Troubles in the log: each is said once as it begins, and once more when it is over.

Touches the log. Limits: known by what they are about; another text about the same is said anew.
"""

from __future__ import annotations

import logging

log = logging.getLogger("tidegate.watcher")


class Troubles:
    """What is wrong just now, by what it is about."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}

    def say(self, about: str, text: str) -> None:
        """This is so; "": it is well."""
        if self._said.get(about, "") == text:
            return
        if text:
            log.warning("%s: %s", about, text)
        else:
            log.info("%s: well again (was: %s)", about, self._said[about])
        self._said[about] = text

    def count(self, but: frozenset[str] = frozenset()) -> int:
        """How much is wrong just now, but for these."""
        return sum(bool(text) for about, text in self._said.items() if about not in but)
