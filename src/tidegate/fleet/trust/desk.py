"""The desk: founds a fleet, enrols its hosts and revokes them; its papers are files of its own.

Touches the key folder only (`keys`), below it `papers`: the newest certificate of each host and the
list of the revoked, each on disk before anybody is told of it. Limits: one desk a fleet; whoever
has `desk.key` decides who is a member, and nobody can enrol or revoke without it.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tidegate import subject as subjects
from tidegate.errors import OperatorError, WorldError
from tidegate.fleet import wire
from tidegate.fleet.fields import HOST
from tidegate.fleet.trust import keys, members
from tidegate.fleet.trust.admission import NEVER
from tidegate.fleet.trust.keys import FLEET, Identity, Signer, Token, Tokens
from tidegate.fleet.trust.members import DESK, Certificate, Join, May, Revocation, Roster
from tidegate.fleet.wire import Message, Sealed
from tidegate.model import HOUR, Micros, Subject
from tidegate.prefixes import PrefixSet

TOKEN: Micros = HOUR
"""How long a token may be used."""
MOST_ADDRESSES = 16

_LIST = "+revoked"  # no name of a host, and so is the next
_KEYS = "+keys"  # of those who were revoked, in hex, a line each
_MILLI = 1000


class Written(NamedTuple):
    """A paper of the desk, and those that it takes the place of: they need not be kept."""

    paper: bytes
    instead: tuple[bytes, ...] = ()


class Refused(NamedTuple):
    """Why a request to join came to nothing."""

    host: str
    why: str


def checked_name(host: str) -> str:
    """The name of a host in its fleet. OperatorError where it can't be one."""
    if not HOST.fullmatch(host) or host == DESK:
        raise OperatorError(
            f"{host!r}: expected a name of small letters, digits and . _ - (63 at most),"
            f" and not {DESK!r}"
        )
    return host


def checked_addresses(addresses: Iterable[Subject]) -> tuple[Subject, ...]:
    """Where a host is; the fleet never closes for it. OperatorError where it can't be there."""
    found = tuple(dict.fromkeys(addresses))
    never = PrefixSet([Subject(one) for one in NEVER])
    for one in found:
        network = subjects.network(one)
        if network is None or network.length != (32 if network.family == 4 else 128):
            raise OperatorError(f"{one}: expected a single address of the host")
        if never.overlaps(network):
            raise OperatorError(f"{one}: nobody else can have this host there")
    if len(found) > MOST_ADDRESSES:
        raise OperatorError(f"{len(found)} addresses of one host: {MOST_ADDRESSES} at most")
    return found


def key_of(folder: Path, name: str = "host") -> Signer:
    """The key in the folder, made where there is none yet."""
    return keys.load(folder, name) if (folder / f"{name}.key").exists() else keys.make(folder, name)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Alone with the desk's files: open the desk inside. Waits for others, which never take long:
    a person may revoke while another waits for hosts to join."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise WorldError(f"{folder}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def found(folder: Path, host: str, addresses: Iterable[Subject], now: Micros) -> Desk:
    """A new fleet, whose desk is this host, which is its first member. What a crash left over is
    taken up. OperatorError where this host is a member of a fleet already."""
    name, where = checked_name(host), checked_addresses(addresses)
    if (folder / "fleet").exists():
        known = keys.load_identity(folder)
        raise OperatorError(
            f"{folder}: this host is {known.host} of fleet {known.fleet.hex()} already; to begin"
            " anew, move the folder away"
        )
    desk, own = key_of(folder, DESK), key_of(folder)
    identity = Identity(secrets.token_bytes(FLEET), desk.public, name)
    made = Desk(folder, desk, identity)
    may = May.CLAIM | May.DECIDE | May.PUBLISH
    made.enrol(Certificate(name, own.public, may, where), now)
    keys.save_identity(folder, identity)  # last: without it the host is no member yet
    return made


def open_desk(folder: Path) -> Desk:
    """The desk of this host. OperatorError where it is none."""
    if not (folder / f"{DESK}.key").exists():
        raise OperatorError(
            f"{folder}: this host is not the desk of a fleet: enrol and revoke on the host where"
            " `tidegate fleet init` was run"
        )
    signer, identity = keys.load(folder, DESK), keys.load_identity(folder)
    if signer.public != identity.desk:
        raise OperatorError(
            f"{folder}: {DESK}.key is of another fleet than this host is a member of: put back what"
            " belongs together"
        )
    return Desk(folder, signer, identity)


