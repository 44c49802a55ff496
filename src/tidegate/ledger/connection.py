"""One SQLite file, opened with care: mode 0600, WAL, exclusive; damage set aside; errors in words.

Touches the file, its `-wal`, `….reserve` and `….damaged-DATE` beside it. Failures are LedgerErrors.
Limits: one process at a time (the second is told so); after an odd error the next use opens anew.
"""

from __future__ import annotations

import contextlib
import glob
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from tidegate.errors import LedgerError
from tidegate.ledger.migrations import check, migrate
from tidegate.ledger.reserve import Reserve
from tidegate.ledger.salvage import salvage

Done = TypeVar("Done")

_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_WORDS = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_BUSY: "another process is using it (is a second tidegate running?)",
    sqlite3.SQLITE_READONLY: "it can't be written (permission, or a read-only file system)",
    sqlite3.SQLITE_CANTOPEN: "it can't be opened (does its folder exist, and is it ours?)",
    sqlite3.SQLITE_CORRUPT: "it is damaged",
    sqlite3.SQLITE_NOTADB: "it is damaged (no database at all)",
}
_ASIDE = 3  # damaged files that are kept
_LASTING = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CONSTRAINT})
_INCREMENTAL = 2
_SETTINGS = """
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    PRAGMA journal_size_limit = 16777216;
    PRAGMA cache_size = -4096;
    PRAGMA temp_store = MEMORY;
    PRAGMA trusted_schema = OFF;
"""


class LedgerFile:
    """The file and its connection, opened on first use and again after it was lost.

    `reading` and `writing` give the connection; `opened` counts how often it was opened, so that a
    user can drop what it remembers of the file; `notes` says what a person should know.
    """

    def __init__(self, path: str, wait: float = 2.0) -> None:
        self.path = path
        self.notes: list[str] = []
        self.opened = 0
        self._wait = wait
        self._connection: sqlite3.Connection | None = None
        self._identity = (0, 0)
        self._damaged = False
        self._full = False
        self._closed = False
        self._reserve = Reserve(path + ".reserve")

    @contextlib.contextmanager
    def reading(self, doing: str) -> Iterator[sqlite3.Connection]:
        """The connection; what goes wrong with it becomes a LedgerError that says what for."""
        try:
            yield self._connection or self._open()
        except sqlite3.Error as error:
            raise self._failed(doing, error) from error
        except OSError as error:
            raise LedgerError(f"{self.path}: {doing}: {error.strerror or error}") from error

    @contextlib.contextmanager
    def writing(self, doing: str, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """The same inside one transaction: all or nothing. `durable`: synced before return."""
        with self.reading(doing) as connection:
            if durable:
                connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
            finally:
                if durable:
                    connection.execute("PRAGMA synchronous = NORMAL")

    def durably(self, doing: str, act: Callable[[sqlite3.Connection], Done]) -> Done:
        """`act` in one transaction, synced before return; on a full disk in the room set aside."""
        while True:
            self._full = False
            try:
                with self.writing(doing, durable=True) as connection:
                    return act(connection)
            except LedgerError:
                if not self._full or not self._reserve.spend():
                    raise

    def keep_room(self) -> None:
        """Set room aside again, where there is some."""
        self._reserve.keep()

    def size(self) -> int:
        """Bytes on disk, the write-ahead log included; 0 where there is no file."""
        total = 0
        for suffix in ("", "-wal"):
            with contextlib.suppress(OSError):
                total += os.stat(self.path + suffix).st_size
        return total

    def check_place(self) -> None:
        """Notice that the file was moved or deleted under us, and begin again at its path."""
        if self._connection is None:
            return
        try:
            there = os.stat(self.path)
        except OSError:
            there = None
        if there is None or (there.st_dev, there.st_ino) != self._identity:
            self.notes.append(f"{self.path}: moved or deleted while in use; a new one begun")
            self._drop()

    def close(self) -> None:
        """Close for good; what comes later is refused."""
        self._drop()
        self._closed = True

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _failed(self, doing: str, error: sqlite3.Error) -> LedgerError:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        words = _WORDS.get(code, str(error))
        if code == sqlite3.SQLITE_IOERR:
            words = f"the disk refused ({error}); is it full, or failing?"
        if code in _DAMAGED:
            self._damaged = True
        self._full = code == sqlite3.SQLITE_FULL
        if code not in _LASTING:
            self._drop()
        return LedgerError(f"{self.path}: {doing}: {words}")

    def _open(self) -> sqlite3.Connection:
        if self._closed:
            raise LedgerError(f"{self.path}: it has been closed")
        try:
            return self._begin_anew() if self._damaged else self._connect()
        except sqlite3.DatabaseError as error:
            self._drop()
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _DAMAGED:
                raise
            return self._begin_anew()
        except LedgerError as error:
            self._drop()
            raise LedgerError(f"{self.path}: {error}") from None

    def _connect(self) -> sqlite3.Connection:
        self._make()
        connection = sqlite3.connect(
            self.path, timeout=self._wait, isolation_level=None, cached_statements=64
        )
        self._connection = connection
        connection.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
        check(connection)
        # Even where it changes nothing this one writes, and a full disk must not stop a start.
        if connection.execute("PRAGMA auto_vacuum").fetchone() != (_INCREMENTAL,):
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.executescript(_SETTINGS)
        migrate(connection)
        self.keep_room()
        self.opened += 1
        return connection

    def _make(self) -> None:
        """The file itself, ours alone from its first moment. Never opens a pipe or a device."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        descriptor = os.open(self.path, flags, 0o600)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise LedgerError("it is not a regular file; name another path")
            if found.st_mode & 0o077:
                os.fchmod(descriptor, 0o600)
            self._identity = (found.st_dev, found.st_ino)
        finally:
            os.close(descriptor)

    def _begin_anew(self) -> sqlite3.Connection:
        """Put a damaged file out of the way, save from it what can be read, and say so loudly."""
        aside = self._set_aside()
        connection = self._connect()
        try:
            saved = f"{salvage(aside, connection) or 'no'} rows"
        except sqlite3.Error as error:
            saved = f"no rows ({error})"
        self.notes.append(
            f"{self.path}: it was damaged; set aside as {aside}, {saved} could be saved from it"
        )
        return connection

    def _set_aside(self) -> str:
        """Rename the damaged file and its `-wal`; returns the new path. Keeps the newest."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        aside = f"{self.path}.damaged-{stamp}"
        count = 1
        while Path(aside).exists():
            count += 1
            aside = f"{self.path}.damaged-{stamp}-{count}"
        # The log first: a new file must never meet the log of the old one.
        with contextlib.suppress(FileNotFoundError):
            Path(self.path + "-wal").rename(aside + "-wal")
        Path(self.path).rename(aside)
        Path(self.path + "-shm").unlink(missing_ok=True)
        older = Path(self.path).parent.glob(glob.escape(Path(self.path).name) + ".damaged-*Z*")
        files = sorted((p for p in older if not p.name.endswith("-wal")), key=_renamed)
        for file in files[:-_ASIDE]:
            file.unlink(missing_ok=True)
            file.with_name(file.name + "-wal").unlink(missing_ok=True)
        self._damaged = False
        return aside


def _renamed(file: Path) -> int:
    """When a file got its name (its inode changed last then)."""
    return file.stat().st_ctime_ns
