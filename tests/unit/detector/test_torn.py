"""Lines that a client wrote into a log: nobody is blamed by them, wherever blocks are cut."""

from __future__ import annotations

from datetime import UTC

import pytest
from tests.unit.detector.making import ARRIVAL, packs

from tidegate.detector import torn
from tidegate.detector.engine import Engine
from tidegate.errors import PackError
from tidegate.model import Block

INN = r"""
name = "inn"
programs = ["innd"]
torn = { pattern = '\d+ wants (?!.* from ).*', within = 60 }
[[detector]]
name = "refused"
kind = "refused"
literals = [" wants "]
pattern = '''\d+ wants .* from <addr>'''
match = [{ line = "12 wants a bed from 192.0.2.7", subject = "192.0.2.7" }]
"""
GUEST = r"""
[[detector]]
name = "guest"
kind = "guest"
class = "success"
literals = [" is welcome"]
pattern = '''<addr> is welcome'''
match = [{ line = "192.0.2.8 is welcome", subject = "192.0.2.8" }]
"""
TRUE = "12 wants a bed from 192.0.2.7\n"
FORGED = "13 wants a\n14 wants b from 203.0.113.9\nb from 192.0.2.7\n"


def blamed(*blocks: str, engine: Engine | None = None) -> list[str]:
    engine = engine or Engine(packs(INN), zone=UTC)
    offset, found = 0, []
    for text in blocks:
        block = Block("s", text.encode(), offset, ARRIVAL, 1)
        offset += len(block.data)
        found += [str(event.subject) for event in engine.detect(block).events]
    return found


def test_a_torn_line_takes_what_follows_it_along() -> None:
    assert blamed(TRUE + FORGED) == ["192.0.2.7"]


def test_a_torn_line_speaks_for_nobody_either() -> None:
    inn = INN + GUEST
    assert "13 wants" in FORGED
    forged = FORGED.replace("14 wants b from 203.0.113.9", "203.0.113.9 is welcome")
    true = "192.0.2.8 is welcome\n"
    for _ in range(2):
        engine = Engine(packs(inn), zone=UTC)
        for fields in (False, True):
            data = (true + "x" * 80 + "\n" + forged).encode()
            batch = engine.detect(Block("s", data, 0, ARRIVAL, 1), fields=fields)
            assert list(batch.successes) == ["192.0.2.8"]
            assert batch.successes["192.0.2.8"].count == 1
            assert [event.subject for event in batch.events] == ["192.0.2.8"] * fields
    told = Engine(packs(inn), zone=UTC, told=["inn.guest"])
    batch = told.detect(Block("s", true.encode(), 0, ARRIVAL, 1))
    assert [event.kind.name for event in batch.events] == ["inn.guest"]
    assert batch.successes["192.0.2.8"].count == 1


def test_far_enough_behind_it_lines_are_believed_again() -> None:
    assert blamed(FORGED + "x" * 60 + "\n" + TRUE) == ["192.0.2.7"]


@pytest.mark.parametrize("cut", [1, 2])
def test_wherever_blocks_are_cut(cut: int) -> None:
    lines = FORGED.splitlines(keepends=True)
    assert blamed("".join(lines[:cut]), "".join(lines[cut:])) == []
    assert blamed(*lines, "x" * 80 + "\n", TRUE) == ["192.0.2.7"]


def test_another_file_is_another_matter() -> None:
    engine = Engine(packs(INN), zone=UTC)
    assert blamed("13 wants a\n", engine=engine) == []
    block = Block("t", TRUE.encode(), 11, ARRIVAL, 2)
    assert len(engine.detect(block).events) == 1


def test_so_many_files_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torn, "FILES", 3)
    engine = Engine(packs(INN), zone=UTC)
    for number in range(9):
        engine.detect(Block("s", TRUE.encode(), 0, ARRIVAL, number))
    assert len(engine._tears._before) <= 3


@pytest.mark.parametrize(
    "said",
    ["{ pattern = 'x' }", "{ pattern = 'x', within = 0 }", "{ pattern = '(a+)*', within = 9 }"],
)
def test_what_a_pack_must_say(said: str) -> None:
    line = next(line for line in INN.splitlines() if line.startswith("torn"))
    with pytest.raises(PackError, match="torn"):
        packs(INN.replace(line, f"torn = {said}"))
