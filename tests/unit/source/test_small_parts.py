"""The twins and the small parts that all sources stand on."""

from __future__ import annotations

import os
import select
import signal
import time
from pathlib import Path

import pytest

from tidegate.errors import LedgerError
from tidegate.model import Origin
from tidegate.source.child import MAX_SAID, Child
from tidegate.source.memory import MemorySource, Numbering
from tidegate.source.origins import Origins
from tidegate.source.port import Source
from tidegate.source.tail import Fingerprint, line_at, open_tail
from tidegate.source.watch import Watch


class TestMemorySource:
    def test_hands_over_what_it_was_given(self) -> None:
        source: Source = MemorySource("twin", [b"one\n", b"two\nthree\n"])
        assert source.more
        [first] = source.read(1)
        [second] = source.read(2)
        assert (first.data, second.offset, second.arrival) == (b"one\n", 4, 2)
        assert not source.more
        assert source.read(3) == []
        assert source.fetch(first.origin, 8) == b"three"
        assert source.fetch(first.origin, 99) is None
        assert source.fetch(99, 0) is None
        assert source.positions()[0].offset == 14
        assert source.origins()[0].number == first.origin
        assert source.health() == ("ok", "", 0, 2)
        assert source.fds() == ()
        source.close()

    def test_more_may_be_written(self) -> None:
        source = MemorySource("twin")
        source.write(b"late\n")
        assert source.health().lag == 5
        assert source.read(1)[0].data == b"late\n"


class TestOrigins:
    def test_numbers_stay(self) -> None:
        numbering = Numbering("log")
        first = numbering("/log", "1:2-ab", True)
        assert numbering("/log", "1:2-ab", True) is first
        assert numbering("/log", "1:2-cd", True).number == 2

    def test_those_of_earlier_runs_are_known(self) -> None:
        mine = Origin(7, "log", "/log", "1:2-ab")
        origins = Origins("log", None, [mine, Origin(8, "web", "/web", "1:2-ab")])
        assert origins.get(7) is mine
        assert origins.get(8) is None
        assert origins.number("/log", "1:2-cd", rereadable=True) == 1
        assert [each.number for each in origins.all()] == [7, 1]

    def test_a_ledger_that_refuses(self) -> None:
        def refuse(*_: object) -> Origin:
            raise LedgerError("disk full")

        origins = Origins("log", refuse)
        assert origins.number("/log", "1:2-ab", rereadable=True) == 0
        assert origins.get(0) is None


class TestFingerprint:
    def test_text_and_back(self) -> None:
        found = Fingerprint.of(7, b"hello")
        assert Fingerprint.parse(found.identity) == found
        assert found.identity.startswith("7:5-")
        for nonsense in ("", "stdin", "7", "7:x-ab", "journal:_UID=0"):
            assert Fingerprint.parse(nonsense) is None

    def test_a_grown_file_still_fits(self) -> None:
        found = Fingerprint.of(7, b"hello")
        assert found.fits(b"hello, world")
        assert not found.fits(b"hell")
        assert not found.fits(b"jello, world")
        assert found.is_of(7, b"hello!")
        assert not found.is_of(8, b"hello!")
        assert Fingerprint.of(7, b"").fits(b"anything")


class TestTail:
    def test_seeking_the_start_of_a_line(self, tmp_path: Path) -> None:
        path = tmp_path / "log"
        path.write_bytes(b"one\ntwo\nthr")
        tail = open_tail(str(path), str(path))
        for offset, start in {0: 0, 2: 0, 4: 4, 6: 4, 8: 8, 11: 8}.items():
            tail.seek_line(offset)
            assert tail.offset == start
        tail.seek(2)  # in the midst of a line: on with the next
        assert tail.next() == (4, b"two\n")
        assert tail.unread() == 3
        tail.close()
        assert tail.unread() == 0

    def test_single_lines(self, tmp_path: Path) -> None:
        path = tmp_path / "log"
        path.write_bytes(b"one\n\n" + b"x" * 40_000 + b"\n\0\0two\n")
        descriptor = os.open(path, os.O_RDONLY)
        assert line_at(descriptor, 0) == b"one"
        assert line_at(descriptor, 1) is None
        assert line_at(descriptor, 4) == b""
        assert line_at(descriptor, 5) == b"x" * 32_768
        assert line_at(descriptor, 40_008) == b"two"  # behind a hole
        assert line_at(descriptor, 40_012) is None
        os.close(descriptor)
        assert line_at(descriptor, 0) is None


class TestWatch:
    def test_a_lost_event_means_look_everywhere(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        watch = Watch()
        path = tmp_path / "log"
        path.touch()
        descriptor = os.open(path, os.O_RDONLY)
        watch.file(descriptor)
        watch.directory(str(tmp_path))
        assert watch.read() == (set(), set())
        limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
        for number in range(limit // 2 + 10):  # neighbours differ, so the kernel merges none
            os.close(os.open(tmp_path / "new", os.O_CREAT))
            os.unlink(tmp_path / "new")
            assert number >= 0
        assert watch.read() == ({descriptor}, {""})
        watch.forget(descriptor)
        os.close(descriptor)
        watch.close()
        assert watch.fds() == []
        assert watch.read() == (set(), set())
        watch.file(0)
        watch.directory("/")

    def test_a_missing_directory_is_no_problem_and_a_forgotten_file_is_silent(
        self, tmp_path: Path
    ) -> None:
        watch = Watch()
        watch.directory(str(tmp_path / "none"))
        path = tmp_path / "log"
        path.touch()
        descriptor = os.open(path, os.O_RDONLY)
        watch.file(descriptor)
        path.write_bytes(b"x")
        assert watch.read() == ({descriptor}, set())
        watch.forget(descriptor)
        path.write_bytes(b"y")
        watch.read()
        assert watch.read() == (set(), set())
        assert watch.problem == ""
        os.close(descriptor)
        watch.file(descriptor)  # no such descriptor
        assert watch.problem.startswith("inotify: ")
        watch.close()


class TestChild:
    def test_reads_without_waiting(self) -> None:
        child = Child(["/bin/sh", "-c", "echo out; echo err >&2; exec sleep 60"])
        assert select.select([child.fds()[0]], [], [], 10)[0]
        assert child.read() == b"out\n"
        assert child.read() is None
        while child.said != "err\n":
            select.select([child.fds()[1]], [], [], 10)
            assert child.read() is None
        assert child.stop() == -signal.SIGTERM
        assert not Path(f"/proc/{child.pid}").exists()

    def test_its_end(self) -> None:
        child = Child(["/bin/sh", "-c", "printf '%5000s' x >&2; exit 3"])
        while child.read() is None:
            select.select(child.fds(), [], [], 1)
        assert child.read() == b""
        assert child.stop() in (3, -signal.SIGTERM)
        assert len(child.said) == MAX_SAID

    def test_one_that_ignores_being_told_to_end(self) -> None:
        child = Child(["/bin/sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"])
        assert select.select([child.fds()[0]], [], [], 10)[0]
        started = time.monotonic()
        assert child.stop() == -signal.SIGKILL
        assert time.monotonic() - started < 60

    def test_what_does_not_exist(self) -> None:
        with pytest.raises(FileNotFoundError):
            Child(["/no/such/program"])
