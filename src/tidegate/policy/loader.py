"""Reads policy files, merges them, checks them, and says where each key stands.

Touches the policy files only, and only to read. `/etc/tidegate/tidegate.toml` first, then
`policy.d/*.toml` in lexical order; later keys replace. Limits: 1 MiB a file; the line of a key
is found by its text, so in a message it may be missing, never in the meaning.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tidegate.errors import PolicyError
from tidegate.policy import outwardnotes, overlay
from tidegate.policy.guardreader import Fetch
from tidegate.policy.models import Counted, Paths, Policy, Rule
from tidegate.policy.overlay import Below, Published
from tidegate.policy.tables import PATHS, Reader

DEFAULT = Path("/etc/tidegate/tidegate.toml")
SHIPPED = "shipped policy"
"""How messages name the policy that holds where there is none."""
_LARGEST = 1 << 20
_HEADER = re.compile(r"\s*\[+\s*([^\]]+?)\s*\]+\s*(?:#.*)?$")
_KEY = re.compile(r'\s*("[^"]*"|[A-Za-z0-9_.-]+)\s*=')


@dataclass(frozen=True, slots=True)
class Loaded:
    """A policy with the place of each of its keys: `places["rule.x.within"] == "FILE:LINE"`.

    `notes`: what is allowed and yet worth a look, each a line with its place. `below`: what the
    fleet has published of it.
    """

    policy: Policy
    places: Mapping[str, str]
    values: Mapping[str, object]
    notes: tuple[str, ...] = ()
    below: Below | None = None

    def place(self, key: str) -> str:
        """Where a key stands, or what it stands in; "" where that is not known."""
        return _place(key, self.places, [("", "")])


def load(
    config: Path | None = None, *, trusted: bool = False, published: Published | None = None
) -> Loaded:
    """The policy of `config` and the `policy.d` beside it; without either, the shipped one.

    `trusted`: refuse files that others than root could change. `published`: says what the fleet has
    published, which is read below them. Raises PolicyError with all faults.
    """
    main = config or DEFAULT
    if config is None and not main.exists():
        text = resources.files("tidegate.policy").joinpath("shipped.toml").read_text("utf-8")
        return read([(SHIPPED, text)])
    files = [main, *sorted(main.parent.glob("policy.d/*.toml"))]
    if trusted:
        faults = [fault for path in files for fault in untrusted(path)]
        if faults:
            raise PolicyError(faults)
    texts = [(str(path), _text(path)) for path in files]
    return read(texts, fetch=_trusted if trusted else _text, published=published)


def read(
    texts: Sequence[tuple[str, str]],
    *,
    fetch: Fetch | None = None,
    published: Published | None = None,
) -> Loaded:
    """A policy from (name, TOML text) pairs, later keys replacing earlier ones; `fetch` reads the
    files that it names. `published`: see `load`."""
    faults: list[str] = []
    found = overlay.combine(texts, published, faults)
    merged, texts, below = found.merged, found.texts, found.below
    read_file = below.fetching(fetch or _text) if below is not None else fetch or _text
    places = {key: f"{name}:{line}" for name, text in texts for key, line in _lines(text)}
    digest = hashlib.sha256(json.dumps(merged, sort_keys=True, default=str).encode())

    def fetched(path: Path) -> str:
        text = read_file(path)
        digest.update(text.encode())  # what a policy names is part of it
        return text

    reader = Reader(merged, fetched)
    policy = reader.policy(tuple(name for name, _text in texts), "")
    policy = replace(policy, hash=digest.hexdigest()[:12])
    faults += _told(reader.faults, places, texts)
    if faults:
        raise PolicyError(faults)
    notes = tuple(_told(reader.notes, places, texts))
    return Loaded(policy, places, dict(_leaves(merged)), notes, below)


def salvaged(config: Path | None = None) -> Paths:
    """The paths that even a faulty policy still names; the usual ones for the rest. Never raises.

    For what must work whatever is wrong with a policy: switching everything off.
    """
    main = config or DEFAULT
    found: dict[str, str] = {}
    for file in (main, *sorted(main.parent.glob("policy.d/*.toml"))):
        try:
            text = _text(file)
        except PolicyError:
            continue
        lines = text.splitlines()
        for key, number in _lines(text):
            section, _dot, name = key.rpartition(".")
            if section == "paths" and name in PATHS:
                with suppress(ValueError):  # no value, or no path
                    found[name] = PATHS[name](tomllib.loads(lines[number - 1]).get(name))
    return Paths(**found)


def cross_check(
    loaded: Loaded,
    kinds: Sequence[str],
    packs: Sequence[str],
    ports: Mapping[str, tuple[int, ...]] = MappingProxyType({}),
) -> Loaded:
    """The policy with each `*` in a rule's kinds written out, and a rule for each service where
    one closes a service's own ports; `ports` are those of each pack. What is allowed and yet worth
    a look, now that kinds are known, is added to the notes.

    Raises PolicyError: every kind must be seen by some detector, every named pack must be there.
    """
    faults = []

    def fault(key: str, what: str, known: Sequence[str]) -> None:
        place = _where(key, loaded, loaded.policy.files)
        faults.append(f"{place}: {key}: {what}{_nearest(what.split(chr(39))[1], known)}")

    rules: list[Rule] = []
    for rule in loaded.policy.rules:
        for key, named in (("on", rule.kinds), ("reset-on", rule.reset_on)):
            for kind in named:
                if not fnmatch.filter(kinds, kind.removeprefix("!")):
                    fault(f"rule.{rule.name}.{key}", f"no detector sees {kind!r}", kinds)
        reset = dict.fromkeys(kind for one in rule.reset_on for kind in fnmatch.filter(kinds, one))
        written = replace(rule, on=_written(rule.on, kinds), reset_on=tuple(reset))
        rules += _for_services(written, ports) if rule.ban.service else [written]
    for source in loaded.policy.sources:
        for pack in source.detectors:
            if pack not in packs:
                fault(f"source.{source.name}.detectors", f"no such detectors {pack!r}", packs)
    if faults:
        raise PolicyError(faults)
    policy = replace(loaded.policy, rules=tuple(rules))
    noted = [
        f"{_where(key, loaded, policy.files)}: {key}: {said}"
        for key, said in outwardnotes.notes(policy)
        if policy.files != (SHIPPED,)  # it has rules for whoever adds [outward] to a copy
    ]
    return replace(loaded, policy=policy, notes=(*loaded.notes, *noted))


def _written(on: Sequence[Counted], kinds: Sequence[str]) -> tuple[Counted, ...]:
    """What a rule counts, each `*` written out, what `!` leaves out left out."""
    out = {kind for one in on if one.kind[0] == "!" for kind in fnmatch.filter(kinds, one.kind[1:])}
    found = {
        (kind, one.where): one._replace(kind=kind)
        for one in sorted(on, key=lambda one: "*" not in one.kind)  # a name beats a `*`
        for kind in fnmatch.filter(kinds, one.kind)
        if kind not in out
    }
    return tuple(found.values())


def _for_services(rule: Rule, ports: Mapping[str, tuple[int, ...]]) -> Iterator[Rule]:
    """A rule like this for each service: who attacks two of them is closed out of each."""
    services = dict.fromkeys(one.kind.partition(".")[0] for one in rule.on)
    for service in services:
        yield replace(
            rule,
            name=f"{rule.name}.{service}",
            on=tuple(one for one in rule.on if one.kind.partition(".")[0] == service),
            ban=replace(rule.ban, ports=ports.get(service, ())),
        )


def untrusted(path: Path) -> list[str]:
    """Why this file can't be trusted by a root process; [] if it can.

    It and every parent must belong to root and be writable by root alone; a folder with the
    sticky bit (`/tmp`) may be writable, since others can't replace what is root's there.
    """
    faults = []
    real = Path(os.path.realpath(path))
    for part in (real, *real.parents):
        try:
            state = part.stat()
        except OSError as error:
            return [f"{path}: {error.strerror}"]
        sticky = stat.S_ISDIR(state.st_mode) and state.st_mode & stat.S_ISVTX
        if state.st_uid != 0:
            faults.append(f"{path}: {part} belongs to uid {state.st_uid}; expected root")
        elif state.st_mode & 0o022 and not sticky:
            faults.append(f"{path}: {part} is writable by others; run: chmod go-w {part}")
    return faults


def _trusted(path: Path) -> str:
    """The text of a file that only root can change."""
    if faults := untrusted(path):
        raise PolicyError(faults)
    return _text(path)


def _text(path: Path) -> str:
    try:
        # Opened without waiting, so that a FIFO in the place of a policy can't hang anything.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise PolicyError([f"{path}: not a regular file"])
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise PolicyError([f"{path}: can't be read: {error.strerror}"]) from error
    if len(data) > _LARGEST:
        raise PolicyError([f"{path}: larger than {_LARGEST} bytes"])
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise PolicyError([f"{path}: not UTF-8 at byte {error.start}"]) from error


def _lines(text: str) -> Iterator[tuple[str, int]]:
    section, within, item = "", "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            section, within = header[1].replace('"', "").replace(" ", ""), ""
            yield section, number
        elif found := _KEY.match(line):
            key = found[1].replace('"', "")
            key = f"{section}.{key}" if section else key
            # A list over several lines: each of its tables begins a line (`ladder = [`).
            within, item = key if line.rstrip().endswith("[") else "", 0
            yield key, number
        elif within and line.lstrip().startswith("{"):
            item += 1
            yield f"{within}.{item}", number


def _leaves(
    data: Mapping[str, Any], path: str = "", depth: int = 0
) -> Iterator[tuple[str, object]]:
    """Keys with their values. What is a table below a section's own keys is a value of its own."""
    for key, value in data.items():
        where = f"{path}.{key}" if path else key
        if isinstance(value, dict) and depth < 2:
            yield from _leaves(value, where, depth + 1)
        else:
            yield where, value


def _told(
    said: Sequence[tuple[str, str]], places: Mapping[str, str], texts: Sequence[tuple[str, str]]
) -> list[str]:
    return [f"{_place(key, places, texts)}: {key}: {what}" for key, what in said]


def _place(key: str, places: Mapping[str, str], texts: Sequence[tuple[str, str]]) -> str:
    while key:
        if key in places:
            return places[key]
        key = key.rpartition(".")[0]
    return texts[-1][0]


def _where(key: str, loaded: Loaded, names: tuple[str, ...]) -> str:
    return _place(key, loaded.places, [(names[-1], "")])


def _nearest(word: str, known: Sequence[str]) -> str:
    near = get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(sorted(known))}"
