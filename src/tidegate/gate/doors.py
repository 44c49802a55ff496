"""Doors: gates of guards that the kernel keeps, as nft text: throttles, and ports that refuse.

Touches nothing: text only. A door is closed while its ports stand in its set, each with a timeout
of the kernel, so that it opens by itself. Limits: new TCP connections to this host itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from hashlib import sha256
from typing import NamedTuple

from tidegate.gate.netfilter import Change
from tidegate.gate.port import MAX_DOOR_PORTS, MAX_DOORS
from tidegate.model import DAY, HOUR, MINUTE, SECOND, Micros
from tidegate.policy.guards import GateSpec, Refuse, Throttle

CHAIN = "closed"
"""Where new connections are looked up, when nobody before has accepted or dropped them."""

RESPONDER = 10421
"""The port of the loopback on which `smtp421` waits for what the kernel hands to it."""

SOURCES, HEAVIEST = 65535, 1024
"""Sources that one throttle keeps apart; when there are more, the others pass. And of those that
were cut, how many are counted one by one; when there are more, the others are cut uncounted."""

NEW = "tcp flags & (fin | syn | rst | ack) == syn"

_PORTS = 2 * MAX_DOOR_PORTS  # within a transaction an element that is exchanged counts twice
_SOURCE = {4: "ip saddr", 6: "ip6 saddr & ffff:ffff:ffff:ffff::"}
_TYPE = {4: "ipv4_addr", 6: "ipv6_addr"}
_UNITS = {"second": SECOND, "minute": MINUTE, "hour": HOUR, "day": DAY}
_LONGEST = DAY


class Made(NamedTuple):
    """What a layout has in it besides the bans: knocks are told of, and these gates of guards."""

    heard: bool
    doors: tuple[GateSpec, ...]

    @property
    def names(self) -> frozenset[str]:
        """The gates' names."""
        return frozenset(spec.name for spec in self.doors)


def spelt(name: str) -> str:
    """A gate's name as part of a set's; cut where it would be too long for the kernel."""
    plain = re.sub(r"[^A-Za-z0-9._]", lambda found: f"_{ord(found[0]):x}_", name)
    return plain if len(plain) <= 80 else f"{plain[:60]}_{sha256(name.encode()).hexdigest()[:16]}"


def ports_of(name: str) -> str:
    """The set of a gate's ports: closed are those that stand in it."""
    return f"closed_{spelt(name)}"


def heaviest_of(name: str, family: int) -> str:
    """The set of those that a throttle has cut, with a counter each."""
    return f"heaviest{family}_{spelt(name)}"


def _sources_of(name: str, family: int) -> str:
    return f"rate{family}_{spelt(name)}"


def _cut_of(name: str) -> str:
    return f"cut_{spelt(name)}"


def fault(spec: GateSpec) -> str:
    """Why the kernel can't keep this gate; "" if it can."""
    terms = spec.terms
    if not isinstance(terms, Throttle | Refuse):
        return "not a gate of the kernel"
    if not 0 < len(terms.ports) <= MAX_DOOR_PORTS:
        return f"it needs 1 to {MAX_DOOR_PORTS} ports"
    if len(set(terms.ports)) < len(terms.ports) or not all(0 < p <= 65535 for p in terms.ports):
        return "ports must be 1-65535, each once"
    if isinstance(terms, Throttle) and not (
        0 < terms.rate <= 1_000_000 and 0 < terms.burst <= 10_000 and SECOND <= terms.per <= DAY
    ):
        return "the kernel can't keep that rate"
    return ""


def kept(specs: Iterable[GateSpec]) -> tuple[GateSpec, ...]:
    """Those of them that the kernel can keep, the first of each name, as many as are permitted."""
    found: dict[str, GateSpec] = {}
    for spec in specs:
        if not fault(spec) and len(found) < MAX_DOORS:
            found.setdefault(spelt(spec.name), spec)
    return tuple(found.values())


def deferring(specs: Iterable[GateSpec]) -> frozenset[str]:
    """The names of those that take a responder, `smtp421`."""
    return frozenset(
        spec.name for spec in specs if isinstance(spec.terms, Refuse) and spec.terms.answer == "421"
    )


def sets(specs: Sequence[GateSpec]) -> dict[str, int]:
    """The kernel sets of these gates, and the size of each."""
    found: dict[str, int] = {}
    for spec in specs:
        found[ports_of(spec.name)] = _PORTS
        if isinstance(spec.terms, Throttle):
            for family in _SOURCE:
                found[_sources_of(spec.name, family)] = SOURCES
                found[heaviest_of(spec.name, family)] = HEAVIEST
    return found


