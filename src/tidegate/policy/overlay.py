"""How the policy that a fleet has published combines with a host's own, and what it may not say.

Touches nothing. The published one is read below the host's own file, whose keys replace it.
Limits: what it may have root do is stated here as what it needs no leave for; all else needs it,
also keys that come later.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tidegate.errors import PolicyError
from tidegate.policy import fleetreader
from tidegate.policy.fleet import FleetSpec
from tidegate.policy.guardreader import Fetch
from tidegate.policy.models import Paths
from tidegate.policy.sections import Sections
from tidegate.policy.tables import PATHS

Text = tuple[str, str]
"""How messages call a text, and the text."""

OWN = ("fleet", "paths")
"""Sections that are the host's alone."""

_FREE = frozenset({
    "mode", "engine", "allow", "proxies", "source", "rule", "escalation", "guard", "pool", "notify",
    "outward", "owner", "limits",
})  # fmt: skip
_FREE_GUARD = frozenset({
    "close", "open", "warn", "restart", "service", "stop", "freeze", "throttle", "refuse", "ladder",
    "tide", "flaps", "longest-damped", "mode", "enabled", "notify", "pool", "when", "after", "name",
})  # fmt: skip
_FREE_NOTIFY = frozenset({"mail", "from", "webhook", "at-most"})
_LEAVE = "needs the leave of this host's own policy: [fleet] accept = { commands = true }"


@dataclass(frozen=True, slots=True)
class Below:
    """A published policy: its number, its files by their paths in the work tree, which one it is
    among those of the same number."""

    number: int
    files: Mapping[str, bytes]
    id: str = ""

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"fleet policy {self.number}"

    @property
    def folder(self) -> str:
        """Where its files seem to be; nothing is read from a disk there."""
        return f"/{self.name}"

    def texts(self) -> list[tuple[str, str]]:
        """Its policy files, in the order in which they are read."""
        paths = sorted(path for path in self.files if path.startswith("policy.d/"))
        if "tidegate.toml" in self.files:
            paths.insert(0, "tidegate.toml")
        return [(f"{self.name}: {path}", self.text(path)) for path in paths]

    def text(self, path: str) -> str:
        """One of its files. PolicyError where it is none of text."""
        try:
            return self.files[path].decode()
        except KeyError as error:
            raise PolicyError([f"{self.name}: {path}: there is no such file in it"]) from error
        except UnicodeDecodeError as error:
            said = f"{self.name}: {path}: not UTF-8 at byte {error.start}"
            raise PolicyError([said]) from error

    def detectors(self) -> list[tuple[str, bytes]]:
        """Its detector packs, with the names that messages give them."""
        found = sorted(path for path in self.files if path.startswith("detectors/"))
        return [(f"{self.name}: {path}", self.files[path]) for path in found]

    def fetching(self, fetch: Fetch) -> Fetch:
        """Reads what a policy names: of these files those below `folder`, all others by `fetch`."""

        def fetched(path: Any) -> str:
            name = str(path)
            if name.startswith(f"{self.folder}/"):
                return self.text(name.removeprefix(f"{self.folder}/"))
            return fetch(path)

        return fetched


Published = Callable[[FleetSpec, Paths], Below | None]
"""What this host takes of its fleet, by its own `[fleet]` and `[paths]`; None: nothing."""


def adapted(below: Below, texts: Mapping[str, Mapping[str, Any]], *, commands: bool) -> list[str]:
    """What is wrong with published tables, each by the name of its file; relative files of sysfence
    are named where `fetching` finds them. `commands`: whether it may have root run things."""
    faults = []
    for name, data in texts.items():
        faults += [f"{name}: {key}: is each host's own; nobody can publish it" for key in OWN
                   if key in data]  # fmt: skip
        if not commands:
            faults += [f"{name}: {key}: {_LEAVE}" for key in needing(data) if key not in OWN]
        guards = data.get("guard")
        for guard in guards.values() if isinstance(guards, dict) else ():
            if isinstance(guard, dict) and "sysfence" in guard:
                guard["sysfence"] = _placed(below, guard["sysfence"])
    return faults


def needing(data: Mapping[str, Any]) -> Iterator[str]:
    """The keys by which a published policy would have root run or write more than Tidegate itself
    does: they need each host's leave."""
    for section, value in data.items():
        if section not in _FREE:
            yield section
        elif section == "guard":
            yield from _below("guard", value, _FREE_GUARD)
        elif section == "notify":
            yield from _below("notify", value, _FREE_NOTIFY)


def _below(section: str, value: Any, free: frozenset[str]) -> Iterator[str]:
    for name, table in value.items() if isinstance(value, dict) else ():
        yield from _table(f"{section}.{name}", table, free)


def _table(where: str, table: Any, free: frozenset[str]) -> Iterator[str]:
    for key, value in table.items() if isinstance(table, dict) else ():
        if key == "ladder":
            for step in value if isinstance(value, list) else [value]:
                yield from _table(f"{where}.ladder", step, free)
        elif key not in free and not (key == "capture" and value is False):
            yield f"{where}.{key}"


def _placed(below: Below, value: Any) -> Any:
    """Relative paths, as they seem to be; anything else as it is."""
    if isinstance(value, list):
        return [_placed(below, one) for one in value]
    if isinstance(value, str) and not value.startswith("/"):
        return f"{below.folder}/{value}"
    return value


class Combined(NamedTuple):
    """All tables as one, the texts that they are from in the order of reading, and what the fleet
    has of them."""

    merged: dict[str, Any]
    texts: Sequence[Text]
    below: Below | None = None


def combine(texts: Sequence[Text], published: Published | None, faults: list[str]) -> Combined:
    """A host's own texts, and below them what the fleet has published for it."""
    own = _parsed(texts, faults)
    mine = _merged(own.values())
    sections = Sections(mine)
    spec = fleetreader.read(sections) if published is not None else None
    if published is None or spec is None or not spec.policy:
        return Combined(mine, texts)
    paths = sections.table("paths", mine.get("paths", {}))
    below = published(spec, Paths(**sections.section("paths", paths, PATHS)))
    if below is None:
        return Combined(mine, texts)
    said = _parsed(below.texts(), faults)
    faults += adapted(below, said, commands=spec.commands)
    theirs = _merged(said.values())
    merged = _merged([theirs, mine])
    if addresses := _united(theirs, mine):
        merged["allow"]["addresses"] = addresses
    return Combined(merged, [*below.texts(), *texts], below)


def _united(below: Mapping[str, Any], own: Mapping[str, Any]) -> list[Any]:
    """Both lists of those who are never closed for; [] where one of them is none."""
    found: list[Any] = []
    for data in (below, own):
        allow = data.get("allow", {})
        addresses = allow.get("addresses", []) if isinstance(allow, dict) else None
        if not isinstance(addresses, list):
            return []
        found += [one for one in addresses if one not in found]
    return found


def _parsed(texts: Sequence[Text], faults: list[str]) -> Mapping[str, dict[str, Any]]:
    """The tables in these texts, by their names; what is no TOML is a fault."""
    found = {}
    for name, text in texts:
        try:
            found[name] = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            faults.append(f"{name}: not valid TOML: {error}")
    return found


def _merged(tables: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """One table of all, none of them changed; later keys replace."""
    found: dict[str, Any] = {}
    for data in tables:
        _merge(found, data)
    return found


def _merge(into: dict[str, Any], data: Mapping[str, Any]) -> None:
    for key, value in data.items():
        if isinstance(value, dict):
            if not isinstance(into.get(key), dict):
                into[key] = {}
            _merge(into[key], value)
        else:
            into[key] = value
