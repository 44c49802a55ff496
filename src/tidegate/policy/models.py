"""The frozen Policy: what the administrator wants, already checked and in final units.

Touches nothing. Times in microseconds, ports as sorted tuples, addresses as canonical subjects.
Limits: plain values without behaviour, so that two policies can be compared and hashed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tidegate.model import DAY, HOUR, MINUTE, Micros, Mode, Subject

EngineName = Literal["auto", "vectorscan", "re"]
Start = Literal["end", "beginning"]


@dataclass(frozen=True, slots=True)
class BanTerms:
    """What a conviction closes and for how long: the n-th offence takes the n-th step."""

    ports: tuple[int, ...] = ()
    ladder: tuple[Micros, ...] = (10 * MINUTE, HOUR, DAY, 7 * DAY)


@dataclass(frozen=True, slots=True)
class Rule:
    """N in M: at least `threshold` counted within `within`, per subject.

    `on` maps event kinds to what one counts (None: the detector's own weight). `stated` is the
    condition in the administrator's words ("more than 15 in 5m").
    """

    name: str
    on: tuple[tuple[str, int | None], ...]
    threshold: int
    within: Micros
    ban: BanTerms
    stated: str
    mode: Mode = "enforce"
    enabled: bool = True
    forget: Micros = 30 * DAY


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """A named source: files (paths or globs) or the journal, and which detectors read it.

    `journal` None: not the journal; (): the trusted matches of its detectors' packs.
    `zone` is an IANA name or ""; `start` applies where no position is known.
    """

    name: str
    files: tuple[str, ...] = ()
    journal: tuple[tuple[str, ...], ...] | None = None
    detectors: tuple[str, ...] = ()
    zone: str = ""
    start: Start = "end"
    enabled: bool = True
    stdin: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """Every bound, so that each is a visible number."""

    subjects: int = 1_000_000
    ledger_bytes: int = 256 << 20
    keep: Micros = 30 * DAY
    longest_ban: Micros = 30 * DAY
    widest_ipv4: int = 16
    widest_ipv6: int = 48


@dataclass(frozen=True, slots=True)
class Paths:
    """Where Tidegate keeps things; only tests and unusual hosts change these."""

    state: str = "/var/lib/tidegate"
    run: str = "/run/tidegate"
    off: str = "/etc/tidegate/off"
    detectors: str = "/etc/tidegate/detectors"


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything the administrator said. `hash` names the merged text, 12 hexadecimal digits."""

    mode: Mode = "enforce"
    allow: tuple[Subject, ...] = ()
    sources: tuple[SourceSpec, ...] = ()
    rules: tuple[Rule, ...] = ()
    limits: Limits = field(default_factory=Limits)
    paths: Paths = field(default_factory=Paths)
    engine: EngineName = "auto"
    hash: str = ""
    files: tuple[str, ...] = ()

    def rule(self, name: str) -> Rule | None:
        """The rule of that name, enabled or not."""
        return next((rule for rule in self.rules if rule.name == name), None)
