"""The caps of one lane, as nft rules: slots for destinations that have not answered, and rates.

Touches nothing: text only. A destination that answers gives its slot back, so that whoever is
answered is never held up; one that does not keeps it for `remember`. Limits: what a reply is, is
conntrack's word; a full set lets pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from tidegate.gate.outward.lanes import HASH, Kind, Lane
from tidegate.model import DAY, HOUR, MINUTE, SECOND, Micros
from tidegate.policy.outward import OutwardSpec, Rate

NFLOG_GROUP, SNAP = 2004, 128
ASKED: Micros = 5 * MINUTE
"""For how long a destination is none that is new, whether it answered or not."""

WATCHED_SLOTS, WATCHED_PART = 3, 10
"""On probation: so many slots, and that part of the rates."""

CAPPED_SIZE, CAPPED_FOR = 4096, 10 * MINUTE
TOLD_EACH, TOLD_ALL = "5/second burst 10 packets", "1000/second burst 1000 packets"
SMTP = "tcp dport { 25, 465, 587 }"

WITH_PORTS = "meta l4proto { tcp, udp, sctp, dccp, udplite }"

_UNITS = {"second": SECOND, "minute": MINUTE, "hour": HOUR, "day": DAY}
_MANY = {4: "ip daddr 224.0.0.0/3", 6: "ip6 daddr { fe80::/10, ff00::/8 }"}


class Stated(NamedTuple):
    """A set or map as it is declared: what follows its name, and how many elements fit it."""

    type: str
    size: int
    map: bool = False
    swift: bool = False

    def text(self, name: str) -> str:
        """After `add`: the whole declaration."""
        # Slots come and go: what is given back is swept ten times a second, before the kernel
        # has to look past many of the same name.
        sweep = " gc-interval 100ms;" if self.swift else ""
        kind = self.type if self.map else f"type {self.type}"
        return (
            f"{'map' if self.map else 'set'} inet tidegate_outward {name} {{ {kind}; "
            f"flags dynamic,timeout; timeout 10m;{sweep} size {self.size}; }}"
        )


def seconds(span: Micros) -> str:
    """As nft takes a timeout."""
    return f"{max(1, -(-span // SECOND))}s"


def caps(spec: OutwardSpec) -> list[str]:
    """By what packets of a source may be kept back."""
    return ["destinations", *_rates(spec), "quarantine"]


def cells(spec: OutwardSpec) -> list[str]:
    """The places where a destination may have its slot: one by chance, then each in turn."""
    return ["h", *map(str, range(spec.destinations))]


# -- sets -------------------------------------------------------------------------------------


def kind_sets(kind: Kind, spec: OutwardSpec) -> Iterator[tuple[str, Stated]]:
    """What the families of a kind share."""
    name, many = kind.name, 32_768 if kind.large else 4096
    yield f"slots_{name}", Stated(f"{kind.slot} . mark", 4 * many, swift=True)
    yield f"held_{name}", Stated(kind.type, many)
    for cap in _rates(spec):
        yield f"{cap}_{name}", Stated(kind.type, many)
        yield f"{cap}_watched_{name}", Stated(kind.type, many)
    for cap in caps(spec):
        yield f"capped_{cap}_{name}", Stated(kind.type, CAPPED_SIZE)
        yield f"told_{cap}_{name}", Stated(kind.type, CAPPED_SIZE)


def lane_sets(lane: Lane, spec: OutwardSpec) -> Iterator[tuple[str, Stated]]:
    """What a family has for itself."""
    many = 32_768 if lane.kind.large else 4096
    pair = f"{lane.kind.type} . {lane.target_type}"
    held = f"{lane.kind.slot} . {lane.target_type}"
    yield f"asked_{lane.name}", Stated(pair, 131_072 if lane.kind.large else 65_536)
    yield f"pending_{lane.name}", Stated(pair, 4 * many)
    for cell in cells(spec):
        # Nearly every slot is taken where chance says; what is taken elsewhere are the rest.
        yield f"at_{cell}_{lane.name}", Stated(held, 4 * many if cell == "h" else many // 2)
    if lane.local:
        yield f"waits_{lane.name}", Stated(held, 4 * many)
        ports = f"typeof {asked_port(lane)} : meta priority"
        yield f"asker_{lane.name}", Stated(ports, 4 * many, map=True)
        pinged = f"typeof {lane.target} : meta priority"
        yield f"pinger_{lane.name}", Stated(pinged, many, map=True)


# -- rules ------------------------------------------------------------------------------------


def lane_rules(lane: Lane, spec: OutwardSpec) -> Iterator[tuple[str, list[str]]]:
    """The chains of one lane, those that are jumped to before those that jump."""
    kind, name, target = lane.kind, lane.name, lane.target
    source, pair = kind.source, f"{kind.source} . {lane.target}"
    keep, ask = seconds(spec.remember), seconds(max(ASKED, spec.remember))
    taken = [
        f"update @held_{kind.name} {{ {source} timeout {keep} }}",
        f"update @asked_{name} {{ {pair} timeout {ask} }}",
        f"update @pending_{name} {{ {pair} timeout {keep} }}",
    ]
    if lane.local:
        yield f"asks_{name}", list(_asking(lane, keep))
        taken.append(f"update @waits_{name} {{ {kind.holder} . {target} timeout {keep} }}")
        taken.append(f"goto asks_{name}")
    yield f"taken_{name}", taken
    for cell in cells(spec):
        at = f"update @at_{cell}_{name} {{ {kind.holder} . {target} timeout {keep} }}"
        yield f"take_{cell}_{name}", [at, f"goto taken_{name}"]
    # Who holds none although none was free came when the kernel's set was full: it passes.
    over = f"{source} @held_{kind.name} goto cut_destinations_{kind.name}"
    every = [_probe(lane, cell, spec) for cell in cells(spec)]
    yield f"tight_{name}", [*every[1 : WATCHED_SLOTS + 1], over]
    yield (
        f"ask_{name}",
        [
            f"{pair} @pending_{name} {f'goto asks_{name}' if lane.local else 'return'}",
            f"{pair} @asked_{name} return",
            f"{_MANY[lane.family]} return",
            f"{source} @watched_{kind.name} goto tight_{name}",
            *every,
            over,
        ],
    )
    # Rates first: what is over them takes no slot.
    yield f"caps_{name}", [f"jump rates_{kind.name}", f"goto ask_{name}"]
    yield from _answers(lane, spec)


def _probe(lane: Lane, cell: str, spec: OutwardSpec) -> str:
    """Take this slot if it is free: an element's own limit passes one packet, the first, so that
    two processors can't both take it."""
    keep = seconds(spec.remember)
    place = f"jhash {lane.target} mod {spec.destinations} seed 2" if cell == "h" else cell
    return (
        f"add @slots_{lane.kind.name} {{ {lane.kind.holder} . {place} timeout {keep} "
        f"limit rate 1/week burst 1 packets }} goto take_{cell}_{lane.name}"
    )


