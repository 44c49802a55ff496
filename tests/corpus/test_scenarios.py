"""Whole logs with stated thresholds: nine in ten of those to be reported are, and nobody where nobody
is to be."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path

import pytest
from tests.corpus.conftest import note
from tests.corpus.scenarios import play, scenarios

from tidegate.detector.engine import Engine
from tidegate.detector.pack import load_packs

pytestmark = pytest.mark.corpus


def test_who_is_expected_is_reported(corpus: Path, pytestconfig: pytest.Config) -> None:
    packs = load_packs()
    kinds = {d.kind.name for pack in packs for d in pack.detectors if d.kind.klass == "abuse"}
    engine = Engine(packs, zone=UTC, fields_of=kinds)
    reports = [play(engine, one) for one in scenarios(corpus / "scenarios", sorted(kinds))]
    assert len(reports) > 100
    expected = sum(len(one.expected) for one in reports)
    missed = sum(len(one.missed) for one in reports)
    share = 100 * (1 - missed / expected)
    note(
        pytestconfig, f"scenarios: {share:.1f} % of {expected} expected offenders in {len(reports)}"
    )
    for one in reports:
        if one.missed:
            note(pytestconfig, f"  {one.name}: missed {', '.join(sorted(one.missed))}")
    quiet = [one for one in reports if not one.expected]
    assert len(quiet) >= 2
    assert {one.name: sorted(one.closed) for one in quiet if one.closed} == {}
    assert share >= 90
