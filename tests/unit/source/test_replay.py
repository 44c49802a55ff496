"""Replaying files: the same lines whatever the wrapping, on the file's own clock."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tidegate.errors import SourceError
from tidegate.model import Block
from tidegate.source.port import MAX_BLOCK
from tidegate.source.replay import Replay

LINES = [b"2026-08-21 14:03:%02d line %d" % (number % 60, number) for number in range(60_000)]
TEXT = b"\n".join(LINES) + b"\n"
ENTRY = b"__CURSOR=s=ab;i=%x\n__REALTIME_TIMESTAMP=1692626602000000\n_PID=7\nMESSAGE=line %d\n\n"
EXPORT = b"".join(ENTRY % (number, number) for number in range(20_000))


def replayed(path: Path | str) -> tuple[Replay, list[Block]]:
    replay = Replay(str(path))
    replay.open()
    blocks = list(replay.blocks())
    return replay, blocks


def joined(blocks: list[Block]) -> bytes:
    offset = 0
    for block in blocks:
        assert block.offset == offset
        assert len(block.data) <= 2 * MAX_BLOCK
        offset += len(block.data)
    return b"".join(block.data for block in blocks)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    path = tmp_path / "mainlog"
    path.write_bytes(TEXT)
    os.utime(path, ns=(0, 1_700_000_000_123_456_789))
    return path


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    path = tmp_path / "any-name"
    path.write_bytes(gzip.compress(TEXT, 1))
    return path


def test_a_plain_file(plain: Path) -> None:
    replay, blocks = replayed(plain)
    assert joined(blocks) == TEXT
    assert {block.arrival for block in blocks} == {1_700_000_000_123_456}
    assert {block.framing for block in blocks} == {"lines"}
    assert replay.done == replay.total == len(TEXT)
    assert replay.origin is not None
    assert blocks[0].origin == replay.origin.number
    place = TEXT.index(LINES[12_345])
    assert replay.fetch(replay.origin.number, place) == LINES[12_345]
    assert replay.fetch(replay.origin.number, place + 1) is None
    assert replay.fetch(99, place) is None
    assert replay.problem == ""
    replay.close()
    replay.close()


def test_progress_while_reading(plain: Path) -> None:
    replay = Replay(str(plain))
    replay.open()
    assert (replay.done, replay.total) == (0, len(TEXT))
    seen = [replay.done for _ in replay.blocks()]
    assert seen == sorted(set(seen))
    assert len(seen) > 1
    replay.close()


def test_gzip_is_known_by_its_first_bytes(packed: Path) -> None:
    replay, blocks = replayed(packed)
    assert joined(blocks) == TEXT
    assert replay.done == replay.total == packed.stat().st_size
    assert replay.fetch(blocks[0].origin, TEXT.index(LINES[777])) == LINES[777]
    replay.close()


def test_gzip_of_several_members_and_padding(tmp_path: Path) -> None:
    path = tmp_path / "two.gz"
    path.write_bytes(gzip.compress(b"one\ntw") + gzip.compress(b"o\nthree") + b"\0" * 600)
    replay, blocks = replayed(path)
    assert joined(blocks) == b"one\ntwo\nthree\n"
    assert replay.problem == ""
    replay.close()


@pytest.mark.parametrize("damage", ["short", "rubbish", "tail"])
def test_damaged_gzip_gives_what_is_left_and_says_so(packed: Path, damage: str) -> None:
    data = packed.read_bytes()
    half = len(data) // 2
    packed.write_bytes(
        {
            "short": data[:half],
            "rubbish": data[:half] + b"\xff" * 1000 + data[half + 1000 :],
            "tail": data + b"rubbish",
        }[damage]
    )
    replay, blocks = replayed(packed)
    got = joined(blocks)
    # Up to the damage all of it; a few bytes of nonsense may follow before it is noticed.
    assert len(got) > len(TEXT) // 3
    assert TEXT.startswith(got[: len(got) * 9 // 10])
    assert replay.problem.startswith(f"{packed}: damaged gzip data (")
    replay.close()


def test_a_bomb_is_read_piece_by_piece(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    packer = gzip.GzipFile(path, "wb", 9)
    with packer:
        for _ in range(300):
            packer.write(b"\xff" * 1_000_000)
        packer.write(b"\nend\n")
    script = (
        "import resource, sys\n"
        "from tidegate.source.replay import Replay\n"
        "replay = Replay(sys.argv[1]); replay.open()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print([(len(block.data), block.offset) for block in replay.blocks()])\n"
        "assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16384\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"[({MAX_BLOCK}, 0), (4, 300000001)]\n"


@pytest.mark.parametrize("wrap", [bytes, gzip.compress])
def test_a_journal_export(tmp_path: Path, wrap: object) -> None:
    path = tmp_path / "ssh.export"
    path.write_bytes(wrap(EXPORT))  # type: ignore[operator]
    replay, blocks = replayed(path)
    assert joined(blocks) == EXPORT
    assert {block.framing for block in blocks} == {"journal"}
    place = EXPORT.index(b"MESSAGE=line 777\n")
    assert replay.fetch(blocks[0].origin, place) == b"line 777"
    replay.close()


def test_without_a_last_newline(tmp_path: Path) -> None:
    for name, data in {
        "plain": b"one\ntwo",
        "packed": gzip.compress(b"one\ntwo"),
    }.items():
        (tmp_path / name).write_bytes(data)
        replay, blocks = replayed(tmp_path / name)
        assert joined(blocks) == b"one\ntwo\n"
        assert replay.fetch(blocks[0].origin, 4) == b"two"
        replay.close()
    (tmp_path / "export").write_bytes(EXPORT[:-2])
    replay, blocks = replayed(tmp_path / "export")
    assert joined(blocks) == EXPORT
    replay.close()


@pytest.mark.parametrize("wrap", [bytes, gzip.compress])
def test_an_empty_file(tmp_path: Path, wrap: object) -> None:
    path = tmp_path / "empty"
    path.write_bytes(wrap(b""))  # type: ignore[operator]
    replay, blocks = replayed(path)
    assert blocks == []
    assert replay.problem == ""
    replay.close()


def test_long_lines_like_the_daemon(tmp_path: Path) -> None:
    data = b"first\n" + b"a" * (3 * MAX_BLOCK) + b"\nlast\n"
    cuts = []
    for name, content in {"plain": data, "packed": gzip.compress(data, 1)}.items():
        (tmp_path / name).write_bytes(content)
        replay, blocks = replayed(tmp_path / name)
        cuts.append([(block.offset, len(block.data)) for block in blocks])
        assert replay.cut_lines == 1
        replay.close()
    assert cuts[0] == cuts[1] == [(0, 6), (6, MAX_BLOCK), (6 + 3 * MAX_BLOCK + 1, 5)]


def test_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)

    def write() -> None:
        with path.open("wb") as out:
            out.write(b"\x1f")
            out.flush()
            out.write(gzip.compress(TEXT)[1:])

    writer = threading.Thread(target=write)
    writer.start()
    replay, blocks = replayed(path)
    writer.join()
    assert joined(blocks) == TEXT
    assert replay.total == 0
    replay.close()


def test_standard_input() -> None:
    script = (
        "from tidegate.source.replay import Replay\n"
        "replay = Replay('-'); replay.open()\n"
        "for block in replay.blocks(): print(block.offset, block.data, block.framing)\n"
        "print(replay.origin.identity, replay.fetch(block.origin, block.offset), replay.problem)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], input=b"one\ntwo", capture_output=True, check=True
    )
    assert done.stdout == b"0 b'one\\n' lines\n4 b'two\\n' lines\nstdin b'two' \n"
    done = subprocess.run(
        [sys.executable, "-c", script], input=ENTRY % (1, 1), capture_output=True, check=True
    )
    assert done.stdout.endswith(b" journal\nstdin b'line 1' \n")


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no-such-log: does not exist"):
        Replay(str(tmp_path / "no-such-log")).open()
    with pytest.raises(SourceError, match="not a file with lines"):
        Replay(str(tmp_path)).open()


def test_opening_and_reading_are_separate(plain: Path) -> None:
    replay = Replay(str(plain))
    replay.open()
    plain.unlink()
    assert joined(list(replay.blocks())) == TEXT
    replay.close()
