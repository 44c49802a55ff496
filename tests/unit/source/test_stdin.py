"""Standard input as a source: a pipe that may be slow, and may end."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tidegate.source.port import MAX_BLOCK
from tidegate.source.stdin import StdinSource


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


def test_lines_as_they_come(pipe: tuple[int, int]) -> None:
    source = StdinSource("in", descriptor=pipe[0])
    assert source.read(1) == []
    assert source.health().state == "waiting"
    os.write(pipe[1], b"one\ntw")
    [block] = source.read(2)
    assert (block.source, block.data, block.offset, block.arrival) == ("in", b"one\n", 0, 2)
    assert source.health() == ("ok", "", 0, 2)
    os.write(pipe[1], b"o\nthree")
    [block] = source.read(3)
    assert (block.data, block.offset) == (b"two\n", 4)
    assert source.fetch(block.origin, 4) == b"two"
    assert source.fetch(99, 4) is None
    os.close(pipe[1])
    [block] = source.read(4)
    assert (block.data, block.offset) == (b"three\n", 8)
    assert source.ended
    assert source.fds() == ()
    assert source.health() == ("waiting", "standard input has ended", 0, 4)
    assert source.read(5) == []
    assert source.positions() == []
    [origin] = source.origins()
    assert (origin.identity, origin.rereadable) == ("stdin", False)
    assert os.get_blocking(pipe[0])
    source.close()


def test_much_at_once(pipe: tuple[int, int]) -> None:
    source = StdinSource("in", descriptor=pipe[0])
    size = os.write(pipe[1], b"x" * 60_000 + b"\n")
    [block] = source.read(1)
    assert len(block.data) == size
    assert list(source.fds()) == [pipe[0]]
    assert not source.more
    assert source.cut_lines == 0


def test_a_file_as_standard_input(tmp_path: object) -> None:
    path = f"{tmp_path}/log"
    with open(path, "wb") as out:
        out.write((b"y" * 99 + b"\n") * 100_000)
    descriptor = os.open(path, os.O_RDONLY)
    source = StdinSource("in", descriptor=descriptor)
    first = source.read(1)
    assert source.more
    assert all(len(block.data) <= 2 * MAX_BLOCK for block in first)
    second = source.read(2)
    assert sum(len(block.data) for block in first + second) == 10_000_000
    assert source.ended
    os.close(descriptor)


def test_an_unreadable_descriptor(tmp_path: object) -> None:
    descriptor = os.open(f"{tmp_path}", os.O_RDONLY)
    source = StdinSource("in", descriptor=descriptor)
    assert source.read(1) == []
    assert source.health() == ("degraded", "standard input: Is a directory", 0, 0)
    os.close(descriptor)
