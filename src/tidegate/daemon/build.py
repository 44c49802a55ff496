"""Builds a pipeline from a policy: packs loaded and tried, one engine for each set of detectors.

Touches the pack files and the host's time zone, only to read. Used by `run`, `replay` and `check`.
Limits: every fault is collected before any is raised.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, tzinfo
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tidegate.daemon.pipeline import Pipeline
from tidegate.daemon.published import load
from tidegate.detector.budget import Budget, Unlimited
from tidegate.detector.engine import Engine
from tidegate.detector.pack import Pack, load_packs, try_examples
from tidegate.detector.scanner import flags_of
from tidegate.errors import PackError
from tidegate.evidence import targets
from tidegate.policy.loader import Loaded, cross_check, untrusted
from tidegate.policy.models import EngineName, SourceSpec
from tidegate.policy.overlay import Published


@dataclass(frozen=True, slots=True)
class Plan:
    """A checked policy with its packs, ready to be built."""

    loaded: Loaded
    packs: tuple[Pack, ...]
    budget: Budget = field(default_factory=Unlimited)

    @property
    def sources(self) -> tuple[SourceSpec, ...]:
        """The sources that are switched on."""
        return tuple(source for source in self.loaded.policy.sources if source.enabled)

    @property
    def common(self) -> tuple[str, ...]:
        """The packs for whose events every source is read that names none: whoever may write some
        line into a log must not be able to speak as those that are kept apart."""
        return tuple(pack.name for pack in self.packs if not pack.apart)

    def weights(self) -> dict[str, int]:
        """What one event of each kind counts by default."""
        found: dict[str, int] = {}
        for pack in self.packs:
            for detector in pack.detectors:
                kind = detector.kind
                found[kind.name] = max(kind.weight, found.get(kind.name, 0))
        return found

    def pipeline(
        self, sources: Sequence[SourceSpec] | None = None, *, durable: bool = True
    ) -> Pipeline:
        """A fresh pipeline for these sources (default: the policy's); `durable`: see `Pipeline`."""
        engines: dict[tuple[tuple[str, ...], str], Engine] = {}
        by_source = {}
        for source in self.sources if sources is None else sources:
            key = source.detectors or self.common, source.zone
            if key not in engines:
                engines[key] = self.engine(*key)
            by_source[source.name] = engines[key]
        return Pipeline(self.loaded.policy, by_source, self.weights(), durable=durable)

    def engine(self, detectors: tuple[str, ...] = (), zone: str = "") -> Engine:
        """An engine over these detectors; none named: over all."""
        return Engine(
            self.packs,
            zone=ZoneInfo(zone) if zone else host_zone(),
            engine=self.loaded.policy.engine,
            detectors=detectors or None,
            budget=self.budget,
            cpu_flags=cpu_flags(),
            fields_of=self.fields_of(),
            told=self.told(),
            proxies=self.loaded.policy.proxies,
            named=targets.FIELDS,
        )

    def fields_of(self) -> frozenset[str]:
        """The kinds whose fields some rule looks at."""
        rules = [rule for rule in self.loaded.policy.rules if rule.enabled]
        return frozenset(
            one.kind
            for rule in rules
            for one in rule.on
            if one.where or one.unless or rule.distinct
        )

    def told(self) -> frozenset[str]:
        """The kinds of success that some rule counts, or begins anew at."""
        rules = [rule for rule in self.loaded.policy.rules if rule.enabled]
        asked = {kind for rule in rules for kind in (*rule.kinds, *rule.reset_on)}
        success = (d.kind for pack in self.packs for d in pack.detectors)
        return frozenset(kind.name for kind in success if kind.klass == "success") & asked


def plan(
    config: Path | None = None,
    *,
    trusted: bool = False,
    budget: Budget | None = None,
    thorough: bool = False,
    published: Published | None = None,
    detectors: Path | None = None,
) -> Plan:
    """Policy and packs, read and checked. Raises PolicyError or PackError with every fault.

    `trusted`: refuse files that others than root could change (the daemon as root does). `budget`:
    what every engine may spend on a block; given by whoever reads what others wrote. `thorough`:
    judge the shipped packs too, which otherwise the tests have done. `published`: what the fleet
    has published; without, what this host takes of that. `detectors`: the folder of own packs,
    where it is not the policy's.
    """
    loaded = load(config, trusted=trusted, published=published)
    folder = detectors or Path(loaded.policy.paths.detectors)
    own = sorted(folder.glob("*.toml")) if folder.is_dir() else []
    if trusted and (faults := [fault for path in own for fault in untrusted(path)]):
        raise PackError(faults)
    return assembled(loaded, own, budget, thorough=thorough)


def assembled(
    loaded: Loaded, own: Sequence[Path], budget: Budget | None = None, *, thorough: bool = False
) -> Plan:
    """A policy with its packs: the shipped, the published, and these of the host's own."""
    theirs = loaded.below.detectors() if loaded.below is not None else ()
    packs = load_packs(own, judge_shipped=thorough, published=theirs)
    kinds = {detector.kind.name for pack in packs for detector in pack.detectors}
    names = {pack.name for pack in packs} | {d.name for pack in packs for d in pack.detectors}
    ports = {pack.name: pack.ports for pack in packs}
    loaded = cross_check(loaded, sorted(kinds), sorted(names), ports)
    return Plan(loaded, packs, budget or Unlimited())


def prove(packs: Sequence[Pack], *engines: EngineName) -> None:
    """Try every example line of every pack on each engine. Raises PackError with every fault."""
    faults: list[str] = []
    for name in engines:
        # RFC 3164 stamps in examples mean no zone in particular.
        engine = Engine(packs, zone=UTC, engine=name, cpu_flags=cpu_flags())
        faults += [fault for pack in packs for fault in try_examples(pack, engine)]
    if faults:
        raise PackError(list(dict.fromkeys(faults)))


@cache
def cpu_flags() -> str | None:
    """What this processor can, for the choice of a scanner; None where it is not told."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            return flags_of(file.read(16 << 10))
    except OSError:
        return None


def journal_matches(source: SourceSpec, packs: Sequence[Pack]) -> tuple[tuple[str, ...], ...]:
    """What the journal is asked for: the source's own matches, or those of its packs."""
    if source.journal:
        return source.journal
    chosen = [pack for pack in packs if not source.detectors or pack.name in source.detectors]
    return tuple(dict.fromkeys(line for pack in chosen for line in pack.journal))


def host_zone() -> tzinfo:
    """The zone that this host's services write their stamps in."""
    name = os.environ.get("TZ", "").lstrip(":")
    for candidate in (name, _linked_zone()):
        if candidate:
            try:
                return ZoneInfo(candidate)
            except (ZoneInfoNotFoundError, ValueError, OSError):
                continue
    try:
        with open("/etc/localtime", "rb") as file:
            return ZoneInfo.from_file(file)
    except (OSError, ValueError):
        return UTC


def _linked_zone() -> str:
    try:
        target = os.readlink("/etc/localtime")
    except OSError:
        return ""
    return target.partition("zoneinfo/")[2]


def with_policy(old: Plan, **changes: object) -> Plan:
    """The same plan under a changed policy (for `--observe`)."""
    values: Mapping[str, object] = changes
    policy = replace(old.loaded.policy, **values)  # type: ignore[arg-type]
    return replace(old, loaded=replace(old.loaded, policy=policy))
