"""The gate's own memory: which address is closed in which set until when, and which gives way.

Touches nothing: no kernel, no clock. `take` turns requests into the puts and drops of each set.
Limits: at most `capacity` elements a set; when full, the one with the least time left goes.
"""

from __future__ import annotations

import heapq
import re
import socket
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from tidegate.gate.port import LONGEST, MAX_PORTS, MAX_SCOPES, WIDEST, Closed, Refusal, Request
from tidegate.model import Ban, Micros, Subject
from tidegate.subject import Network, from_network

_NAME = re.compile(r"(ban|allow)([46])_(\d{1,3})((?:_\d{1,5})*)", re.ASCII)
_HOST_BITS = {
    4: [(1 << (32 - length)) - 1 for length in range(33)],
    6: [(1 << (128 - length)) - 1 for length in range(129)],
}


class Scope(NamedTuple):
    """One set of the gate: what it is for, its family, prefix length, and the ports it closes."""

    verb: Literal["ban", "allow"]
    family: int
    length: int
    ports: tuple[int, ...]

    @property
    def name(self) -> str:
        """The name of its kernel set: `ban4_32`, `ban6_64_25_465`; `named` reads it back."""
        ports = "".join(f"_{port}" for port in self.ports)
        return f"{self.verb}{self.family}_{self.length}{ports}"

    @property
    def sentinel(self) -> bytes:
        """An element that is always in the set and never on the wire: 255.255.255.255, masked.

        Nothing sends from the end of the address space (RFC 1112 §4, RFC 4291 §2.7), and a
        prefix of at least /8 never reaches below it.
        """
        width = 32 if self.family == 4 else 128
        host = _HOST_BITS[self.family][self.length]
        return (((1 << width) - 1) ^ host).to_bytes(width // 8)


def named(name: str) -> Scope | None:
    """The scope behind the name of a kernel set; None where it is none of ours."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    verb: Literal["ban", "allow"] = "ban" if found[1] == "ban" else "allow"
    ports = tuple(int(port) for port in found[4].split("_")[1:])
    return Scope(verb, int(found[2]), int(found[3]), ports)


def place(subject: str) -> tuple[int, int, bytes] | str:
    """Family, prefix length and packed bits of a canonical subject; the reason if it is none.

    About 1 µs: this runs once for each request of a restore.
    """
    address, slash, suffix = subject.partition("/")
    six = ":" in address
    family = socket.AF_INET6 if six else socket.AF_INET
    try:
        bits = socket.inet_pton(family, address)
        if socket.inet_ntop(family, bits) != address:
            return "not the canonical spelling of an address"
    except (OSError, ValueError):
        return "not an address"
    if bits[0] == 255:
        return "nothing sends from there"  # and the sentinels stand there
    if not slash:
        if six and bits.startswith(b"\0\0\0\0\0\0\0\0\0\0\xff\xff"):
            return "an IPv4-mapped address; say the IPv4 address"
        return (6, 128, bits) if six else (4, 32, bits)
    if (
        not (suffix.isascii() and suffix.isdigit() and len(suffix) <= 3)
        or suffix[0] == "0" != suffix
    ):
        return "not a prefix length"
    number, length = (6 if six else 4), int(suffix)
    hosts = _HOST_BITS[number]
    if length >= len(hosts) - 1:
        return "a prefix length that is too long or says nothing"
    if int.from_bytes(bits) & hosts[length]:
        return "bits are set behind the prefix"
    if length < WIDEST[number]:
        return f"wider than /{WIDEST[number]}"
    return number, length, bits


def faulty_ports(ports: Sequence[int]) -> str:
    """Why these ports can't be a scope; "" if they can: 1-65535, ascending, no more than 40."""
    if len(ports) > MAX_PORTS:
        return f"more than {MAX_PORTS} ports"
    previous = 0
    for port in ports:
        if not previous < port <= 65535:
            return "ports must be 1-65535, ascending, each once"
        previous = port
    return ""


class Plan(NamedTuple):
    """What must change in the kernel: per set, elements to put until a time, elements to drop.

    `renewed` are those of the puts that stood before; `fresh` are sets that did not exist.
    """

    puts: dict[Scope, dict[bytes, Micros]]
    renewed: dict[Scope, set[bytes]]
    drops: dict[Scope, set[bytes]]
    refusals: list[Refusal]
    fresh: set[Scope]


class Book:
    """Every element of every set with its end. Not thread-safe; grows to `capacity` per set."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.sets: dict[Scope, dict[bytes, Micros]] = {}
        self.evicted = 0
        self._heaps: dict[Scope, list[tuple[Micros, bytes]]] = {}
        self._faulty: dict[tuple[int, ...], str] = {}

    def take(self, requests: Sequence[Request], now: Micros) -> Plan:
        """Write the requests down, in order, and say what that changes; the last word counts.

        A restore is one long run of the same scope, so what belongs to the scope of the request
        before is kept at hand: about 1 µs a request.
        """
        plan = Plan({}, {}, {}, [], set())
        latest = now + LONGEST
        run: tuple[str, int, int, tuple[int, ...]] | None = None
        for index, (verb, subject, ports, until) in enumerate(requests):
            where = place(subject)
            if isinstance(where, str):
                plan.refusals.append(Refusal(index, where))
                continue
            family, length, bits = where
            if until > now and (verb == "ban" or verb == "allow"):
                key = (verb, family, length, ports or ())
                if key != run:
                    scope = self._scope(verb, family, length, ports or (), plan)
                    if isinstance(scope, str):
                        plan.refusals.append(Refusal(index, scope))
                        continue
                    run = key
                    held, new = self.sets[scope], plan.puts.setdefault(scope, {})
                    renewed = plan.renewed.setdefault(scope, set())
                    gone, heap = plan.drops.get(scope), self._heaps.get(scope)
                if bits in held:
                    renewed.add(bits)
                end = held[bits] = new[bits] = until if until < latest else latest
                if gone:
                    gone.discard(bits)
                if heap is not None:
                    heapq.heappush(heap, (end, bits))
            else:
                run = None
                ports = (ports or ()) if verb == "ban" else ports
                for scope in self._scopes(verb, family, length, ports):
                    self._drop(scope, bits, plan)
        for scope in plan.puts:
            if len(self.sets[scope]) > self.capacity:
                self._make_room(scope, requests, now, plan)
        return plan

    def _scope(
        self,
        verb: Literal["ban", "allow"],
        family: int,
        length: int,
        ports: tuple[int, ...],
        plan: Plan,
    ) -> Scope | str:
        scope = Scope(verb, family, length, ports)
        if scope in self.sets:
            return scope
        if verb == "allow" and ports:
            return "an allow is for every port"
        fault = faulty_ports(ports)
        if fault:
            return fault
        if len(self.sets) >= MAX_SCOPES:
            return f"more than {MAX_SCOPES} different scopes"
        self.sets[scope] = {}
        plan.fresh.add(scope)
        return scope

    def _scopes(
        self, verb: str, family: int, length: int, ports: tuple[int, ...] | None
    ) -> list[Scope]:
        wanted = "ban" if verb in ("ban", "unban") else "allow"
        return [
            scope
            for scope in self.sets
            if scope[:3] == (wanted, family, length) and (ports is None or ports == scope.ports)
        ]

    def _drop(self, scope: Scope, bits: bytes, plan: Plan) -> None:
        self.sets[scope].pop(bits, None)
        plan.puts.get(scope, {}).pop(bits, None)
        plan.drops.setdefault(scope, set()).add(bits)

    def _make_room(
        self, scope: Scope, requests: Sequence[Request], now: Micros, plan: Plan
    ) -> None:
        """Forget what is over; if that is not enough, the elements with the least time left go."""
        held, new = self.sets[scope], plan.puts[scope]
        for bits in [bits for bits, until in held.items() if until <= now]:
            del held[bits]
        heap = self._heaps.get(scope)
        if heap is None or len(heap) > 2 * len(held) + 64:
            heap = self._heaps[scope] = [(until, bits) for bits, until in held.items()]
            heapq.heapify(heap)
        refused: set[bytes] = set()
        while len(held) > self.capacity:
            until, bits = heapq.heappop(heap)
            if held.get(bits) != until:
                continue
            del held[bits]
            plan.drops.setdefault(scope, set()).add(bits)
            if new.pop(bits, None) is None:
                self.evicted += 1
            else:
                refused.add(bits)
        if refused:
            reason = f"the set is full ({self.capacity}) and every other ban ends later"
            indexes = self.indexes(requests)
            plan.refusals.extend(Refusal(indexes[scope, bits], reason) for bits in refused)

    @staticmethod
    def indexes(requests: Sequence[Request]) -> dict[tuple[Scope, bytes], int]:
        """Which request (the last one) spoke of an element; for the rare path of a refusal."""
        found: dict[tuple[Scope, bytes], int] = {}
        for index, (verb, subject, ports, _until) in enumerate(requests):
            where = place(subject)
            if isinstance(where, tuple):
                kind: Literal["ban", "allow"] = "ban" if verb in ("ban", "unban") else "allow"
                found[Scope(kind, where[0], where[1], ports or ()), where[2]] = index
        return found

    def forget(self, scope: Scope, bits: bytes) -> None:
        """The kernel did not take this element."""
        self.sets.get(scope, {}).pop(bits, None)

    def prune(self, now: Micros) -> int:
        """Forget what is over; returns how many elements that were."""
        gone = 0
        for scope, held in self.sets.items():
            kept = {bits: until for bits, until in held.items() if until > now}
            gone += len(held) - len(kept)
            self.sets[scope] = kept
            self._heaps.pop(scope, None)
        return gone

    def standing(self, now: Micros) -> Iterator[Closed]:
        """Everything that is not over yet."""
        for scope, held in self.sets.items():
            for bits, until in held.items():
                if until > now:
                    yield closed(scope, bits, until)


def requests_of(bans: Sequence[Ban], allows: Sequence[Ban]) -> list[Request]:
    """The bans, then the allows, as requests."""
    make = tuple.__new__  # what a NamedTuple does in the end, at a third of the time
    found = [make(Request, ("ban", *ban)) for ban in bans]
    return found + [make(Request, ("allow", *allow)) for allow in allows]


def closed(scope: Scope, bits: bytes, until: Micros) -> Closed:
    """An element of a set in the words of the port."""
    subject: Subject = from_network(Network(scope.family, scope.length, bits))
    return Closed(subject, scope.ports, until, scope.verb == "allow")
