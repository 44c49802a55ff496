"""What may leave, out of policy tables: `[outward]` with its filters, and `[owner.NAME]`.

Touches the host's list of users, to know the numbers behind names. Every fault is collected with
its key; a user that this host does not have is noted, as one policy may serve many hosts.
Limits: whether rules make use of it is judged where the packs are known, by `outwardnotes`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tidegate import subject as subjects
from tidegate.model import Subject
from tidegate.policy import outwardvalues as read
from tidegate.policy import values
from tidegate.policy.outward import Filter, OutwardSpec, Owner
from tidegate.policy.sections import Read, Sections, subtable
from tidegate.subject import Network

OUTWARD: dict[str, Read] = {
    "mode": values.mode,
    "sources": read.sources,
    "customers": read.customers,
    "destinations": values.whole(1, 64),
    "remember": read.remembered,
    "syn": read.rate(4),
    "udp": read.rate(4),
    "smtp": read.rate(2),
    "busy": read.busy,
    "irc": values.boolean,
    "stop": values.choice("never", "throttle", "freeze"),
}
FILTER: dict[str, Read] = {
    "protocol": values.choice("udp", "tcp"),
    "port": values.whole(1, 65535),
    "length": values.whole(28, 65535),
}
OWNER: dict[str, Read] = {
    "addresses": values.addresses,
    "uids": read.users,
    "vhosts": read.vhosts,
    "notify": values.texts,
}
SECTIONS: dict[str, dict[str, Read]] = {
    "outward": {**OUTWARD, "filter": subtable},
    "outward.filter.NAME": FILTER,
    "owner.NAME": OWNER,
}

MOST_FILTERS = 64
LONGEST_BARE = 120
"""A TCP packet without data is no longer than this (60 bytes each of IP and TCP header): by port
and length alone it can't be told from those that open and end every connection."""
NEEDED = {53: "names", 67: "addresses", 68: "addresses", 123: "time", 546: "addresses",
          547: "addresses"}  # fmt: skip
"""UDP ports without which a host does not work."""


class Placed(NamedTuple):
    """A network and the key that names it."""

    subject: Subject
    range: Network
    key: str


