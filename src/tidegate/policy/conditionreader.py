"""Conditions out of policy tables: a text, or a table with its times.

Touches nothing. Faults go to the sections, with the column of the text where it goes wrong.
Limits: one condition at a time; what two of them mean together is judged by `ranges`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tidegate.policy import guardvalues as read
from tidegate.policy import values
from tidegate.policy.expressions import ExpressionError, parse_noted
from tidegate.policy.guards import Condition, Held
from tidegate.policy.sections import Read, Sections

CLOSE: dict[str, Read] = {"when": values.text, "for": read.span, "at-least": read.span}
OPEN: dict[str, Read] = {**CLOSE, "after": read.span}
WARN: dict[str, Read] = {"when": values.text, "for": read.span}


class ConditionReader:
    """Reads conditions; `own`: the names of the administrator's own readings."""

    def __init__(self, sections: Sections, own: Collection[str]) -> None:
        self._sections = sections
        self._own = own

    def when(
        self, path: str, key: str, table: Mapping[str, Any]
    ) -> tuple[Condition | None, int | None, str]:
        """A condition written as a text, or as a table with its times: condition, least time."""
        if key not in table:
            return None, None, ""
        where, given = f"{path}.{key}", table[key]
        if isinstance(given, str):
            return self.condition(where, given), None, given
        within = self._sections.table(where, given)
        data = self._sections.section(where, within, {"close": CLOSE, "open": OPEN}.get(key, WARN))
        if "when" not in data:
            if key == "open" and "after" in within:
                return None, data.get("at-least"), ""
            if isinstance(given, Mapping) and "when" not in given:
                self._sections.fault(where, '"when" is missing, such as when = "la1 >= 10"')
            return None, None, ""
        if "after" in within:
            self._sections.fault(
                f"{where}.after", "after goes without when: so long after close has ended"
            )
        condition, stated = self.condition(f"{where}.when", data["when"]), data["when"]
        if condition is not None and data.get("for"):
            condition, stated = Held(condition, data["for"]), f"({stated}) for {within['for']}"
        return condition, data.get("at-least"), stated

    def condition(self, path: str, text: object) -> Condition | None:
        """The condition behind a text; None, with a fault, where it is none."""
        if not isinstance(text, str):
            return None  # told where its table was read
        try:
            parsed = parse_noted(text, self._own)
        except ExpressionError as error:
            self._sections.fault(path, str(error))
            return None
        for note in parsed.notes:
            self._sections.note(path, note)
        return parsed.condition

    def patience(self, path: str, table: Mapping[str, Any]) -> int | None:
        """How long close must have ended where open is no condition: `open = { after = "2m" }`."""
        given = table.get("open")
        if not isinstance(given, Mapping) or "after" not in given:
            return None
        try:
            return read.span(given["after"])
        except ValueError:
            return None  # told where its table was read
