"""The measured logs are what their shape says, the same bytes each time, and Tidegate sees it so."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path
from typing import Literal

import pytest
from bench.logs import Shape

from bench import logs
from tidegate.detector.engine import Engine
from tidegate.detector.pack import load_packs
from tidegate.model import Batch, Block

LINES = 4000


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(load_packs(), zone=UTC)


def detected(engine: Engine, shape: Shape, folder: Path) -> Batch:
    path = folder / "log"
    logs.write(path, shape, LINES)
    framing: Literal["lines", "journal"] = "journal" if shape.kind == "journal" else "lines"
    return engine.detect(Block("log", path.read_bytes(), 0, logs.END * 10**6, 1, framing))


@pytest.mark.parametrize("kind", ["exim", "sshd", "journal"])
def test_the_same_arguments_give_the_same_bytes(kind: str, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for path in (one, other):
        logs.write(path, Shape(kind, 0.5, True), 500)
    assert one.read_bytes() == other.read_bytes()
    assert one.stat().st_mtime == logs.END


@pytest.mark.parametrize("share", [0.0, 0.02, 1.0])
@pytest.mark.parametrize("kind", ["exim", "sshd", "journal"])
def test_every_abusive_line_and_no_other_is_an_event(
    kind: str, share: float, engine: Engine, tmp_path: Path
) -> None:
    batch = detected(engine, Shape(kind, share, False), tmp_path)
    assert not batch.successes
    assert len(batch.events) == pytest.approx(share * LINES, rel=0.4)
    assert {event.kind.klass for event in batch.events} <= {"abuse"}


@pytest.mark.parametrize("kind", ["exim", "sshd", "journal"])
def test_with_successes_a_good_part_of_the_harmless_lines_are_some(
    kind: str, engine: Engine, tmp_path: Path
) -> None:
    batch = detected(engine, Shape(kind, 0.0, True), tmp_path)
    assert LINES / 8 < sum(one.count for one in batch.successes.values()) < LINES / 2
    assert not [
        event for event in batch.events if event.kind.klass == "abuse" and event.kind.weight
    ]


def test_abuse_comes_from_as_many_sources_as_stated(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "log"
    logs.write(path, Shape("exim", 1.0, False), LINES, count=100)
    batch = engine.detect(Block("log", path.read_bytes(), 0, logs.END * 10**6, 1))
    assert len({event.subject for event in batch.events}) == 100
