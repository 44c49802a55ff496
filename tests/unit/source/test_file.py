"""Files as a source: every line exactly once, at its offset, through whatever happens to a log."""

from __future__ import annotations

import gc
import os
import random
import select
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidegate.errors import LedgerError
from tidegate.model import MINUTE, SECOND, Block, Origin, Position
from tidegate.source import file as file_module
from tidegate.source.file import FileSource
from tidegate.source.memory import Numbering
from tidegate.source.port import MAX_BLOCK


class Reader:
    """A FileSource with its clock and its ledger, that can be stopped and started again."""

    def __init__(self, *patterns: Path | str, start: str = "beginning") -> None:
        self.patterns = [str(pattern) for pattern in patterns]
        self.numbering = Numbering("log")
        self.now = 1_700_000_000 * SECOND
        self.start_rule = start
        self.saved: list[Position] = []
        self.blocks: list[Block] = []
        self.source = self._open()

    def _open(self) -> FileSource:
        return FileSource(
            "log",
            self.patterns,
            register=self.numbering,
            positions=self.saved,
            origins=list(self.numbering.origins.values()),
            start=self.start_rule,  # type: ignore[arg-type]
        )

    def read(self, wait: int = SECOND) -> list[bytes]:
        """Let time pass and read all there is; the new lines without newline."""
        self.now += wait
        new: list[Block] = []
        while True:
            new += self.source.read(self.now)
            if not self.source.more:
                break
        self.blocks += new
        return [line for block in new for line in block.data.split(b"\n")[:-1]]

    def stop(self) -> None:
        self.saved = self.source.positions()
        self.source.close()

    def start(self) -> None:
        self.source = self._open()

    def lines(self) -> list[bytes]:
        """Every line so far, each fetched again from its place."""
        found = []
        for block in self.blocks:
            offset = block.offset
            for line in block.data.split(b"\n")[:-1]:
                found.append(line)
                offset += len(line) + 1
        return found

    def health(self) -> tuple[str, str]:
        health = self.source.health()
        return health.state, health.detail


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "mail.log"


@pytest.fixture(autouse=True)
def _no_descriptor_stays_open() -> Iterator[None]:
    gc.collect()
    before = set(os.listdir("/proc/self/fd"))
    yield
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= len(before)


@pytest.fixture
def read(log: Path) -> Iterator[Reader]:
    reader = Reader(log)
    yield reader
    reader.source.close()


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as out:
        out.write(data)


def rotate(path: Path) -> None:
    """As logrotate does without copytruncate: the highest number first."""
    for number in range(8, 0, -1):
        old = path.with_name(f"{path.name}.{number}")
        if old.exists():
            old.rename(path.with_name(f"{path.name}.{number + 1}"))
    path.rename(path.with_name(f"{path.name}.1"))


def copytruncate(path: Path) -> None:
    for number in range(8, 0, -1):
        old = path.with_name(f"{path.name}.{number}")
        if old.exists():
            old.rename(path.with_name(f"{path.name}.{number + 1}"))
    shutil.copyfile(path, path.with_name(f"{path.name}.1"))
    os.truncate(path, 0)


def links_to(path: Path) -> int:
    """How many descriptors are open on files of that name or below it, deleted ones included."""
    found = 0
    for each in Path("/proc/self/fd").iterdir():
        try:
            found += os.readlink(each).startswith(str(path))
        except FileNotFoundError:
            continue  # the listing's own
    return found


