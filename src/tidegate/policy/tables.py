"""The policy's schema as tables, and the reading of each section into its model.

Touches nothing. Every fault is collected with its key; none stops the reading of the rest.
Limits: one entry per key in `KEYS` is the whole truth about what a policy may say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from tidegate.policy import values
from tidegate.policy.durations import parse_duration
from tidegate.policy.models import Escalation, Limits, Paths, Policy, Rule, SourceSpec
from tidegate.policy.rules import RuleReader

Read = Callable[[object], Any]


def _subtable(value: object) -> None:
    """Stands in the schema for a table with keys of its own, which is read by its section."""


TOP: dict[str, Read] = {"mode": values.mode, "engine": values.choice("auto", "vectorscan", "re")}
ALLOW: dict[str, Read] = {"addresses": values.addresses}
PROXIES: dict[str, Read] = {"addresses": values.addresses}
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
    "on": values.counted,
    "where": values.where,
    "unless": values.where,
    "more-than": values.whole(0, 9_999),
    "at-least": values.whole(1, 10_000),
    "within": parse_duration,
    "distinct": values.field,
    "reset-on": values.kinds,
    "score-over": values.whole(0, 1_000_000),
    "score-at-least": values.whole(1, 1_000_000),
    "decay": values.decay,
    "half-life": parse_duration,
    "release-at": values.whole(0, 1_000_000),
    "compat": values.choice("modsecurity"),
    "knock": values.whole(0, 1000),
    "good-record": values.choice("ignore", "double", "spare"),
    "probation": values.boolean,
    "mode": values.mode,
    "enabled": values.boolean,
    "forget": parse_duration,
}
ESCALATION: dict[str, Read] = {
    "network": values.network,
    "children": values.whole(3, 256),
    "within": parse_duration,
    "for": parse_duration,
}
BAN: dict[str, Read] = {
    "ports": values.ports_or_service,
    "ladder": values.ladder,
    "for": parse_duration,
}
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
        "proxies": _subtable,
        "source": _subtable,
        "rule": _subtable,
        "escalation": _subtable,
        "limits": _subtable,
        "paths": _subtable,
    },
    "allow": ALLOW,
    "proxies": PROXIES,
    "source.NAME": SOURCE,
    "rule.NAME": {**RULE, "ban": _subtable},
    "rule.NAME.ban": BAN,
    "escalation.NAME": ESCALATION,
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
            proxies=self._named("proxies", PROXIES).get("addresses", ()),
            sources=tuple(self._source(name) for name in self._names("source")),
            rules=tuple(self._rule(name) for name in self._names("rule")),
            escalation=tuple(self._escalation(name) for name in self._names("escalation")),
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
        ban = f"{path}.ban"
        terms = self._section(ban, self._table(ban, raw.get("ban", {})), BAN)
        return RuleReader(path, raw, data, terms, self.faults).rule(name)

    def _escalation(self, name: str) -> Escalation:
        path = f"escalation.{name}"
        data = self._section(path, self._table(path, self._data["escalation"][name]), ESCALATION)
        for key in ESCALATION:
            if key not in data:
                self.faults.append((path, f'"{key}" is missing'))
        family, length = data.get("network", (4, 24))
        within, span = data.get("within", 1), data.get("for", 1)
        return Escalation(family, length, data.get("children", 3), within, span)


def _limits(data: Mapping[str, Any]) -> Limits:
    names = {"ledger": "ledger_bytes"}
    return Limits(**{names.get(key, key.replace("-", "_")): data[key] for key in data})


def _unknown(key: str, keys: Mapping[str, object]) -> str:
    near = get_close_matches(key, keys, n=1, cutoff=0.5)
    hint = f'did you mean "{near[0]}"?' if near else "known keys: " + ", ".join(keys)
    return f"unknown key; {hint}"
