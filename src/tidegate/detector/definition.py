"""What a pack holds: Pack, Detector, Example, as frozen values.

Touches nothing. Patterns here are checked; the reader makes them, the engine runs them.
Limits: plain data only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tidegate.model import Kind


@dataclass(frozen=True, slots=True)
class Example:
    """A line that must match, and what must come of it: `subject`, and group values where given."""

    line: str
    expect: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Detector:
    """A named pattern. `pattern` is expanded, prefix included, without anchors, for `re` on bytes.

    `host`: the address slot takes host names too; `slot`: there is an address slot at all;
    `wide`: it takes what else may be a subject: networks, users, interfaces, services.
    `session`: what an event tells of its connection, see `sessions`: opens, ends, joins or "".
    """

    name: str
    kind: Kind
    literals: tuple[bytes, ...]
    pattern: bytes
    host: bool
    slot: bool
    match: tuple[Example, ...] = ()
    reject: tuple[str, ...] = ()
    session: str = ""
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Torn:
    """What the beginning of a line looks like that a client tore with a newline of its own, and
    how many bytes behind it, at most, the program wrote with it."""

    pattern: bytes
    within: int


@dataclass(frozen=True, slots=True)
class Pack:
    """The detectors of one program, in the order of the file, and where its lines come from.

    `journal`: inner tuples AND, outer OR; `ports`: what a ban for this service closes by default.
    `kinds`: what each kind means; `notes`: what else a reader of the kinds should know.
    `bare`: its lines may come without a header that names a program. `apart`: only a source that
    names it in `detectors` is read for it, as its lines are believed whatever they say of whom.
    """

    name: str
    about: str
    reference: str
    programs: tuple[str, ...]
    journal: tuple[tuple[str, ...], ...]
    files: tuple[str, ...]
    ports: tuple[int, ...]
    detectors: tuple[Detector, ...]
    origin: str = ""
    kinds: Mapping[str, str] = field(default_factory=dict)
    notes: str = ""
    torn: Torn | None = None
    bare: bool = True
    apart: bool = False
