"""Guards out of policy tables: conditions, gates and ladders, pools, own readings, notices.

Touches nothing; files of sysfence come through `fetch`, which the loader gives. Every fault is
collected with its key. Limits: whether close and open make sense together is judged by `ranges`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from tidegate.errors import PolicyError
from tidegate.policy import guardvalues as read
from tidegate.policy import ranges, values
from tidegate.policy.belongings import NOTICE, POOL, READING, BelongingsReader
from tidegate.policy.conditionreader import CLOSE, OPEN, WARN, ConditionReader
from tidegate.policy.durations import parse_duration
from tidegate.policy.gatereader import KINDS, RESTART, TABLES, GateReader
from tidegate.policy.guards import (
    Capture,
    GateSpec,
    GuardSpec,
    NoticeSpec,
    Pool,
    ReadingSpec,
    Step,
    Trigger,
)
from tidegate.policy.ladderreader import STEP, LadderReader
from tidegate.policy.sections import Read, Sections, subtable
from tidegate.policy.triggerreader import RUN, trigger

Fetch = Callable[[Path], str]
"""The text of a file that a policy names. Raises PolicyError."""

CAPTURE: dict[str, Read] = {
    "commands": read.commands,
    "timeout": parse_duration,
    "size": values.size,
}
GUARD: dict[str, Read] = {
    "close": subtable,
    "open": subtable,
    "warn": subtable,
    **dict.fromkeys(KINDS, subtable),
    "ladder": subtable,
    "restart": subtable,
    "run": subtable,
    "tide": values.choice("low", "high", "flood"),
    "capture": subtable,
    "notify": values.texts,
    "pool": values.text,
    "flaps": values.whole(1, 100),
    "longest-damped": parse_duration,
    "mode": values.mode,
    "enabled": values.boolean,
    "sysfence": values.paths,
    "reading": values.choice("strict", "lenient"),
}
SECTIONS: dict[str, dict[str, Read]] = {
    "guard.NAME": GUARD,
    "guard.NAME.close": CLOSE,
    "guard.NAME.open": OPEN,
    "guard.NAME.warn": WARN,
    "guard.NAME.ladder": STEP,
    **{f"guard.NAME.{kind}": keys for kind, keys in TABLES.items()},
    "guard.NAME.restart": RESTART,
    "guard.NAME.run": RUN,
    "guard.NAME.capture": CAPTURE,
    "pool.NAME": POOL,
    "reading.NAME": READING,
    "notify.NAME": NOTICE,
}


class Guarding(NamedTuple):
    """What a policy says of guards and of what they need."""

    guards: tuple[GuardSpec, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    readings: tuple[ReadingSpec, ...] = ()
    pools: tuple[Pool, ...] = ()
    notices: tuple[NoticeSpec, ...] = ()


class GuardReader:
    """Reads every guard of a policy; meaningless where its sections have faults afterwards."""

    def __init__(self, sections: Sections, fetch: Fetch) -> None:
        self._sections = sections
        self._gates = GateReader(sections)
        self._fetch = fetch
        self._own = frozenset(self._names("reading"))
        self._conditions = ConditionReader(sections, self._own)

    def read(self) -> Guarding:
        """All of it."""
        belongings = BelongingsReader(self._sections, self._own)
        readings = tuple(belongings.reading(name) for name in sorted(self._own))
        pools = tuple(belongings.pool(name) for name in self._names("pool"))
        notices = tuple(belongings.notice(name) for name in self._names("notify"))
        guards: list[GuardSpec] = []
        triggers: list[Trigger] = []
        for name in self._names("guard"):
            path = f"guard.{name}"
            table = self._sections.table(path, self._sections.data["guard"][name])
            if "sysfence" in table:
                more, fired = self._sysfence(name, table)
                guards += more
                triggers += fired
            elif "run" in table:
                fires = trigger(name, table, self._sections, self._conditions)
                triggers += [fires] if fires is not None else []
            else:
                guards.append(self._guard(name, table))
        self._cross(guards, triggers, pools, notices)
        return Guarding(tuple(guards), tuple(triggers), readings, pools, notices)

    def _names(self, section: str) -> list[str]:
        return self._sections.names(section) if section in self._sections.data else []

    # -- guards ----------------------------------------------------------------------------------

    def _guard(self, name: str, table: Mapping[str, Any]) -> GuardSpec:
        path, noted = f"guard.{name}", len(self._sections.notes)
        data = self._sections.section(path, table, GUARD)
        close, least_closed, stated_close = self._conditions.when(path, "close", table)
        opened, least_open, stated_open = self._conditions.when(path, "open", table)
        warn, _none, stated_warn = self._conditions.when(path, "warn", table)
        pool = data.get("pool", "")
        ladder = LadderReader(self._sections, self._gates, self._conditions)
        steps = ladder.steps(name, table, pool)
        if "restart" in table:
            within = self._sections.table(f"{path}.restart", table["restart"])
            restart = self._gates.restart(f"{path}.restart", within)
            close = self._conditions.condition(f"{path}.restart.when", within.get("when"))
            stated_close = str(within.get("when"))
            steps = (Step(GateSpec(name, restart, pool)),) if restart is not None else ()
        self._whole(path, table, all(step.when is not None for step in steps))
        spec = GuardSpec(
            name=name,
            close=close,
            open=opened,
            warn=warn,
            steps=steps,
            tide=data.get("tide", "high" if steps and "restart" not in table else "low"),
            capture=self._capture(path, table.get("capture", True)),
            notify=data.get("notify", ()),
            mode=data.get("mode", "enforce"),
            enabled=data.get("enabled", True),
            stated_close=stated_close,
            stated_open=stated_open,
            stated_warn=stated_warn,
        )
        terms: dict[str, Any] = {
            "least_closed": least_closed,
            "least_open": least_open,
            "patience": self._conditions.patience(path, table),
            "flaps": data.get("flaps"),
            "longest_damped": data.get("longest-damped"),
        }
        spec = replace(spec, **{key: one for key, one in terms.items() if one is not None})
        self._judge(path, spec)
        if not spec.enabled:
            del self._sections.notes[noted:]  # nobody has to look at what is switched off
        return spec

    def _whole(self, path: str, table: Mapping[str, Any], own: bool) -> None:
        """What goes with what; `own`: every step says itself when it is due."""
        gates = [kind for kind in (*KINDS, "ladder", "restart") if kind in table]
        if len(gates) > 1:
            said = f'"{gates[0]}" and "{gates[1]}": expected one gate, or a ladder of them'
            self._sections.fault(path, said)
        if "restart" in table:
            for key in ("close", "open"):
                if key in table:
                    self._sections.fault(
                        f"{path}.{key}", "a restart has its own condition, restart.when"
                    )
        elif gates and "close" not in table and not own:
            self._sections.fault(path, '"close" is missing, such as close = { when = "la1 >= 10" }')
        elif "close" in table and not gates:
            said = "nothing to close; name a service, a gate or a ladder, or write warn"
            self._sections.fault(path, f"{said} instead of close")
        elif "open" in table and not gates:
            self._sections.fault(f"{path}.open", "there is no close that it could end")
        elif not gates and "warn" not in table:
            self._sections.fault(
                path, 'expected "close" with a gate, "restart", "warn" or "sysfence"'
            )
        if "reading" in table:
            self._sections.fault(f"{path}.reading", "reading goes with sysfence")

    def _capture(self, path: str, given: object) -> Capture | None:
        if isinstance(given, bool):
            return Capture() if given else None
        path = f"{path}.capture"
        data = self._sections.section(path, self._sections.table(path, given), CAPTURE)
        names = {"size": "largest"}
        return Capture(**{names.get(key, key): value for key, value in data.items()})

    def _judge(self, path: str, guard: GuardSpec) -> None:
        """Conditions that can't be meant, and those worth a look."""
        self._sections.faults += [(f"{path}.{key}", said) for key, said in ranges.faults(guard)]
        self._sections.notes += [(f"{path}.{key}", said) for key, said in ranges.notes(guard)]

    def _sysfence(
        self, name: str, table: Mapping[str, Any]
    ) -> tuple[Sequence[GuardSpec], Sequence[Trigger]]:
        from tidegate.policy import sysfence

        path = f"guard.{name}"
        data = self._sections.section(path, table, GUARD)
        for key in ("close", "open", "warn", "ladder", "restart", "pool", *KINDS):
            if key in table:
                self._sections.fault(
                    f"{path}.{key}", "the rules are read from the files of sysfence"
                )
        texts = []
        for file in data.get("sysfence", ()):
            try:
                texts.append((file, self._fetch(Path(file))))
            except PolicyError as error:
                self._sections.faults += [(f"{path}.sysfence", said) for said in error.faults]
        guards, triggers, notes, faults = sysfence.guards(
            name, tuple(texts), data.get("reading", "lenient")
        )
        self._sections.notes += [(f"{path}.sysfence", note) for note in notes]
        self._sections.faults += [(f"{path}.sysfence", fault) for fault in faults]
        capture = self._capture(path, table.get("capture", True))
        said: dict[str, Any] = {
            key.replace("-", "_"): data[key]
            for key in ("tide", "notify", "flaps", "longest-damped", "mode", "enabled")
            if key in data
        }
        guards = tuple(replace(one, capture=capture, **said) for one in guards)
        if not data.get("enabled", True):
            return guards, []
        run: dict[str, Any] = {key: data[key] for key in ("mode", "notify") if key in data}
        return guards, [replace(one, **run) for one in triggers]

    def _cross(
        self,
        guards: Sequence[GuardSpec],
        triggers: Sequence[Trigger],
        pools: Sequence[Pool],
        notices: Sequence[NoticeSpec],
    ) -> None:
        """Names that lead nowhere, and names that two things have."""
        known = {one.name for one in pools}
        told = {one.name for one in notices}
        for guard in guards:
            path = f"guard.{guard.name}"
            for pool in sorted({gate.pool for gate in guard.gates} - known - {""}):
                self._sections.fault(f"{path}.pool", f"there is no [pool.{pool}]")
        wanted = [(one.name, one.notify) for one in guards]
        wanted += [(one.name, one.notify) for one in triggers]
        for owner, names in wanted:
            for name in sorted(set(names) - told):
                self._sections.fault(f"guard.{owner}.notify", f"there is no [notify.{name}]")
        fired = [one.gate for one in triggers if one.gate is not None]
        gates = Counter(gate.name for guard in guards for gate in guard.gates)
        gates.update(gate.name for gate in fired)
        for guard in guards:
            for gate in dict.fromkeys(gate.name for gate in guard.gates):
                if gates[gate] > 1:
                    said = f'two gates are named "{gate}"; give one of them a name = "…"'
                    self._sections.fault(f"guard.{guard.name}.ladder", said)