def chains(specs: Sequence[GateSpec]) -> tuple[str, ...]:
    """The chains of these gates, those that are jumped to before those that jump."""
    cuts = [_cut_of(spec.name) for spec in specs if isinstance(spec.terms, Throttle)]
    return (*cuts, CHAIN) if specs else ()


def declared(specs: Sequence[GateSpec]) -> Iterator[str]:
    """What follows `add set inet tidegate`: names and types."""
    sizes = sets(specs)
    for spec in specs:
        name = ports_of(spec.name)
        yield f"{name} {{ type inet_service; flags timeout; size {sizes[name]}; }}"
        if isinstance(spec.terms, Throttle):
            for family, kind in _TYPE.items():
                for name in (_sources_of(spec.name, family), heaviest_of(spec.name, family)):
                    yield f"{name} {{ type {kind}; flags dynamic,timeout; size {sizes[name]}; }}"


def rules(specs: Sequence[GateSpec]) -> Iterator[str]:
    """What follows `add rule inet tidegate`, the rule that leads here included.

    Who is refused is told so at once, so refusing comes before throttling.
    """
    for spec in specs:
        if isinstance(spec.terms, Refuse):
            yield from _refusing(ports_of(spec.name), spec.terms)
    for spec in specs:
        if isinstance(spec.terms, Throttle):
            yield from _throttling(spec.name, spec.terms)
    if specs:
        # What is only forwarded is none of this host's services: whoever browses through it
        # goes on.
        yield f"gate {NEW} fib daddr type local jump {CHAIN}"


def _refusing(ports: str, terms: Refuse) -> Iterator[str]:
    if terms.answer == "421":
        # The responder waits on the loopback alone; a packet is handed to it as it is, so that
        # port and address stay what every other rule expects. Where nobody listens the rule does
        # not match, and the next one refuses.
        for family, address in (("ip", "127.0.0.1"), ("ip6", "[::1]")):
            yield (
                f"{CHAIN} tcp dport @{ports} "
                f"tproxy {family} to {address}:{RESPONDER} counter accept"
            )
    yield f"{CHAIN} tcp dport @{ports} counter reject with tcp reset"


def _throttling(name: str, terms: Throttle) -> Iterator[str]:
    number, unit = rate(terms)
    seconds = memory(terms) // SECOND
    for family, source in _SOURCE.items():
        # A full set ends the rule, as a mismatch does: then the new ones pass.
        yield (
            f"{CHAIN} tcp dport @{ports_of(name)} update @{_sources_of(name, family)} "
            f"{{ {source} timeout {seconds}s limit rate over {number}/{unit} "
            f"burst {terms.burst} packets }} counter goto {_cut_of(name)}"
        )
        yield (
            f"{_cut_of(name)} update @{heaviest_of(name, family)} "
            f"{{ {source} timeout {max(seconds, 600)}s counter }}"
        )
    yield f"{_cut_of(name)} drop"


def rate(terms: Throttle) -> tuple[int, str]:
    """How many in which of nft's units: exactly where that can be said, else rounded up."""
    each = Fraction(terms.rate, terms.per)
    for unit, span in _UNITS.items():
        if (number := each * span).denominator == 1:
            return int(number), unit
    return int(each * DAY) + 1, "day"


def memory(terms: Throttle) -> Micros:
    """For how long a source is remembered after its last attempt: until it has its burst again."""
    refill = terms.burst * terms.per // terms.rate + SECOND
    return min(_LONGEST, max(2 * terms.per, refill))


def keys_of(spec: GateSpec) -> list[bytes]:
    """Its ports as elements."""
    return [port.to_bytes(2) for port in ports_in(spec)]


def ports_in(spec: GateSpec) -> tuple[int, ...]:
    """The ports it closes."""
    return spec.terms.ports if isinstance(spec.terms, Throttle | Refuse) else ()


def makes(specs: tuple[GateSpec, ...]) -> Iterator[Made]:
    """Everything that is wanted, then less and less of it: what remains are the bans."""
    plain = tuple(
        replace(spec, terms=replace(spec.terms, answer="reset"))
        if isinstance(spec.terms, Refuse)
        else spec
        for spec in specs
    )
    for some in dict.fromkeys((specs, plain, ())):
        for heard in (True, False):
            yield Made(heard, some)


def closing(specs: Iterable[GateSpec], standing: Mapping[str, Micros], now: Micros) -> list[Change]:
    """The changes after which exactly these of the gates are closed."""
    return [
        change for spec in specs for change in _exchange(spec, standing.get(spec.name, now) - now)
    ]


def _exchange(spec: GateSpec, left: Micros) -> list[Change]:
    """The changes that close a gate for so long, or open it (0)."""
    name = ports_of(spec.name)
    changes = [Change("flush", name, ())]
    if left > 0:
        keys = keys_of(spec)
        changes.append(Change("create", name, keys, [(left + 999) // 1000] * len(keys)))
    return changes
