"""Log files as a source: paths and globs, followed through rotation, absence and restarts.

Touches the files (read only), their directories and inotify; looks again once a second in case the
kernel told nothing. Limits: `docs/sources.md` states what copytruncate can lose; at most 512 files.
"""

from __future__ import annotations

import fnmatch
import glob
import os
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import closing
from functools import partial

from tidegate.model import SECOND, Block, Micros, Origin, Position
from tidegate.source import rotation
from tidegate.source.follow import Follow, Start
from tidegate.source.origins import Origins
from tidegate.source.port import Health, Register
from tidegate.source.siblings import COMPRESSED, rotated_from
from tidegate.source.tail import HEAD, Fingerprint, Key, Tail, line_at
from tidegate.source.watch import Watch

MAX_READ = 8 << 20
MAX_FILES = 512
MAX_RETIRED = 16


class FileSource:
    """Follows every path and every file that a glob matches, also those that appear later.

    `start` says where to begin in a file without saved position; files that appear while we run,
    after a rotation too, are always read from their beginning. `origins` are those that evidence
    of earlier runs points at, for `fetch`.
    """

    def __init__(
        self,
        name: str,
        patterns: Sequence[str],
        *,
        register: Register | None = None,
        positions: Iterable[Position] = (),
        origins: Iterable[Origin] = (),
        start: Start = "end",
    ) -> None:
        self.name = name
        self.more = False
        self._origins = Origins(name, register, origins)
        self._paths = [path for path in patterns if not glob.has_magic(path)]
        self._globs = [path for path in patterns if glob.has_magic(path)]
        self._watch = Watch()
        self._follows: dict[str, Follow] = {}
        self._names: set[str] = set()
        self._turn = 0
        self._looked: Micros = -SECOND
        self._read: Micros = 0
        self._overfull = 0
        self._retired_cuts = 0
        self._retired: deque[Position] = deque(maxlen=MAX_RETIRED)
        self._start_at(start, [each for each in positions if each.source == name])

    def _start_at(self, start: Start, positions: list[Position]) -> None:
        """Open what is there now; a file new to a glob that was followed before is read whole."""
        saved: dict[str, list[Position]] = {}
        for position in positions:
            saved.setdefault(position.path, []).append(position)
        for path in self._paths:
            self._add(path, start, saved.get(path, ()))
        for pattern in self._globs:
            known = [path for path in saved if fnmatch.fnmatch(path, pattern)]
            for path in dict.fromkeys((*self._matches(pattern), *known)):
                self._add(path, "beginning" if known else start, saved.get(path, ()))
        self._look(0)

    def _add(self, path: str, start: Start, positions: Sequence[Position]) -> None:
        if path in self._follows:
            return
        if len(self._follows) >= MAX_FILES:
            self._overfull += 1
            return
        follow = Follow(path, start, self._watch)
        follow.resume(positions)
        self._follows[path] = follow

    def _matches(self, pattern: str) -> list[str]:
        """What the glob names, without directories, compressed files and rotated copies."""
        return [
            path
            for path in sorted(glob.glob(pattern, recursive=True))
            if not path.endswith(COMPRESSED)
            and not os.path.isdir(path)
            and not self._is_rotated(path)
        ]

    def _is_rotated(self, path: str) -> bool:
        original = rotated_from(path)
        return original is not None and (original in self._follows or os.path.lexists(original))

    def fds(self) -> Sequence[int]:
        """The inotify descriptor."""
        return self._watch.fds()

    def read(self, now: Micros) -> list[Block]:
        """The next blocks, at most about 8 MiB, older files before newer ones of the same path."""
        self._notice(now)
        blocks: list[Block] = []
        room = MAX_READ
        follows = list(self._follows.values())
        turn = self._turn % len(follows) if follows else 0
        self.more = False
        for place, follow in enumerate((*follows[turn:], *follows[:turn]), turn + 1):
            for tail in follow.tails():
                room -= self._drain(follow, tail, blocks, room, now)
                if tail.dirty:
                    self.more = True
                    break  # what follows it is newer
            with follow.troubled():
                self._retire(follow, blocks, now)
            if room <= 0:
                # The others come first next time: one flooded file must not starve them.
                self.more, self._turn = True, place
                break
        if blocks:
            self._read = now
        return blocks

    def _notice(self, now: Micros) -> None:
        """Take what the kernel told; look at every path when a name changed or a second went by."""
        written, names = self._watch.read()
        tick = not 0 <= now - self._looked < SECOND
        if tick or self._concerns(names):
            self._looked = now
            self._look(now)
        for follow in self._follows.values():
            for tail in follow.tails():
                if tick or tail.descriptor in written:
                    tail.dirty = True

    def _concerns(self, names: set[str]) -> bool:
        """Whether any of these names is one of ours."""
        if not names:
            return False
        if "" in names or not names.isdisjoint(self._names):
            return True
        return any(fnmatch.filter(names, os.path.basename(pattern)) for pattern in self._globs)

    def _look(self, now: Micros) -> None:
        wanted = set(self._paths)
        self._overfull = 0
        self._names.clear()
        for pattern in self._globs:
            for path in self._matches(pattern):
                wanted.add(path)
                self._add(path, "beginning", ())
        owners = {tail.key: each for each in self._follows.values() for tail in each.tails()}
        for path, follow in list(self._follows.items()):
            if path in wanted or not os.path.lexists(path):
                with follow.troubled():
                    follow.look(now, partial(self._claim, follow, owners))
                owners.update((tail.key, follow) for tail in follow.tails())
            if path not in wanted:
                follow.leave(now)
                if not follow.tails():
                    del self._follows[path]
            for place in {path, os.path.realpath(path)}:
                self._watch.directory(os.path.dirname(place) or ".")
                self._names.add(os.path.basename(place))

    def _claim(self, claimant: Follow, owners: dict[Key, Follow], key: Key) -> Tail | bool:
        owner = owners.get(key)
        return owner.hand_over(key) if owner and owner is not claimant else False

    def _drain(
        self, follow: Follow, tail: Tail, blocks: list[Block], room: int, now: Micros
    ) -> int:
        """Read a file to its end or until `room` is used up; the bytes it gave."""
        before = len(blocks)
        if tail.dirty:
            tail.dirty = False  # also if it fails: then it is tried again in a second
            with follow.troubled():
                tail.dirty = self._drained(follow, tail, blocks, room, now)
        return sum(len(block.data) for block in blocks[before:])

    def _drained(
        self, follow: Follow, tail: Tail, blocks: list[Block], room: int, now: Micros
    ) -> bool:
        """Whether there is more."""
        if tail.changed() != "no":
            self._renew(follow, tail)
            return True
        while room > 0:
            piece = tail.next()
            if piece is None:
                return False
            tail.silent_since = now
            room -= len(piece[1])
            blocks.append(self._block(tail, piece, now))
            if tail.changed() != "no":
                self._renew(follow, tail)
                break
        return True

    def _renew(self, follow: Follow, tail: Tail) -> None:
        self._left(tail)
        follow.renew(tail)

    def _left(self, tail: Tail) -> None:
        """Tell the final place of a file on, so that a restart does not find an older one."""
        self._retired.append(self._position(tail))

    def _position(self, tail: Tail) -> Position:
        return Position(self.name, tail.path, tail.identity, tail.offset)

    def _block(self, tail: Tail, piece: tuple[int, bytes], now: Micros) -> Block:
        # A young file is numbered anew once, when its first 256 bytes are complete.
        if not tail.origin or (len(tail.head) == HEAD and tail.registered != tail.identity):
            tail.registered = tail.identity
            tail.origin = self._origins.number(tail.path, tail.registered, rereadable=True)
        return Block(self.name, piece[1], piece[0], now, tail.origin, tail.framing)

    def _retire(self, follow: Follow, blocks: list[Block], now: Micros) -> None:
        for tail in follow.retire(now):
            last = tail.rest()
            if last:
                blocks.append(self._block(tail, last, now))
            self._retired_cuts += tail.cut_lines
            self._left(tail)
            follow.close(tail)

    def positions(self) -> list[Position]:
        """One a file: the live one of each path, rotated ones, and the last that were let go."""
        found = list(self._retired)
        for follow in self._follows.values():
            found += follow.pending
            found += map(self._position, follow.tails())
        return found

    def origins(self) -> list[Origin]:
        """Every file a line was handed over from, in this run or, as given, in those before."""
        return self._origins.all()

    def fetch(self, origin: int, offset: int) -> bytes | None:
        """The line that starts there, looked for among the rotated files too."""
        known = self._origins.get(origin)
        if known is None or offset < 0:
            return None
        wanted = Fingerprint.parse(known.identity)
        for follow in self._follows.values():
            for tail in follow.tails():
                if tail.origin == origin or (wanted and wanted.is_of(tail.key[1], tail.head)):
                    return line_at(tail.descriptor, offset)
        found = rotation.find(known.path, known.identity, offset + 1)
        if found is None:
            return None
        with closing(found):
            return line_at(found.descriptor, offset)

    @property
    def cut_lines(self) -> int:
        """Lines longer than 1 MiB that were cut."""
        return self._retired_cuts + sum(
            tail.cut_lines for each in self._follows.values() for tail in each.tails()
        )

    @property
    def truncated(self) -> int:
        """How often a file was begun anew in place."""
        return sum(each.truncated for each in self._follows.values())

    def health(self) -> Health:
        """Degraded while a path can't be read or none is there; the detail is the first problem.

        Of several places where a log may stand, one is enough.
        """
        follows = self._follows.values()
        lag = sum(tail.unread() for each in follows for tail in each.tails())
        absent = [each.problem for each in follows if each.problem and each.missing]
        problems = [each.problem for each in follows if each.problem and not each.missing]
        if self._overfull:
            problems.append(f"{self._overfull} files beyond the first {MAX_FILES} are not followed")
        if absent and len(absent) == len(follows):
            problems += absent
        if problems:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            return Health("degraded", problems[0] + more, lag, self._read)
        if not follows:
            detail = f"no file matches {' '.join(self._globs)} yet"
            return Health("waiting", detail, lag, self._read)
        detail = self._watch.problem or next(iter(absent), "")
        return Health("ok" if self._read else "waiting", detail, lag, self._read)

    def close(self) -> None:
        """Give every descriptor back."""
        for follow in self._follows.values():
            follow.close()
        self._watch.close()
