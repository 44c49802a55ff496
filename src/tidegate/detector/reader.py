"""The reader of one pack file: every key checked, every fault noted with file, detector and key.

Touches nothing: it is handed the bytes of the file, and never runs a pattern on a log.
Limits: TOML in UTF-8; what makes a pattern dangerous is judged by `pattern`.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, cast, get_args

from tidegate.detector import pattern as patterns
from tidegate.detector.definition import Detector, Example, Pack, Torn
from tidegate.errors import PackError
from tidegate.model import Class, Kind

LITERAL_LEAST = 5
APART_LEAST = 4
"""For packs that are kept apart: nobody else's lines are searched for their literals."""

_PACK_KEYS = {
    "name": str,
    "about": str,
    "reference": str,
    "notes": str,
    "kinds": dict,
    "programs": list,
    "bare": bool,
    "apart": bool,
    "journal": list,
    "files": list,
    "ports": list,
    "prefix": str,
    "torn": dict,
    "macros": dict,
    "detector": list,
}
_DETECTOR_KEYS = {
    "name": str,
    "about": str,
    "kind": str,
    "class": str,
    "weight": int,
    "session": str,
    "literals": list,
    "pattern": str,
    "match": list,
    "reject": list,
}
_TYPES = {
    str: "a text",
    int: "a whole number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
_KIND = re.compile(r"[a-z][a-z0-9_]*")
_MACRO = re.compile(r"[a-z][a-z0-9_-]*")
_PROGRAM = re.compile(r"[0-9A-Za-z_./@+*-]+")
_MATCH = re.compile(r"_[A-Z][A-Z0-9_]*=[^\n]+")


def read_pack(content: bytes, origin: str, *, judge: bool = True) -> Pack:
    """One pack from the bytes of its file; `origin` names it in faults. Raises PackError.

    Without `judge` the patterns are believed to be sound, which is for packs that were tested.
    """
    try:
        table = tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise PackError([f"{origin}: expected UTF-8: byte {error.start}"]) from None
    except tomllib.TOMLDecodeError as error:
        raise PackError([f"{origin}: expected TOML: {error}"]) from None
    reader = _Reader(origin, judge=judge)
    pack = reader.pack(table)
    if reader.faults:
        raise PackError(reader.faults)
    return pack


class _Reader:
    """Reads one file; notes every fault instead of stopping at the first."""

    def __init__(self, origin: str, *, judge: bool) -> None:
        self.origin = origin
        self.judge = judge
        self.where = ""
        self.apart = False
        self.faults: list[str] = []

    def fault(self, text: str) -> None:
        self.faults.append(f"{self.origin}: {self.where}{text}")

    def pack(self, table: dict[str, Any]) -> Pack:
        self.keys(table, _PACK_KEYS, ("name", "programs", "detector"))
        name = self.named(table, "name", _NAME, "small letters, digits and -")
        self.apart = table.get("apart", False)
        macros = self.macros(table)
        names: set[str] = set()
        detectors = []
        for index, entry in enumerate(table.get("detector", ()), 1):
            self.where = f"detector {index}: "
            if not isinstance(entry, dict):
                self.fault("expected a table")
                continue
            found = self.detector(entry, name, str(table.get("prefix", "")), macros)
            if found is not None and found.name in names:
                self.fault("name: expected each detector to have its own")
            if found is not None:
                names.add(found.name)
                detectors.append(found)
        self.where = ""
        kinds = self.kinds(table, name, detectors)
        if not table.get("detector"):
            self.fault("detector: expected at least one [[detector]]")
        return Pack(
            name=name,
            about=str(table.get("about", "")),
            reference=str(table.get("reference", "")),
            programs=self.texts(table, "programs", _PROGRAM, "program names"),
            journal=self.journal(table),
            files=self.texts(table, "files", None, "paths"),
            ports=self.ports(table),
            detectors=tuple(detectors),
            origin=self.origin,
            kinds=kinds,
            notes=str(table.get("notes", "")).strip(),
            torn=self.torn(table),
            bare=table.get("bare", True),
            apart=self.apart,
        )

    def detector(
        self, table: dict[str, Any], pack: str, prefix: str, macros: dict[str, str]
    ) -> Detector | None:
        before = len(self.faults)
        name = self.named(table, "name", _NAME, "small letters, digits and -")
        self.where = f"detector {pack}.{name}: "
        self.keys(table, _DETECTOR_KEYS, ("name", "kind", "literals", "pattern", "match"))
        kind = self.named(table, "kind", _KIND, "small letters, digits and _")
        klass = table.get("class", "abuse")
        if klass not in get_args(Class):
            self.fault(f"class: expected abuse, success or notice, not {klass!r}")
        weight = table.get("weight", 1 if klass == "abuse" else 0)
        if not isinstance(weight, int) or not 0 <= weight <= 1000:
            self.fault("weight: expected a whole number from 0 to 1000")
        session = str(table.get("session", ""))
        if session not in ("", "opens", "ends", "joins"):
            self.fault(f"session: expected opens, ends or joins, not {session!r}")
        literals = self.literals(table)
        raw = str(table.get("pattern", ""))
        try:
            expanded = patterns.expand(f"{prefix}(?:{raw})", macros)
        except ValueError as error:
            self.fault(f"pattern: {error}")
            return None
        needed = klass != "notice" and session != "joins"
        if self.judge:
            for fault in patterns.faults(expanded, literals, slot=needed):
                self.fault(fault)
        if session == "joins" and "(?P<addr>" in expanded:
            self.fault("pattern: expected no slot: the address is told by another line")
        match = self.examples(table)
        reject = self.texts(table, "reject", None, "lines")
        if len(self.faults) > before:
            return None
        return Detector(
            name=f"{pack}.{name}",
            kind=Kind(f"{pack}.{kind}", cast(Class, klass), weight, f"{pack}.{name}", pack),
            literals=tuple(literal.encode() for literal in literals),
            pattern=expanded.encode(),
            host=patterns.SLOTS["host"] in expanded,
            wide=patterns.SLOTS["subject"] in expanded,
            slot="(?P<addr>" in expanded,
            match=match,
            reject=reject,
            session=session,
        )

    def keys(self, table: dict[str, Any], known: Mapping[str, type], needed: Sequence[str]) -> None:
        for key, value in table.items():
            if key not in known:
                near = difflib.get_close_matches(key, known, 1, 0.4)
                hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known)}"
                self.fault(f"{key}: unknown key{hint}")
            elif not isinstance(value, known[key]) or (type(value) is bool) > (known[key] is bool):
                self.fault(f"{key}: expected {_TYPES[known[key]]}")
                table[key] = None
        for key in needed:
            if key not in table:
                self.fault(f"{key}: missing")
        for key in [key for key, value in table.items() if value is None]:
            del table[key]

    def named(self, table: dict[str, Any], key: str, form: re.Pattern[str], what: str) -> str:
        value = table.get(key)
        if isinstance(value, str) and not form.fullmatch(value):
            self.fault(f"{key}: expected {what}, not {value!r}")
        return value if isinstance(value, str) else "?"

    def texts(
        self, table: dict[str, Any], key: str, form: re.Pattern[str] | None, what: str
    ) -> tuple[str, ...]:
        values = table.get(key, ())
        for value in values:
            if not isinstance(value, str) or (form and not form.fullmatch(value)):
                self.fault(f"{key}: expected a list of {what}, not {value!r}")
        return tuple(str(value) for value in values)

    def macros(self, table: dict[str, Any]) -> dict[str, str]:
        found = {}
        for key, value in table.get("macros", {}).items():
            if not _MACRO.fullmatch(key) or key in patterns.SLOTS or not isinstance(value, str):
                self.fault(f"macros.{key}: expected a free small name and a text")
            else:
                found[key] = value
        return found

    def torn(self, table: dict[str, Any]) -> Torn | None:
        """`torn = { pattern = '…', within = 2048 }`."""
        given = table.get("torn")
        if given is None:
            return None
        pattern, within = given.get("pattern"), given.get("within")
        if (
            set(given) != {"pattern", "within"}
            or not isinstance(pattern, str)
            or not isinstance(within, int)
            or not 1 <= within <= 1 << 16
        ):
            self.fault("torn: expected { pattern = '…', within = 2048 } (bytes, up to 65536)")
            return None
        for fault in patterns.faults(pattern, (), slot=False) if self.judge else ():
            self.fault(f"torn: {fault}")
        return Torn(pattern.encode(), within)

    def kinds(
        self, table: dict[str, Any], pack: str, detectors: Sequence[Detector]
    ) -> dict[str, str]:
        """What each kind means, by its full name."""
        there = {detector.kind.name for detector in detectors}
        found = {}
        for key, value in table.get("kinds", {}).items():
            if f"{pack}.{key}" not in there:
                self.fault(f"kinds.{key}: no detector has this kind")
            elif not isinstance(value, str) or not value or "\n" in value:
                self.fault(f"kinds.{key}: expected one line of text")
            else:
                found[f"{pack}.{key}"] = value
        return found

    def journal(self, table: dict[str, Any]) -> tuple[tuple[str, ...], ...]:
        found = []
        for group in table.get("journal", ()):
            good = isinstance(group, list) and all(
                isinstance(match, str) and _MATCH.fullmatch(match) for match in group
            )
            if not good or not group:
                self.fault(f'journal: expected lists of trusted "_FIELD=value", not {group!r}')
            else:
                found.append(tuple(group))
        return tuple(found)

    def ports(self, table: dict[str, Any]) -> tuple[int, ...]:
        ports = table.get("ports", ())
        for port in ports:
            if not isinstance(port, int) or isinstance(port, bool) or not 1 <= port <= 65535:
                self.fault(f"ports: expected whole numbers from 1 to 65535, not {port!r}")
        return tuple(ports)

    def literals(self, table: dict[str, Any]) -> tuple[str, ...]:
        literals = self.texts(table, "literals", None, "texts")
        if not literals and "literals" in table:
            self.fault("literals: expected at least one")
        least = APART_LEAST if self.apart else LITERAL_LEAST
        for literal in literals:
            if len(literal.encode()) < least or "\n" in literal:
                self.fault(f"literals: expected at least {least} bytes and no newline: {literal!r}")
        return literals

    def examples(self, table: dict[str, Any]) -> tuple[Example, ...]:
        found = []
        for entry in table.get("match", ()):
            good = isinstance(entry, dict) and all(
                isinstance(value, str | int) for value in entry.values()
            )
            if not good or "line" not in entry:
                self.fault("match: expected { line = '…', subject = '…' }")
                continue
            expect = {key: str(value) for key, value in entry.items() if key != "line"}
            if "subject" not in expect and table.get("class") != "notice":
                self.fault("match: expected a subject with every line")
            found.append(Example(str(entry["line"]), expect))
        if "match" in table and not found:
            self.fault("match: expected at least one example line")
        return tuple(found)
