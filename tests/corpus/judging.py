"""How a case of the corpus is judged: does an abuse event blame the host that its origin blames?

Touches nothing but the files it is handed. The form of a case stands in the corpus's README.
Limits: a multi-line case counts as a whole: any of its events may blame the host.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from tidegate import subject as subjects
from tidegate.detector.audit import begins
from tidegate.detector.engine import Engine
from tidegate.model import Block, Event, Framing

ARRIVAL = 1_790_000_000_000_000  # 2026-09-21

Case = dict[str, Any]
_number = count()


@dataclass
class Score:
    """The cases of one service: how many of each sort, and those that went wrong."""

    service: str
    attacks: int = 0
    clean: int = 0
    disputed: int = 0
    misses: list[str] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)

    @property
    def found(self) -> float:
        """The attacks found, in per cent."""
        return 100 * (1 - len(self.misses) / self.attacks) if self.attacks else 100.0

    @property
    def false(self) -> float:
        """The clean cases blamed, in per cent."""
        return 100 * len(self.alarms) / self.clean if self.clean else 0.0


def cases(path: Path) -> Iterator[Case]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def services(corpus: Path) -> list[str]:
    """Every service that has judged cases."""
    return sorted(path.stem for path in corpus.glob("*.jsonl") if path.stem != "quoted")


def judged(corpus: Path, service: str) -> list[Case]:
    """The cases of a service, those quoted by hand included."""
    quoted = [case for case in cases(corpus / "quoted.jsonl") if case["service"] == service]
    return [*cases(corpus / f"{service}.jsonl"), *quoted]


def text(case: Case) -> bytes:
    """The lines of a case as a source would hand them over."""
    lines = case["lines"] if "lines" in case else [case["line"]]
    return b"".join(line.encode("utf-8", "surrogateescape") + b"\n" for line in lines)


def events(engine: Engine, data: bytes, source: str = "corpus") -> list[Event]:
    framing: Framing = "audit" if begins(data) else "lines"
    block = Block(source, data, 0, ARRIVAL, 0, framing)
    return engine.detect(block, fields=True).events


def blames(event: Event, host: str) -> bool:
    """Whether the event is about this host: its name, or its address, or the /64 around it."""
    wanted = subjects.of_host(host)
    if wanted is None or event.subject != wanted:
        return False
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return True
    said = ipaddress.ip_address(event.fields["addr"].partition("%")[0])
    mapped = getattr(said, "ipv4_mapped", None)
    return address in (said, mapped)


def judge(engine: Engine, service: str, given: Iterable[Case]) -> Score:
    score = Score(service)
    for case in given:
        if case["attack"] is None:
            continue
        if case.get("disputed"):
            score.disputed += 1
            continue
        # A source of its own for each, since what was read before may matter.
        seen = events(engine, text(case), f"corpus {next(_number)}")
        abuse = [event for event in seen if event.kind.klass == "abuse"]
        said = ", ".join(f"{event.kind.name} {event.subject}" for event in abuse) or "nothing"
        shown = " ⏎ ".join(case["lines"]) if "lines" in case else case["line"]
        told = f"{case['id']}: {case['host']}, detected: {said}: {shown}"
        if case["attack"]:
            score.attacks += 1
            if not any(blames(event, case["host"]) for event in abuse):
                score.misses.append(told)
        else:
            score.clean += 1
            if abuse:
                score.alarms.append(told)
    return score


def table(scores: list[Score]) -> Iterator[str]:
    """The scores as a table, then every miss and every false alarm."""
    yield f"{'service':<14}{'attack':>8}{'found %':>10}{'clean':>8}{'false %':>10}{'disputed':>10}"
    for score in scores:
        yield (
            f"{score.service:<14}{score.attacks:>8}{score.found:>10.1f}"
            f"{score.clean:>8}{score.false:>10.1f}{score.disputed:>10}"
        )
    for score in scores:
        for told in score.misses:
            yield f"missed        {told}"
        for told in score.alarms:
            yield f"false alarm   {told}"
