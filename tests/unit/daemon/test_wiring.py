"""Sources opened as the policy says, and exchanged on reload without losing their place."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.daemon.build import Plan
from tidegate.daemon.wiring import (
    Fresh,
    Saved,
    Wiring,
    open_source,
    open_sources,
    planned,
    saved,
)
from tidegate.detector.budget import Unlimited
from tidegate.detector.pack import load_packs
from tidegate.errors import PolicyError
from tidegate.gate.memory import MemoryGate
from tidegate.ledger.memory import MemoryLedger
from tidegate.model import SECOND
from tidegate.policy.loader import read
from tidegate.source.file import FileSource
from tidegate.source.journal import JournalSource
from tidegate.source.stdin import StdinSource

NOW = 1_755_000_000 * SECOND
PACKS = load_packs()
SOURCE = '[source.{name}]\nfile = "{path}"\nstart = "beginning"\n{more}\n'


def planned_from(*texts: str) -> Plan:
    return Plan(read([("policy", "".join(texts))]), PACKS)


class World:
    """A wiring over a ledger in memory and files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.ledger = folder, MemoryLedger()
        self.wiring: Wiring | None = None

    def source(self, name: str, file: str = "", more: str = "") -> str:
        return SOURCE.format(name=name, path=self.folder / (file or name), more=more)

    def open(self, *texts: str) -> None:
        plan = planned_from(*texts)
        self.wiring = Wiring(
            config=None, plan=plan, pipeline=plan.pipeline(), gate=MemoryGate(),
            sources=open_sources(plan, self.ledger), ledger=self.ledger, gate_kind="",
            control=None, wake_fd=-1, observe=False, trusted=False,
        )  # fmt: skip

    def reload(self, *texts: str) -> None:
        plan = planned_from(*texts)
        self.wiring.sources = self.wiring.exchange_sources(
            self.wiring.sources, Fresh(plan, plan.pipeline(), saved(self.ledger))
        )

    def append(self, name: str, text: str) -> None:
        with (self.folder / name).open("a") as file:
            file.write(text)

    def lines(self, second: int) -> list[bytes]:
        now = NOW + second * SECOND
        blocks = [block for one in self.wiring.sources.values() for block in one.read(now)]
        return [line for block in blocks for line in block.data.splitlines()]

    def close(self) -> None:
        for source in self.wiring.sources.values():
            source.close()


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.close()


def test_each_kind_of_source_is_opened_as_what_it_is(tmp_path):
    plan = planned_from(
        '[source.a]\nstdin = true\n[source.b]\nfile = "/x"\n'
        '[source.c]\njournal = true\ndetectors = ["sshd"]\n'
    )
    kinds = [StdinSource, FileSource, JournalSource]
    for spec, kind in zip(plan.sources, kinds, strict=True):
        source = open_source(spec, plan, MemoryLedger(), Saved())
        assert isinstance(source, kind)
        source.close()


def test_a_source_that_reads_the_same_goes_on_with_its_half_line(world):
    world.append("a", "one\ntw")
    world.open(world.source("a"))
    assert world.lines(1) == [b"one"]
    before = world.wiring.sources["a"]
    world.reload(world.source("a", more='detectors = ["exim"]\nzone = "UTC"'))
    assert world.wiring.sources["a"] is before
    world.append("a", "o\n")
    assert world.lines(3) == [b"two"]


def test_a_source_that_reads_more_goes_on_where_it_was(world):
    world.append("a", "one\n")
    world.append("b", "other\n")
    world.open(world.source("a"))
    assert world.lines(1) == [b"one"]
    world.append("a", "two\n")
    both = f'[source.a]\nfile = ["{world.folder}/a", "{world.folder}/b"]\nstart = "beginning"\n'
    world.reload(both)
    assert sorted(world.lines(3)) == [b"other", b"two"]


def test_a_source_that_comes_back_goes_on_where_it_left(world):
    world.append("a", "one\n")
    world.open(world.source("a"), world.source("b"))
    assert world.lines(1) == [b"one"]
    world.ledger.checkpoint(
        [place for one in world.wiring.sources.values() for place in one.positions()], []
    )
    world.reload(world.source("b"))
    assert list(world.wiring.sources) == ["b"]
    world.append("a", "two\n")
    assert world.lines(3) == []
    world.reload(world.source("a"), world.source("b"))
    assert world.lines(5) == [b"two"]


def test_the_order_of_sources_is_the_policys(world):
    world.open(world.source("a"), world.source("b"))
    world.reload(world.source("b"), world.source("c"), world.source("a"))
    assert list(world.wiring.sources) == ["b", "c", "a"]


def test_observe_on_the_command_line_outranks_the_policy(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text('mode = "enforce"\n[source.a]\nfile = "/x"\n')
    found = planned(path, observe=True, trusted=False, budget=Unlimited())
    assert found.loaded.policy.mode == "observe"
    assert planned(path, observe=False, trusted=False, budget=Unlimited()).loaded.policy.mode == (
        "enforce"
    )


def test_a_reload_reads_the_file_again_and_raises_what_is_wrong(world, tmp_path):
    path = tmp_path / "x.toml"
    path.write_text(world.source("a"))
    world.open(world.source("a"))
    world.wiring.config = path
    assert [one.name for one in world.wiring.reloaded().plan.sources] == ["a"]
    path.write_text("[source.a]\n")
    with pytest.raises(PolicyError, match="exactly one of"):
        world.wiring.reloaded()


def test_the_switch_is_a_file(world):
    world.open(world.source("a"), f'[paths]\noff = "{world.folder}/off"\n')
    assert not world.wiring.is_off()
    (world.folder / "off").touch()
    assert world.wiring.is_off()
    assert world.wiring.gate_fd() is None
