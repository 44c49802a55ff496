"""Literals are rare: in the ordinary logs of one program no other pack's are met.

They decide the cost of every line of every log, so a pack must not look for words that all mail
servers, or all login services, write.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from bench import logs
from tidegate.detector.matcher import Literals, matchers_of
from tidegate.detector.pack import load_packs
from tidegate.detector.scanner import choose

OWN = {"exim": {"exim"}, "sshd": {"sshd", "pam"}}
LINES = 4000


@pytest.mark.parametrize("kind", ["exim", "sshd"])
def test_nobody_else_s_literals(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "log"
    logs.write(path, logs.Shape(kind, 0.5, True), LINES)
    literals = Literals(matchers_of(load_packs(), None))
    hits = choose("auto", literals.texts).scan(path.read_bytes())
    met = Counter(literal for _end, literal in hits)
    strange = {}
    for literal, count in met.items():
        packs = {
            literals._matchers[order].detector.kind.pack for order in literals._asking[literal]
        }
        if not packs & OWN[kind] and count > LINES // 200:
            strange[literals.texts[literal]] = (count, sorted(packs))
    assert strange == {}