class OutwardReader:
    """Reads both; meaningless where its sections have faults afterwards. `told`: the names of
    `[notify.NAME]`."""

    def __init__(self, sections: Sections, told: Collection[str]) -> None:
        self._sections = sections
        self._told = told

    # -- [outward] -----------------------------------------------------------------------------

    def spec(self) -> OutwardSpec | None:
        """`[outward]`; None where there is none."""
        if "outward" not in self._sections.data:
            return None
        raw = self._sections.table("outward", self._sections.data["outward"])
        data = self._sections.section("outward", raw, SECTIONS["outward"])
        sources = data.pop("sources", read.Sources())
        filters = tuple(self._filters(raw.get("filter", {})))
        busy = tuple(self._busy(data.pop("busy", ()), uids=sources.uids))
        # Whoever looks for the customer of an address takes the first: the narrowest.
        customers = sorted(_placed(data.pop("customers", ()), "customers"),
                           key=lambda one: -one.range.length)  # fmt: skip
        networks = _placed(sources.networks, "sources")
        if not raw.get("sources") and not raw.get("customers") and not filters:
            said = 'nobody to look at: "sources" is missing, such as sources = ["uids"]'
            self._sections.fault("outward", said)
        if data.get("stop", "never") != "never" and not sources.uids:
            said = 'stops nobody: users are no sources here ("uids" is not named)'
            self._sections.note("outward.stop", said)
        self._somebody(networks, customers, _placed(busy, "busy"))
        return OutwardSpec(
            uids=sources.uids,
            networks=tuple(one.subject for one, outer in _inside(networks) if outer is None),
            interfaces=sources.interfaces,
            customers=tuple(one.subject for one in customers),
            busy=busy,
            filters=filters,
            **data,
        )

    def _busy(self, written: Sequence[str], *, uids: bool) -> Iterator[Subject]:
        """The busy, each user by number; the networks without those that lie in another."""
        users = [one for one in written if read.is_user(one)]
        if users and not uids:
            said = f'{users[0]} needs no exception: users are no sources here ("uids" is not named)'
            self._sections.note("outward.busy", said)
        found = [Subject(f"uid:{number}") for number in self._uids("outward.busy", users)]
        networks = _placed((Subject(one) for one in written if not read.is_user(one)), "busy")
        yield from dict.fromkeys(found)
        yield from (inner.subject for inner, outer in _inside(networks) if outer is None)

    def _uids(self, path: str, users: Iterable[str]) -> Iterator[int]:
        """The numbers of users; those that this host does not have are noted and passed over."""
        for user in users:
            number = read.uid_of(user)
            if number is None:
                self._sections.note(path, f"{user}: no such user on this host; passed over")
            else:
                yield number

    def _somebody(
        self, networks: Sequence[Placed], customers: Sequence[Placed], busy: Sequence[Placed]
    ) -> None:
        """Of each network that is named somebody is left to be looked at."""
        for one in networks:
            if over := _over(one, customers):
                said = f"customers has {over.subject} as a whole, so no address of {one.subject}"
                said += " would ever count by itself; expected it in one of them"
                self._sections.fault("outward.sources", said)
        for one in (*networks, *customers):
            if over := _over(one, busy):
                said = f"{over.subject} leaves nobody of {one.subject} in {one.key}; expected the"
                said += " few who are busy, by their addresses"
                self._sections.fault("outward.busy", said)

    def _filters(self, written: object) -> Iterator[Filter]:
        table = self._sections.table("outward.filter", written)
        names = self._sections.names("outward.filter", table)
        if len(names) > MOST_FILTERS:
            self._sections.fault("outward.filter", f"expected at most {MOST_FILTERS} filters")
        seen: dict[tuple[str, int, int], str] = {}
        for name in names:
            path = f"outward.filter.{name}"
            if not _FILTER_NAME.fullmatch(name):
                said = "expected a name of letters, digits and _, at most 32, as the kernel has it"
                self._sections.fault(path, said)
            raw = self._sections.table(path, table[name])
            data = self._sections.section(path, raw, FILTER)
            for key in ("protocol", "port"):
                if key not in raw:
                    self._sections.fault(path, f'"{key}" is missing, such as {_SUCH[key]}')
            if not {"protocol", "port"} <= data.keys() or ("length" in raw) != ("length" in data):
                continue
            found = Filter(name, data["protocol"], data["port"], data.get("length", 0))
            self._judge(path, found)
            same = seen.setdefault((found.protocol, found.port, found.length), name)
            if same != name:
                self._sections.fault(path, f"says the same as outward.filter.{same}")
            yield found

    def _judge(self, path: str, one: Filter) -> None:
        """A filter takes a worm's packets; one that takes everybody's is no filter."""
        if one.protocol == "tcp" and one.length <= LONGEST_BARE:
            said = f"drops the packets that open every connection to port {one.port}, both ways;"
            said += f" expected the length of a worm's packet, {LONGEST_BARE + 1} or more"
            self._sections.fault(f"{path}.length" if one.length else path, said)
        elif not one.length and one.port in NEEDED:
            said = f"drops everything to UDP port {one.port}, without which a host has no"
            said += f" {NEEDED[one.port]}; expected length, such as length = 404"
            self._sections.fault(path, said)
        elif not one.length:
            said = f"without length: every packet to UDP port {one.port} is dropped, both ways"
            self._sections.note(path, said)

    # -- owners --------------------------------------------------------------------------------

    def owners(self) -> tuple[Owner, ...]:
        """Every `[owner.NAME]`."""
        if "owner" not in self._sections.data:
            return ()
        owners = tuple(self._owner(name) for name in self._sections.names("owner"))
        placed = [one for owner in owners for one in _placed(owner.addresses, owner.name)]
        for inner, outer in _inside(placed):
            if outer is None or outer.key == inner.key:
                continue
            whose = f"{inner.subject} lies in {outer.subject} of owner.{outer.key}"
            self._mine(f"owner.{inner.key}.addresses", whose)
        for key in ("uids", "vhosts"):
            taken: dict[object, str] = {}
            for owner in owners:
                for each in getattr(owner, key):
                    other = taken.setdefault(each, owner.name)
                    if other != owner.name:
                        what = f"uid:{each}" if key == "uids" else each
                        self._mine(f"owner.{owner.name}.{key}", f"{what} is owner.{other}'s")
        return owners

    def _mine(self, path: str, whose: str) -> None:
        said = f"{whose}; expected one owner for each, as one of them would be told of the other"
        self._sections.fault(path, said)

    def _owner(self, name: str) -> Owner:
        path = f"owner.{name}"
        raw: Mapping[str, Any] = self._sections.table(path, self._sections.data["owner"][name])
        data = self._sections.section(path, raw, OWNER)
        if not {"addresses", "uids", "vhosts"} & raw.keys():
            said = 'owns nothing; expected "addresses", "uids" or "vhosts"'
            self._sections.fault(path, said)
        for notice in sorted(set(data.get("notify", ())) - set(self._told)):
            self._sections.fault(f"{path}.notify", f"there is no [notify.{notice}]")
        uids = dict.fromkeys(self._uids(f"{path}.uids", data.pop("uids", ())))
        return Owner(name, uids=tuple(uids), **data)


_FILTER_NAME = re.compile(r"[A-Za-z0-9_]{1,32}", re.ASCII)
_SUCH = {"protocol": 'protocol = "udp"', "port": "port = 1434"}


def _placed(written: Iterable[Subject], key: str) -> list[Placed]:
    """The networks among these, with the key that names them."""
    ranges = ((one, subjects.network(one)) for one in written)
    return [Placed(one, range_, key) for one, range_ in ranges if range_ is not None]


def _over(one: Placed, others: Sequence[Placed]) -> Placed | None:
    """The first of the others that holds all of it."""
    return next((each for each in others if each.range.holds(one.range)), None)


def _inside(placed: Sequence[Placed]) -> Iterator[tuple[Placed, Placed | None]]:
    """Each network with one that it lies in (None: in no other); networks nest or are apart."""
    outer: Placed | None = None
    order = sorted(placed, key=lambda one: (one.range.family, one.range.first, one.range.length))
    for one in order:
        if outer is not None and outer.range.holds(one.range):
            yield one, outer
        else:
            yield one, None
            outer = one
