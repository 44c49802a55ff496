"""Packets that the outward caps kept back, as the kernel logs them: NFLOG with the stdlib alone.

Touches one netlink socket of the network namespace it was made in (linux/netfilter/
nfnetlink_log.h); needs CAP_NET_ADMIN. The kernel hands over at most every 40 ms, many at once.
Limits: how many are told is limited by the rules that log; what was lost behind them is counted,
and so is what was passed over because there was too much.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from typing import NamedTuple

from tidegate.errors import SourceError
from tidegate.model import SECOND, Micros
from tidegate.nfnetlink import (
    ACK,
    REQUEST,
    ask,
    attribute,
    listener,
    lost,
    messages,
    packed,
)

GROUP = 2004

_PACKET, _CONFIG = 4 << 8 | 0, 4 << 8 | 1
_HEAD, _TIMESTAMP, _INDEV, _PAYLOAD, _PREFIX, _UID, _SEQUENCE = 1, 3, 4, 9, 10, 11, 12
_NUMBERS = frozenset({_INDEV, _UID, _SEQUENCE})
_ATTRIBUTE = struct.Struct("=HH").unpack_from
_BUFFER = 1 << 20
_SNAP = 128
_MESSAGE = 16 << 10  # bytes that the kernel gathers before it hands over
_MANY = 64  # packets after which it hands over
_SOON = 4  # hundredths of a second after which it does in any case
_AT_ONCE = 256
MOST_LOOKED_AT = 50
"""Packets, about, that one reading looks at; there are some twenty-five readings a second."""


class Kept(NamedTuple):
    """One packet of which the kernel told. `prefix` is the rule's word for it, `hook` where it was
    (linux/netfilter.h); `uid` None and `interface` (it came in by) 0 where it has none; `time` 0
    where the kernel did not say."""

    time: Micros
    prefix: str
    hook: int
    uid: int | None
    interface: int
    sequence: int
    packet: bytes


class Nflog:
    """The socket of one group. Raises SourceError where it can't be had."""

    def __init__(self, group: int = GROUP) -> None:
        self._missed = self.passed_over = 0
        self._next: int | None = None
        try:
            self._socket = listener(_BUFFER)
        except OSError as error:
            raise SourceError(f"the kernel offers no netlink socket: {error}") from error
        try:
            self._ask(group)
        except OSError as error:
            self._socket.close()
            raise SourceError(_refused(group, error)) from error

    def fileno(self) -> int:
        """Readable when packets were kept back."""
        return self._socket.fileno()

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()

    @property
    def lost(self) -> int:
        """Packets that the kernel wanted to tell of and that never came here."""
        return self._missed

    @property
    def full(self) -> int:
        """How often the socket's buffer was full."""
        return lost(self._socket)

    def read(self) -> list[Kept]:
        """What was kept back since last asked, without waiting. Of very many some are looked at:
        who is kept back goes on being told of, and the kernel counts them all."""
        found: list[Kept] = []
        for _turn in range(_AT_ONCE):
            try:
                data, (sender, _groups) = self._socket.recvfrom(1 << 17)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # which only says what `sequence` shows
                    raise SourceError(f"cut packets can't be heard: {error}") from error
                continue
            if sender != 0:  # not the kernel itself
                continue
            if len(found) >= MOST_LOOKED_AT:
                passed = sum(kind == _PACKET for kind, _body in messages(data))
                self.passed_over += passed
                self._next = None if self._next is None else self._next + passed
                continue
            fresh = list(kept_in(data))
            self._follow(fresh)
            found += fresh
        return found

    def _follow(self, fresh: list[Kept]) -> None:
        """Gaps in the numbers are packets that never came here."""
        for one in fresh:
            if self._next is not None and one.sequence > self._next:
                self._missed += one.sequence - self._next
            self._next = one.sequence + 1

    def _ask(self, group: int) -> None:
        parts = (
            (1, b"\1"),  # bind
            (2, struct.pack(">IBx", _SNAP, 2)),  # copy packets, so many bytes
            (3, struct.pack(">I", _MESSAGE)),
            (4, struct.pack(">I", _SOON)),
            (5, struct.pack(">I", _MANY)),
            (6, struct.pack(">H", 1)),  # number them, so that gaps show
        )
        payload = struct.pack(">BBH", 0, 0, group) + b"".join(attribute(*part) for part in parts)
        ask(self._socket, packed(_CONFIG, REQUEST | ACK, payload))


def _refused(group: int, error: OSError) -> str:
    if error.errno == errno.EPERM:
        why = "another program has it, or CAP_NET_ADMIN is missing"
    elif error.errno == errno.EINVAL:
        why = "this kernel has none (CONFIG_NETFILTER_NETLINK_LOG)"
    else:
        why = str(error)
    return f"NFLOG group {group} can't be had: {why}"


def kept_in(data: bytes) -> Iterator[Kept]:
    """The packets in one datagram of the kernel; whatever is none is left out."""
    for kind, body in messages(data):
        if kind == _PACKET and len(body) >= 4:
            yield _kept(body)


def _kept(body: bytes) -> Kept:
    time: Micros = 0
    prefix, packet = "", b""
    uid: int | None = None
    hook = interface = sequence = 0
    # A thousand of these may come in a second: no generator, and no more than is looked at.
    at, end = 4, len(body)
    while at + 4 <= end:
        length, kind = _ATTRIBUTE(body, at)
        if length < 4 or at + length > end:
            break
        value, kind = body[at + 4 : at + length], kind & 0x3FFF
        at += (length + 3) & ~3
        if kind == _PAYLOAD:
            packet = value
        elif kind == _PREFIX:
            prefix = value.rstrip(b"\0").decode("ascii", "replace")
        elif kind == _HEAD and len(value) == 4:
            hook = value[2]
        elif kind == _TIMESTAMP and len(value) == 16:
            seconds, micros = struct.unpack(">QQ", value)
            time = seconds * SECOND + micros
        elif kind in _NUMBERS and len(value) == 4:
            number = int.from_bytes(value)
            if kind == _UID:
                uid = number
            elif kind == _INDEV:
                interface = number
            else:
                sequence = number
    return Kept(time, prefix, hook, uid, interface, sequence, packet)
