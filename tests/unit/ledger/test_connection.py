"""The file and its accidents: rights, damage, other programs, other processes, a full disk."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import signal
import sqlite3
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tidegate.errors import LedgerError
from tidegate.ledger.migrations import APPLICATION, STEPS
from tidegate.ledger.reserve import SIZE
from tidegate.ledger.sqlite import SqliteLedger
from tidegate.model import SECOND, Change, Decision, Evidence, Position, Subject

NOW = 1_700_000_000 * SECOND
Decide = Callable[..., Decision]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def filled(path: Path, decide: Decide, count: int = 500) -> None:
    """A ledger with so many bans, merged into its file and closed."""
    ledger = SqliteLedger(str(path))
    line = (Evidence(NOW, "/m", 0, "x" * 500),)
    ledger.intend(
        [decide(str(n), subject=f"10.0.{n >> 8}.{n & 255}", evidence=line) for n in range(count)]
    )
    ledger.checkpoint([Position("a", "/m", "1:x", 7)], [Change("p", "k", b"v")])
    ledger.close()


def damage(path: Path, offset: int, length: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xa5" * length)


def test_the_file_and_its_log_are_for_us_alone(path: Path, decide: Decide) -> None:
    os.umask(0)
    try:
        ledger = SqliteLedger(str(path))
        ledger.intend([decide("1")])
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        assert modes == dict.fromkeys(("ledger.db", "ledger.db-wal", "ledger.db.reserve"), 0o600)
        ledger.close()
    finally:
        os.umask(0o022)


def test_a_file_that_others_could_read_is_closed_to_them(path: Path) -> None:
    path.touch(mode=0o644)
    ledger = SqliteLedger(str(path))
    ledger.open()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    ledger.close()


def test_a_missing_folder_is_said_and_found_again(tmp_path: Path, decide: Decide) -> None:
    ledger = SqliteLedger(str(tmp_path / "later" / "ledger.db"))
    with pytest.raises(LedgerError, match="No such file or directory"):
        ledger.open()
    (tmp_path / "later").mkdir()
    assert len(ledger.intend([decide("1")])) == 1
    ledger.close()


@pytest.mark.parametrize("kind", ["fifo", "folder"])
def test_what_is_no_file_is_refused_without_hanging(path: Path, kind: str) -> None:
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(LedgerError, match=r"regular file|Is a directory"):
        SqliteLedger(str(path)).open()


def test_a_newer_file_is_refused_and_left_as_it_is(path: Path, decide: Decide) -> None:
    filled(path, decide)
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute(f"PRAGMA user_version = {len(STEPS) + 1}")
    before = path.read_bytes()
    ledger = SqliteLedger(str(path))
    for _ in range(2):
        with pytest.raises(LedgerError, match="newer version of Tidegate"):
            ledger.wanted(NOW)
    ledger.close()
    assert path.read_bytes() == before
    assert ledger.notes == []


def test_the_database_of_another_program_is_left_alone(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE bans (ip TEXT)")
    with pytest.raises(LedgerError, match="another program"):
        SqliteLedger(str(path)).open()
    with contextlib.closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT count(*) FROM bans").fetchone() == (0,)


def test_a_second_process_is_told(path: Path) -> None:
    first = SqliteLedger(str(path))
    first.open()
    found = subprocess.run(
        [
            "python3",
            "-c",
            f"import sqlite3; sqlite3.connect({str(path)!r}, 0).execute('SELECT 1 FROM origin')",
        ],
        capture_output=True,
        text=True,
    )
    assert "locked" in found.stderr
    second = SqliteLedger(str(path))
    second._file._wait = 0.0
    with pytest.raises(LedgerError, match="another process is using it"):
        second.open()
    first.close()
    second.open()
    second.close()


def test_a_file_that_is_no_database_is_set_aside_loudly(path: Path, decide: Decide) -> None:
    path.write_bytes(b"something else entirely " * 400)
    ledger = SqliteLedger(str(path))
    assert len(ledger.intend([decide("1")])) == 1
    (note,) = ledger.notes
    aside = next(file for file in path.parent.iterdir() if "damaged" in file.name)
    assert f"damaged; set aside as {aside}, no rows could be saved" in note
    assert aside.read_bytes().startswith(b"something else")
    ledger.close()


def test_from_a_damaged_file_what_can_be_read_is_saved(path: Path, decide: Decide) -> None:
    filled(path, decide, 2000)
    middle = path.stat().st_size // 2 // 4096 * 4096
    damage(path, middle, 3 * 4096)
    ledger = SqliteLedger(str(path))
    for _ in range(3):  # the damage is met when it is read, and is over with the next call
        with contextlib.suppress(LedgerError):
            ledger.history(5000)
    assert len(ledger.wanted(NOW)) > 1900
    assert ledger.positions() == [Position("a", "/m", "1:x", 7)]
    assert list(ledger.memory()) == [Change("p", "k", b"v")]
    (note,) = ledger.notes
    assert "rows could be saved from it" in note
    assert len(ledger.intend([decide("new")])) == 1
    ledger.close()
    again = SqliteLedger(str(path))
    assert len(again.history(5000)) > 1900
    assert again.notes == []
    again.close()


def test_a_truncated_file_is_set_aside(path: Path, decide: Decide) -> None:
    filled(path, decide)
    os.truncate(path, 5000)
    ledger = SqliteLedger(str(path))
    with contextlib.suppress(LedgerError):
        ledger.history(9)
    assert ledger.intend([decide("new")])
    assert "set aside" in ledger.notes[0]
    ledger.close()


def test_a_damaged_log_loses_at_most_what_was_in_it(path: Path, decide: Decide) -> None:
    filled(path, decide, 10)
    child = os.fork()
    if child == 0:
        SqliteLedger(str(path)).intend([decide("in the log")])
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    damage(path.with_name("ledger.db-wal"), 100, 4000)
    ledger = SqliteLedger(str(path))
    assert len(ledger.wanted(NOW)) == 10
    ledger.close()


def test_only_the_newest_damaged_files_are_kept(path: Path) -> None:
    for n in range(6):
        path.write_bytes(b"%d" % n * 5000)
        ledger = SqliteLedger(str(path))
        ledger.open()
        ledger.close()
    aside = [file.read_bytes()[:1] for file in path.parent.iterdir() if "damaged" in file.name]
    assert sorted(aside) == [b"3", b"4", b"5"]


def test_a_file_deleted_under_us_is_noticed_and_begun_anew(path: Path, decide: Decide) -> None:
    ledger = SqliteLedger(str(path))
    ledger.intend([decide("1")])
    ledger.checkpoint([Position("a", "/m", "1:x", 7)], [])
    path.unlink()
    ledger.forget(NOW)
    assert "moved or deleted" in ledger.notes[0]
    assert len(ledger.intend([decide("1")])) == 1
    ledger.checkpoint([Position("a", "/m", "1:x", 7)], [])
    ledger.close()
    again = SqliteLedger(str(path))
    assert again.positions() == [Position("a", "/m", "1:x", 7)]
    again.close()


def test_a_read_only_file_is_said(public_folder: Path, decide: Decide) -> None:
    path = public_folder / "ledger.db"
    filled(path, decide, 1)
    path.chmod(0o400)

    def child() -> None:
        if os.geteuid() == 0:
            os.chown(path, 65534, 65534)
            os.setgid(65534)
            os.setuid(65534)
        with pytest.raises(LedgerError, match="Permission denied"):
            SqliteLedger(str(path)).open()

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == 0


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file of this process may grow over this size: what the disk refuses, without a disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_a_refused_write_loses_that_call_only(path: Path, decide: Decide) -> None:
    filled(path, decide, 10)
    ledger = SqliteLedger(str(path))
    ledger.open()
    many = [decide(f"n{n}", evidence=(Evidence(NOW, "/m", n, "x" * 900),)) for n in range(500)]
    with largest_file(path.stat().st_size), pytest.raises(LedgerError, match="disk"):
        ledger.intend(many)
    assert len(ledger.wanted(NOW)) == 10
    assert len(ledger.intend(many)) == 500
    ledger.close()
    assert ledger.notes == []


@pytest.fixture
def small_disk(public_folder: Path) -> Iterator[Path]:
    """A file system of eight megabytes."""
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(public_folder)], capture_output=True
    )
    if done.returncode:
        pytest.skip("kernel test: tmpfs can't be mounted")
    yield public_folder
    subprocess.run(["umount", "-l", str(public_folder)], check=True)


@pytest.mark.kernel
def test_a_full_disk_is_said_and_got_over(small_disk: Path, decide: Decide) -> None:
    ledger = SqliteLedger(str(small_disk / "ledger.db"))
    ledger.intend([decide("1")])
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    line = (Evidence(NOW, "/m", 0, "y" * 1000),) * 20
    many = [decide(f"n{n}", subject=f"10.0.0.{n}", evidence=line) for n in range(50)]
    changes = [Change("p", str(n), bytes(4000)) for n in range(50)]
    for _ in range(3):
        with pytest.raises(LedgerError, match="disk is full"):
            ledger.intend(many)
        with pytest.raises(LedgerError, match="disk is full"):
            ledger.checkpoint([Position("a", "/m", "1:x", 7)], changes)
    assert [entry.decision.id for entry in ledger.history(99)] == ["1"]
    assert ledger.positions() == [] == list(ledger.memory())
    ballast.unlink()
    assert len(ledger.intend(many)) == 50
    ledger.checkpoint([Position("a", "/m", "1:x", 7)], changes)
    assert len(ledger.wanted(NOW)) == 51
    assert len(list(ledger.memory())) == 50
    assert ledger.notes == []
    ledger.close()


@pytest.mark.kernel
def test_a_disk_full_from_the_start_is_got_over(small_disk: Path, decide: Decide) -> None:
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    ledger = SqliteLedger(str(small_disk / "ledger.db"))
    for _ in range(2):
        with pytest.raises(LedgerError, match="disk"):
            ledger.intend([decide("1")])
    ballast.unlink()
    assert len(ledger.intend([decide("1")])) == 1
    assert ledger.notes == []
    ledger.close()


def fill(path: Path) -> Path:
    """A file that leaves no room on this disk."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    return path


