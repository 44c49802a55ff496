"""The text of `table inet tidegate`: what nft is given to put in, whole or one scope more.

Touches nothing: text only. Every address in it is written from packed bits, because nft would
ask DNS about anything else. Limits: the layout as docs/nftables.md explains it, nothing else.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tidegate.gate import doors as door
from tidegate.gate.book import Scope
from tidegate.model import Micros
from tidegate.policy.guards import GateSpec
from tidegate.subject import Network

TABLE = "tidegate"
ALWAYS = {4: "allow4", 6: "allow6"}
"""The static allowlist: interval sets, accepted before any timed set is asked."""

_TYPE = {4: "ipv4_addr", 6: "ipv6_addr"}
_WORD = {4: "ip", 6: "ip6"}
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}

# An interval set needs a sentinel of its own: the address before the last, so that the interval
# has an end element on every kernel.
ALWAYS_SENTINEL = {4: b"\xff\xff\xff\xfe", 6: b"\xff" * 15 + b"\xfe"}

CHAINS = ("allowed", "dropped", "banned", "gate")

NFLOG_GROUP, SNAP = 2003, 80
"""Where a knock is told, and how many bytes of the packet: an IPv4 header with every option and
its ports, or an IPv6 header with a short extension."""

KNOCKED = {4: "knocked4", 6: "knocked6"}
"""Who knocked within the last minute: kept by the kernel alone, and none of our business."""
KNOCKED_SIZE = 65535

NOTHING: Mapping[str, Micros] = {}

_RULES = """\
iif lo accept
icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } accept
ip6 saddr fe80::/10 accept
ip saddr @allow4 accept
ip6 saddr @allow6 accept
jump allowed
jump banned
"""


def laid(
    allow: Sequence[Network],
    scopes: Iterable[Scope],
    size: int,
    *,
    heard: bool = True,
    doors: Sequence[GateSpec] = (),
) -> str:
    """Every chain, rule and set, over whatever stands; the elements of timed sets stay.

    `heard`: the banned are told of when they knock; `doors`: gates of guards. A kernel may lack
    what these take.
    """
    lines = [f"add table inet {TABLE}"]
    for family, name in ALWAYS.items():
        lines += [
            f"add set inet {TABLE} {name} {{ type {_TYPE[family]}; flags interval; }}",
            f"flush set inet {TABLE} {name}",
            f"add element inet {TABLE} {name} {{ {', '.join(_spans(allow, family))} }}",
        ]
    for family, name in KNOCKED.items():
        lines += [
            f"add set inet {TABLE} {name} {{ type {_TYPE[family]}; "
            f"flags dynamic,timeout; timeout 60s; size {KNOCKED_SIZE}; }}"
        ]
    lines += [f"add set inet {TABLE} {stated}" for stated in door.declared(doors)]
    hook = "{ type filter hook prerouting priority raw; policy accept; }"
    chains = (*door.chains(doors), *CHAINS)
    lines += [f"add chain inet {TABLE} {chain}" for chain in chains if chain != "gate"]
    lines += [f"add chain inet {TABLE} gate {hook}"]
    lines += [f"flush chain inet {TABLE} {chain}" for chain in reversed(chains)]
    lines += [f"add rule inet {TABLE} gate {rule}" for rule in _RULES.splitlines()]
    lines += [f"add rule inet {TABLE} {rule}" for rule in door.rules(doors)]
    # A full set ends the rule, as a mismatch does: what follows drops in any case.
    lines += [f"add rule inet {TABLE} dropped {_knock(family)}" for family in KNOCKED if heard]
    lines += [f"add rule inet {TABLE} dropped drop"]
    return "\n".join(lines) + "\n" + "".join(scope_text(scope, size) for scope in scopes)


def whole(
    allow: Sequence[Network],
    sets: Mapping[Scope, Mapping[bytes, Micros]],
    size: int,
    now: Micros,
    *,
    heard: bool = True,
    doors: Sequence[GateSpec] = (),
    closed: Mapping[str, Micros] = NOTHING,
) -> Iterator[str]:
    """The whole table in the place of whatever is there, with every element that is not over."""
    yield f"add table inet {TABLE}\ndelete table inet {TABLE}\n"
    yield laid(allow, sets, size, heard=heard, doors=doors)
    for spec in doors:
        if closed.get(spec.name, 0) > now:
            left = _timeout(closed[spec.name], now)
            ports = ", ".join(f"{port} timeout {left}" for port in door.ports_in(spec))
            yield f"add element inet {TABLE} {door.ports_of(spec.name)} {{ {ports} }}\n"
    for scope, held in sets.items():
        yield from _elements(scope, held, now)


def scope_text(scope: Scope, size: int) -> str:
    """One more set with its sentinel and its rule."""
    sentinel = socket.inet_ntop(_FAMILY[scope.family], scope.sentinel)
    return (
        f"add set inet {TABLE} {scope.name} "
        f"{{ type {_TYPE[scope.family]}; flags timeout; size {size}; }}\n"
        f"add element inet {TABLE} {scope.name} {{ {sentinel} }}\n"
        f"add rule inet {TABLE} {_rule(scope)}\n"
    )


def _rule(scope: Scope) -> str:
    word, width = _WORD[scope.family], 32 if scope.family == 4 else 128
    # A masked lookup in a hash set, since interval sets lose the longer of two timeouts. The
    # sentinel is the prefix's mask: all bits set, those behind the prefix cleared.
    mask = socket.inet_ntop(_FAMILY[scope.family], scope.sentinel)
    source = f"{word} saddr" if scope.length == width else f"{word} saddr & {mask}"
    if scope.verb == "allow":
        return f"allowed {source} @{scope.name} accept"
    ports = ""
    if scope.ports:
        ports = f"meta l4proto {{ tcp, udp }} th dport {{ {', '.join(map(str, scope.ports))} }} "
    return f"banned {ports}{source} @{scope.name} counter goto dropped"


def _knock(family: int) -> str:
    """A new attempt by TCP, once a minute for each address (IPv6: each /64)."""
    source = f"{_WORD[family]} saddr" + (" & ffff:ffff:ffff:ffff::" if family == 6 else "")
    return (
        f"{door.NEW} {source} != @{KNOCKED[family]} add @{KNOCKED[family]} {{ {source} }} "
        f"log group {NFLOG_GROUP} snaplen {SNAP}"
    )


def _elements(scope: Scope, held: Mapping[bytes, Micros], now: Micros) -> Iterator[str]:
    family, text = _FAMILY[scope.family], socket.inet_ntop
    items = [
        f"{text(family, bits)} timeout {_timeout(until, now)}"
        for bits, until in held.items()
        if until > now
    ]
    if items:
        yield f"add element inet {TABLE} {scope.name} {{ {', '.join(items)} }}\n"


def _timeout(until: Micros, now: Micros) -> str:
    # nft reads no more than eight digits of a unit, so milliseconds alone end after 27 hours.
    seconds, rest = divmod(milliseconds(until, now), 1000)
    return f"{seconds}s{rest}ms"


def milliseconds(until: Micros, now: Micros) -> int:
    """The kernel timeout of an element that ends at `until`: at least one millisecond."""
    return (until - now + 999) // 1000


def _spans(allow: Iterable[Network], family: int) -> Iterator[str]:
    """The networks of one family, and the sentinel, without overlaps (nft refuses those)."""
    found = [(network.bits, network.length) for network in allow if network.family == family]
    if family == 4:
        four = (ipaddress.IPv4Network(span) for span in [*found, (ALWAYS_SENTINEL[4], 32)])
        yield from map(str, ipaddress.collapse_addresses(four))
    else:
        six = (ipaddress.IPv6Network(span) for span in [*found, (ALWAYS_SENTINEL[6], 128)])
        yield from map(str, ipaddress.collapse_addresses(six))
