"""Guards and triggers → policy text, ready for policy.d, each with its origin and its words.

Touches nothing. Limits: what sysfence would do at every look (`log` without `once`) is a warning
here, told once at each crossing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from tidegate.policy.durations import format_duration
from tidegate.policy.expressions import text_of, words
from tidegate.policy.guards import Condition, GuardSpec, Restart, Run, Service, Trigger
from tidegate.policy.sysfence.reader import Found
from tidegate.text import printable

_DEFAULT = Trigger("", when=None).every  # type: ignore[arg-type]


def policy_text(found: Sequence[Found]) -> str:
    """All of it as a policy."""
    return "\n".join(section(one) for one in found)


def section(found: Found) -> str:
    """`[guard.NAME]` with the places of the rules that it comes from."""
    lines = [printable(f"# {one.place}: {one.called}") for one in found.rules]
    lines.append(f"[guard.{found.spec.name}]")
    lines += _guard(found.spec) if isinstance(found.spec, GuardSpec) else _trigger(found.spec)
    return "".join(f"{line}\n" for line in lines)


def conditions(spec: GuardSpec | Trigger) -> Iterator[tuple[str, Condition]]:
    """What is done when: `closes`, `opens`, `restarts`, `warns`, `runs` or `logs`."""
    if isinstance(spec, Trigger):
        yield ("runs" if spec.gate else "warns"), spec.when
    elif spec.close is not None and isinstance(spec.gates[0].terms, Restart):
        yield "restarts", spec.close
    else:
        for verb, condition in (("closes", spec.close), ("opens", spec.open)):
            if condition is not None:
                yield verb, condition


def in_words(spec: GuardSpec | Trigger) -> list[str]:
    """Each condition in a sentence: `closes when the load of the last minute is at least 10`."""
    return [f"{verb} when {words(condition)}" for verb, condition in conditions(spec)]


def _guard(spec: GuardSpec) -> list[str]:
    terms = spec.gates[0].terms
    if isinstance(terms, Restart):
        rate = f"{terms.most}/day"
        assert spec.close is not None
        return [
            f"restart = {{ service = {text(terms.service)}, when = {text(text_of(spec.close))},"
            f' wait = "{format_duration(terms.wait)}", at-most = "{rate}" }}'
        ]
    assert isinstance(terms, Service)
    lines = [
        f"{key} = {{ when = {text(text_of(condition))} }}"
        for key, condition in (("close", spec.close), ("open", spec.open))
        if condition is not None
    ]
    return [*lines, f"service = {text(terms.service)}"]


def _trigger(spec: Trigger) -> list[str]:
    when = f"when = {text(text_of(spec.when))}"
    if spec.gate is None:
        return [f"warn = {{ {when} }}"]
    assert isinstance(spec.gate.terms, Run)
    parts = [when, f"script = {text(spec.gate.terms.script)}"]
    if spec.run_once:
        parts.append("once = true")
    if spec.log:
        parts.append(f'log = "{"once" if spec.log_once else "always"}"')
    if spec.every != _DEFAULT:
        parts.append(f'every = "{format_duration(spec.every)}"')
    return [f"run = {{ {', '.join(parts)} }}"]


def text(value: str) -> str:
    """A text as TOML has it: on one line, with nothing in it that a terminal would not show."""
    plain = json.dumps(value, ensure_ascii=False)
    if plain.isprintable():
        return plain
    return "".join(char if char.isprintable() else _escaped(ord(char)) for char in plain)


def _escaped(code: int) -> str:
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
