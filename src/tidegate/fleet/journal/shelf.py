"""The shelf: what a fleet has published, as files that nobody needs to believe.

Touches one folder. The librarian writes there; whoever loads a policy verifies it anew, from the
anchor on, and uses the very bytes that it verified. Limits: MOST_KEPT policies; whoever can write
to the folder can take policies away, or bring back one that was on it before, not make one.

    ID.policy   an entry with its content and the papers that vouch for it (`journal.encode_bundle`)
    revoked     the newest list of those who are revoked, sealed by the desk
    certificates  of those who have published, the newest that came, where it is another than theirs
    current     the id of what this host takes; empty: its own policy alone
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from tidegate.errors import WorldError
from tidegate.fleet.fields import Malformed
from tidegate.fleet.journal import journal
from tidegate.fleet.journal.journal import Published
from tidegate.fleet.trust.members import Roster, Verify
from tidegate.fleet.wire import Kind, decode_bundle, encode_bundle, unseal

MOST_KEPT = 16
FOLDER = "journal"
"""The shelf's name in `paths.fleet`."""

_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_SUFFIX = ".policy"
_LARGEST = 4 << 20
_NEWEST = "certificates"
_MOST_CERTIFICATES = 64


class Shelf:
    """One host's shelf, seen with the eyes of who knows the anchor: `fleet` and `desk`."""

    def __init__(self, folder: Path, fleet: bytes, desk: bytes, verify: Verify) -> None:
        self._folder, self._fleet, self._desk, self._verify = folder, fleet, desk, verify

    def policies(self) -> list[Published]:
        """What stands there and is rightly signed, the highest first."""
        lists = self._lists()
        found = []
        for name in self._names()[:MOST_KEPT]:
            data = _read(self._folder / f"{name}{_SUFFIX}")
            with suppress(Malformed):
                one = self._judge(data, lists)
                if one.id.hex() == name:
                    found.append(one)
        return sorted(found, key=lambda one: one.rank, reverse=True)

    def current(self) -> tuple[Published | None, str]:
        """The policy that this host takes, and what is wrong with what it should take, if anything.

        Where that can't be believed (any more), the highest for all hosts is taken instead.
        """
        wanted = _read(self._folder / "current").decode("ascii", "replace").strip()
        if not wanted:
            return None, ""
        known = self.policies()
        for one in known:
            if one.id.hex() == wanted:
                return one, ""
        spare = next((one for one in known if not one.entry.canaries), None)
        instead = f"number {spare.entry.number} holds instead" if spare else "none holds"
        said = "the policy of the fleet that was in use is lost, or its publisher is revoked"
        return spare, f"{said}; {instead}"

    def put(self, bundle: bytes) -> str:
        """Keep a policy; why not, "" if it is kept. WorldError where the disk refuses."""
        try:
            one = self._judge(bundle, self._lists())
        except Malformed as error:
            return str(error)
        self._take_list(journal.parts_of(bundle)[0])
        known = self.policies()
        if any(one.id == other.id for other in known):
            return ""
        kept = _kept([*known, one], self._current_id())
        if one not in kept:
            return f"number {one.entry.number} is older than what is here"
        self._write(f"{one.id.hex()}{_SUFFIX}", bundle)
        self._clear(kept)
        return ""

    def revoke(self, paper: bytes) -> str:
        """Keep the desk's newest list, or the newest certificate of somebody whose policy stands
        here; why not, "" if it is kept, or an older one, or of nobody here."""
        try:
            if paper and unseal(paper, self._fleet).message.kind is Kind.CERTIFICATE:
                return self._take_certificate(paper)
            return self._take_list(paper)
        except Malformed as error:
            return str(error)

    def use(self, wanted: str) -> str:
        """Take this one from now on (its id in hex; "": none); why not, "" if it is.

        Only the newest may be chosen, the newest for all, and the one for all before that: nobody
        can be brought back by more than one.
        """
        known = self.policies()
        stable = [one.id.hex() for one in known if not one.entry.canaries]
        allowed = {*stable[:2], *(one.id.hex() for one in known[:1])}
        if len(stable) < 2:
            allowed.add("")
        if wanted not in allowed:
            return "this is neither the newest policy nor the one before"
        self._write("current", wanted.encode() + b"\n")
        self._clear(_kept(known, wanted))
        return ""

    def _judge(self, data: bytes, lists: Iterable[bytes]) -> Published:
        return journal.judge(data, self._fleet, self._desk, self._verify, lists)

    def _lists(self) -> tuple[bytes, ...]:
        """The papers that are kept, where they are the desk's. A damaged one must not void all.
        Of two certificates of a host the newer counts, whichever a bundle has."""
        data = _read(self._folder / "revoked")
        certificates = (paper for _number, paper in self._certificates().values())
        return (*((data,) if data and self._number(data) else ()), *certificates)

    def _certificates(self) -> dict[str, tuple[int, bytes]]:
        """The newest certificates that are kept, by host, with their numbers."""
        found: dict[str, tuple[int, bytes]] = {}
        with suppress(Malformed):
            for paper in decode_bundle(_read(self._folder / _NEWEST)):
                host, number = self._certified(paper)
                if host:
                    found[host] = (number, paper)
        return found

    def _certified(self, paper: bytes) -> tuple[str, int]:
        """Of whom this is a certificate, and its number; "" where it is none of the desk's."""
        roster = Roster(self._fleet, self._desk, self._verify)
        why = roster.take(paper)[1]
        found = next(iter(roster.members.items()), None)
        return ("", 0) if why or found is None else (found[0], found[1].number)

    def _take_certificate(self, paper: bytes) -> str:
        host, number = self._certified(paper)
        if not host:
            return "not a certificate of the desk's"
        known = self._certificates()
        here = {one.host for one in self.policies()}  # so there are as many as published something
        if host not in {*here, *known} or number <= known.get(host, (0, b""))[0]:
            return ""
        known[host] = (number, paper)
        kept = sorted(known.values(), reverse=True)[:_MOST_CERTIFICATES]
        self._write(_NEWEST, encode_bundle([one for _number, one in kept]))
        return ""

    def _number(self, paper: bytes) -> int:
        """The number of a list that is the desk's; 0 where it is none."""
        roster = Roster(self._fleet, self._desk, self._verify)
        try:
            if unseal(paper, self._fleet).message.kind is not Kind.REVOCATIONS:
                return 0
        except Malformed:
            return 0
        return 0 if roster.take(paper)[1] else roster.number

    def _take_list(self, paper: bytes) -> str:
        if not paper:
            return ""
        number = self._number(paper)
        if not number:
            return "not a list of the desk's"
        if number > max((self._number(one) for one in self._lists()), default=0):
            self._write("revoked", paper)
        return ""

    def _current_id(self) -> str:
        return _read(self._folder / "current").decode("ascii", "replace").strip()

    def _names(self) -> list[str]:
        try:
            names = os.listdir(self._folder)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise WorldError(f"{self._folder}: {error.strerror}") from error
        found = (name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX))
        return sorted(name for name in found if _ID.fullmatch(name))

    def _clear(self, kept: Iterable[Published]) -> None:
        wanted = {one.id.hex() for one in kept}
        for name in self._names():
            if name not in wanted:
                with suppress(OSError):
                    (self._folder / f"{name}{_SUFFIX}").unlink()

    def _write(self, name: str, data: bytes) -> None:
        """Durably and whole, or not at all; everybody may read it."""
        beside = self._folder / f".{secrets.token_hex(8)}"
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(beside, flags, 0o644)
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(descriptor, 0o644)
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            os.replace(beside, self._folder / name)
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise WorldError(f"{self._folder / name}: {error.strerror}") from error
        finally:
            beside.unlink(missing_ok=True)


def _kept(known: list[Published], current: str) -> list[Published]:
    """Of all that is known: the highest, the two highest for all, and what is in use."""
    ranked = sorted(known, key=lambda one: one.rank, reverse=True)
    stable = [one for one in ranked if not one.entry.canaries][:2]
    used = [one for one in ranked if one.id.hex() == current]
    return list(dict.fromkeys([*ranked[:1], *stable, *used]))


def _read(path: Path) -> bytes:
    """A regular file of bounded size; b"" where there is none. Opened without waiting."""
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        with open(os.open(path, flags), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return b""
            data = file.read(_LARGEST + 1)
    except OSError:
        return b""
    return data if len(data) <= _LARGEST else b""
