"""Lanes: the kinds of sources whose leaving packets are capped, in the words of nft.

Touches nothing: text and packed keys only. A packet counts for one source: the customer that holds
its address, else its network's single address, else the interface it came in by; on this host, its
user. Limits: IPv6 sources are /64, customers have prefixes of their own.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from tidegate.model import Subject
from tidegate.policy.outward import OutwardSpec
from tidegate.subject import Network, from_network, network

HASH = "jhash meta skuid mod 4294967295 seed 1"
"""A user in a form that a reply can carry: what asks leaves it with its ports, and nft knows no way
to look for a user's number itself when the answer comes in."""

_WORD = {4: "ip", 6: "ip6"}
_TYPE = {4: "ipv4_addr", 6: "ipv6_addr"}
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_WIDTH = {4: 32, 6: 128}
SINGLE = {4: 32, 6: 64}
FAMILIES: tuple[Literal[4], Literal[6]] = (4, 6)


class Kind(NamedTuple):
    """One kind of source: `name` as part of sets' names, its type in the kernel, and as what it
    holds slots; `source` in a packet that leaves."""

    name: str
    type: str
    slot: str
    source: str
    holder: str
    sentinel: bytes
    large: bool


class Lane(NamedTuple):
    """A kind's packets of one family: `back`, who holds the slots, in a reply; `governed` and
    `governed_back` are matches for those that the policy names."""

    kind: Kind
    family: Literal[4, 6]
    back: str
    governed: str
    governed_back: str

    @property
    def name(self) -> str:
        """As part of sets' and chains' names."""
        own = self.kind.name
        return own if own[:2] in ("a4", "a6", "n4", "n6") else f"{own}{self.family}"

    @property
    def local(self) -> bool:
        """Of this host itself, by user."""
        return self.kind.name == "uid"

    @property
    def target(self) -> str:
        """The destination in a packet that leaves."""
        return f"{_WORD[self.family]} daddr"

    @property
    def answerer(self) -> str:
        """The same in a reply."""
        return f"{_WORD[self.family]} saddr"

    @property
    def target_type(self) -> str:
        """The type of a destination."""
        return _TYPE[self.family]


def _mask(family: int, length: int) -> bytes:
    width = _WIDTH[family]
    return (((1 << length) - 1) << (width - length)).to_bytes(width // 8)


def _masked(field: str, family: int, length: int) -> str:
    if length == _WIDTH[family]:
        return f"{_WORD[family]} {field}"
    mask = socket.inet_ntop(_FAMILY[family], _mask(family, length))
    return f"{_WORD[family]} {field} & {mask}"


UID = Kind("uid", "uid", "classid", "meta skuid", HASH, b"\xff" * 4, False)
INTERFACE = Kind(
    "if", "ifname", "ifname", "meta iifname", "meta iifname", b"/".ljust(16, b"\0"), False
)


def _addresses(family: Literal[4, 6], length: int, *, customer: bool) -> Lane:
    name = f"n{family}_{length}" if customer else f"a{family}"
    source, back = (_masked(field, family, length) for field in ("saddr", "daddr"))
    word, kind = _WORD[family], _TYPE[family]
    made = Kind(name, kind, kind, source, source, _mask(family, length), True)
    if customer:
        return Lane(made, family, back, f"{source} @{nets_of(made)}", f"{back} @{nets_of(made)}")
    held = nets_of(made)
    return Lane(made, family, back, f"{word} saddr @{held}", f"{word} daddr @{held}")


def nets_of(kind: Kind) -> str:
    """The set of what the policy names of a kind."""
    return f"nets_{kind.name}"


def lanes(spec: OutwardSpec) -> list[Lane]:
    """What this policy needs, in the order in which a packet looks for its source."""
    found: list[Lane] = []
    if spec.uids:
        found += [Lane(UID, family, "meta priority", "", "") for family in FAMILIES]
    customers = {(each.family, each.length) for each in ranges(spec.customers)}
    # The longest prefix first: a customer inside a customer's network is one of its own.
    for family, length in sorted(customers, key=lambda each: (each[0], -each[1])):
        found.append(_addresses(4 if family == 4 else 6, length, customer=True))
    if spec.networks or spec.customers:
        found += [_addresses(one, SINGLE[one], customer=False) for one in FAMILIES]
    if spec.interfaces:
        for family in FAMILIES:
            protocol = f"ipv{family}"
            found.append(
                Lane(
                    INTERFACE, family, "meta oifname",
                    f"meta nfproto {protocol} meta iifname @{nets_of(INTERFACE)}",
                    f"meta nfproto {protocol} meta oifname @{nets_of(INTERFACE)}",
                )
            )  # fmt: skip
    return found


def kinds(spec: OutwardSpec) -> list[Kind]:
    """The kinds of these lanes, each once."""
    return list(dict.fromkeys(lane.kind for lane in lanes(spec)))


def ranges(subjects: Iterable[Subject]) -> Iterator[Network]:
    """Those of them that are addresses."""
    for subject in subjects:
        found = network(subject)
        if found is not None:
            yield found


def users(subjects: Iterable[Subject]) -> set[int]:
    """Those of them that are users of this host."""
    return {int(subject[4:]) for subject in subjects if subject.startswith("uid:")}


def place(spec: OutwardSpec, subject: Subject) -> tuple[str, bytes] | str:
    """The kind and the key of a source of this policy; or why it is none."""
    if subject.startswith("uid:"):
        if not spec.uids:
            return 'the policy caps no users of this host: [outward] sources has no "uids"'
        digits = subject[4:]
        number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 11 else -1
        if not 0 <= number < 0xFFFFFFFF or str(number) != digits:
            return "no user has that number"
        return UID.name, number.to_bytes(4, "little")
    if subject.startswith("interface:"):
        name = subject.removeprefix("interface:")
        if name not in spec.interfaces:
            return "not an interface of [outward] sources"
        return INTERFACE.name, name.encode("ascii").ljust(16, b"\0")
    found = network(subject)
    if found is None or from_network(found) != subject:
        return "not a source: an address, a customer's network, uid:N or interface:NAME is one"
    if found in ranges(spec.customers):
        return f"n{found.family}_{found.length}", found.bits
    if found.length != SINGLE[found.family]:
        return "neither one of [outward] customers nor a single address (IPv6: a /64)"
    if not any(net.holds(found) for net in ranges((*spec.networks, *spec.customers))):
        return "not inside the networks of [outward] sources or customers"
    return f"a{found.family}", found.bits


def subject_of(kind: str, key: bytes) -> Subject:
    """The source that stands behind an element."""
    if kind == UID.name:
        return Subject(f"uid:{int.from_bytes(key, 'little')}")
    if kind == INTERFACE.name:
        return Subject("interface:" + key.rstrip(b"\0").decode("ascii", "replace"))
    family = int(kind[1])
    length = int(kind[3:]) if kind.startswith("n") else SINGLE[family]
    return from_network(Network(family, length, key))
