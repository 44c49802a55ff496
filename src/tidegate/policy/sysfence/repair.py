"""The lenient reading of a file: what is missing and can only be one thing is put back, and said.

Touches nothing; whether a user exists is asked of the caller. A rule that could mean two things is
refused with what to write, and the others go on. Limits: commands are never repaired.
"""

from __future__ import annotations

from collections.abc import Sequence

from tidegate.policy.sysfence import grammar
from tidegate.policy.sysfence.grammar import OVERRUN, Knows
from tidegate.policy.sysfence.lenient import Words
from tidegate.policy.sysfence.lexer import SENSORS, Refused, Token, end_of_line
from tidegate.policy.sysfence.scraps import scraps
from tidegate.policy.sysfence.tree import (
    CONNECTIVES,
    DEEPEST,
    Connective,
    Node,
    Pair,
    Remark,
    Rule,
    braced,
    chain,
    written,
)

NAMELESS = frozenset({"{", "string", "broken", "compare", "end"})
"""What no name without quotes goes on over."""


def read(text: str, knows: Knows) -> tuple[list[Rule], list[Remark], list[Remark]]:
    """The rules of a file, what was repaired or deserves a warning, and what was refused.

    What sysfence accepts is read exactly as there.
    """
    try:
        rules, remarks = grammar.read(text, knows)
    except Refused:
        return repaired(text, knows)
    return rules, remarks, []


def repaired(text: str, knows: Knows) -> tuple[list[Rule], list[Remark], list[Remark]]:
    """As `read`, of a file that sysfence refuses."""
    found, remarks = scraps(text)
    reader = _Repairing(text, found, knows)
    rules, faults = reader.every()
    return rules, sorted([*remarks, *reader.remarks]), faults