@pytest.mark.kernel
def test_on_a_full_disk_what_must_last_is_written_in_room_set_aside(
    small_disk: Path, decide: Decide
) -> None:
    ledger = SqliteLedger(str(small_disk / "ledger.db"))
    ledger.intend([decide("1")])
    reserve = small_disk / "ledger.db.reserve"
    assert reserve.stat().st_size == SIZE
    assert reserve.stat().st_blocks * 512 >= SIZE, "room that only a number stands for is none"
    ballast = fill(small_disk / "ballast")
    line = (Evidence(NOW, "/m", 0, "y" * 1000),) * 20
    many = [decide(f"n{n}", subject=f"10.0.0.{n}", evidence=line) for n in range(9)]
    with pytest.raises(LedgerError, match="disk is full"):
        ledger.intend(many)
    assert reserve.stat().st_size == SIZE, "what can be said again does not use it up"
    written = []
    with pytest.raises(LedgerError, match="disk is full"):
        for number in range(500):
            one = decide(f"stop {number}", "close", "gate:web", evidence=line)
            ledger.intend([one], durable=True)
            written.append(one.id)
            fill(ballast.with_name(f"ballast-{number}"))
    assert 6 <= len(written) < 499
    assert reserve.stat().st_size == 0
    assert [one.decision.id for one in ledger.history(99, Subject("gate:web"))] == written[::-1]
    for each in small_disk.glob("ballast*"):
        each.unlink()
    ledger.forget(NOW)
    assert reserve.stat().st_size == SIZE
    ledger.close()


@pytest.mark.kernel
def test_where_there_is_little_room_none_is_set_aside(small_disk: Path, decide: Decide) -> None:
    with (small_disk / "ballast").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, (8 << 20) - SIZE)
    ledger = SqliteLedger(str(small_disk / "ledger.db"))
    ledger.intend([decide("1")], durable=True)
    assert (small_disk / "ledger.db.reserve").stat().st_size == 0
    ledger.close()


def test_it_says_whose_file_it_is(path: Path) -> None:
    ledger = SqliteLedger(str(path))
    ledger.open()
    ledger.close()
    with contextlib.closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA application_id").fetchone() == (APPLICATION,)
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert other.execute("PRAGMA auto_vacuum").fetchone() == (2,)
