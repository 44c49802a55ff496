"""The policy's schema as tables, and the reading of each section into its model.

Touches nothing. Every fault is collected with its key; none stops the reading of the rest.
Limits: one entry per key in `KEYS` is the whole truth about what a policy may say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tidegate.errors import PolicyError
from tidegate.policy import fleetreader, guardreader, outwardreader, values
from tidegate.policy.durations import parse_duration
from tidegate.policy.fleet import FleetSpec
from tidegate.policy.flow import FlowPort, listening
from tidegate.policy.guardreader import Fetch, GuardReader
from tidegate.policy.models import (
    OUTWARD,
    TIDES,
    Escalation,
    Limits,
    Paths,
    Policy,
    Rule,
    SourceSpec,
)
from tidegate.policy.outwardreader import OutwardReader
from tidegate.policy.rules import CONDITIONS, RuleReader
from tidegate.policy.sections import Read, Sections, subtable

TOP: dict[str, Read] = {"mode": values.mode, "engine": values.choice("auto", "vectorscan", "re")}
ALLOW: dict[str, Read] = {"addresses": values.addresses}
PROXIES: dict[str, Read] = {"addresses": values.addresses}
SOURCE: dict[str, Read] = {
    "file": values.paths,
    "journal": values.journal,
    "stdin": values.boolean,
    "netflow": listening,
    "exporters": values.addresses,
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
    "count": values.choice("fleet", "host"),
}
WHEN: dict[str, Read] = {key: RULE[key] for key in CONDITIONS}
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
QUARANTINE: dict[str, Read] = {key: BAN[key] for key in ("ladder", "for")}
LIMITS: dict[str, Read] = {
    "subjects": values.whole(1_000, 50_000_000),
    "ledger": values.size,
    "events": values.size,
    "keep": parse_duration,
    "longest-ban": parse_duration,
    "widest-ipv4": values.whole(8, 32),
    "widest-ipv6": values.whole(16, 128),
}
PATHS: dict[str, Read] = dict.fromkeys(
    ("state", "run", "off", "detectors", "gates", "fleet"), values.path
)

SECTIONS: dict[str, dict[str, Read]] = {
    "": {
        **TOP,
        "allow": subtable,
        "proxies": subtable,
        "source": subtable,
        "rule": subtable,
        "escalation": subtable,
        "guard": subtable,
        "pool": subtable,
        "reading": subtable,
        "notify": subtable,
        "outward": subtable,
        "owner": subtable,
        "fleet": subtable,
        "limits": subtable,
        "paths": subtable,
    },
    "allow": ALLOW,
    "proxies": PROXIES,
    "source.NAME": SOURCE,
    "rule.NAME": {**RULE, "when": subtable, "ban": subtable, "quarantine": subtable},
    "rule.NAME.when.LEVEL": WHEN,
    "rule.NAME.ban": BAN,
    "rule.NAME.quarantine": QUARANTINE,
    "escalation.NAME": ESCALATION,
    **guardreader.SECTIONS,
    **outwardreader.SECTIONS,
    **fleetreader.SECTIONS,
    "limits": LIMITS,
    "paths": PATHS,
}
"""Every section and key there is; the documentation test walks this."""


def _no_file(path: Path) -> str:
    raise PolicyError([f"{path}: not read here"])


class Reader(Sections):
    """Reads a merged policy table. `fetch` reads the files that a policy names."""

    def __init__(self, data: Mapping[str, Any], fetch: Fetch = _no_file) -> None:
        super().__init__(data)
        self._fetch = fetch
        self._fleet: FleetSpec | None = None

    def policy(self, files: tuple[str, ...], digest: str) -> Policy:
        """The Policy; meaningless where `faults` is not empty afterwards."""
        top = self.section("", self.data, SECTIONS[""])
        guarding = GuardReader(self, self._fetch).read()
        leaving = OutwardReader(self, [one.name for one in guarding.notices])
        outward = leaving.spec()
        self._fleet = fleetreader.read(self)
        sources = tuple(self._source(name) for name in self.names("source"))
        return Policy(
            mode=top.get("mode", "enforce"),
            engine=top.get("engine", "auto"),
            allow=self._named("allow", ALLOW).get("addresses", ()),
            proxies=self._named("proxies", PROXIES).get("addresses", ()),
            sources=sources if outward is None else (*sources, OUTWARD),
            rules=tuple(self._rule(name) for name in self.names("rule")),
            escalation=tuple(self._escalation(name) for name in self.names("escalation")),
            guards=guarding.guards,
            triggers=guarding.triggers,
            readings=guarding.readings,
            pools=guarding.pools,
            notices=guarding.notices,
            outward=outward,
            owners=leaving.owners(),
            fleet=self._fleet,
            limits=_limits(self._named("limits", LIMITS)),
            paths=Paths(**self._named("paths", PATHS)),
            hash=digest,
            files=files,
        )

    def _named(self, name: str, keys: dict[str, Read]) -> dict[str, Any]:
        return self.section(name, self.table(name, self.data.get(name, {})), keys)

    def _source(self, name: str) -> SourceSpec:
        path = f"source.{name}"
        raw = self.table(path, self.data["source"][name])
        data = self.section(path, raw, SOURCE)
        if name == OUTWARD.name:
            said = "this name is taken by what Tidegate itself sees of traffic that leaves"
            self.fault(path, f"{said}; expected another")
        given = [key for key in ("file", "journal", "stdin", "netflow") if key in raw]
        if len(given) != 1:
            said = 'expected exactly one of "file", "journal", "stdin" and "netflow"'
            self.faults.append((path, said))
        netflow = self._exported(path, raw, data)
        if data.get("journal") == () and not data.get("detectors"):
            self.faults.append((path, 'journal = true needs "detectors", whose matches are asked'))
        return SourceSpec(
            name=name,
            files=data.get("file", ()),
            journal=data.get("journal"),
            detectors=data.get("detectors", OUTWARD.detectors if netflow else ()),
            zone=data.get("zone", ""),
            start=data.get("start", "end"),
            enabled=data.get("enabled", True),
            stdin=data.get("stdin", False),
            netflow=netflow,
        )

    def _exported(
        self, path: str, raw: Mapping[str, Any], data: Mapping[str, Any]
    ) -> FlowPort | None:
        """Where flow records come, and from whom: anybody could invent them."""
        if "netflow" in raw and not data.get("exporters"):
            self.faults.append((path, '"netflow" needs "exporters", such as ["192.0.2.1"]'))
        if "exporters" in raw and "netflow" not in raw:
            self.faults.append((path, '"exporters" belongs to "netflow", which is missing'))
        found = data.get("netflow")
        return None if found is None else replace(found, exporters=data.get("exporters", ()))

    def _rule(self, name: str) -> Rule:
        path = f"rule.{name}"
        raw = self.table(path, self.data["rule"][name])
        data = self.section(path, raw, SECTIONS["rule.NAME"])
        kind, keys = ("quarantine", QUARANTINE) if "quarantine" in raw else ("ban", BAN)
        where = f"{path}.{kind}"
        terms = self.section(where, self.table(where, raw.get(kind, {})), keys)
        when = self._tides(f"{path}.when", raw.get("when", {}))
        rule = RuleReader(path, raw, data, terms, self.faults, when).rule(name)
        shared = fleetreader.shared(rule, data.get("count", ""), self._fleet, self)
        return replace(rule, shared=shared)

    def _tides(self, path: str, written: object) -> dict[str, dict[str, Any]]:
        """What a rule says of the tides `high` and `flood`."""
        table = self.table(path, written)
        self.section(path, table, dict.fromkeys(TIDES[1:], subtable))
        return {
            tide: self.section(f"{path}.{tide}", self.table(f"{path}.{tide}", table[tide]), WHEN)
            for tide in TIDES[1:]
            if tide in table
        }

    def _escalation(self, name: str) -> Escalation:
        path = f"escalation.{name}"
        data = self.section(path, self.table(path, self.data["escalation"][name]), ESCALATION)
        for key in ESCALATION:
            if key not in data:
                self.faults.append((path, f'"{key}" is missing'))
        family, length = data.get("network", (4, 24))
        within, span = data.get("within", 1), data.get("for", 1)
        return Escalation(family, length, data.get("children", 3), within, span)


def _limits(data: Mapping[str, Any]) -> Limits:
    names = {"ledger": "ledger_bytes", "events": "events_bytes"}
    return Limits(**{names.get(key, key.replace("-", "_")): data[key] for key in data})
