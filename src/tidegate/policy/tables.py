"""The policy's schema as tables, and the reading of each section into its model.

Touches nothing. Every fault is collected with its key; none stops the reading of the rest.
Limits: one entry per key in `KEYS` is the whole truth about what a policy may say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from tidegate.model import Micros
from tidegate.policy import values
from tidegate.policy.durations import format_duration, parse_duration
from tidegate.policy.models import BanTerms, Limits, Paths, Policy, Rule, SourceSpec

Read = Callable[[object], Any]


def _subtable(value: object) -> None:
    """Stands in the schema for a table with keys of its own, which is read by its section."""


TOP: dict[str, Read] = {"mode": values.mode, "engine": values.choice("auto", "vectorscan", "re")}
ALLOW: dict[str, Read] = {"addresses": values.addresses}
SOURCE: dict[str, Read] = {
    "file": values.paths,
    "journal": values.journal,
    "stdin": values.boolean,
    "detectors": values.texts,
    "zone": values.zone,
    "enabled": values.boolean,
    "start": values.choice("end", "beginning"),
}
RULE: dict[str, Read] = {
    "on": values.weights,
    "more-than": values.whole(0, 9_999),
    "at-least": values.whole(1, 10_000),
    "within": parse_duration,
    "mode": values.mode,
    "enabled": values.boolean,
    "forget": parse_duration,
}
BAN: dict[str, Read] = {"ports": values.ports, "ladder": values.ladder, "for": parse_duration}
LIMITS: dict[str, Read] = {
    "subjects": values.whole(1_000, 50_000_000),
    "ledger": values.size,
    "keep": parse_duration,
    "longest-ban": parse_duration,
    "widest-ipv4": values.whole(8, 32),
    "widest-ipv6": values.whole(16, 128),
}
PATHS: dict[str, Read] = dict.fromkeys(("state", "run", "off", "detectors"), values.path)

SECTIONS: dict[str, dict[str, Read]] = {
    "": {
        **TOP,
        "allow": _subtable,
        "source": _subtable,
        "rule": _subtable,
        "limits": _subtable,
        "paths": _subtable,
    },
    "allow": ALLOW,
    "source.NAME": SOURCE,
    "rule.NAME": {**RULE, "ban": _subtable},
    "rule.NAME.ban": BAN,
    "limits": LIMITS,
    "paths": PATHS,
}
"""Every section and key there is; the documentation test walks this."""

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)

Fault = tuple[str, str]
"""A key path and what is wrong with it."""


class Reader:
    """Reads a merged policy table; `faults` holds everything that was wrong."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._data = data
        self.faults: list[Fault] = []

    def policy(self, files: tuple[str, ...], digest: str) -> Policy:
        """The Policy; meaningless where `faults` is not empty afterwards."""
        top = self._section("", self._data, SECTIONS[""])
        return Policy(
            mode=top.get("mode", "enforce"),
            engine=top.get("engine", "auto"),
            allow=self._named("allow", ALLOW).get("addresses", ()),
            sources=tuple(self._source(name) for name in self._names("source")),
            rules=tuple(self._rule(name) for name in self._names("rule")),
            limits=_limits(self._named("limits", LIMITS)),
            paths=Paths(**self._named("paths", PATHS)),
            hash=digest,
            files=files,
        )

    def _table(self, path: str, data: object) -> Mapping[str, Any]:
        if isinstance(data, Mapping):
            return data
        self.faults.append((path, f"expected a table, found {data!r}"))
        return {}

    def _named(self, name: str, keys: dict[str, Read]) -> dict[str, Any]:
        return self._section(name, self._table(name, self._data.get(name, {})), keys)

    def _names(self, section: str) -> list[str]:
        names = list(self._table(section, self._data.get(section, {})))
        for name in names:
            if not _NAME.fullmatch(name):
                said = "expected a name of letters, digits, dots, - and _"
                self.faults.append((f"{section}.{name}", said))
        return names

    def _section(self, path: str, data: Mapping[str, Any], keys: dict[str, Read]) -> dict[str, Any]:
        found = {}
        for key, value in data.items():
            where = f"{path}.{key}" if path else key
            read = keys.get(key)
            if read is None:
                self.faults.append((where, _unknown(key, keys)))
            elif read is not _subtable:
                try:
                    found[key] = read(value)
                except ValueError as expected:
                    self.faults.append((where, f"expected {expected}; found {value!r}"))
        return found

    def _source(self, name: str) -> SourceSpec:
        path = f"source.{name}"
        raw = self._table(path, self._data["source"][name])
        data = self._section(path, raw, SOURCE)
        given = [key for key in ("file", "journal", "stdin") if key in raw]
        if len(given) != 1:
            self.faults.append((path, 'expected exactly one of "file", "journal" and "stdin"'))
        if data.get("journal") == () and not data.get("detectors"):
            self.faults.append((path, 'journal = true needs "detectors", whose matches are asked'))
        return SourceSpec(
            name=name,
            files=data.get("file", ()),
            journal=data.get("journal"),
            detectors=data.get("detectors", ()),
            zone=data.get("zone", ""),
            start=data.get("start", "end"),
            enabled=data.get("enabled", True),
            stdin=data.get("stdin", False),
        )

    def _rule(self, name: str) -> Rule:
        path = f"rule.{name}"
        raw = self._table(path, self._data["rule"][name])
        data = self._section(path, raw, SECTIONS["rule.NAME"])
        for key in ("on", "within"):
            if key not in raw:
                self.faults.append((path, f'"{key}" is missing'))
        if ("more-than" in raw) == ("at-least" in raw):
            self.faults.append((path, 'expected exactly one of "more-than" and "at-least"'))
        threshold = data["more-than"] + 1 if "more-than" in data else data.get("at-least", 1)
        within = data.get("within", 1)
        return Rule(
            name=name,
            on=data.get("on", ()),
            threshold=threshold,
            within=within,
            ban=self._ban(path, raw),
            stated=_stated(data, within),
            mode=data.get("mode", "enforce"),
            enabled=data.get("enabled", True),
            **({"forget": data["forget"]} if "forget" in data else {}),
        )

    def _ban(self, rule: str, raw: Mapping[str, Any]) -> BanTerms:
        path = f"{rule}.ban"
        table = self._table(path, raw.get("ban", {}))
        data = self._section(path, table, BAN)
        if "ban" not in raw:
            self.faults.append((rule, '"ban" is missing, such as ban = { ports = [25] }'))
        elif "ports" not in table:
            self.faults.append((path, '"ports" is missing; [] closes every port'))
        if "for" in table and "ladder" in table:
            self.faults.append((path, 'expected only one of "for" and "ladder"'))
        steps = (data["for"],) if "for" in data else data.get("ladder", BanTerms().ladder)
        return BanTerms(ports=data.get("ports", ()), ladder=steps)


def _limits(data: Mapping[str, Any]) -> Limits:
    names = {"ledger": "ledger_bytes"}
    return Limits(**{names.get(key, key.replace("-", "_")): data[key] for key in data})


def _stated(data: Mapping[str, Any], within: Micros) -> str:
    words = (
        f"more than {data['more-than']}"
        if "more-than" in data
        else f"at least {data.get('at-least', 1)}"
    )
    return f"{words} within {format_duration(within)}"


def _unknown(key: str, keys: Mapping[str, object]) -> str:
    near = get_close_matches(key, keys, n=1, cutoff=0.5)
    hint = f'did you mean "{near[0]}"?' if near else "known keys: " + ", ".join(keys)
    return f"unknown key; {hint}"
