"""Sysfence's files → guards and triggers, with every repair, warning and refusal in words.

Touches nothing but the list of this host's users. Strict: sysfence's verdicts, each rule a trigger.
Lenient: a pair of rules that stops and starts one service is one guard, a restart has its limits.
Limits: a fault refuses a rule, in the strict reading everything.
"""

from __future__ import annotations

import pwd
import re
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from tidegate.model import SECOND, Micros
from tidegate.policy import ranges
from tidegate.policy.guards import GateSpec, GuardSpec, Run, Trigger
from tidegate.policy.sysfence import convert, grammar, pairs, repair
from tidegate.policy.sysfence.lexer import Refused
from tidegate.policy.sysfence.pairs import Entry
from tidegate.policy.sysfence.tree import Remark, Rule

Reading = Literal["lenient", "strict"]
_WRAP = 1 << 32
_STEP = 10
_LONGEST = 48


class Found(NamedTuple):
    """A guard or a trigger, and the rules that it comes from."""

    spec: GuardSpec | Trigger
    rules: tuple[Entry, ...]


class Outcome(NamedTuple):
    """What is made of some files; notes and faults as `path:line:column: text`."""

    found: tuple[Found, ...]
    notes: tuple[str, ...]
    faults: tuple[str, ...]


def guards(
    name: str, texts: Sequence[tuple[str, str]], reading: Reading = "lenient"
) -> tuple[tuple[GuardSpec, ...], tuple[Trigger, ...], tuple[str, ...], tuple[str, ...]]:
    """Guards and triggers of sysfence's files, given as (path, text); notes and faults in words.

    Their names begin with `name` and a dot, unless it is "".
    """
    found, notes, faults = understand(name, texts, reading)
    specs = [one.spec for one in found]
    return (
        tuple(one for one in specs if isinstance(one, GuardSpec)),
        tuple(one for one in specs if isinstance(one, Trigger)),
        notes,
        faults,
    )


def understand(
    name: str,
    texts: Sequence[tuple[str, str]],
    reading: Reading = "lenient",
    knows: Callable[[str], bool] | None = None,
) -> Outcome:
    """As `guards`, with the rules behind each. `knows`: whether a user exists (this host's)."""
    entries: list[Entry] = []
    notes: list[str] = []
    faults: list[str] = []
    for path, text in texts:
        rules, said, refused = _rules(text, reading, knows or known_here)
        for rule in rules:
            said = [*said, *convert.remarks(rule), *_of_step(rule, reading)]
            try:
                _check(rule)
                condition = convert.condition(rule.when)
            except Refused as fault:
                refused.append(Remark(fault.line, fault.column, fault.message))
                continue
            entries.append(Entry(path, rule, condition, len(entries) + 1))
        notes += [f"{path}:{line}:{column}: {text}" for line, column, text in sorted(said)]
        faults += [f"{path}:{line}:{column}: {text}" for line, column, text in refused]
    if reading == "strict":
        if faults:
            return Outcome((), tuple(notes), tuple(faults))
        notes += pairs.warnings(entries)
        names = _Names(name)
        found = [Found(_trigger(names, one, reading), (one,)) for one in entries]
        return Outcome(tuple(found), tuple(notes), ())
    made, more = _lenient(_Names(name), entries)
    return Outcome(tuple(made), (*notes, *more), tuple(faults))


def _rules(
    text: str, reading: Reading, knows: Callable[[str], bool]
) -> tuple[list[Rule], list[Remark], list[Remark]]:
    if reading == "lenient":
        return repair.read(text, knows)
    try:
        return (*grammar.read(text, knows), [])
    except Refused as fault:
        return [], [], [Remark(fault.line, fault.column, fault.message)]


def _lenient(names: _Names, entries: Sequence[Entry]) -> tuple[list[Found], list[str]]:
    made: list[Found] = []
    notes: list[str] = []
    for group in pairs.grouped(entries):
        if not group.service:
            made.append(Found(_trigger(names, group.rules[0], "lenient"), group.rules))
            notes += group.notes
            continue
        spec, said = pairs.guard(names.free(group.service), group)
        senseless = ranges.faults(spec)
        if senseless:
            # As one guard policy would refuse it; as they are, they do what they did.
            notes.append(f"{group.rules[0].place}: kept as it is, no guard: {senseless[0][1]}")
            notes += pairs.warnings(group.rules)
            made += [Found(_trigger(names, one, "lenient"), (one,)) for one in group.rules]
        else:
            made.append(Found(spec, group.rules))
            notes += said
    return made, notes


def _trigger(names: _Names, entry: Entry, reading: Reading) -> Trigger:
    rule = entry.rule
    name = names.free(rule.name or f"rule-{entry.number}")
    gate = None if rule.script is None else GateSpec(name, Run(rule.script))
    every = _every(rule, reading)
    return Trigger(
        name, entry.when, every, gate, rule.run_once, rule.log, rule.log_once, rule.stated
    )


def _every(rule: Rule, reading: Reading) -> Micros:
    step = _STEP if rule.step is None else rule.step
    if reading == "strict":
        return step % _WRAP * SECOND
    return (step if 0 < step < _WRAP else _STEP) * SECOND


def _of_step(rule: Rule, reading: Reading) -> list[Remark]:
    if rule.step is None or 0 < rule.step < _WRAP:
        return []
    if reading == "strict":
        text = f"step {rule.step} is {rule.step % _WRAP} seconds to sysfence"
    else:
        text = f"step {rule.step} can't be: looked at every {_STEP} seconds"
    return [Remark(rule.line, rule.column, text)]


def _check(rule: Rule) -> None:
    """Refused where a command can't be run, or written into a policy."""
    for what, text in (("command", rule.script or ""), ("name", rule.name)):
        if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
            raise Refused(rule.line, rule.column, f"the {what} holds bytes that are no UTF-8, or 0")


def known_here(user: str) -> bool:
    """Whether this host has a user of this name."""
    try:
        pwd.getpwnam(user)
    except (KeyError, ValueError):
        return False
    return True


class _Names:
    """Names of guards: of letters, digits, - and _ (a dot would part keys), each once."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._used: set[str] = set()

    def free(self, wanted: str) -> str:
        """A name like the one that is wanted, not taken yet."""
        plain = re.sub(r"[^a-z0-9_-]+", "-", wanted.lower(), flags=re.ASCII).strip("-")
        plain = plain[:_LONGEST].strip("-") or "rule"
        base = f"{self._prefix[: 63 - len(plain)]}.{plain}" if self._prefix else plain
        name, number = base, 1
        while name in self._used:
            number += 1
            name = f"{base[: 60 - len(str(number))]}-{number}"
        self._used.add(name)
        return name
