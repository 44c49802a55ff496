"""The systemd journal as a source: what `journalctl` exports for trusted matches, from a cursor on.

Touches one child process and its pipes; the child is started again, later and later, if it ends.
Limits: not re-readable (the last 16 MiB are kept); only fields that journald itself sets match.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from tidegate.errors import PolicyError
from tidegate.model import MINUTE, SECOND, Block, Micros, Origin, Position
from tidegate.source.child import Child
from tidegate.source.export import EntryCutter, message_at
from tidegate.source.follow import Start
from tidegate.source.opening import my_name
from tidegate.source.origins import Origins
from tidegate.source.port import Health, Register
from tidegate.source.stream import Ring
from tidegate.source.tail import MAX_FETCH

MAX_READ = 8 << 20
OWN_UNITS = b"_SYSTEMD_UNIT=tidegate"
FIELDS = ("MESSAGE", "SYSLOG_IDENTIFIER", "_PID", "SYSLOG_PID", "_SYSTEMD_UNIT")
PROGRAMS = ("/usr/bin/journalctl", "/bin/journalctl")
PLACES = ("/run/log/journal", "/var/log/journal")
LOOK_EVERY = 10 * SECOND
LONGEST_WAIT = MINUTE

_TRUSTED = re.compile(r"_[A-Z0-9_]{1,63}=[^\x00-\x1f]+")
_CURSOR = re.compile(r"[A-Za-z0-9=;_-]{1,512}")


class JournalSource:
    """Follows the journal entries that any of `matches` selects.

    A match is a list of `_FIELD=value` that must all hold. `start` "end" means from now. A saved
    position goes on behind its cursor, across boots. `directory` stands for tests and images.
    Raises PolicyError for a match on a field that any local user can set, or on our own units.
    """

    def __init__(
        self,
        name: str,
        matches: Sequence[Sequence[str]],
        *,
        register: Register | None = None,
        positions: Iterable[Position] = (),
        start: Start = "end",
        directory: str = "",
        programs: Sequence[str] = PROGRAMS,
    ) -> None:
        self.name = name
        self.more = False
        self._matches = [tuple(each) for each in matches]
        _check(name, self._matches)
        self._directory = directory
        self._programs = programs
        self._identity = "journal:" + " + ".join(" ".join(each) for each in self._matches)
        self._origins = Origins(name, register)
        self._origin = 0
        saved = [each for each in positions if each.source == name and each.cursor]
        self._cursor = saved[-1].cursor if saved else ""
        self._start = start
        self._cutter = EntryCutter(saved[-1].offset if saved else 0)
        self._ring = Ring()
        self._child: Child | None = None
        self._places: frozenset[str] = frozenset()
        self._problem = ""
        self._wait: Micros = SECOND
        self._again: Micros = 0
        self._started: Micros = 0
        self._looked: Micros = 0
        self._read: Micros = 0
        self.restarts = 0

    def fds(self) -> Sequence[int]:
        """The child's two pipes; none while it does not run."""
        return self._child.fds() if self._child else ()

    def read(self, now: Micros) -> list[Block]:
        """The entries that came since; starts the child, or starts it again, when it is time."""
        self.more = False
        self._supervise(now)
        blocks: list[Block] = []
        room = MAX_READ
        while self._child and room > 0:
            chunk = self._child.read()
            if chunk is None:
                break
            if not chunk:
                self._ended(now)
                break
            pieces = self._cutter.feed(chunk)
            self._cursor = self._cutter.cursor or self._cursor
            for piece in pieces:
                self._ring.add(*piece)
                blocks.append(
                    Block(self.name, piece.data, piece.offset, now, self._number(), "journal")
                )
                room -= len(piece.data)
        self.more = room <= 0
        if blocks:
            self._read = now
        return blocks

    def _number(self) -> int:
        if not self._origin:
            self._origin = self._origins.number("journal", self._identity, rereadable=False)
        return self._origin

    def _supervise(self, now: Micros) -> None:
        """Have a child run, and one that knows every journal directory there is."""
        if self._child:
            if abs(now - self._looked) >= LOOK_EVERY:
                self._looked = now
                # journalctl does not see a directory that was made after it started.
                if self._find_places() != self._places:
                    self._stop()
                    self._again = now
            if self._child:
                self._problem = self._complaint()
                if now - self._started > LONGEST_WAIT:
                    self._wait = SECOND
                return
        if not 0 < self._again - now <= LONGEST_WAIT:
            self._launch(now)

    def _launch(self, now: Micros) -> None:
        if not self._cursor and self._start == "end":
            self._cursor = f"@{now}"
        self._places, self._looked = self._find_places(), now
        program = next((each for each in self._programs if Path(each).exists()), None)
        if program is None:
            self._put_off(now, "journalctl is not installed (Debian: apt install systemd)")
        elif not self._places:
            self._put_off(now, f"no journal in {' or '.join(self._roots())}")
        else:
            after = "" if self._cursor.startswith("@") else self._cursor
            self._cutter = EntryCutter(self._cutter.offset, after=after, refused=OWN_UNITS)
            try:
                self._child = Child([program, *self._arguments()])
                self._started = now
            except OSError as error:
                self._put_off(now, f"{program}: {error.strerror or error}")

    def _arguments(self) -> list[str]:
        """A fixed list: matches and cursor are checked, and nothing passes through a shell."""
        arguments = ["--output=export", "--output-fields=" + ",".join(FIELDS), "--follow"]
        # --follow alone means "this boot only"; --merge lifts that, but would let in the journals
        # that other machines have sent here: hence the machine id in each match.
        arguments += ["--no-tail", "--merge"]
        if self._directory:
            arguments.append(f"--directory={self._directory}")
        if self._cursor.startswith("@"):
            seconds, micros = divmod(int(self._cursor[1:]), SECOND)
            arguments.append(f"--since=@{seconds}.{micros:06d}")
        elif _CURSOR.fullmatch(self._cursor):
            arguments.append(f"--cursor={self._cursor}")
        machine = _machine_match()
        for index, match in enumerate(self._matches):
            arguments += ([] if index == 0 else ["+"]) + [*match, *machine]
        return arguments

    def _roots(self) -> Sequence[str]:
        return (self._directory,) if self._directory else PLACES

    def _find_places(self) -> frozenset[str]:
        found: set[str] = set()
        for root in self._roots():
            try:
                found.update(str(each) for each in Path(root).iterdir())
            except OSError:
                continue
        return frozenset(each for each in found if not each.endswith((".journal", ".journal~")))

    def _complaint(self) -> str:
        """What journalctl says while it runs on: above all that it may not see everything."""
        said = self._child.said if self._child else ""
        if "not seeing messages" in said or "insufficient permissions" in said:
            return _may_not_read()
        return ""

    def _ended(self, now: Micros) -> None:
        assert self._child is not None
        code = self._child.stop()
        said = self._child.said.strip().rpartition("\n")[2]
        self._child = None
        if "cursor" in said:  # another journal's: go on from its time instead
            self._cursor = _time_of(self._cursor) or f"@{now}"
        permission = "insufficient permissions" in said or "Permission denied" in said
        reason = said or f"exit code {code}"
        self._put_off(now, _may_not_read() if permission else f"journalctl ended: {reason}")

    def _put_off(self, now: Micros, problem: str) -> None:
        self._problem = problem
        self._again = now + self._wait
        self._wait = min(2 * self._wait, LONGEST_WAIT)
        self.restarts += 1

    def _stop(self) -> None:
        if self._child:
            self._child.stop()
            self._child = None

    def positions(self) -> list[Position]:
        """The cursor of the last entry, or `@` and the time to read from, and the bytes so far."""
        if not self._cursor:
            return []
        return [Position(self.name, "journal", self._identity, self._cutter.offset, self._cursor)]

    def origins(self) -> list[Origin]:
        """The journal, once something was read from it."""
        return self._origins.all()

    def fetch(self, origin: int, offset: int) -> bytes | None:
        """The message of the entry around that offset, at most 32 KiB; None if it left the ring."""
        if not origin or origin != self._origin:
            return None
        found = self._ring.rest_of(offset)
        return message_at(*found)[:MAX_FETCH] if found else None

    def health(self) -> Health:
        """Degraded while journalctl does not run or may not see everything."""
        if self._problem:
            return Health("degraded", self._problem, 0, self._read)
        return Health("ok" if self._read else "waiting", "", 0, self._read)

    def close(self) -> None:
        """End the child and give its pipes back."""
        self._stop()


def _check(name: str, matches: Sequence[Sequence[str]]) -> None:
    faults = [
        f'source.{name}.journal: "{match}": expected a field that journald sets, as "_COMM=sshd"'
        for each in matches
        for match in each
        if not _TRUSTED.fullmatch(match)
    ]
    faults += [
        f'source.{name}.journal: "{match}": our own units are never read'
        for each in matches
        for match in each
        if match.encode().startswith(OWN_UNITS)
    ]
    if not matches or not all(matches):
        faults.append(f'source.{name}.journal: expected at least one match, as "_COMM=sshd"')
    if faults:
        raise PolicyError(faults)


def _machine_match() -> list[str]:
    try:
        machine = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return []
    return [f"_MACHINE_ID={machine}"] if re.fullmatch(r"[0-9a-f]{32}", machine) else []


def _time_of(cursor: str) -> str:
    """The realtime stamp inside a cursor, as a position of its own."""
    found = re.search(r"(?:^|;)t=([0-9a-f]{1,16})(?:;|$)", cursor)
    return f"@{int(found[1], 16)}" if found else ""


def _may_not_read() -> str:
    me = my_name()
    return f"{me} may not read the journal; `usermod -aG systemd-journal {me}` and a restart"
