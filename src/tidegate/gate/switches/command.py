"""Any command that closes, and the one that opens again: lists of words, never a shell's text.

Touches what the commands touch; as root, so each must be root's alone (see `trust`).
Limits: that it is closed is believed when the command ended with exit code 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tidegate.errors import GateError
from tidegate.gate.switches import transient
from tidegate.gate.switches.kinds import Standing, Tools, brief, seconds
from tidegate.gate.switches.record import Before, Record
from tidegate.gate.switches.trust import runnable
from tidegate.policy.guards import Command, Run


class Commands:
    """The kind of `Command`."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    def look(self, terms: Command) -> Before:
        """That both can be run. GateError where they can't."""
        if not terms.open:
            raise GateError("a command without one that undoes it can't be closed")
        for words in (terms.close, terms.open):
            if why := runnable(words[0], self._tools.owners):
                raise GateError(why)
        return {}

    def close(self, terms: Command, before: Before) -> str:
        """Run the one that closes."""
        return self._run(terms.close, terms.open, terms)

    def open(self, terms: Command, before: Before) -> str:
        """Run the one that undoes it."""
        if why := runnable(terms.open[0], self._tools.owners):
            raise GateError(why)
        return self._run(terms.open, terms.close, terms)

    def state(self, terms: Command, record: Record) -> tuple[Standing, str]:
        """Closed as far as anybody can know; half done is undone as well."""
        return "closed", ""

    def _run(self, words: tuple[str, ...], other: tuple[str, ...], terms: Command) -> str:
        ran = transient.run(words, seconds(terms.timeout), self._tools, other)
        if fault := ran.fault(words):
            raise GateError(fault)
        return brief(ran.output)


class Runs:
    """The kind of `Run`: what a sysfence rule says, by /bin/sh."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    def fire(self, terms: Run, begun: Callable[[Any, Before], None]) -> str:
        """Run it."""
        words = ["/bin/sh", "-c", terms.script]
        ran = transient.run(words, seconds(terms.timeout), self._tools)
        if fault := ran.fault([brief(terms.script, 120)]):
            raise GateError(fault)
        return brief(ran.output)
