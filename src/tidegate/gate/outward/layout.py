"""The text of `table inet tidegate_outward`: what nft is given to put in, over what stands.

Touches nothing: text only. What the kernel remembers of destinations stays, since sets that are
added again keep their elements. Limits: the layout as docs/nftables.md explains it, nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tidegate.gate.doors import spelt
from tidegate.gate.outward import caps
from tidegate.gate.outward.caps import Stated
from tidegate.gate.outward.given import FREE, FREE_USERS, TYPE, fixed
from tidegate.gate.outward.lanes import UID, Kind, Lane, kinds, lanes
from tidegate.model import Subject
from tidegate.policy.outward import Filter, OutwardSpec

TABLE = "tidegate_outward"
MOST = 4096

_WORD = {4: "ip", 6: "ip6"}
_PROTOCOL = {4: "ipv4", 6: "ipv6"}
_IRC = "tcp flags & psh == psh meta length < 600 @ih,0,32 { 0x4e49434b, 0x55534552, 0x4a4f494e }"
"""`NICK`, `USER` or `JOIN` where the data of a packet begin: a line of its own, pushed, and no
longer than IRC's (RFC 1459 §2.3). Most packets are past it before their data are looked at; the
space behind the word is looked for afterwards."""
_NO_IRC = "tcp flags & psh == psh meta length < 600 @ih,32,8 0x20 tcp dport != { 21, 110 }"
"""FTP and POP3 have a USER as well."""

_FREE_USER = f"meta skuid @{FREE_USERS} return"
_PRIORITY = "priority filter - 10; policy accept; }"


class Layout(NamedTuple):
    """Everything that one policy puts in. `fixed`: sets with given elements; `held`: sets of those
    who are cut off or watched; `own`: what the kernel alone fills; chains in order, with rules.
    `cutting`: chains that are empty while nobody is cut off, since a look into a set costs each
    packet that goes by."""

    fixed: dict[str, tuple[str, list[str]]]
    held: dict[str, Kind]
    own: dict[str, Stated]
    chains: dict[str, tuple[str, list[str]]]
    cutting: dict[str, list[str]]

    def text(self, *, whole: bool, cutting: bool = False) -> str:
        """What nft is given; `whole`: in the place of whatever stands, memory and all; `cutting`:
        somebody is cut off."""
        lines = [f"add table inet {TABLE}"]
        if whole:
            lines = [lines[0], f"delete table inet {TABLE}", lines[0]]
        for name, (stated, elements) in self.fixed.items():
            lines += [
                f"add set inet {TABLE} {name} {{ {stated} }}",
                f"flush set inet {TABLE} {name}",
                f"add element inet {TABLE} {name} {{ {', '.join(elements)} }}",
            ]
        for name, kind in self.held.items():
            size = 2 * (MOST + 1)  # within a transaction an element that is exchanged counts twice
            stated = f"type {kind.type}; flags timeout; size {size};"
            lines.append(f"add set inet {TABLE} {name} {{ {stated} }}")
        lines += [f"add {stated.text(name)}" for name, stated in self.own.items()]
        lines += [
            f"add chain inet {TABLE} {name} {hook}" for name, (hook, _rules) in self.chains.items()
        ]
        lines += [f"flush chain inet {TABLE} {name}" for name in reversed(self.chains)]
        lines += [
            f"add rule inet {TABLE} {name} {rule}"
            for name, (_hook, rules) in self.chains.items()
            for rule in rules
        ]
        return "\n".join(lines) + "\n" + (self.text_of_cutting() if cutting else "")

    def text_of_cutting(self, cutting: bool = True) -> str:
        """Only what makes the difference."""
        lines = [f"flush chain inet {TABLE} {name}" for name in self.cutting]
        lines += [
            f"add rule inet {TABLE} {name} {rule}"
            for name, rules in self.cutting.items()
            for rule in rules
            if cutting
        ]
        return "\n".join(lines) + "\n" * bool(lines)

    @property
    def names(self) -> tuple[frozenset[str], frozenset[str]]:
        """Sets and chains."""
        return frozenset((*self.fixed, *self.held, *self.own)), frozenset(self.chains)


def laid(spec: OutwardSpec, spared: Sequence[Subject]) -> Layout:
    """What stands in the kernel for this policy; `spared` besides its busy ones."""
    found, several = lanes(spec), kinds(spec)
    own: dict[str, Stated] = {}
    chains: dict[str, tuple[str, list[str]]] = {}
    for kind in several:
        own.update(caps.kind_sets(kind, spec))
        chains.update({name: ("", rules) for name, rules in caps.kind_rules(kind, spec)})
    for lane in found:
        own.update(caps.lane_sets(lane, spec))
        chains.update({name: ("", rules) for name, rules in caps.lane_rules(lane, spec)})
    held = {f"{word}_{kind.name}": kind for kind in several for word in ("cut", "watched")}
    passing = [lane for lane in found if not lane.local]
    if spec.irc and len(passing) < len(found):
        chains["irc_uid"] = ("", [_FREE_USER, _told_irc("irc_uid", UID.source)])
    if spec.irc and passing:
        chains["irc"] = ("", _irc(passing))
    if spec.irc:
        own.update(_irc_sets())
    if spec.filters:
        own.update({f"told_filter{one}": Stated(TYPE[one], caps.CAPPED_SIZE) for one in FREE})
        chains.update({filter_of(one): ("", _filtering(one, spec)) for one in spec.filters})
    chains.update(_hooks(spec, found))
    return Layout(fixed(spec, found, spared), held, own, chains, _cutting(found))


def _cutting(found: Sequence[Lane]) -> dict[str, list[str]]:
    rules: dict[str, list[str]] = {}
    for kind in dict.fromkeys(lane.kind for lane in found):
        jump = f"{kind.source} @cut_{kind.name} goto cutting_{kind.name}"
        rules.setdefault("cuts_uid" if kind == UID else "cuts", []).append(jump)
    return rules


def _hooks(spec: OutwardSpec, found: Sequence[Lane]) -> Iterator[tuple[str, tuple[str, list[str]]]]:
    if spec.filters:
        rules = ['meta iifname "lo" return', *map(_matching, spec.filters)]
        hook = "{ type filter hook prerouting priority raw; policy accept; }"
        yield "entering", (hook, rules)
        rules = ['meta oifname "lo" return', *map(_matching, spec.filters)]
        yield "sending", ("{ type filter hook output priority raw; policy accept; }", rules)
    local = [lane for lane in found if lane.local]
    passing = [lane for lane in found if not lane.local]
    if local:
        yield f"cutting_{UID.name}", ("", [_FREE_USER, *_cut(UID)])
        yield "cuts_uid", ("", [])
        yield "beginning_uid", ("", _beginning_uid(local))
        yield "leaving", (f"{{ type filter hook output {_PRIORITY}", _leaving(irc=spec.irc))
        yield "arriving", (f"{{ type filter hook input {_PRIORITY}", _arriving(local))
    if passing:
        for kind in dict.fromkeys(lane.kind for lane in passing):
            yield f"cutting_{kind.name}", ("", [*_free(), *_cut(kind)])
        yield "cuts", ("", [])
        yield "returning", ("", _returning(passing))
        yield "beginning", ("", _beginning(passing))
        yield "passing", (f"{{ type filter hook forward {_PRIORITY}", _passing(irc=spec.irc))


# -- this host's own --------------------------------------------------------------------------


def _cut(kind: Kind) -> list[str]:
    return ["ct state untracked return", f"goto cut_quarantine_{kind.name}"]


def _leaving(*, irc: bool) -> list[str]:
    rules = ['meta oifname "lo" accept', "ct direction reply accept", "jump cuts_uid"]
    if irc:
        rules.append(f"{_IRC} jump irc_uid")
    return [*rules, "ct state new goto beginning_uid"]


def _beginning_uid(local: Sequence[Lane]) -> list[str]:
    caps_of = [
        f"meta nfproto {_PROTOCOL[lane.family]} goto caps_{lane.name}" for lane in local
    ]  # fmt: skip
    return [_FREE_USER, *caps_of]


def _arriving(local: Sequence[Lane]) -> list[str]:
    rules = ['meta iifname "lo" accept', *_answers_only()]
    for lane in local:
        icmp = "icmp" if lane.family == 4 else "icmpv6"
        rules += [
            f"{icmp} type echo-reply {lane.answerer} @pinger_{lane.name} goto pong_{lane.name}",
            f"meta nfproto {_PROTOCOL[lane.family]} {caps.WITH_PORTS} "
            f"{caps.answered_port(lane)} @asker_{lane.name} goto answered_{lane.name}",
        ]
    return rules


def _answers_only() -> list[str]:
    """What follows sees the first answers of a connection that somebody of ours began: no reset,
    no ICMP error, and of TCP its SYN/ACK alone."""
    return [
        "meta l4proto tcp tcp flags & (fin | syn | rst | ack) != syn | ack accept",
        "ct direction original accept",
        "ct state != established accept",
        "meta l4proto != tcp ct status assured accept",
    ]


# -- what is forwarded ------------------------------------------------------------------------


def _passing(*, irc: bool) -> list[str]:
    rules = ["ct direction reply goto returning", "jump cuts"]
    if irc:
        rules.append(f"{_IRC} jump irc")
    return [*rules, "ct state new goto beginning"]


def _free() -> list[str]:
    return [f"{_WORD[family]} saddr @{name} return" for family, name in FREE.items()]


def _beginning(passing: Sequence[Lane]) -> list[str]:
    return [*_free(), *(f"{lane.governed} goto caps_{lane.name}" for lane in passing)]


def _returning(passing: Sequence[Lane]) -> list[str]:
    found = [f"{lane.governed_back} goto answered_{lane.name}" for lane in passing]
    return [*_answers_only(), *found]


def _irc(passing: Sequence[Lane]) -> list[str]:
    """Told of once in a while, of whom policy has as a source; nothing is kept back."""
    told = {family: _told_irc(f"irc{family}", f"{_WORD[family]} saddr") for family in FREE}
    rules = _free()
    for lane in passing:
        rules.append(f"{lane.governed} {told[lane.family]}")
    return rules


def _irc_sets() -> Iterator[tuple[str, Stated]]:
    for name, kind in (("irc4", "ipv4_addr"), ("irc6", "ipv6_addr"), ("irc_uid", UID.type)):
        yield f"told_{name}", Stated(kind, caps.CAPPED_SIZE)


def _told_irc(name: str, source: str) -> str:
    return (
        f"{_NO_IRC} update @told_{name} {{ {source} timeout 30s "
        f"limit rate 12/minute burst 2 packets }} {caps.log('irc')} return"
    )


# -- filters ----------------------------------------------------------------------------------


def filter_of(one: Filter) -> str:
    """The chain of a named filter."""
    return f"filter_{spelt(one.name)}"


def _matching(one: Filter) -> str:
    length = f" meta length {one.length}" if one.length else ""
    return f"{one.protocol} dport {one.port}{length} goto {filter_of(one)}"


def _filtering(one: Filter, spec: OutwardSpec) -> list[str]:
    told = caps.log(f"filter {spelt(one.name)[:40]}")
    rules = [
        f"update @told_filter{family} {{ {_WORD[family]} saddr timeout 10s "
        f"limit rate {caps.TOLD_EACH} }} {told}"
        for family in FREE
    ]
    return ["counter", *rules, *(["drop"] if spec.mode == "enforce" else [])]
