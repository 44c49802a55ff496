"""Which of the bans that other hosts have said this host takes over, and what ends them again.

Touches nothing: says which claims to fetch, takes them, is told the time. Limits: so many bans a
minute of one host's word alone; whether anything is closed, allowlist, breaker and caps decide.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Literal

from tidegate import subject as subjects
from tidegate.fleet import wire
from tidegate.fleet.decisions import stream
from tidegate.fleet.decisions.decisions import Entry, Shift
from tidegate.fleet.decisions.kept import Ports
from tidegate.fleet.decisions.stream import Command, Reply
from tidegate.fleet.port import Closing, Opening, Why
from tidegate.fleet.trust.admission import SKEW, Budget, Refusal
from tidegate.fleet.trust.trust import Trust
from tidegate.model import Micros, Subject

WORDS = 600
"""Bans a minute that are believed on one host's word."""
PEOPLE = 6_000
"""Bans a minute that are believed of one host's people. Pardons and networks are worth many."""
_NETWORK, _PARDON = 100, 10
_WIDEST = {"rule": (24, 48), "person": (16, 32)}
"""The shortest prefixes, of IPv4 and IPv6, that a rule and that a person may close for all: one
member can say both, and some hundred of /8 are everybody."""
_LOOKED_AT = 256
"""So many of those that wait for a quota are looked at in one go."""
_FETCHED_AT_ONCE = 16
_WAITING = 20_000

Who = Literal["rule", "person"]

Find = Callable[[bytes], bytes | None]
"""A sealed message by its id, where it is at hand."""