class TestReading:
    def test_lines_and_their_place(self, log: Path, read: Reader) -> None:
        append(log, b"one\ntwo\n")
        assert read.read() == [b"one", b"two"]
        append(log, b"three\n")
        assert read.read() == [b"three"]
        assert [(block.offset, block.data) for block in read.blocks] == [
            (0, b"one\ntwo\n"),
            (8, b"three\n"),
        ]
        assert read.blocks[1].arrival == read.now
        assert read.source.fetch(read.blocks[1].origin, 4) == b"two"
        assert read.source.fetch(read.blocks[1].origin, 5) is None
        assert read.source.fetch(read.blocks[1].origin, 14) is None
        assert read.source.fetch(77, 0) is None

    def test_a_last_line_without_newline_waits(self, log: Path, read: Reader) -> None:
        append(log, b"one\ntw")
        assert read.read() == [b"one"]
        append(log, b"o")
        assert read.read() == []
        append(log, b"\nthree")
        assert read.read() == [b"two"]
        assert read.source.health().lag == 5

    def test_inotify_tells_without_a_tick(self, log: Path, read: Reader) -> None:
        append(log, b"one\n")
        read.read()
        [notify] = read.source.fds()
        assert not select.select([notify], [], [], 0)[0]
        append(log, b"two\n")
        assert select.select([notify], [], [], 5)[0]
        assert read.read(wait=0) == [b"two"]
        log.rename(log.with_name("mail.log.1"))
        append(log, b"three\n")
        assert select.select([notify], [], [], 5)[0]
        assert read.read(wait=0) == [b"three"]
        append(log.with_name("mail.log.1"), b"late\n")
        assert select.select([notify], [], [], 5)[0]
        assert read.read(wait=0) == [b"late"]
        assert not select.select([notify], [], [], 0)[0]

    def test_without_inotify_a_second_is_enough(
        self, log: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise OSError(24, "Too many open files")

        monkeypatch.setattr("tidegate.source.watch.INotify", refuse)
        reader = Reader(log)
        append(log, b"one\n")
        assert reader.read() == [b"one"]
        append(log, b"two\n")
        assert reader.read(wait=0) == []
        assert reader.read() == [b"two"]
        assert reader.health() == (
            "ok",
            "inotify: Too many open files; looking once a second instead",
        )
        reader.source.close()

    def test_at_most_eight_mebibytes_a_read(self, log: Path) -> None:
        other = log.with_name("other.log")
        line = b"x" * 99 + b"\n"
        log.write_bytes(line * 200_000)
        other.write_bytes(b"y\n")
        reader = Reader(log, other)
        first = reader.source.read(reader.now)
        assert 8 << 20 <= sum(len(block.data) for block in first) < 9 << 20
        assert all(len(block.data) <= MAX_BLOCK for block in first)
        assert reader.source.more
        second = reader.source.read(reader.now)
        assert second[0].data == b"y\n"  # the others are not starved
        reader.source.close()
        reader.start()
        assert len(reader.read()) == 200_001
        reader.source.close()

    def test_where_to_start(self, log: Path) -> None:
        log.write_bytes(b"old\nha")
        at_end = Reader(log, start="end")
        at_start = Reader(log, start="beginning")
        assert at_end.read() == []
        assert at_start.read() == [b"old"]
        append(log, b"lf\nnew\n")
        assert at_end.read() == [b"half", b"new"]
        at_end.stop()
        append(log, b"while down\n")
        at_end.start()
        assert at_end.read() == [b"while down"]
        at_end.source.close()
        at_start.source.close()

    def test_a_file_that_appears_later_is_read_whole(self, log: Path) -> None:
        reader = Reader(log, start="end")
        assert reader.read() == []
        assert reader.health() == ("degraded", f"{log}: does not exist")
        append(log, b"one\n")
        assert reader.read() == [b"one"]
        assert reader.health() == ("ok", "")
        reader.source.close()


class TestLongLines:
    def test_a_line_of_exactly_the_block_size(self, log: Path, read: Reader) -> None:
        log.write_bytes(b"a" * (MAX_BLOCK - 1) + b"\nb\n")
        assert [len(line) for line in read.read()] == [MAX_BLOCK - 1, 1]
        assert read.source.cut_lines == 0

    def test_a_longer_line_is_cut_alone_and_the_offsets_stay_right(
        self, log: Path, read: Reader
    ) -> None:
        size = 3 * MAX_BLOCK + 17
        log.write_bytes(b"first\n" + b"a" * size + b"\nlast\n")
        read.read()
        assert [(block.offset, len(block.data)) for block in read.blocks] == [
            (0, 6),
            (6, MAX_BLOCK),
            (6 + size + 1, 5),
        ]
        assert read.source.cut_lines == 1
        assert read.source.fetch(read.blocks[2].origin, 6 + size + 1) == b"last"
        assert read.source.fetch(read.blocks[1].origin, 6) == b"a" * (32 << 10)

    def test_a_restart_within_the_rest_of_a_cut_line(self, log: Path, read: Reader) -> None:
        log.write_bytes(b"a" * (2 * MAX_BLOCK))
        assert len(read.read()) == 1
        read.stop()
        append(log, b"forged line\ntrue line\n")
        read.start()
        assert read.read() == [b"true line"]

    def test_a_hundred_megabytes_without_newline(self, log: Path, tmp_path: Path) -> None:
        with log.open("wb") as out:
            for _ in range(100):
                out.write(b"\xff" * 1_000_000)
            out.write(b"\nend\n")
        script = textwrap.dedent("""
            import resource, sys
            from tidegate.source.file import FileSource
            source = FileSource("log", [sys.argv[1]], start="beginning")
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            blocks, more = [], True
            while more:
                blocks += source.read(0)
                more = source.more
            print([len(block.data) for block in blocks], blocks[-1].data)
            assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8192
        """)
        done = subprocess.run(
            [sys.executable, "-c", script, str(log)], capture_output=True, text=True, check=True
        )
        assert done.stdout == f"[{MAX_BLOCK}, 4] b'end\\n'\n"

    def test_a_long_line_that_grows_byte_by_byte_is_not_read_over_and_over(
        self, log: Path, read: Reader, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = 0
        real = os.pread

        def counting(descriptor: int, size: int, offset: int) -> bytes:
            nonlocal asked
            data = real(descriptor, size, offset)
            asked += len(data)
            return data

        monkeypatch.setattr(os, "pread", counting)
        for _ in range(100):
            append(log, b"z" * 10_000)
            assert read.read() == []
        append(log, b"\n")
        assert len(read.read()[0]) == 1_000_000
        assert asked < 3_000_000


class TestRotation:
    def test_rename_and_create(self, log: Path, read: Reader) -> None:
        append(log, b"1\n")
        read.read()
        append(log, b"2\n")
        rotate(log)
        append(log.with_name("mail.log.1"), b"3\n")
        assert read.read() == [b"2", b"3"]
        append(log.with_name("mail.log.1"), b"4\n")
        append(log, b"5\n")
        assert read.read() == [b"4", b"5"]
        append(log.with_name("mail.log.1"), b"6\n")  # a writer that has not reopened yet
        append(log, b"7\n")
        assert read.read() == [b"6", b"7"]
        origins = {block.origin for block in read.blocks}
        assert len(origins) == 2
        assert read.source.fetch(read.blocks[0].origin, 0) == b"1"
        assert read.source.fetch(read.blocks[-1].origin, 2) == b"7"

    def test_a_rotated_file_is_let_go_after_ten_silent_minutes(
        self, log: Path, read: Reader
    ) -> None:
        append(log, b"1\n")
        read.read()
        rotate(log)
        append(log, b"2\n")
        read.read()
        assert len(read.source.positions()) == 2
        append(log.with_name("mail.log.1"), b"3\nhalf")
        assert read.read(wait=9 * MINUTE) == [b"3"]
        assert read.read(wait=9 * MINUTE) == []
        assert len(read.source.positions()) == 2
        # What never got its newline is not skipped either.
        assert read.read(wait=2 * MINUTE) == [b"half"]
        assert read.source.fetch(read.blocks[0].origin, 2) == b"3"
        append(log.with_name("mail.log.1"), b" way too late\n4\n")
        assert read.read() == []
        read.stop()
        read.start()
        assert read.read() == [b"4"]

    def test_a_deleted_file_gives_its_disk_space_back_sooner(self, log: Path, read: Reader) -> None:
        append(log, b"1\n")
        read.read()
        log.unlink()
        append(log, b"2\n")
        assert read.read() == [b"2"]
        assert links_to(log) == 2
        read.read(wait=2 * MINUTE)
        assert links_to(log) == 1

    def test_many_rotations_in_a_row(self, log: Path, read: Reader) -> None:
        wanted = []
        for number in range(30):
            wanted.append(b"line %d" % number)
            append(log, wanted[-1] + b"\n")
            read.read()
            rotate(log)
        assert links_to(log) <= 10
        assert read.lines() == wanted

    def test_several_rotations_between_two_looks(self, log: Path, read: Reader) -> None:
        append(log, b"1\n")
        read.read()
        append(log, b"2\n")
        rotate(log)
        append(log, b"3\n")
        rotate(log)
        append(log, b"4\n")
        assert read.read() == [b"2", b"3", b"4"]
        append(log, b"5\n")
        rotate(log)
        append(log, b"6\n")
        rotate(log)  # and nothing is under the name now
        assert read.read() == [b"5", b"6"]
        append(log, b"7\n")
        assert read.read() == [b"7"]

    def test_several_copytruncates_between_two_looks(self, log: Path, read: Reader) -> None:
        append(log, b"1\n")
        read.read()
        append(log, b"2\n")
        copytruncate(log)
        append(log, b"3\n")
        copytruncate(log)
        append(log, b"4\n")
        assert read.read() == [b"2", b"3", b"4"]

    def test_copytruncate_and_then_a_renaming_between_two_looks(
        self, log: Path, read: Reader
    ) -> None:
        append(log, b"1\n")
        read.read()
        append(log, b"2\n")
        copytruncate(log)
        append(log, b"3\n")
        rotate(log)
        assert read.read() == [b"2", b"3"]
        append(log, b"4\n")
        assert read.read() == [b"4"]

    def test_copytruncate_after_all_was_read(self, log: Path, read: Reader) -> None:
        append(log, b"1\n2\n")
        read.read()
        copytruncate(log)
        assert read.read() == []
        append(log, b"3\n")
        assert read.read() == [b"3"]
        assert read.source.truncated == 1
        # The lines from before are found in the copy.
        assert read.source.fetch(read.blocks[0].origin, 2) == b"2"
        assert read.source.fetch(read.blocks[1].origin, 0) == b"3"

    def test_copytruncate_with_unread_lines(self, log: Path, read: Reader) -> None:
        append(log, b"1\n2\n")
        read.read()
        append(log, b"3\n4\n")
        copytruncate(log)
        append(log, b"5\n")
        assert read.read() == [b"3", b"4", b"5"]

    def test_a_restart_knows_how_far_an_emptied_file_had_been_read(
        self, log: Path, read: Reader
    ) -> None:
        append(log, b"x" * 300 + b"\n")
        read.read()
        early = read.source.positions()
        append(log, b"2\n")
        read.read()
        copytruncate(log)
        read.read()
        read.stop()
        read.saved = list({each.identity: each for each in early + read.saved}.values())
        read.start()
        assert read.read() == []

    def test_truncated_and_grown_beyond_the_old_end_between_two_looks(
        self, log: Path, read: Reader
    ) -> None:
        append(log, b"1\n")
        read.read()
        copytruncate(log)
        append(log, b"a much longer line than before\n")
        assert read.read() == [b"a much longer line than before"]

    def test_a_writer_that_does_not_append_leaves_a_hole(self, log: Path, read: Reader) -> None:
        with log.open("wb", buffering=0) as out:
            out.write(b"x" * 99_999 + b"\n")
            assert len(read.read()) == 1
            copytruncate(log)
            read.read()
            out.write(b"after the hole\n")
            assert read.read() == [b"after the hole"]
            assert read.blocks[-1].offset == 100_000
            copytruncate(log)
            out.write(b"again\n")
            assert read.read() == [b"again"]

    def test_shortened_but_not_begun_anew(self, log: Path, read: Reader) -> None:
        lines = [b"line %03d of the log" % number for number in range(100)]
        log.write_bytes(b"\n".join(lines) + b"\n")
        assert read.read() == lines
        os.truncate(log, 1000)
        assert read.read() == []
        append(log, b"next\n")
        assert read.read() == [b"next"]

    def test_an_edited_copy_under_the_same_name_is_not_read_twice(
        self, log: Path, read: Reader
    ) -> None:
        append(log, b"1\n2\n")
        read.read()
        copy = log.with_name("copy")
        shutil.copyfile(log, copy)
        append(copy, b"3\n")
        copy.rename(log)
        assert read.read() == [b"3"]
        assert links_to(log) == 1

    def test_a_writer_that_never_rests(self, log: Path, read: Reader) -> None:
        script = textwrap.dedent("""
            import os, sys
            from pathlib import Path
            log = Path(sys.argv[1])
            out = log.open("ab", buffering=0)
            for number in range(30_000):
                out.write(b"%d\\n" % number)
                if number % 1500 == 700:
                    for old in range(40, 0, -1):
                        if Path(f"{log}.{old}").exists():
                            os.rename(f"{log}.{old}", f"{log}.{old + 1}")
                    os.rename(log, f"{log}.1")
                if number % 1500 == 750:
                    out = log.open("ab", buffering=0)
        """)
        log.touch()
        read.read()
        writer = subprocess.Popen([sys.executable, "-c", script, str(log)])
        seen: list[bytes] = []
        turns = 0
        while writer.poll() is None:
            select.select(read.source.fds(), [], [], 0.01)
            seen += read.read(wait=SECOND // 100)
            turns += 1
            if turns % 40 == 0:
                read.stop()
                read.start()
        seen += read.read()
        assert writer.returncode == 0
        assert len(seen) == 30_000
        assert sorted(map(int, seen)) == list(range(30_000))


class TestRestart:
    def test_goes_on_where_it_stopped(self, log: Path, read: Reader) -> None:
        append(log, b"1" * 300 + b"\n2\n")
        read.read()
        read.stop()
        append(log, b"3\n")
        read.start()
        assert read.read() == [b"3"]
        assert read.blocks[0].origin == read.blocks[1].origin

    def test_rotated_several_times_while_down(self, log: Path, read: Reader) -> None:
        append(log, b"1\n")
        read.read()
        read.stop()
        append(log, b"2\n")
        rotate(log)
        append(log, b"3\n")
        rotate(log)
        append(log, b"4\n")
        read.start()
        assert read.read() == [b"2", b"3", b"4"]
        assert read.source.fetch(read.blocks[0].origin, 0) == b"1"
        rotate(log)
        append(log, b"5\n")
        assert read.read() == [b"5"]

    def test_rotated_by_date_while_down(self, log: Path, read: Reader) -> None:
        append(log, b"1\n")
        read.read()
        read.stop()
        # Moved back in time on purpose: the names count, not the times.
        log.rename(log.with_name("mail.log-20260820"))
        append(log, b"2\n")
        os.utime(log, (1, 1))
        log.rename(log.with_name("mail.log-20260821"))
        read.start()
        assert read.read() == [b"2"]
        append(log, b"3\n")
        assert read.read() == [b"3"]

    def test_copytruncate_while_down(self, log: Path, read: Reader) -> None:
        append(log, b"1\n")
        read.read()
        read.stop()
        append(log, b"2\n")
        copytruncate(log)
        append(log, b"3\n")
        read.start()
        assert read.read() == [b"2", b"3"]

    def test_the_old_file_is_gone(self, log: Path, read: Reader) -> None:
        append(log, b"1\n")
        read.read()
        read.stop()
        log.unlink()
        keep = log.with_name("keeps-the-inode")
        keep.write_bytes(b"")
        append(log, b"2\n")
        read.start()
        assert read.read() == [b"2"]

    def test_nothing_under_the_name_at_the_restart(self, log: Path, read: Reader) -> None:
        append(log, b"1\n")
        read.read()
        read.stop()
        append(log, b"2\n")
        hidden = log.parent.with_name("elsewhere")
        log.rename(hidden)
        read.start()
        assert read.read() == []
        assert [each.offset for each in read.source.positions()] == [2]
        hidden.rename(log)
        assert read.read() == [b"2"]

    def test_positions_of_a_rotated_file_that_still_grows(self, log: Path, read: Reader) -> None:
        append(log, b"1\n")
        read.read()
        rotate(log)
        append(log, b"2\n")
        read.read()
        read.stop()
        append(log.with_name("mail.log.1"), b"late\n")
        append(log, b"3\n")
        read.start()
        assert read.read() == [b"late", b"3"]

    def test_a_link_to_a_file_that_is_rotated_while_down(self, log: Path, read: Reader) -> None:
        real = log.with_name("data") / "real"
        real.parent.mkdir()
        log.symlink_to(real)
        append(real, b"1\n")
        assert read.read() == [b"1"]
        read.stop()
        append(real, b"2\n")
        rotate(real)
        append(real, b"3\n")
        read.start()
        assert read.read() == [b"2", b"3"]

    def test_a_link_that_moves_on_to_the_file_of_each_day(self, log: Path, read: Reader) -> None:
        for day in range(20260820, 20260826):
            append(log.with_name(f"mail.log-{day}"), b"%d\n" % day)
            log.unlink(missing_ok=True)
            log.symlink_to(f"mail.log-{day}")
            if day in (20260820, 20260821, 20260825):
                read.read()
            if day == 20260821:
                read.stop()
            if day == 20260823:
                read.start()
                read.read()
        assert read.lines() == [b"%d" % day for day in range(20260820, 20260826)]

    def test_positions_of_other_sources_are_none_of_ours(self, log: Path) -> None:
        append(log, b"1\n")
        source = FileSource("log", [str(log)], positions=[Position("web", str(log), "1:0-", 0)])
        assert source.read(0) == []
        source.close()

    def test_the_fingerprint_grows_with_a_young_file(self, log: Path, read: Reader) -> None:
        append(log, b"short\n")
        read.read()
        append(log, b"x" * 500 + b"\n")
        read.read()
        first, second = read.numbering.origins.values()
        assert ":6-" in first.identity
        assert ":256-" in second.identity
        assert read.source.fetch(first.number, 0) == b"short"
        read.stop()
        read.start()
        append(log, b"more\n")
        assert read.read() == [b"more"]
        assert read.blocks[-1].origin == second.number

    def test_old_positions_that_the_ledger_still_has_do_no_harm(
        self, log: Path, read: Reader
    ) -> None:
        log.touch()
        read.read()
        old = read.source.positions()
        append(log, b"1\n")
        read.read()
        old += read.source.positions()
        append(log, b"x" * 300 + b"\n")
        read.read()
        old += read.source.positions()
        copytruncate(log)
        read.read()
        old += read.source.positions()
        # The inode of the file that was empty once now holds a copy that was read already.
        copy = log.with_name("mail.log.1")
        copy_inode = copy.stat().st_ino
        old.insert(
            0,
            old[0]._replace(
                identity=old[0].identity.replace(old[0].identity.partition(":")[0], str(copy_inode))
            ),
        )
        read.source.close()
        read.saved = old
        append(log, b"2\n")
        read.start()
        assert read.read() == [b"2"]

    def test_a_ledger_that_refuses_stops_no_line(self, log: Path) -> None:
        numbering = Numbering("log")
        refusing = True

        def register(path: str, identity: str, rereadable: bool) -> Origin:
            if refusing:
                raise LedgerError("disk full")
            return numbering(path, identity, rereadable)

        source = FileSource("log", [str(log)], register=register, start="beginning")
        append(log, b"1\n")
        [block] = source.read(SECOND)
        assert (block.data, block.origin) == (b"1\n", 0)
        assert source.fetch(0, 0) is None
        refusing = False
        append(log, b"2\n")
        [block] = source.read(2 * SECOND)
        assert (block.data, block.origin) == (b"2\n", 1)
        assert source.fetch(1, 0) == b"1"
        source.close()


class TestGlobs:
    def test_new_files_while_running(self, tmp_path: Path) -> None:
        (tmp_path / "a.log").write_bytes(b"old\n")
        reader = Reader(tmp_path / "*.log", start="end")
        assert reader.read() == []
        (tmp_path / "b.log").write_bytes(b"new\n")
        assert reader.read(wait=0) == [b"new"]
        reader.stop()
        (tmp_path / "c.log").write_bytes(b"newer\n")
        append(tmp_path / "a.log", b"more\n")
        reader.start()
        assert sorted(reader.read()) == [b"more", b"newer"]
        reader.source.close()

    def test_new_directories(self, tmp_path: Path) -> None:
        reader = Reader(tmp_path / "*" / "access.log")
        reader.read()
        assert reader.health()[0] == "waiting"
        (tmp_path / "site").mkdir()
        (tmp_path / "site" / "access.log").write_bytes(b"1\n")
        assert reader.read() == [b"1"]
        reader.source.close()

    def test_rotated_copies_that_match_too_are_not_read_twice(self, log: Path) -> None:
        reader = Reader(f"{log}*")
        append(log, b"1\n")
        reader.read()
        rotate(log)
        append(log, b"2\n")
        assert reader.read() == [b"2"]
        copytruncate(log)
        append(log, b"3\n")
        assert reader.read() == [b"3"]
        Path(f"{log}.9.gz").write_bytes(b"\x1f\x8b\n")
        assert reader.read() == []
        reader.source.close()

    def test_a_file_renamed_within_the_glob(self, tmp_path: Path) -> None:
        reader = Reader(tmp_path / "*.log")
        (tmp_path / "today.log").write_bytes(b"1\n")
        assert reader.read() == [b"1"]
        (tmp_path / "today.log").rename(tmp_path / "yesterday.log")
        append(tmp_path / "yesterday.log", b"2\n")
        (tmp_path / "today.log").write_bytes(b"3\n")
        assert sorted(reader.read()) == [b"2", b"3"]
        (tmp_path / "hard.log").hardlink_to(tmp_path / "today.log")
        (tmp_path / "soft.log").symlink_to("today.log")
        assert reader.read() == []
        append(tmp_path / "today.log", b"4\n")
        assert reader.read() == [b"4"]
        assert {Path(each.path).name for each in reader.source.positions()} == {
            "today.log",
            "yesterday.log",
        }
        reader.source.close()

    def test_a_deleted_file_is_read_to_its_end_and_forgotten(self, tmp_path: Path) -> None:
        reader = Reader(tmp_path / "*.log")
        (tmp_path / "a.log").write_bytes(b"1\n")
        reader.read()
        append(tmp_path / "a.log", b"2\n")
        (tmp_path / "a.log").unlink()
        assert reader.read() == [b"2"]
        reader.read(wait=2 * MINUTE)
        reader.read()
        assert links_to(tmp_path) == 0
        assert reader.health()[0] == "waiting"
        reader.source.close()

    def test_there_is_a_limit_and_it_shows(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(file_module, "MAX_FILES", 3)
        for number in range(5):
            (tmp_path / f"{number}.log").write_bytes(b"line\n")
        reader = Reader(tmp_path / "*.log")
        assert len(reader.read()) == 3
        assert reader.health() == ("degraded", "2 files beyond the first 3 are not followed")
        reader.source.close()


class TestTrouble:
    def test_of_several_places_one_is_enough(self, log: Path, tmp_path: Path) -> None:
        absent = tmp_path / "exim" / "mainlog"
        reader = Reader(absent, log)
        reader.read()
        assert reader.health() == ("degraded", f"{absent}: does not exist (and 1 more)")
        append(log, b"1\n")
        assert reader.read() == [b"1"]
        assert reader.health() == ("ok", f"{absent}: does not exist")
        reader.source.close()

    def test_a_read_error_is_told_and_tried_again(
        self, log: Path, read: Reader, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        append(log, b"1\n")
        read.read()
        append(log, b"2\n")
        with monkeypatch.context() as broken:

            def fail(*_: int) -> bytes:
                raise OSError(5, "Input/output error")

            broken.setattr(os, "pread", fail)
            assert read.read() == []
            assert read.health() == ("degraded", f"{log}: Input/output error")
            other = FileSource("other", [str(log)])
            other.read(0)
            assert other.health()[:2] == ("degraded", f"{log}: Input/output error")
        assert read.read() == [b"2"]
        assert read.health() == ("ok", "")
        other.close()

    def test_a_link_whose_target_is_rotated_elsewhere(self, log: Path, tmp_path: Path) -> None:
        target = tmp_path / "data" / "real"
        target.parent.mkdir()
        target.write_bytes(b"1\n")
        log.symlink_to(target)
        reader = Reader(log)
        assert reader.read() == [b"1"]
        target.rename(target.with_name("real.1"))
        target.write_bytes(b"2\n")
        [notify] = reader.source.fds()
        assert select.select([notify], [], [], 5)[0]
        assert reader.read(wait=0) == [b"2"]
        reader.source.close()

    @pytest.mark.parametrize(
        ("make", "kind"),
        [
            (os.mkfifo, "a FIFO"),
            (os.mkdir, "a directory"),
            (lambda path: os.symlink("/dev/zero", path), "a character device"),
        ],
    )
    def test_what_is_no_regular_file_is_refused_and_recovers(
        self, log: Path, make: object, kind: str
    ) -> None:
        make(log)  # type: ignore[operator]
        reader = Reader(log)
        assert reader.read() == []
        assert reader.health() == ("degraded", f"{log}: is {kind}; a log must be a regular file")
        log.rename(log.with_name("away"))
        append(log, b"1\n")
        assert reader.read() == [b"1"]
        assert reader.health() == ("ok", "")
        reader.source.close()

    def test_a_fifo_that_takes_the_place_of_the_log(self, log: Path, read: Reader) -> None:
        append(log, b"1\n")
        read.read()
        rotate(log)
        os.mkfifo(log)
        append(log.with_name("mail.log.1"), b"2\n")
        assert read.read() == [b"2"]
        assert read.health()[0] == "degraded"

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
    def test_unreadable_says_what_would_help_and_recovers(self, tmp_path: Path) -> None:
        script = textwrap.dedent("""
            import os, sys
            from tidegate.source.file import FileSource
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            source = FileSource("log", [sys.argv[1]], start="end")
            for second, _ in enumerate(sys.stdin, 1_700_000_000):
                lines = b"".join(block.data for block in source.read(second * 1_000_000))
                print(source.health().state, source.health().detail, lines, flush=True)
        """)
        os.chmod(tmp_path, 0o755)  # pytest makes it private
        for parent in tmp_path.parents:
            if parent.stat().st_uid == 0 and parent != Path("/") and "pytest" in parent.name:
                os.chmod(parent, 0o755)
        log = tmp_path / "mail.log"
        log.write_bytes(b"old\n")
        os.chown(log, 0, 4)  # adm
        os.chmod(log, 0o640)
        child = subprocess.Popen(
            [sys.executable, "-c", script, str(log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with child:
            assert child.stdin
            assert child.stdout

            def ask() -> str:
                child.stdin.write("\n")  # type: ignore[union-attr]
                child.stdin.flush()  # type: ignore[union-attr]
                return child.stdout.readline()  # type: ignore[union-attr]

            assert ask() == (
                f"degraded {log}: nobody may not read {log} (root:adm, mode 0640); "
                f"`usermod -aG adm nobody` and a restart, or `setfacl -m u:nobody:r {log}` b''\n"
            )
            os.chown(log, 0, 0)
            assert "may not read" in ask()
            append(log, b"while unreadable\n")
            os.chmod(log, 0o644)
            assert ask() == "ok  b'while unreadable\\n'\n"
            os.chmod(tmp_path, 0o700)
            rotate(log)
            assert f"nobody may not enter {tmp_path}" in ask()
            assert f"try `setfacl -m u:nobody:x {tmp_path}`" in ask()
            append(log, b"after\n")
            os.chmod(tmp_path, 0o755)
            assert ask() == "ok  b'after\\n'\n"
            child.stdin.close()

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
    def test_a_glob_in_a_directory_that_is_closed_to_us(self, public_folder: Path) -> None:
        logs = public_folder / "logs"
        logs.mkdir(mode=0o700)
        (logs / "a.log").write_bytes(b"1\n")
        os.setegid(65534)
        os.seteuid(65534)
        try:
            reader = Reader(f"{public_folder}/*/a.log", logs / "b.log", start="end")
            assert reader.read() == []
            state, detail = reader.health()
            assert state == "degraded"
            assert f"nobody may not enter {logs}" in detail
        finally:
            os.seteuid(0)
            os.setegid(0)
        assert reader.read() == [b"1"]
        reader.source.close()

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
    def test_links_of_strangers_are_refused(self, log: Path) -> None:
        secret = log.with_name("auth.log")
        secret.write_bytes(b"secret\n")
        log.symlink_to(secret)
        os.chown(log, 1234, 1234, follow_symlinks=False)
        reader = Reader(log)
        assert reader.read() == []
        assert reader.health() == (
            "degraded",
            f"{log}: the symbolic link {log} belongs to uid 1234, its target to root; "
            "only root or the target's owner may link",
        )
        os.chown(secret, 1234, 1234)
        assert reader.read() == [b"secret"]
        reader.source.close()
        os.chown(secret, 0, 0)
        directory = log.with_name("logs")
        directory.symlink_to(log.parent)
        os.chown(directory, 1234, 1234, follow_symlinks=False)
        reader = Reader(directory / "auth.log")
        assert reader.read() == []
        assert "symbolic link" in reader.health()[1]
        reader.source.close()

    def test_the_directory_itself_comes_and_goes(self, tmp_path: Path) -> None:
        log = tmp_path / "exim4" / "mainlog"
        reader = Reader(log)
        assert reader.read() == []
        log.parent.mkdir()
        append(log, b"1\n")
        assert reader.read() == [b"1"]
        log.parent.rename(tmp_path / "moved")
        log.parent.mkdir()
        append(log, b"2\n")
        append(tmp_path / "moved" / "mainlog", b"3\n")
        assert reader.read() == [b"3", b"2"]
        [notify] = reader.source.fds()
        append(log, b"4\n")
        assert select.select([notify], [], [], 5)[0]
        assert reader.read(wait=0) == [b"4"]
        reader.source.close()

    def test_binary_rubbish_passes_unharmed(self, log: Path, read: Reader) -> None:
        rubbish = random.Random(1).randbytes(300_000) + b"\n"
        log.write_bytes(rubbish)
        read.read()
        assert b"".join(block.data for block in read.blocks) == rubbish
