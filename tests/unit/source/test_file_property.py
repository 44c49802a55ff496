"""Whatever a writer, logrotate and our own restarts do in whatever order: every line exactly once.

The lines, the interleaving and the amounts read are drawn by hypothesis; the files are real.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tidegate.model import MINUTE, SECOND, Position
from tidegate.source.file import FileSource
from tidegate.source.memory import Numbering

KEPT = 12


class Log(RuleBasedStateMachine):
    """A log with a writer that may lag behind a rotation, and a reader that may die at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="tidegate-log-"))
        self.path = self.directory / "mail.log"
        self.pattern = str(self.path)
        self.numbering = Numbering("log")
        self.saved: dict[tuple[str, str], Position] = {}
        self.keeps = False  # whether the ledger keeps positions that were not saved again
        self.now = 1_700_000_000 * SECOND
        self.written: list[bytes] = []
        self.seen: list[bytes] = []
        self.places: list[tuple[int, int, bytes]] = []
        self.half = b""
        self.deleted: set[int] = set()
        self.rotations = 0
        self.known = False  # whether the reader has seen a beginning of the file under the name
        self.out = self.path.open("ab", buffering=0)
        self.source = self._source()

    @initialize(as_glob=st.booleans(), keeps=st.booleans())
    def choose(self, as_glob: bool, keeps: bool) -> None:
        self.keeps = keeps
        self.source.close()
        self.pattern = f"{self.path}*" if as_glob else str(self.path)
        self.source = self._source()

    def _source(self) -> FileSource:
        return FileSource(
            "log",
            [self.pattern],
            register=self.numbering,
            positions=self.saved.values(),
            origins=list(self.numbering.origins.values()),
            start="beginning",
        )

    def _line(self, length: int) -> bytes:
        line = b"%06d " % len(self.written) + b"x" * length
        self.written.append(line)
        return line

    @rule(lengths=st.lists(st.integers(0, 400), max_size=8))
    def write(self, lengths: list[int]) -> None:
        if not self.half:
            self.out.write(b"".join(self._line(length) + b"\n" for length in lengths))

    @rule(length=st.integers(0, 400), cut=st.integers(1, 400))
    def write_half(self, length: int, cut: int) -> None:
        if not self.half:
            line = self._line(length) + b"\n"
            cut = min(cut, len(line) - 1)
            self.out.write(line[:cut])
            self.half = line[cut:]

    @rule()
    def write_the_other_half(self) -> None:
        self.out.write(self.half)
        self.half = b""

    def _shift(self) -> None:
        for number in range(KEPT, 0, -1):
            old = Path(f"{self.path}.{number}")
            if old.exists():
                old.rename(f"{self.path}.{number + 1}")

    @rule(create=st.booleans())
    def rename(self, create: bool) -> None:
        """The writer keeps writing to the old file until `reopen`."""
        if self.rotations < KEPT and self.path.exists():
            self.rotations += 1
            self.known = False
            self._shift()
            self.path.rename(f"{self.path}.1")
            if create:
                self.path.touch()

    @rule()
    def reopen(self) -> None:
        if not self.half:
            self.out.close()
            self.out = self.path.open("ab", buffering=0)

    @rule()
    def copytruncate(self) -> None:
        # A file that was empty when we looked last leaves no trace by which to know its copy.
        if not self.half and self.known and self.rotations < KEPT and self.path.exists():
            self.rotations += 1
            self.known = False
            self._shift()
            shutil.copyfile(self.path, f"{self.path}.1")
            os.truncate(self.path, 0)

    @rule(seconds=st.sampled_from([0, 1, 5]))
    def read(self, seconds: int) -> None:
        self._read(seconds * SECOND)

    def _read(self, wait: int) -> None:
        self.now += wait
        more = True
        while more:
            for block in self.source.read(self.now):
                assert block.data.endswith(b"\n")
                offset = block.offset
                for line in block.data.split(b"\n")[:-1]:
                    self.seen.append(line)
                    self.places.append((block.origin, offset, line))
                    offset += len(line) + 1
            more = self.source.more
        self.known = not self.down and self.path.exists() and self.path.stat().st_size > 0

    def _save(self) -> None:
        if self.down:
            return
        if not self.keeps:
            self.saved.clear()
        for position in self.source.positions():
            key = position.path, position.identity
            self.saved.pop(key, None)
            self.saved[key] = position

    @rule()
    def delete_the_oldest(self) -> None:
        """So that inode numbers are used again; only what was read may go."""
        oldest = max(
            self.directory.glob("mail.log.*"), key=lambda each: int(each.suffix[1:]), default=None
        )
        if (
            oldest
            and not self.down
            and not os.path.samestat(oldest.stat(), os.fstat(self.out.fileno()))
        ):
            self._read(SECOND)
            self.deleted |= {place[0] for place in self.places}
            oldest.unlink()

    @rule()
    def checkpoint_and_restart(self) -> None:
        self._save()
        self.source.close()
        self.source = self._source()
        self.down = False

    @rule()
    def stop(self) -> None:
        """Down until the next restart."""
        self._save()
        self.source.close()
        self.source = FileSource("nothing", [])
        self.down = True

    down = False

    @invariant()
    def nothing_twice(self) -> None:
        assert len(set(self.seen)) == len(self.seen)
        assert set(self.seen) <= set(self.written)

    def teardown(self) -> None:
        try:
            self.out.write(self.half)
            if self.down:
                self.source.close()
                self.source = self._source()
            self._read(SECOND)
            self._read(SECOND)
            assert sorted(self.seen) == sorted(self.written)
            for origin, offset, line in self.places:
                found = self.source.fetch(origin, offset)
                assert found == line or (found is None and origin in self.deleted)
            self._read(20 * MINUTE)
            assert len(self.seen) == len(self.written)
        finally:
            self.out.close()
            self.source.close()
            shutil.rmtree(self.directory)


Log.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestLog = Log.TestCase
