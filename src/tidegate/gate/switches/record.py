"""What we closed, on disk before it is closed: enough to undo it whatever became of the policy.

Touches one root-owned folder: NAME.json (0600), written whole, synced and renamed; NAME.spare, so
that a full disk does not keep a gate from closing. Limits: a record has at most 16 KiB.
"""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tidegate.errors import GateError
from tidegate.gate.switches.trust import unsafe
from tidegate.model import MINUTE, Micros
from tidegate.policy import guards

Before = dict[str, Any]
"""What was before a closing, as plain JSON: told by the kind that closes."""

Stage = Literal["closing", "closed", "opening", "taken"]
"""`closing`, `opening`: the effect may have come or not. `taken`: a person has opened it; nothing
is to be undone, and it is let be while it is wanted closed."""

VERSION = 1
LARGEST = 16 << 10
_AHEAD: Micros = guards.LEASE + MINUTE
_FULL = (errno.ENOSPC, errno.EDQUOT)
_TERMS = {kind.__name__: kind for kind in guards.Terms.__args__}


@dataclass(frozen=True)
class Record:
    """One closing of ours. `deadline`: then it is opened, whoever is left to do it."""

    gate: str
    terms: guards.Terms
    before: Before
    stage: Stage
    since: Micros
    deadline: Micros

    def at(self, stage: Stage) -> Record:
        """The same at another stage."""
        return replace(self, stage=stage)


def overdue(record: Record, now: Micros, late: Micros = 0) -> bool:
    """Whether it should have been open for so long by now; also where its deadline is further
    ahead than any can be, since then a clock was set back."""
    return not now - late < record.deadline <= now + _AHEAD


def encode(record: Record) -> bytes:
    """A record as it stands on disk."""
    terms = {"kind": type(record.terms).__name__, **dataclasses.asdict(record.terms)}
    named = {
        "version": VERSION,
        "gate": record.gate,
        "terms": terms,
        "before": record.before,
        "stage": record.stage,
        "since": record.since,
        "deadline": record.deadline,
    }
    return json.dumps(named, indent=1).encode("utf-8") + b"\n"


def decode(data: bytes) -> Record:
    """The record in these bytes. ValueError where they are none."""
    try:
        named = json.loads(data)
        if named["version"] != VERSION:
            raise ValueError(f"version {named['version']}, expected {VERSION}")
        terms = {key: _frozen(value) for key, value in named["terms"].items()}
        made = _TERMS[terms.pop("kind")](**terms)
        stage, before = named["stage"], named["before"]
        if stage not in ("closing", "closed", "opening", "taken") or not isinstance(before, dict):
            raise ValueError("stage or before")
        since, deadline = int(named["since"]), int(named["deadline"])
        return Record(str(named["gate"]), made, before, stage, since, deadline)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _frozen(value: Any) -> Any:
    return tuple(_frozen(one) for one in value) if isinstance(value, list) else value


class Records:
    """The folder of records. `told` gets one line for each trouble that stops nothing."""

    def __init__(self, folder: Path, told: Callable[[str], None] = lambda _line: None) -> None:
        self.folder = folder
        self._told = told
        self._lock = -1
        self._fired: dict[str, list[Micros]] = {}  # for when the disk takes nothing
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = folder.stat()
        except OSError as error:
            raise GateError(f"{folder}: {error.strerror}; closings can't be recorded") from error
        if found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise GateError(
                f"{folder} must belong to root and be writable by nobody else:"
                f" chown root {folder}; chmod 0700 {folder}"
            )
        if why := unsafe(folder / "lock", (os.geteuid(),)):
            raise GateError(why)

    def lock(self, role: str = "") -> bool:
        """Become the one who works with this folder, as that; False while somebody else is."""
        if self._lock >= 0:
            return True
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._lock = descriptor
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, role.encode(), 0)
        return True

    def worker(self) -> str:
        """As what the last one who had the lock works or worked with this folder."""
        try:
            return (self.folder / "lock").read_text("ascii", "replace")
        except OSError:
            return ""

    def unlock(self) -> None:
        """Let somebody else work with it."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def reserve(self, gates: Sequence[str]) -> None:
        """Set room aside for the records of these, for when the disk is full."""
        for gate in gates:
            path = self.folder / f"{gate}.spare"
            if not path.exists():
                with suppress(OSError):
                    self._fill(path, b"")

    def read(self) -> list[Record]:
        """Every record there is. One that can't be read is set aside, and told."""
        found = []
        for path in sorted(self.folder.glob("*.json")):
            try:
                found.append(decode(path.read_bytes()))
            except (OSError, ValueError) as error:
                with suppress(OSError):
                    path.rename(path.with_suffix(".unreadable"))
                self._told(
                    f"{path} can't be read ({error}) and was set aside as .unreadable;"
                    " if what it names is still closed, open it by hand"
                )
        return found

    def write(self, record: Record) -> None:
        """Put it on disk, to stay. Raises GateError where that can't be done."""
        path, new = self._path(record.gate), self.folder / f"{record.gate}.new"
        data = encode(record)
        if len(data) > LARGEST:
            raise GateError(f"{record.gate}: its record would have {len(data)} bytes")
        try:
            try:
                self._put(new, data)
            except OSError as error:
                spare = self.folder / f"{record.gate}.spare"
                if error.errno not in _FULL or not spare.exists():
                    raise
                with suppress(OSError):
                    new.unlink()
                self._fill(spare, data)
                new = spare
            new.rename(path)
            self._sync()
        except OSError as error:
            raise GateError(f"{path}: {error.strerror}; it can't be recorded") from error

    def remove(self, gate: str) -> None:
        """Nothing of this gate is closed any more; twice is harmless."""
        try:
            self._path(gate).unlink(missing_ok=True)
            self._sync()
        except OSError as error:
            raise GateError(f"{self._path(gate)}: {error.strerror}") from error

    def fired(self, gate: str) -> list[Micros]:
        """When this gate was fired, the last thousand times at most."""
        if gate in self._fired:
            return self._fired[gate]
        try:
            found = json.loads((self.folder / f"{gate}.fired").read_bytes())
            return [int(one) for one in found]
        except (OSError, ValueError, TypeError):
            return []

    def note_fired(self, gate: str, times: Sequence[Micros]) -> None:
        """Remember that, on disk too. Raises GateError where the disk refuses."""
        self._fired[gate] = list(times)[-1000:]
        new = self.folder / f"{gate}.fired.new"
        try:
            self._put(new, json.dumps(list(times)[-1000:]).encode())
            new.rename(self.folder / f"{gate}.fired")
        except OSError as error:
            raise GateError(f"{new}: {error.strerror}; it can't be recorded") from error

    def _path(self, gate: str) -> Path:
        return self.folder / f"{gate}.json"

    def _put(self, path: Path, data: bytes) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            while data:
                data = data[os.write(descriptor, data) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _fill(self, path: Path, data: bytes) -> None:
        """Over what is there already, blanks behind it, so that no new room is needed."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(descriptor, data.ljust(LARGEST), 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _sync(self) -> None:
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
