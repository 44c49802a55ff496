"""What the detector tests build from: small packs, engines over them, blocks of lines.

Touches nothing. The packs here are about made-up services, so that no shipped pack decides a test.
Limits: for tests only.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo

from tidegate.detector.budget import Budget
from tidegate.detector.definition import Detector, Pack
from tidegate.detector.engine import Engine
from tidegate.detector.reader import read_pack
from tidegate.detector.scanner import EngineName
from tidegate.model import Batch, Block, Class, Event, Kind, Micros

DOOR = r"""
name = "door"
programs = ["doord", "door/*"]
[[detector]]
name = "wrong-key"
kind = "wrong_key"
literals = ["wrong key"]
pattern = '''wrong key for (?P<user>[^ ]*) from <addr>(?: \(try (?P<count>\d+)\))?'''
match = [{ line = "wrong key for bob from 192.0.2.7", subject = "192.0.2.7" }]
[[detector]]
name = "any-key"
kind = "any_key"
weight = 0
literals = ["wrong key", "odd key"]
pattern = '''(?:wrong|odd) key .* from <host>'''
match = [{ line = "odd key x from door.example.net", subject = "door.example.net" }]
[[detector]]
name = "opened"
kind = "opened"
class = "success"
literals = ["opened for"]
pattern = '''(?:visit (?P<session>\w+): )?opened for <addr>'''
match = [{ line = "visit a1: opened for 192.0.2.8", subject = "192.0.2.8", session = "a1" }]
[[detector]]
name = "knock"
kind = "knock"
literals = ["knock at"]
pattern = '''(?:visit (?P<session>\w+): )?knock at <addr>'''
match = [{ line = "visit a1: knock at 192.0.2.8", subject = "192.0.2.8", session = "a1" }]
[[detector]]
name = "jammed"
kind = "jammed"
class = "notice"
literals = ["jammed"]
pattern = '''jammed(?: by <addr>)?'''
match = [{ line = "jammed" }]
"""

GATE = r"""
name = "gate"
programs = ["gated"]
[[detector]]
name = "rattled"
kind = "rattled"
literals = ["rattled", "wrong key"]
pattern = '''(?:rattled by|wrong key for [^ ]* from) <addr>'''
match = [{ line = "rattled by 192.0.2.7", subject = "192.0.2.7" }]
"""

ARRIVAL: Micros = 1_787_400_000_000_000  # 2026-08-22T12:00:00Z


def packs(*texts: str) -> list[Pack]:
    return [read_pack(text.encode(), f"{number}.toml") for number, text in enumerate(texts)]


def bare_pack(name: str, detectors: Sequence[tuple[str, str, str]]) -> Pack:
    """A pack past every check: (name, literal, pattern as it goes to `re`)."""
    return Pack(
        name=name,
        about="",
        reference="",
        programs=(name,),
        journal=(),
        files=(),
        ports=(),
        detectors=tuple(
            Detector(
                name=f"{name}.{each}",
                kind=kind(f"{name}.{each}"),
                literals=(literal.encode(),),
                pattern=pattern.encode(),
                host=False,
                slot=True,
            )
            for each, literal, pattern in detectors
        ),
    )


def kind(name: str, klass: Class = "abuse") -> Kind:
    return Kind(name, klass, 1, name, name.partition(".")[0])


def engine(
    *texts: str,
    zone: tzinfo = UTC,
    scanner: EngineName = "auto",
    detectors: Sequence[str] | None = None,
    budget: Budget | None = None,
) -> Engine:
    made = packs(*(texts or (DOOR,)))
    return Engine(made, zone=zone, engine=scanner, detectors=detectors, budget=budget)


def block(data: bytes | str, *, offset: int = 0, arrival: Micros = ARRIVAL) -> Block:
    raw = data.encode() if isinstance(data, str) else data
    return Block("test", raw, offset, arrival, 1)


def journal(data: bytes, *, arrival: Micros = ARRIVAL) -> Block:
    return Block("test", data, 0, arrival, 1, "journal")


def events(found: Batch) -> list[tuple[str, str, int]]:
    return [brief(event) for event in found.events]


def brief(event: Event) -> tuple[str, str, int]:
    return event.kind.name, event.subject, event.count


def moment(text: str) -> Micros:
    """The microseconds of an RFC 3339 time."""
    span = datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)
    return (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds
