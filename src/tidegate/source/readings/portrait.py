"""What the host looks like just now, as text for people: load, memory, processes, connections.

Touches /proc and sock_diag(7); takes half a second, in which the cpu time of processes is compared.
Limits: the ten largest of each sort; at most 65,536 processes and 200,000 sockets are looked at.
"""

from __future__ import annotations

import os
import pwd
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from tidegate.errors import SourceError
from tidegate.source.readings.load import Load
from tidegate.source.readings.network import dump
from tidegate.source.readings.pressure import RESOURCES, Pressure
from tidegate.source.readings.queue import Queues
from tidegate.source.readings.ram import Memory
from tidegate.source.readings.taking import Places, Taker, one_line, said
from tidegate.text import printable

MOST = 10
COMPARED = 0.5
_MOST_PROCESSES = 65_536
_MOST_SOCKETS = 200_000
_STATES = {
    1: "established", 2: "syn-sent", 3: "syn-received", 4: "fin-wait-1", 5: "fin-wait-2",
    6: "time-wait", 7: "closed", 8: "close-wait", 9: "last-ack", 10: "listening", 11: "closing",
    12: "syn-received",
}  # fmt: skip
_EVERY = 0xFFF
_LISTENING = 10
_MAPPED = b"\0" * 10 + b"\xff\xff"
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Used(NamedTuple):
    """One process: who began when, what it is called, ticks of cpu time, bytes of memory."""

    number: int
    began: bytes
    name: str
    ticks: int
    resident: int


class Portrait:
    """Draws the host, again and again. A part that can't be drawn says why in its place."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._load = Load(places)
        self._pressure = Pressure(places)
        self._memory = Memory(places)
        self._queues = Queues()
        self._look = 0

    def lines(self) -> Iterator[str]:
        """Every line, safe to be shown."""
        self._look += 1
        parts: tuple[Callable[[], Iterator[str]], ...] = (
            self._numbers, self._processes, self._connections, self._waiting,
        )  # fmt: skip
        for part in parts:
            try:
                yield from map(printable, part())
            except SourceError as error:
                yield one_line(printable(str(error)))
            except OSError as error:
                yield one_line(printable(said(error)))
            except (ValueError, LookupError) as error:
                yield one_line(printable(f"what was read makes no sense: {error!r}"))

    def _numbers(self) -> Iterator[str]:
        load = [self._value(self._load.taker(f"la{n}", per_core=False)) for n in (1, 5, 15)]
        yield f"load {', '.join(load)}: {self._load.describe()}"
        for what in RESOURCES:
            takers = [self._pressure.taker(f"psi.{what}.{who}") for who in ("some", "full")]
            some, full = (self._value(taker) for taker in takers if taker is not None)
            yield f"pressure on {what}: some {some} %, full {full} %"
        for words, name in (
            ("memory used", "memused"), ("memory available", "memavailable"),
            ("swap used", "swapused"),
        ):  # fmt: skip
            taken = self._memory.taker(name).attempt(self._look)
            if taken.value is not None and taken.whole:
                yield f"{words}: {_size(taken.value)} of {_size(taken.whole)}"

    def _value(self, taker: Taker) -> str:
        taken = taker.attempt(self._look)
        return "unknown" if taken.value is None else f"{taken.value:g}"

    def _processes(self) -> Iterator[str]:
        first = {(one.number, one.began): one.ticks for one in self._used()}
        began = time.monotonic()
        time.sleep(COMPARED)
        now = list(self._used())
        seconds = time.monotonic() - began
        shares = [
            ((one.ticks - first.get((one.number, one.began), 0)) / _TICKS / seconds, one)
            for one in now
        ]
        shares.sort(key=lambda pair: pair[0], reverse=True)
        yield f"processes: {len(now)}, by cpu in the last {seconds:.1f} s, of one core:"
        for share, one in shares[:MOST]:
            if share >= 0.005:
                yield f"  {share:6.0%}  {self._who(one)}"
        yield "by memory:"
        for one in sorted(now, key=lambda one: one.resident, reverse=True)[:MOST]:
            if one.resident:
                yield f"  {_size(one.resident):>9}  {self._who(one)}"

    def _used(self) -> Iterator[Used]:
        numbers = (name for name in os.listdir(self._places.proc) if name.isdigit())
        for name in islice(numbers, _MOST_PROCESSES):
            data = _bytes(f"{self._places.proc}/{name}/stat")
            head, _, tail = data.rpartition(b") ")
            fields = tail.split()
            if len(fields) < 22:
                continue
            called = head.partition(b"(")[2].decode("utf-8", "surrogateescape")
            ticks = int(fields[11]) + int(fields[12])
            yield Used(int(name), fields[19], called, ticks, int(fields[21]) * _PAGE)

    def _who(self, one: Used) -> str:
        folder = f"{self._places.proc}/{one.number}"
        try:
            owner = os.stat(folder).st_uid
        except OSError:
            return f"{one.number} {one.name} (ended meanwhile)"
        try:
            user = pwd.getpwuid(owner).pw_name
        except KeyError:
            user = str(owner)
        words = _bytes(f"{folder}/cmdline")[:400].replace(b"\0", b" ").strip()
        line = words.decode("utf-8", "surrogateescape") or f"[{one.name}]"
        return f"{one.number} {user} {line[:100]}"

    def _connections(self) -> Iterator[str]:
        states: Counter[str] = Counter()
        peers: Counter[tuple[bytes, int]] = Counter()
        full = False
        for count, found in enumerate(dump(_EVERY)):
            if count >= _MOST_SOCKETS:
                full = True
                break
            state = found[17]
            states[_STATES.get(state, str(state))] += 1
            if state != _LISTENING:
                peer = found[40:44] if found[16] == socket.AF_INET else found[40:56]
                if peer.startswith(_MAPPED) and len(peer) == 16:
                    peer = peer[12:]
                peers[peer, int.from_bytes(found[20:22])] += 1
        more = " (there are more)" if full else ""
        told = ", ".join(f"{count} {name}" for name, count in states.most_common())
        yield f"TCP connections{more}: {told or 'none'}"
        if peers:
            yield "most of them with:"
        for (peer, port), count in peers.most_common(MOST):
            family = socket.AF_INET if len(peer) == 4 else socket.AF_INET6
            yield f"  {count:6}  {socket.inet_ntop(family, peer)} at our port {port}"

    def _waiting(self) -> Iterator[str]:
        for program, spool in (("exim", "exim4"), ("postfix", "postfix")):
            if Path("/var/spool", spool).is_dir():
                taken = self._queues.taker(program).attempt(self._look)
                count = taken.why if taken.value is None else f"{taken.value:.0f} messages"
                yield f"queue of {program}: {count}"


def _bytes(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def _size(value: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:.3g} GiB"
