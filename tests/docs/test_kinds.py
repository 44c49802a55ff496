"""docs/kinds.md is what `tidegate kinds --markdown` writes; every kind has one class and a meaning."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.cli.kinds import page, rows_of
from tidegate.detector.definition import Pack
from tidegate.detector.pack import load_packs

PAGE = Path(__file__).resolve().parents[2] / "docs" / "kinds.md"


def test_the_page_says_what_the_packs_have() -> None:
    assert PAGE.read_text() == page(load_packs()), "write it anew: tidegate kinds --markdown"


@pytest.mark.parametrize("pack", load_packs(), ids=lambda pack: pack.name)
def test_every_kind_of_a_shipped_pack_has_a_meaning(pack: Pack) -> None:
    assert [row.kind for row in rows_of(pack) if not row.means] == []


@pytest.mark.parametrize("pack", load_packs(), ids=lambda pack: pack.name)
def test_a_kind_has_one_class(pack: Pack) -> None:
    said = {(one.kind.name, one.kind.klass) for one in pack.detectors}
    assert len(said) == len({name for name, _klass in said})
