"""Brings what the fleet has published to a host, and puts it back where the engine forgot it.

Touches nothing: it gives commands for the engine and takes their replies, with the time. Only
entries signed by who may publish are looked for. Limits: an engine that withholds the newest can't
be told from one that has none; everybody who holds it offers it again.

`newest` is the highest entry of all, `stable` the highest for all hosts, both sealed; the content
of each lies by its hash. Who finds a lower one than it holds, or none, writes its own: some hosts
of many. They are read by our function, which leaves out what is larger than any of ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tidegate.fleet.decisions.stream import Command, Reply
from tidegate.fleet.fields import Malformed
from tidegate.fleet.journal import journal
from tidegate.fleet.journal.journal import Entry, Published, Rank
from tidegate.fleet.trust.members import Roster
from tidegate.fleet.wire import MAX_BODY, Kind, Sealed, unseal
from tidegate.model import DAY, MINUTE, SECOND, Micros

NEWEST, STABLE = b"{tg:journal}:newest", b"{tg:journal}:stable"
CONTENT = b"{tg:journal}:content:"
KEPT: Micros = 90 * DAY
"""How long a content stays that nobody offers again."""
EVERY: Micros = 10 * SECOND
OFFERING = 8
"""So many hosts, more or less, offer the same again in one round."""

_ENTRY = MAX_BODY + 1024  # bytes of a sealed entry, at most
COMMANDS = ("fcall_ro", "get", "set")
"""What a host must be allowed to do here, with keys that begin with `{tg:`."""


def content_key(digest: bytes) -> bytes:
    """Where a content lies."""
    return CONTENT + digest.hex().encode()


def hand_in(entry: Entry, content: bytes, sealed: bytes) -> list[Command]:
    """Put an entry and its content into the engine, the content first."""
    heads = (NEWEST,) if entry.canaries else (NEWEST, STABLE)
    return [_put(content_key(entry.digest), content), *(_put(head, sealed) for head in heads)]


def read(*keys: bytes, most: int) -> Command:
    """Ask for values as they are, but for those that are larger."""
    return (b"FCALL_RO", b"tg1_small", b"%d" % len(keys), *keys, b"%d" % most)


def _put(key: bytes, value: bytes) -> Command:
    return (b"SET", key, value, b"PX", b"%d" % (KEPT // 1000))


class Carrier:
    """One host's looking for what is published. `roster` says who may publish."""

    def __init__(self, host: str, roster: Roster) -> None:
        self.host, self.roster = host, roster
        self.refused = 0
        self._held: dict[bytes, Published] = {}
        self._seeking: dict[bytes, bytes] = {}  # digest: the sealed entry
        self._list = roster.number
        self._told: dict[str, bytes] = {}  # certificates of publishers that were brought
        self._looked: Micros | None = None
        self._asked: list[bytes] = []  # b"heads", or the digest of a content that was asked for
        self._offers: list[Command] = []
        self._forged: tuple[tuple[bytes, int], ...] = ()

    def hold(self, known: Iterable[Published]) -> None:
        """What this host has kept: nobody need bring it, and it is offered to others."""
        for one in known:
            self._keep(one)

    def heard(self, sealed: bytes) -> None:
        """Somebody says POLICY in the stream."""
        self._consider(sealed)

    def commands(self, now: Micros) -> list[Command]:
        """What to send now; the replies to exactly these go to `take`, or it is `lost`."""
        found: list[Command] = []
        self._asked = []
        due = self._looked is None or not 0 <= now - self._looked < EVERY
        if due or self.roster.number != self._list:  # a publisher may be revoked: say so at once
            self._looked = now
            self._asked.append(b"heads")
            found.append(read(NEWEST, STABLE, most=_ENTRY))
        for digest in list(self._seeking)[:1]:
            self._asked.append(digest)
            found.append(read(content_key(digest), most=journal.MOST_CONTENT))
        offers, self._offers = self._offers, []
        self._asked += [b""] * len(offers)
        return found + offers

    def take(self, replies: Sequence[Reply], now: Micros) -> list[bytes]:
        """What came of it: bundles that are whole now, and papers of the desk where they are new:
        the list of the revoked, certificates of those whose policies are held. Malformed where the
        engine makes no sense."""
        if len(replies) != len(self._asked):
            raise Malformed(f"{len(replies)} replies to {len(self._asked)} questions")
        found = []
        if self.roster.number != self._list:
            self._list = self.roster.number
            found.append(self.roster.papers.get("", b""))
        found += self._certificates()
        for asked, reply in zip(self._asked, replies, strict=True):
            if asked == b"heads":
                self._heads(reply, now)
            elif asked:
                found += self._whole(asked, reply)
        return [one for one in found if one]

    def _certificates(self) -> list[bytes]:
        """The newest of each whose policy is held with an older one: he may publish no more."""
        found = []
        for one in self._held.values():
            newest = self.roster.papers.get(one.host, b"")
            old = (b"", journal.parts_of(one.bundle)[1], self._told.get(one.host))
            if newest not in old:
                self._told[one.host] = newest
                found.append(newest)
        return found

    def lost(self) -> None:
        """The connection broke; all is asked again."""
        self._looked, self._asked, self._offers = None, [], []

    def _heads(self, reply: Reply, now: Micros) -> None:
        heads = reply if isinstance(reply, list) and len(reply) == 2 else [None, None]
        ranks = [self._consider(one) if isinstance(one, bytes) else None for one in heads]
        mine = sorted(self._held.values(), key=lambda one: one.rank, reverse=True)
        stable = [one for one in mine if not one.entry.canaries]
        for best, rank, head in ((mine, ranks[0], NEWEST), (stable, ranks[1], STABLE)):
            if best and not self._valid(best[0]):
                continue  # its publisher is revoked: nobody wants it any more
            if best and (rank is None or rank < best[0].rank) and self._offers_now(best[0], now):
                self._offer(best[0], head)
            elif best and rank == best[0].rank and self._offers_now(best[0], now):
                # Once an hour some write the content again: somebody may have written over it.
                whole = now // MINUTE % 60 == 0
                put = _put(content_key(best[0].entry.digest), best[0].content)
                self._offers.append(put if whole else (*put, b"NX"))

    def _offer(self, one: Published, head: bytes) -> None:
        sealed = journal.parts_of(one.bundle)[2]
        self._offers += [_put(content_key(one.entry.digest), one.content), _put(head, sealed)]

    def _offers_now(self, one: Published, now: Micros) -> bool:
        turn = (now // MINUTE).to_bytes(8)
        return journal.is_turn(self.host, self.roster.members, one.id + turn, OFFERING)

    def _valid(self, one: Published) -> bool:
        return not self._refusal(one)

    def _is_revoked(self, one: Published) -> bool:
        return self._refusal(one) == "revoked"

    def _refusal(self, one: Published) -> str:
        sealed = unseal(journal.parts_of(one.bundle)[2], self.roster.fleet)
        return self.roster.refusal(sealed.message)

    def _consider(self, data: bytes) -> Rank | None:
        """The rank of an entry that may be believed, which is looked for where we lack it."""
        try:
            sealed = unseal(data, self.roster.fleet)
            entry = journal.opened(sealed)
        except Malformed:
            self.refused += 1
            return None
        if sealed.id in self._held:
            return entry.number, sealed.id
        if self.roster.refusal(sealed.message) or not self._is_signed(sealed):
            self.refused += 1
            return None
        if self._is_wanted(entry, (entry.number, sealed.id)):
            self._seeking[entry.digest] = data
            while len(self._seeking) > 4:
                del self._seeking[next(iter(self._seeking))]
        return entry.number, sealed.id

    def _is_signed(self, sealed: Sealed) -> bool:
        """What was forged lies there until somebody writes over it: it is judged once by a key."""
        known = sealed.id, self.roster.members[sealed.message.host].number
        if known in self._forged:
            return False
        if self.roster.is_signed(sealed):
            return True
        self._forged = (*self._forged[-3:], known)
        return False

    def _is_wanted(self, entry: Entry, rank: Rank) -> bool:
        """Higher than all we hold, or for all hosts and higher than what we hold of such."""
        held = [one for one in self._held.values() if self._valid(one)]
        stable = [one for one in held if not one.entry.canaries]
        compared = stable if not entry.canaries else held
        return all(one.rank < rank for one in compared)

    def _whole(self, digest: bytes, reply: Reply) -> list[bytes]:
        sealed = self._seeking.pop(digest, None)
        found = reply[0] if isinstance(reply, list) and len(reply) == 1 else None
        if sealed is None or not isinstance(found, bytes):
            return []  # not there yet: found again with the heads
        try:
            one = journal.vouched(self.roster, sealed, found)
        except Malformed:
            self.refused += 1
            return []
        self._keep(one)
        return [one.bundle]

    def _keep(self, one: Published) -> None:
        """The highest of all, and the highest for all hosts."""
        known = (each for each in [*self._held.values(), one] if not self._is_revoked(each))
        found = sorted(known, key=lambda each: each.rank, reverse=True)
        stable = [each for each in found if not each.entry.canaries]
        self._held = {each.id: each for each in (*found[:1], *stable[:1])}


def is_policy(data: bytes) -> bool:
    """Whether a message of the stream is for the carrier."""
    return data[3:4] == bytes((Kind.POLICY,))


def is_message(data: bytes) -> bool:
    """Whether what a carrier has brought is a sealed message, a paper of the desk's; else it is a
    bundle, which begins with the length of such a list."""
    return data[:2] == b"TG"
