"""The words inside a comparison as the lenient reader takes them: limits, users, states, paths.

Touches nothing. What can only be one thing is repaired, and a remark says what was read.
Limits: a limit without sense for its reading (`la1 > 5M`) is refused, never rounded or cut.
"""

from __future__ import annotations

import re
from difflib import get_close_matches

from tidegate.policy.sysfence.grammar import Reader
from tidegate.policy.sysfence.lexer import SENSORS, SPELLINGS, Refused, Token, number, size
from tidegate.policy.sysfence.tree import LARGEST, Atom

_LOOSE = re.compile(
    r"(?P<number>\d{1,18}(?:\.\d{1,9})?)(?:(?P<unit>[kmgt])(?:i?b)?|(?P<percent>%))",
    re.IGNORECASE | re.ASCII,
)
_UNIT = re.compile(r"%|[kmgt](i?b)?", re.IGNORECASE)
_STEP = re.compile(r"(\d{1,9})(s|sec|m|min|h)", re.IGNORECASE | re.ASCII)
_INTEGER = re.compile(r"[+-]?\d{1,30}", re.ASCII)
_SECONDS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600}
_FACTORS = {"k": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_TURNED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "==": "==", "!=": "!="}
_READINGS = "la1 la5 la15 memfree memused swapfree swapused spacefree spaceavail spaceused nproc"
_SENSOR_WORDS = [word for word, (kind, _) in SPELLINGS.items() if kind in SENSORS]


class Words(Reader):
    """Takes what stands in a comparison."""

    def hint(self, token: Token) -> str:
        """What may help; blanks are no trouble here."""
        if token.kind == "broken":
            return (
                ": a quote opens here and is never closed, so the end is lost;"
                " write it, and a closing quote"
            )
        return ""

    def atom(self) -> Atom:
        """A sensor, a comparison sign and a limit."""
        token = self.next
        if token.kind not in SENSORS:
            raise self.no_sensor()
        self.take()
        path = ""
        users: tuple[str, ...] = ()
        states: tuple[str, ...] = ()
        if token.kind == "space":
            path = self.path()
        elif token.kind == "nproc":
            users, states = self.users(), self.states()
        self.atoms += 1
        if self.atoms > LARGEST:
            raise self.refusal(token, f"expected no more than {LARGEST} comparisons in a rule")
        sign = self.expect("compare", "one of < <= > >= == !=")
        limit, value, percent = self.limit(token, whole=not users and not states)
        return Atom(
            token.value, sign.value, limit, value, path, users, states, percent,
            token.line, token.column,
        )  # fmt: skip

    def no_sensor(self) -> Refused:
        """Something else stands where a comparison should begin."""
        token, behind = self.next, self.found[self.at + 1 : self.at + 3]
        kinds = [one.kind for one in behind]
        if number(token.text) is not None and kinds[:1] == ["compare"] and kinds[1] in SENSORS:
            turned = f"{behind[1].text} {_TURNED[behind[0].value]} {token.text}"
            return self.refusal(token, f"expected the reading first: write {turned}")
        if token.text.lower() in ("not", "!"):
            return self.refusal(token, "expected a comparison (there is no not: turn its sign)")
        if token.kind == "word":
            near = get_close_matches(token.text.lower(), _SENSOR_WORDS, n=1)
            known = f"did you mean {near[0]}" if near else f"one of {_READINGS}"
            return self.refusal(token, f"expected a reading ({known})")
        return self.refusal(token, "expected a comparison, such as la1 > 8")

    def limit(self, sensor: Token, whole: bool) -> tuple[str, float, bool]:
        """What a reading is compared with: as text, as a number, and whether it is a share."""
        token = self.take()
        text = token.text
        if token.kind == "word" and number(text) is not None and self.beside(_UNIT):
            unit = self.take().text
            text += unit
        if sensor.kind == "load":
            value = number(text)
            if value is None:
                raise self.refusal(token, f"expected a number without a unit behind {sensor.text}")
            return text, value, False
        if (value := size(text)) is not None:
            if text != token.text:
                self.remark(token, f"a blank before the unit: read as {text}")
            return text, value, False
        loose = _LOOSE.fullmatch(text)
        if loose is None or (loose["percent"] and not whole):
            raise self.refusal(token, "expected a size such as 256M, or a whole number")
        if loose["percent"]:
            text = f"{loose['number']}%"
            self.remark(token, f"{text}: a share of the whole, which sysfence does not know")
            return text, float(loose["number"]), True
        unit = "k" if loose["unit"] in "kK" else loose["unit"].upper()
        text, value = f"{loose['number']}{unit}", float(loose["number"]) * _FACTORS[unit]
        self.remark(
            token, f"{token.text} is no size of sysfence's: read as {text}, {value:.0f} bytes"
        )
        return text, value, False

    def beside(self, pattern: re.Pattern[str]) -> bool:
        """Whether the word that comes fits, and stands on the same line."""
        fits = self.next.kind == "word" and pattern.fullmatch(self.next.text) is not None
        return fits and self.next.line == self.last.line

    def path(self) -> str:
        """A path in quotes, or without."""
        token = self.next
        if token.kind == "word" and token.text.startswith("/"):
            self.remark(token, f'the path has no quotes: read as "{token.text}"')
            return self.take().text
        return self.expect("string", "a path in quotes").value

    def users(self) -> tuple[str, ...]:
        """Numbers or names of users; quotes and commas may be missing."""
        found: list[str] = []
        while self.next.kind in ("string", "word"):
            token = self.take()
            name = token.value
            if token.kind == "word" and not name.isdigit():
                self.remark(token, f'the name of the user has no quotes: read as "{name}"')
            if not name.isdigit() and not self.knows(name):
                self.remark(token, f"there is no user {name} here, which sysfence refuses")
            found.append(name)
            self.separated("string", "word")
        return tuple(found)

    def states(self) -> tuple[str, ...]:
        """States; commas may be missing, and `run` means running."""
        found: list[str] = []
        while self.next.kind in ("state", "run"):
            token = self.take()
            if token.kind == "run":
                self.remark(token, f"{token.text} is no state of sysfence's: read as running")
            found.append("running" if token.kind == "run" else token.value)
            self.separated("state", "run")
        return tuple(found)

    def separated(self, *kinds: str) -> None:
        """What parts two of a list: its comma may be missing, or stand where the list ends."""
        comma = self.taken("comma")
        more = self.next.kind in kinds
        if comma and not more:
            self.remark(comma, f"{comma.text} parts nothing here: left out")
        elif more and not comma:
            self.remark(self.next, f"a comma is missing: read as , {self.next.text}")

    def step(self) -> int | None:
        """Seconds between two looks; None is sysfence's own 10."""
        token = self.take()
        if _INTEGER.fullmatch(token.text) and token.kind == "word":
            return int(token.text)
        if loose := _STEP.fullmatch(token.text):
            seconds = int(loose[1]) * _SECONDS[loose[2].lower()]
            self.remark(token, f"{token.text} is read as {seconds} seconds")
            return seconds
        raise self.refusal(token, "expected whole seconds behind step")