class Accepting:
    """What the watcher is told of other hosts' decisions. `bans` False: only of their ends.

    `closings` and `openings` are emptied by whoever takes them. `refused` counts by host and why.
    """

    def __init__(self, host: str, trust: Trust, find: Find, words: int = WORDS) -> None:
        self.host = host
        self.min_hosts, self.bans = 1, True
        self.closings: list[Closing] = []
        self.openings: list[Opening] = []
        self.refused: Counter[tuple[str, str]] = Counter()
        self._trust, self._find = trust, find
        self._words, self._people = Budget(words), Budget(PEOPLE)
        self._told: dict[tuple[Subject, Ports], Entry] = {}
        self._untaken: dict[tuple[Subject, Ports], Micros] = {}
        self._unproven: OrderedDict[str, Entry] = OrderedDict()
        self._proving: dict[tuple[Subject, Ports], str] = {}  # what was opened is told no more
        self._fetching: list[tuple[Entry, list[bytes]]] = []
        self._late: OrderedDict[tuple[Subject, Ports], Entry] = OrderedDict()
        self._pardons: deque[Entry] = deque(maxlen=_WAITING)

    def __len__(self) -> int:
        """How many bans of others are told and stand."""
        return len(self._told)

    @property
    def drift(self) -> int:
        """How many bans the others want just now that were not believed here."""
        return len(self._untaken)

    @property
    def unproven(self) -> int:
        """How many bans wait for their proofs to be fetched."""
        return len(self._unproven)

    def take(self, shifts: Iterable[Shift], why: Why, now: Micros) -> None:
        """The fleet wants something otherwise; `why` where it is open now."""
        for one in shifts:
            place = (one.subject, one.ports)
            before = self._told.get(place)
            self._late.pop(place, None)
            self._untaken.pop(place, None)
            self._proving.pop(place, None)
            if one.entry is None or (before and one.entry.until < before.until):
                self._open(place, why)
            if one.entry is not None:
                self._consider(one.entry, now)

    def forget(self, shifts: Iterable[Shift]) -> None:
        """This host itself has opened these."""
        for one in shifts:
            self._told.pop((one.subject, one.ports), None)

    def hear(self, news: Iterable[Entry], now: Micros) -> list[Entry]:
        """What was never heard before: pardons by people go to the watcher. They are returned; of
        one host's too many wait, see `tick`."""
        found = []
        for one in news:
            if one.verb != "unban" or one.host == self.host:
                continue
            if self._width(one, "person") == "too wide":
                self._refused(one, "too wide")
            elif self._may_people(one, now):
                found.append(one)
            else:
                self._refused(one, "quota")
                self._pardons.append(one)
        self._pardon(found)
        return found

    def _pardon(self, found: Iterable[Entry]) -> None:
        for one in found:
            self.openings.append(
                Opening(
                    one.id, one.subject, one.ports, one.rule, "unban", one.host, one.by, one.time
                )
            )

    def tick(self, now: Micros) -> list[Entry]:
        """Once a second or so: what waited for a quota, and what has ended. The pardons of it."""
        found = []
        for _ in range(min(len(self._pardons), _LOOKED_AT)):
            pardon = self._pardons.popleft()
            if self._may_people(pardon, now):
                found.append(pardon)
            else:
                self._pardons.append(pardon)
        self._pardon(found)
        for place, one in list(islice(self._late.items(), _LOOKED_AT)):
            del self._late[place]
            if one.until > now:
                self._consider(one, now)
        for place in [place for place, one in self._told.items() if one.until <= now]:
            del self._told[place]
        for place in [place for place, until in self._untaken.items() if until <= now]:
            del self._untaken[place]
        return found

    def commands(self) -> list[Command]:
        """Proofs to fetch; the replies to exactly these go to `answered`."""
        self._fetching = []
        while self._unproven and len(self._fetching) < _FETCHED_AT_ONCE:
            _id, entry = self._unproven.popitem(last=False)
            self._fetching.append((entry, [one for one in entry.proof if not self._find(one)]))
        return [
            (b"HMGET", stream.HELD, *(missing or [b""])) if entry.proof else stream.fetch(entry.id)
            for entry, missing in self._fetching
        ]

    def answered(self, replies: Iterable[Reply], now: Micros) -> None:
        """What was fetched."""
        fetching, self._fetching = self._fetching, []
        for (entry, missing), reply in zip(fetching, replies, strict=False):
            if entry.proof:
                got = reply if isinstance(reply, list) else []
                self._prove(entry, self._bundle(entry, dict(zip(missing, got, strict=False))), now)
            else:
                self._prove(entry, reply if isinstance(reply, bytes) else b"", now)

    def lost(self) -> None:
        """The connection broke."""
        for entry, _missing in self._fetching:
            self._unproven[entry.id] = entry
        self._fetching = []

    def _open(self, place: tuple[Subject, Ports], why: Why) -> None:
        old = self._told.pop(place, None)
        if old is not None:
            said = Opening(old.id, *place, old.rule, why, old.host, old.by, old.time)
            self.openings.append(said)

    def _consider(self, entry: Entry, now: Micros) -> None:
        if entry.host == self.host or not self.bans:
            return
        if why := self._protected(entry):
            self._refuse(entry, why)
        elif not entry.rule:
            self._say_if(self._may_people(entry, now), entry, 1)
        elif self._known(entry):
            return  # we have judged the same by what its hosts claimed
        elif entry.proof or (entry.shares and self.min_hosts > 1):
            self._unproven[entry.id] = entry
            self._proving[entry.subject, entry.ports] = entry.id
            if len(self._unproven) > _WAITING:
                _id, old = self._unproven.popitem(last=False)
                self._proving.pop((old.subject, old.ports), None)
        else:
            self._word(entry, now)

    def _known(self, entry: Entry) -> bool:
        found = self._trust.cases.of(entry.rule, entry.subject)
        return found is not None and bool(entry.needed) and entry.time <= found.time + SKEW

    def _protected(self, entry: Entry) -> str:
        who: Who = "rule" if entry.rule else "person"
        return self._width(entry, who) or self._trust.guarded.why(entry.subject, 1)

    @staticmethod
    def _width(entry: Entry, who: Who) -> str:
        found = subjects.network(entry.subject)
        if found is None:
            return "not an address"
        return "too wide" if found.length < _WIDEST[who][found.family == 6] else ""

    def _may_people(self, entry: Entry, now: Micros) -> bool:
        """Whether people of that host have not said too much."""
        found = subjects.network(entry.subject)
        one = found is None or found.length >= (32 if found.family == 4 else 64)
        worth = 1 if entry.verb == "ban" else _PARDON
        return self._people.take(entry.host, now, worth if one else _NETWORK)

    def _word(self, entry: Entry, now: Micros) -> None:
        """One host's word."""
        if self.min_hosts > 1:
            self._refuse(entry, "min-hosts")
        else:
            self._say_if(self._words.take(entry.host, now), entry, 1)

    def _say_if(self, allowed: bool, entry: Entry, hosts: int) -> None:
        if allowed:
            self._tell(entry, hosts)
            return
        self._refuse(entry, "quota")
        self._late[entry.subject, entry.ports] = entry
        if len(self._late) > _WAITING:
            self._late.popitem(last=False)

    def _bundle(self, entry: Entry, bodies: dict[bytes, bytes]) -> bytes:
        """The claims that a decision names; b"" where one is missing."""
        found = [self._find(one) or bodies.get(one) for one in entry.proof]
        whole = [one for one in found if isinstance(one, bytes)]
        try:
            return wire.encode_bundle(whole) if len(whole) == len(found) else b""
        except ValueError:
            return b""

    def _prove(self, entry: Entry, bundle: bytes, now: Micros) -> None:
        if self._proving.get((entry.subject, entry.ports)) != entry.id:
            return  # opened, or outranked, while its proof was fetched
        del self._proving[entry.subject, entry.ports]
        proven = None
        if bundle:
            proven = self._trust.proves(bundle, entry.rule, entry.subject, now)
        # An old proof shown again closes nothing anew: the claims' own times say when it was.
        fresh = (
            proven is not None
            and not isinstance(proven, Refusal)
            and abs(proven.time - entry.time) <= 2 * SKEW
        )
        if proven is None or isinstance(proven, Refusal) or not fresh:
            self._word(entry, now)
            return
        alone = len(proven.shares) == 1  # so it is one host's word all the same
        if not alone or self._words.has(proven.shares[0][0], now):
            self._trust.adopt(proven, entry.until)
        may = not alone or self._words.take(proven.shares[0][0], now)
        self._say_if(may, entry, len(proven.shares))

    def _refused(self, entry: Entry, why: str) -> None:
        self.refused[entry.host, why] += 1

    def _refuse(self, entry: Entry, why: str) -> None:
        self._refused(entry, why)
        if len(self._untaken) < _WAITING:
            self._untaken[entry.subject, entry.ports] = entry.until

    def _tell(self, entry: Entry, hosts: int) -> None:
        self._untaken.pop((entry.subject, entry.ports), None)
        self._told[entry.subject, entry.ports] = entry
        self.closings.append(
            Closing(
                entry.id, entry.host, entry.rule, entry.by, entry.subject, entry.ports,
                entry.time, entry.until, entry.note, hosts,
            )
        )  # fmt: skip
