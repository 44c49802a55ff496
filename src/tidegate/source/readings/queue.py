"""How many messages wait in Exim's or Postfix's queue: their files are counted.

Touches the spool's folders, read only, and asks `exim -bP` or `postconf` once where they are.
Limits: of a large queue in many folders every tenth or so is counted, and all of them every 30th
time; then it is right to a few percent. Exim's named queues are not counted.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence

from tidegate.errors import SourceError
from tidegate.source.readings import commands
from tidegate.source.readings.taking import Taken, Taker

MANY = 10_000
"""Messages up to which all folders are counted each time."""
EXACT_EVERY = 30
_EACH = 10
"""Of many folders one in so many is counted."""

Entries = Sequence[str]


class Queues:
    """The spools of this host; `exim` and `postfix` name other folders only in tests."""

    def __init__(self, exim: str = "", postfix: str = "") -> None:
        self._spools = {
            "exim": lambda: Spool(_exim(exim), ("input",), _headers),
            "postfix": lambda: Spool(
                _postfix(postfix), ("incoming", "active", "deferred", "maildrop"), _files
            ),
        }

    def taker(self, program: str) -> Taker:
        """The taker of `queue(PROGRAM)`. Raises SourceError where there is no such program."""
        make = self._spools.get(program)
        if make is None:
            raise SourceError(f'queue({program}): expected "exim" or "postfix"')
        found: list[Spool] = []

        def take(_look: int) -> Taken:
            if not found:
                found.append(make())  # asks where it is: not before it is wanted
            try:
                return Taken(found[0].count())
            except SourceError:
                found.clear()  # it may be somewhere else next time
                raise

        return Taker(take, worker=f"queue {program}", deadline=10.0)


class Spool:
    """A spool's queues. `count_in` says of the entries of one folder how many messages they are;
    folders inside are those with names of one character, as both programs split their queues."""

    def __init__(self, top: str, queues: Sequence[str], count_in: Callable[[Entries], int]) -> None:
        self._top = top
        self._queues = queues
        self._count_in = count_in
        self._share = 0.0  # of all messages in split folders, those in the chosen ones
        self._looks = 0

    def count(self) -> int:
        """The messages. Raises SourceError saying what to run where it can't be looked into."""
        try:
            return self._count()
        except FileNotFoundError as error:
            raise SourceError(
                f"{error.filename} is not there: is the program installed, and its spool there?"
            ) from error
        except PermissionError as error:
            user = os.geteuid()
            raise SourceError(
                f"{error.filename} may not be looked into by user {user}; run as root:"
                f" setfacl -R -m u:{user}:rX -m d:u:{user}:rX {self._top}"
            ) from error

    def _count(self) -> int:
        whole, folders = 0, []
        for queue in self._queues:
            path = f"{self._top}/{queue}"
            entries = os.listdir(path)
            whole += self._count_in(entries)
            folders += [f"{path}/{name}" for name in sorted(entries) if len(name) == 1]
        chosen = folders[::_EACH]
        if self._share and self._looks < EXACT_EVERY:
            self._looks += 1
            part = sum(map(self._inside, chosen))
            estimate = round(part / self._share)
            if estimate > MANY // 2:
                return whole + estimate
        part = sum(map(self._inside, chosen))
        every = part + sum(self._inside(one) for one in folders if one not in chosen)
        self._looks = 0
        self._share = part / every if every > MANY and part else 0.0
        return whole + every

    def _inside(self, folder: str) -> int:
        """The messages in this folder and those below it; none where it went away meanwhile."""
        try:
            entries = os.listdir(folder)
        except (FileNotFoundError, NotADirectoryError):
            return 0
        deeper = (self._inside(f"{folder}/{name}") for name in entries if len(name) == 1)
        return self._count_in(entries) + sum(deeper)


def _headers(entries: Entries) -> int:
    """Exim: each message has one file `…-H`."""
    return sum(name.endswith("-H") for name in entries)


def _files(entries: Entries) -> int:
    """Postfix: each message is one file, its name the queue id."""
    return sum(len(name) > 1 and name[0] != "." for name in entries)


def _exim(named: str) -> str:
    for program in () if named else ("exim4", "exim"):
        said = _asked(program, "-bP", "spool_directory")
        if said.startswith("spool_directory = /"):
            return said.partition(" = ")[2]
    return named or _first("/var/spool/exim4", "/var/spool/exim")


def _postfix(named: str) -> str:
    said = "" if named else _asked("postconf", "-h", "queue_directory")
    return named or (said if said.startswith("/") else "/var/spool/postfix")


def _asked(program: str, *words: str) -> str:
    path = shutil.which(program, path=commands.ENVIRONMENT["PATH"])
    if path is None:
        return ""
    try:
        return commands.run([path, *words], 4).decode("utf-8", "replace").strip()
    except SourceError:
        return ""  # it may not read its own configuration as our user: then where Debian has it


def _first(*paths: str) -> str:
    return next((path for path in paths if os.path.isdir(path)), paths[0])