def _asking(lane: Lane, keep: str) -> Iterator[str]:
    """Leave with the ports who asks, for the reply, which does not know its user."""
    icmp = "icmp" if lane.family == 4 else "icmpv6"
    yield (
        f"{WITH_PORTS} update @asker_{lane.name} {{ {asked_port(lane)} timeout {keep} : {HASH} }}"
    )
    yield (
        f"{icmp} type echo-request update @pinger_{lane.name} "
        f"{{ {lane.target} timeout {keep} : {HASH} }}"
    )


def asked_port(lane: Lane) -> str:
    """Who is asked, and our port; of IPv6 the last twelve bytes: nft 1.0.6 falls over a map whose
    key is longer than sixteen."""
    return f"{'ip daddr' if lane.family == 4 else '@nh,224,96'} . th sport"


def answered_port(lane: Lane) -> str:
    """The same in the reply."""
    return f"{'ip saddr' if lane.family == 4 else '@nh,96,96'} . th dport"


def _answers(lane: Lane, spec: OutwardSpec) -> Iterator[tuple[str, list[str]]]:
    name, back, answerer = lane.name, lane.back, lane.answerer
    pair = f"{back} . {answerer}"
    waiting = f"waits_{name}" if lane.local else f"pending_{name}"
    freed = []
    for cell in cells(spec):
        at = f"jhash {answerer} mod {spec.destinations} seed 2" if cell == "h" else cell
        freed.append(
            f"{pair} @at_{cell}_{name} delete @slots_{lane.kind.name} {{ {back} . {at} }} "
            f"delete @at_{cell}_{name} {{ {pair} }}"
        )
    after = ["meta priority set none"] if lane.local else []
    yield f"freed_{name}", [*freed, f"delete @{waiting} {{ {pair} }}", *after]
    answered = [f"{pair} @{waiting} goto freed_{name}", *after]
    if not lane.local:
        yield f"answered_{name}", answered
        return
    # The packet's priority carries the user for a moment: it is for packets that leave, and this
    # one has arrived.
    asked = f"{answered_port(lane)} map @asker_{name}"
    yield f"answered_{name}", [f"meta priority set {asked}", *answered]
    yield f"pong_{name}", [f"meta priority set {answerer} map @pinger_{name}", *answered]


