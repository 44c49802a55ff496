"""Text → tokens for the lenient reader: blanks may be missing, and quotes may be typographic.

Touches nothing. Each repair is a remark. Limits: a string that was never closed is not repaired,
since the end of its command is lost; it becomes a token of kind `broken` up to its line's end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tidegate.policy.sysfence.lexer import Places, Token, closing_quote, end_of_line, word_token
from tidegate.policy.sysfence.tree import Remark

_PART = re.compile(
    r"""(?P<blank>[ \t\n\r\v\f]+)|(?P<unseen>[\s\u200b\ufeff]+)
    |(?P<comment>\#[^\n]*)|(?P<quote>["'])|(?P<curly>[\u2018-\u201f])
    |(?P<sign>[<>]=|=[<>]|<>|[!=]=|[<>=≥≤≠]|&[gl]t;=?|&amp;&amp;|&&|\|\||[{}()|,;])
    |(?P<word>[^\s\u200b\ufeff{}()<>=|,;\#"'\u2018-\u201f≥≤≠&!]+)|(?P<odd>.)""",
    re.VERBOSE | re.DOTALL,
)
_MEANT = {
    "(": "{", ")": "}", "≥": ">=", "≤": "<=", "≠": "!=", "&gt;": ">", "&lt;": "<",
    "&gt;=": ">=", "&lt;=": "<=", "&amp;&amp;": "&&",
}  # fmt: skip
# A rule's own beginning inside a string: its closing quote is lost, and this is the next one's.
_BEGINS = re.compile(
    r"""\n[ \t]*(?:if|when|on|rule)\b[ \t]*(?:\Z|(?:"[^"\n]*"|'[^'\n]*')?[ \t]*\{)""",
    re.IGNORECASE,
)
_SINGLE = "'\u2018\u2019\u201a\u201b"
_DOUBLE = '"\u201c\u201d\u201e\u201f'


def scraps(text: str) -> tuple[list[Token], list[Remark]]:
    """The tokens of a file, `end` the last, and what was repaired in them."""
    places = Places(text)
    remarks: list[Remark] = []
    found = list(_parts(text, places, remarks))
    remarks += _missing_blanks(text, found)
    # A comment up to the very end, as the next to last thing: see the strict reader.
    tail = text[found[-1].end if found else 0 :]
    last = "comment" if "#" in tail and "\n" not in tail[tail.rindex("#") :] else ""
    return [*found, Token("end", "", last, *places.at(len(text)), len(text), len(text))], remarks


def _parts(text: str, places: Places, remarks: list[Remark]) -> Iterator[Token]:
    at, strings = 0, _Strings(text, places)
    while match := _PART.match(text, at):
        at = match.end()
        part, start = match[0], match.start()
        if match["quote"] or match["curly"]:
            token = strings.at(start)
            if match["curly"] and token.kind == "string":
                remarks.append(
                    Remark(token.line, token.column, f'quotes are " or \': read as "{token.value}"')
                )
            at = token.end
            yield token
        elif match["unseen"]:
            code = f"U+{ord(part[0]):04X}"
            remarks.append(Remark(*places.at(start), f"{code} is no blank: read as one"))
        elif match["sign"] or match["word"] or match["odd"]:
            meant = _MEANT.get(part)
            token = word_token(meant or part, start, places)._replace(text=part, end=at)
            if meant:
                remarks.append(Remark(token.line, token.column, f"{part} is read as {meant}"))
            yield token


class _Strings:
    """Strings of a text. What was found of a quote is remembered: inside a string that is never
    closed a hostile file may open as many more as it likes, and each would be looked for again."""

    def __init__(self, text: str, places: Places) -> None:
        self._text, self._places = text, places
        self._ends: dict[str, tuple[int, int]] = {}  # by quote: valid up to here, the end or -1

    def at(self, start: int) -> Token:
        """The string up to its closing quote, unless it swallows the beginning of another rule."""
        text, place = self._text, self._places.at(start)
        quote = text[start]
        end = self._end(start) if quote in "\"'" else _closing_curly(text, start)
        if end < 0:
            end = end_of_line(text, start)
            return Token("broken", text[start:end], text[start + 1 : end], *place, start, end)
        content = text[start + 1 : end]
        return Token("string", text[start : end + 1], content, *place, start, end + 1)

    def _end(self, start: int) -> int:
        quote = self._text[start]
        until, end = self._ends.get(quote, (0, -1))
        if start >= until:
            end = closing_quote(self._text, start)
            until = len(self._text) if end < 0 else end
            begins = _BEGINS.search(self._text, start, until) if end >= 0 else None
            if begins:
                until, end = begins.start(), -1
            self._ends[quote] = until, end
        return end


def _closing_curly(text: str, start: int) -> int:
    """Where a typographic quote is closed, on its line; -1: nowhere."""
    closing = _SINGLE if text[start] in _SINGLE else _DOUBLE
    line = text[start + 1 : end_of_line(text, start)]
    return next((start + 1 + at for at, char in enumerate(line) if char in closing), -1)


def _missing_blanks(text: str, found: list[Token]) -> Iterator[Remark]:
    """One remark for each run of tokens that stand without a blank where sysfence wants one."""
    run: list[Token] = []
    for number, token in enumerate(found, 1):
        run.append(token)
        together = number < len(found) and found[number].start == token.end
        needed = together and token.kind not in ("string", "broken")
        if needed or (together and run[:-1]):
            continue
        if len(run) > 1 and not all(one.kind in ("word", "broken") for one in run):
            read = " ".join(one.text for one in run)
            if len(read) > 60:
                read = read[:57] + "..."
            where = run[0]
            yield Remark(where.line, where.column, f"a blank is missing: read as {read}")
        run = []