class _Repairing(Words):
    """Reads rule by rule, and begins anew behind one that is refused."""

    def every(self) -> tuple[list[Rule], list[Remark]]:
        """The rules that could be read, and why the others could not."""
        rules: list[Rule] = []
        faults: list[Remark] = []
        while not self.ended:
            begun = self.at
            try:
                rules.append(self.rule())
            except Refused as refused:
                faults.append(Remark(refused.line, refused.column, refused.message))
                if self.at == begun:
                    self.take()
                while not self.ended and not self.begins():
                    self.take()
        if self.next.value:
            self.remark(self.next, OVERRUN)
        return rules, faults

    def begins(self) -> bool:
        """Whether a rule begins at the token that comes."""
        if self.next.kind != "if":
            return False
        fresh = self.last.line < self.next.line
        return fresh or self.found[self.at + 1].kind in ("string", "{")

    def rule(self) -> Rule:
        """A rule whose name and braces may be missing."""
        start = self.expect("if", "a rule, beginning with if, when, on or rule")
        name = self.name()
        self.atoms = 0
        when = self.condition()
        script, run_once, log, log_once, step = self.actions()
        if self.next.kind not in ("end", "if"):
            raise self.refusal(self.next, "expected another rule")
        stated = self.text[start.start : self.last.end]
        return Rule(
            name, when, script, run_once, log, log_once, step, start.line, start.column, stated
        )

    def name(self) -> str:
        """A name in quotes, words up to the brace, or none."""
        first, words = self.next, self.at
        if first.kind == "string":
            return self.take().value
        while self.found[words].kind not in NAMELESS and self.found[words].line == first.line:
            words += 1
        brace = self.found[words]
        if words > self.at and brace.kind == "{" and brace.line == first.line:
            while self.at < words:
                self.take()
            name = self.text[first.start : self.last.end]
            self.remark(first, f'the name has no quotes: read as "{name}"')
            return name
        if first.kind == "broken":
            raise self.refusal(first, "expected the name of the rule in quotes")
        self.remark(self.last, f'the name is missing: read as {self.last.text} ""')
        return ""

    # -- conditions -------------------------------------------------------------------------------

    def condition(self) -> Node:
        """The block of a rule, and what follows it with an and or an or between."""
        opening = self.next
        if opening.kind == "{":
            node = self.block(0)
        else:
            self.remark(opening, f"{{ is missing: read as {{ {opening.text}".rstrip())
            node = self.expression(0, opening)
            if not self.taken("}"):
                self.remark(self.next, f"}} is missing: read as }} {self.next.text}".rstrip())
        if joint := self.taken("and", "or"):
            self.remark(joint, "braces around all of the condition are missing: read as if there")
            node = Pair("and" if joint.kind == "and" else "or", braced(node), self.outside(joint))
        if self.next.kind in ("{", *SENSORS):
            raise self.lost(self.next, [braced(node), self.outside(self.next)], [None])
        while self.next.kind == "}":
            self.remark(self.take(), "this } closes nothing: left out")
        return node

    def outside(self, opening: Token) -> Node:
        """The rest of a condition, behind the block that should have held it."""
        return self.expression(0, opening)

    def block(self, depth: int) -> Node:
        """{ expr }, of which the end may be missing."""
        opening = self.take()
        if depth >= DEEPEST:
            raise self.refusal(opening, f"expected braces no more than {DEEPEST} deep")
        node = self.expression(depth, opening)
        if not self.taken("}"):
            if self.next.kind not in ("run", "log", "if", "end"):
                raise self.refusal(self.next, "expected and, or or }")
            self.remark(
                self.next,
                f"}} is missing, for the {{ at {opening.line}:{opening.column}:"
                f" read as }} {self.next.text}".rstrip(),
            )
        return node

    def expression(self, depth: int, opening: Token) -> Node:
        """Comparisons and blocks; Refused where an and or an or between them is lost."""
        items: list[Node] = []
        joints: list[Connective | None] = []
        gap: Token | None = None
        while True:
            nested = self.next.kind == "{"
            items.append(braced(self.block(depth + 1)) if nested else self.atom())
            if joint := self.taken("and", "or"):
                joints.append("and" if joint.kind == "and" else "or")
            elif self.next.kind in ("{", *SENSORS):
                gap = gap or self.next
                joints.append(None)
            else:
                break
        if gap:
            raise self.lost(gap, items, joints)
        return chain(items, [joint for joint in joints if joint])

    def lost(
        self, token: Token, items: Sequence[Node], joints: Sequence[Connective | None]
    ) -> Refused:
        """An and or an or is lost, and only a person knows which of them."""
        every, one = (
            written(chain(items, [joint or meant for joint in joints])) for meant in CONNECTIVES
        )
        return Refused(
            token.line,
            token.column,
            f"neither and nor or before {token.text}: write {{ {every} }} if all of it must hold,"
            f" {{ {one} }} if one is enough",
        )

    # -- actions ----------------------------------------------------------------------------------

    def actions(self) -> tuple[str | None, bool, bool, bool, int | None]:
        """RUN, LOG and STEP in any order, each at most once."""
        script, run_once, log, log_once, step = None, False, False, False, None
        if self.next.kind not in ("run", "log", "once"):
            raise self.refusal(self.next, "expected run or log behind the condition")
        while token := self.semicolon() or self.taken("run", "log", "once", "step"):
            early = token.kind == "once"
            if early:
                if self.next.kind not in ("run", "log"):
                    raise self.refusal(self.next, "expected run or log")
                self.remark(token, f"once stands behind its word: read as {self.next.text} once")
                token = self.take()
            if token.kind == "run":
                if script is not None:
                    raise self.refusal(token, "expected one command; put both into one: run 'a; b'")
                once = self.taken("once") is not None or early
                script = self.command()
                run_once = self.late(token) or once
            elif token.kind == "log":
                once = self.taken("once") is not None or early
                if log:
                    self.remark(token, "log is said twice: the second is left out")
                else:
                    log, log_once = True, once
            elif token.kind == "step":
                if step is not None:
                    raise self.refusal(token, "expected one step")
                step = self.step()
            if step is not None and self.next.kind in ("run", "log"):
                self.remark(self.next, "step comes last: read as if it did")
        return script, run_once, log, log_once, step

    def semicolon(self) -> Token | None:
        """A semicolon, which has no meaning here."""
        if self.next.text != ";":
            return None
        self.remark(self.next, "; has no meaning here: left out")
        return self.take()

    def late(self, run: Token) -> bool:
        """Whether `once` stands behind the command instead of before it."""
        if self.next.kind != "once":
            return False
        self.remark(self.take(), f"once stands before the command: read as {run.text} once")
        return True

    def command(self) -> str:
        """A command in quotes; without them nobody knows where it ends."""
        token = self.next
        if token.kind == "string":
            return self.take().value
        if token.kind in ("end", "broken", "if", "log", "step"):
            raise self.refusal(token, "expected a command in quotes")
        line = self.text[token.start : end_of_line(self.text, token.start)].strip()
        quote = '"' if "'" in line else "'"
        raise self.refusal(token, f"expected a command in quotes: write run {quote}{line}{quote}")