def kind_rules(kind: Kind, spec: OutwardSpec) -> Iterator[tuple[str, list[str]]]:
    """Rates and what is cut, of a kind's families together."""
    for cap in caps(spec):
        yield f"cut_{cap}_{kind.name}", list(_cut(kind, cap, spec))
    rates = _rates(spec)
    for watched in (True, False):
        name = f"{'tight' if watched else ''}rates_{kind.name}"
        rules = [_rated(kind, cap, rate, match, watched) for cap, (rate, match) in rates.items()]
        if not watched:
            rules.insert(0, f"{kind.source} @watched_{kind.name} goto tightrates_{kind.name}")
        yield name, rules


def _rates(spec: OutwardSpec) -> dict[str, tuple[Rate, str]]:
    stated = {
        "smtp": (spec.smtp, SMTP),
        "syn": (spec.syn, "meta l4proto tcp"),
        "udp": (spec.udp, "meta l4proto udp"),
    }
    return {cap: (rate, match) for cap, (rate, match) in stated.items() if rate is not None}


def _rated(kind: Kind, cap: str, rate: Rate, match: str, watched: bool) -> str:
    part = WATCHED_PART if watched else 1
    each, burst = Fraction(rate.packets, rate.per * part), max(1, rate.burst // part)
    number, unit = limit(each)
    keep = seconds(min(DAY, int(burst / each) + rate.per + SECOND))
    held = f"{cap}_watched_{kind.name}" if watched else f"{cap}_{kind.name}"
    return (
        f"{match} update @{held} {{ {kind.source} timeout {keep} limit rate over "
        f"{number}/{unit} burst {burst} packets }} goto cut_{cap}_{kind.name}"
    )


def limit(each: Fraction) -> tuple[int, str]:
    """Packets per microsecond in one of nft's units: exactly where that can be said, else a
    little more."""
    for unit, span in _UNITS.items():
        if (number := each * span).denominator == 1:
            return int(number), unit
    return int(each * DAY) + 1, "day"


def _cut(kind: Kind, cap: str, spec: OutwardSpec) -> Iterator[str]:
    """Count it to its source, tell of it (a few of each), and keep it back. A full set ends the
    rule alone."""
    source = kind.source
    yield (
        f"update @capped_{cap}_{kind.name} "
        f"{{ {source} timeout {seconds(CAPPED_FOR)} counter }}"
    )  # fmt: skip
    if cap != "quarantine":
        yield (
            f"update @told_{cap}_{kind.name} {{ {source} timeout 10s limit rate {TOLD_EACH} }} "
            f"{log(cap)}"
        )
    if spec.mode == "enforce":
        yield "drop"


def log(what: str) -> str:
    """Tell who listens: the caps' words in the prefix, in all so many a second."""
    return f'limit rate {TOLD_ALL} log prefix "tg:{what}" group {NFLOG_GROUP} snaplen {SNAP}'