class Desk:
    """Who may be a member, by the desk's own papers. `roster` says who is one."""

    def __init__(self, folder: Path, signer: Signer, identity: Identity) -> None:
        self.identity, self._signer = identity, signer
        self._folder = folder / "papers"
        self.tokens = Tokens(folder)
        # Our own files, below a folder that is root's alone: 15,000 signatures would take seconds.
        self.roster = Roster(identity.fleet, identity.desk, lambda *_: True)
        self._read()

    def give(self, host: str, now: Micros) -> Token:
        """A new token for a host; another one for it that was not used is void."""
        token = keys.make_token(self.identity, checked_name(host))
        self.tokens.give(token, now + TOKEN, now)
        return token

    def admit(self, sealed: Sealed, may: May, now: Micros) -> Written | Refused:
        """Enrol who holds a token and asks with it, which is then used up."""
        host = sealed.message.host
        if sealed.message.kind is not wire.Kind.JOIN:
            return Refused(host, "it does not ask to join")
        joins: list[Join] = []
        whys = ["no token for it is open, or it has run out"]

        def judge(secret: bytes) -> bool:
            join, why = members.judge_join(sealed, self.identity.fleet, secret, keys.verify)
            if join is None:
                whys.append(why)
                return False
            try:
                checked_addresses(join.addresses)
            except OperatorError as error:
                whys.append(str(error))
                return False
            if join.key.hex() in self._void_keys():
                whys.append("its key was revoked: move its key folder away there, and join anew")
                return False
            joins.append(join)
            return True

        if not self.tokens.use(host, now, judge):
            return Refused(host, whys[-1])
        (join,) = joins
        return self.enrol(Certificate(host, join.key, may, join.addresses), now)

    def enrol(self, certificate: Certificate, now: Micros) -> Written:
        """The certificate of a host, written down; an older one of the same host gives way."""
        old = self.roster.papers.get(certificate.host)
        message = members.certify(certificate, self._next(now), now)
        paper = self._write(certificate.host, message)
        return Written(paper, () if old is None else (old,))

    def entitle(self, host: str, may: May, now: Micros) -> Written:
        """Other rights for a member, whose key stays. OperatorError where it is none."""
        known = self.roster.members.get(host)
        if known is None:
            raise OperatorError(f"{host}: no member; enrol it first: tidegate fleet enroll {host}")
        return self.enrol(known.certificate._replace(may=may), now)

    def renew(self, now: Micros) -> Written:
        """A new key for the desk's own host, as after its folder came out of a copy: what it says
        with the old one would be taken for a replay. The old one is kept beside it until then."""
        folder, host = self._folder.parent, self.identity.host
        known = self.roster.members.get(host)
        may = known.certificate.may if known else May.CLAIM | May.DECIDE
        where = known.certificate.addresses if known else ()
        with suppress(FileNotFoundError):  # interrupted here before
            (folder / "host.key").rename(folder / "old-host.key")
        written = self.enrol(Certificate(host, keys.make(folder).public, may, where), now)
        (folder / "old-host.key").unlink(missing_ok=True)
        return written

    def revoke(self, hosts: Collection[str], time: Micros, now: Micros) -> Written:
        """None of these is a member any more, and what they said until `time` counts for nothing.

        Harmless to repeat, with a later time too. The list is whole, so an older list gives way,
        and so do the certificates of these hosts.
        """
        self.tokens.void(set(hosts))
        number = self._next(now)
        revoked = dict(self.roster.revoked)
        for host in hosts:
            revoked[host] = Revocation(number, time).joined(revoked.get(host))
        names = ("", *hosts)
        instead = tuple(self.roster.papers[one] for one in names if one in self.roster.papers)
        gone = [self.roster.members[one] for one in hosts if one in self.roster.members]
        void = {*self._void_keys(), *(one.certificate.key.hex() for one in gone)}
        keys.write(self._folder / _KEYS, "".join(f"{one}\n" for one in sorted(void)).encode())
        paper = self._write(_LIST, members.revoke(revoked, number, now))
        for host in hosts:
            (self._folder / host).unlink(missing_ok=True)
        return Written(paper, instead)

    def papers(self) -> list[bytes]:
        """All that the fleet has to know of its members: the list of the revoked first."""
        return [paper for _name, paper in sorted(self.roster.papers.items())]

    def _void_keys(self) -> set[str]:
        """Keys that somebody else may have by now."""
        path = self._folder / _KEYS
        return set(path.read_text("ascii").split()) if path.exists() else set()

    def _next(self, now: Micros) -> int:
        # Never a number again, also where the papers came out of an old backup: then the clock,
        # which is ahead of them, gives it; and where the clock was put back, the papers do.
        known = [one.number for one in self.roster.members.values()]
        known += [one.upto for one in self.roster.revoked.values()]
        return max(now // _MILLI, self.roster.number + 1, *(one + 1 for one in known), 1)

    def _write(self, name: str, message: Message) -> bytes:
        paper = wire.seal(message, self.identity.fleet, self._signer.sign)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        keys.write(self._folder / name, paper)
        _gone, why = self.roster.take(paper)
        assert not why, why
        return paper

    def _read(self) -> None:
        if not self._folder.exists():
            return
        try:
            files = [one for one in self._folder.iterdir() if one.name[0] != "."]
            for file in sorted(files):
                if file.name == _KEYS:
                    continue
                _gone, why = self.roster.take(file.read_bytes())
                if why:
                    raise OperatorError(
                        f"{file}: {why}; put it back from a backup, or remove it and enrol that"
                        " host anew"
                    )
        except OSError as error:
            raise WorldError(f"{error.filename}: {error.strerror}") from error
