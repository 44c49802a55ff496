"""`[guard.NAME]` with `run`: a shell's command while a condition holds, or once at each crossing.

Touches nothing. It is what a rule of sysfence comes to that closes nothing: nothing undoes it.
Limits: it stands alone in its guard, but for `mode`, `enabled` and `notify`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidegate.policy import values
from tidegate.policy.conditionreader import ConditionReader
from tidegate.policy.durations import parse_duration
from tidegate.policy.guards import GateSpec, Run, Trigger
from tidegate.policy.sections import Read, Sections


def _script(value: object) -> str:
    if isinstance(value, str) and "\0" not in value:
        return value
    raise ValueError('what /bin/sh shall run, such as "logger the load is high"')


RUN: dict[str, Read] = {
    "when": values.text,
    "script": _script,
    "once": values.boolean,
    "log": values.choice("always", "once"),
    "every": parse_duration,
}
_BESIDE: dict[str, Read] = {
    "mode": values.mode, "enabled": values.boolean, "notify": values.texts,
}  # fmt: skip


def trigger(
    name: str, table: Mapping[str, Any], sections: Sections, conditions: ConditionReader
) -> Trigger | None:
    """The trigger of a guard with `run`; None where it has faults, or is switched off."""
    path = f"guard.{name}"
    for key in table.keys() - _BESIDE - {"run"}:
        sections.fault(
            f"{path}.{key}", "run stands alone in its guard, with mode, enabled and notify"
        )
    stated = sections.section(path, {key: table[key] for key in _BESIDE.keys() & table}, _BESIDE)
    data = sections.section(f"{path}.run", sections.table(f"{path}.run", table["run"]), RUN)
    for key in ("when", "script"):
        if key not in table["run"]:
            sections.fault(f"{path}.run", f'"{key}" is missing')
    when = conditions.condition(f"{path}.run.when", data.get("when"))
    if when is None or "script" not in data or not stated.get("enabled", True):
        return None
    log = data.get("log")
    given = {"every": data["every"]} if "every" in data else {}
    return Trigger(
        name,
        when,
        gate=GateSpec(name, Run(data["script"])),
        run_once=data.get("once", False),
        log=log is not None,
        log_once=log == "once",
        stated=data["when"],
        mode=stated.get("mode", "enforce"),
        notify=stated.get("notify", ()),
        **given,
    )
