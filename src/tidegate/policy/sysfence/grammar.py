"""Sysfence's own reading of a file: what it accepts is accepted, what it refuses is refused.

Touches nothing; whether a user exists is asked of the caller. One fault refuses the whole file, as
there. Limits: its messages are ours, and say what to write.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from tidegate.policy.sysfence.lexer import Kind, Refused, Token, number, size, tokens
from tidegate.policy.sysfence.tree import (
    DEEPEST,
    LARGEST,
    Atom,
    Connective,
    Node,
    Remark,
    Rule,
    braced,
    chain,
)

_INTEGER = re.compile(r"[+-]?\d{1,30}", re.ASCII)
_UNSIGNED = re.compile(r"\d{1,30}", re.ASCII)
OVERRUN = "sysfence reads past the end of a file that ends in a comment: end the line"
Knows = Callable[[str], bool]
"""Whether this host has a user of this name."""


def read(text: str, knows: Knows) -> tuple[list[Rule], list[Remark]]:
    """The rules of a file, and what deserves a warning all the same. Raises Refused."""
    return Reader(text, list(tokens(text)), knows).file()


class Reader:
    """A file's tokens, taken one after the other."""

    def __init__(self, text: str, found: Sequence[Token], knows: Knows) -> None:
        self.text = text
        self.found = found
        self.knows = knows
        self.at = 0
        self.last = found[0]
        self.remarks: list[Remark] = []
        self.atoms = 0

    def file(self) -> tuple[list[Rule], list[Remark]]:
        """Every rule up to the end."""
        rules = []
        while not self.ended:
            rules.append(self.rule())
        if self.next.value:
            self.remark(self.next, OVERRUN)
        return rules, self.remarks

    # -- tokens -----------------------------------------------------------------------------------

    @property
    def next(self) -> Token:
        """The token that comes."""
        return self.found[self.at]

    @property
    def ended(self) -> bool:
        """Whether nothing comes any more."""
        return self.next.kind == "end"

    def take(self) -> Token:
        """The token that comes; the one behind it comes next."""
        token = self.last = self.found[self.at]
        self.at = min(self.at + 1, len(self.found) - 1)
        return token

    def taken(self, *kinds: Kind) -> Token | None:
        """The token that comes, if it is of one of these kinds."""
        return self.take() if self.next.kind in kinds else None

    def expect(self, kind: Kind, what: str) -> Token:
        """The token that comes; Refused if it is of another kind."""
        if self.next.kind != kind:
            raise self.refusal(self.next, f"expected {what}")
        return self.take()

    def remark(self, token: Token, text: str) -> None:
        """Something to say of a token."""
        self.remarks.append(Remark(token.line, token.column, text))

    def refusal(self, token: Token, expected: str) -> Refused:
        """What was expected instead of a token."""
        shown = token.text if len(token.text) <= 40 else f"{token.text[:37]}..."
        found = f"found {shown}" if token.kind != "end" else "the file ends"
        return Refused(token.line, token.column, f"{expected}; {found}{self.hint(token)}")

    def hint(self, token: Token) -> str:
        """What may help somebody whose word was not understood."""
        if token.kind != "word" or re.fullmatch(r"[\w.+%/-]*", token.text):
            return ""
        return " (each word, each brace too, must have a blank behind it)"

    # -- grammar ----------------------------------------------------------------------------------

    def rule(self) -> Rule:
        """IF name block action [STEP int]."""
        start = self.expect("if", "if, when, on or rule")
        name = self.expect(
            "string", 'the name of the rule in quotes (it is mandatory: if "name" {)'
        )
        self.atoms = 0
        when = self.block(0)
        script, run_once, log, log_once = self.action()
        step = None
        if self.taken("step"):
            token = self.take()
            if not _INTEGER.fullmatch(token.text):
                raise self.refusal(token, "expected whole seconds behind step")
            step = int(token.text)
            if not step % (1 << 32):
                raise self.refusal(token, "expected more than 0 seconds behind step")
        stated = self.text[start.start : self.last.end]
        return Rule(
            name.value,
            when,
            script,
            run_once,
            log,
            log_once,
            step,
            start.line,
            start.column,
            stated,
        )

    def action(self) -> tuple[str | None, bool, bool, bool]:
        """RUN [ONCE] str [LOG [ONCE]] | LOG [ONCE] [RUN [ONCE] str]."""
        script, run_once, log, log_once = None, False, False, False
        if self.next.kind not in ("run", "log"):
            raise self.refusal(self.next, "expected run or log behind the condition")
        first = self.next.kind
        if first == "log":
            self.take()
            log, log_once = True, self.taken("once") is not None
        if self.taken("run"):
            run_once = self.taken("once") is not None
            script = self.expect("string", "a command in quotes").value
        if first == "run" and self.taken("log"):
            log, log_once = True, self.taken("once") is not None
        return script, run_once, log, log_once

    def block(self, depth: int) -> Node:
        """{ expr }."""
        start = self.expect("{", "{")
        if depth >= DEEPEST:
            raise self.refusal(start, f"expected braces no more than {DEEPEST} deep")
        items: list[Node] = []
        connectives: list[Connective] = []
        while True:
            nested = self.next.kind == "{"
            items.append(braced(self.block(depth + 1)) if nested else self.atom())
            joint = self.taken("and", "or")
            if joint is None:
                break
            connectives.append("and" if joint.kind == "and" else "or")
        self.expect("}", "and, or or } (there is no default between two comparisons)")
        return chain(items, connectives)

    def atom(self) -> Atom:
        """A sensor with what it takes, a comparison sign and a limit."""
        token = self.take()
        path = ""
        users: tuple[str, ...] = ()
        states: tuple[str, ...] = ()
        if token.kind == "space":
            path = self.expect("string", "a path in quotes").value
        elif token.kind == "nproc":
            users, states = self.users(), self.states()
        elif token.kind not in ("load", "memory"):
            raise self.refusal(token, "expected a comparison, such as la1 > 8")
        self.atoms += 1
        if self.atoms > LARGEST:
            raise self.refusal(token, f"expected no more than {LARGEST} comparisons in a rule")
        sign = self.expect("compare", "one of < <= > >= == !=")
        limit = self.take()
        value = number(limit.text) if token.kind == "load" else size(limit.text)
        if limit.kind != "word" or value is None:
            what = "a number" if token.kind == "load" else "an integer, or one with k, M or G"
            raise self.refusal(limit, f"expected {what}")
        return Atom(
            token.value, sign.value, limit.text, value, path, users, states,
            line=token.line, column=token.column,
        )  # fmt: skip

    def users(self) -> tuple[str, ...]:
        """[uid {sep uid}]: numbers, or the names of users that exist in quotes."""
        found: list[str] = []
        while self.next.kind == "string" or _UNSIGNED.fullmatch(self.next.text):
            token = self.take()
            if token.kind == "string" and not self.knows(token.value):
                raise self.refusal(token, "expected a user that exists")
            found.append(token.value)
            if not self.taken("comma"):
                return tuple(found)
        if found:
            raise self.refusal(self.next, "expected another user")
        return ()

    def states(self) -> tuple[str, ...]:
        """[state {sep state}]."""
        found: list[str] = []
        while self.next.kind == "state":
            found.append(self.take().value)
            if not self.taken("comma"):
                return tuple(found)
        if found:
            raise self.refusal(self.next, "expected another state")
        return ()
