"""docs/kinds.md names only kinds that the shipped packs have, with their class and weights."""

from __future__ import annotations

import re
from pathlib import Path

from tidegate.detector.pack import load_packs

PAGE = Path(__file__).resolve().parents[2] / "docs" / "kinds.md"
ROW = re.compile(r"\| `([a-z]+\.[a-z_]+)` \| (abuse|success|notice) \| ([0-9, ]*) ?\| .+ \|")

Kinds = dict[str, tuple[str, tuple[int, ...]]]


def documented() -> Kinds:
    rows = ROW.findall(PAGE.read_text())
    assert len(rows) == len({name for name, _, _ in rows}), "a kind stands there twice"
    return {
        name: (klass, tuple(int(weight) for weight in weights.split(",") if weight.strip()))
        for name, klass, weights in rows
    }


def shipped() -> Kinds:
    found: dict[str, tuple[str, set[int]]] = {}
    for pack in load_packs():
        for detector in pack.detectors:
            klass, weights = found.setdefault(detector.kind.name, (detector.kind.klass, set()))
            assert klass == detector.kind.klass, f"{detector.name}: one class for each kind"
            if klass == "abuse":
                weights.add(detector.kind.weight)
    return {name: (klass, tuple(sorted(weights))) for name, (klass, weights) in found.items()}


def test_the_page_says_what_the_packs_have() -> None:
    said, there = documented(), shipped()
    assert set(said) - set(there) == set(), "kinds that no detector has"
    assert {name: said[name] for name in said if said[name] != there[name]} == {}
