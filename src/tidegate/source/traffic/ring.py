"""Packets as they pass: their heads, from a ring that the kernel fills (AF_PACKET, TPACKET_V3).

Touches a packet socket of this network namespace: needs CAP_NET_RAW, switches no interface to
promiscuous mode. Of many packets the kernel picks one in N by chance, before it copies anything.
Limits: `SNAP` bytes of each; what finds the ring full is counted, not seen. packet(7),
Documentation/networking/packet_mmap.rst, Documentation/networking/filter.rst.
"""

from __future__ import annotations

import ctypes
import mmap
import socket
import struct
import time
from collections.abc import Iterator
from typing import NamedTuple

from tidegate.errors import SourceError

SNAP = 96
MOST_THIN = 1 << 16
_BLOCK, _BLOCKS, _FRAME, _RETIRE = 1 << 18, 16, 1 << 11, 40
_ALL = 0x0003
_IPV4, _IPV6 = 0x0800, 0x86DD
_ATTACH_FILTER = 26
_PACKET, _VERSION, _RX_RING, _STATISTICS = 263, 10, 5, 6
_USER, _KERNEL = 1, 0
_REQUEST = struct.Struct("=7I")
# struct tpacket_hdr_v1, behind version and offset of struct tpacket_block_desc: status, packets,
# first, length, number, then the moments of the first and the last packet.
_DESCRIPTOR = struct.Struct("=8xIII4xQIIII")
# struct tpacket3_hdr: next, seconds, nanoseconds, snapped, length, status, mac, net; then, behind
# 20 bytes of hash, vlan and padding, struct sockaddr_ll: family, protocol, interface, type, kind.
_HEAD = struct.Struct("=IIIII4x2xH20xxx2siHB")
_STATUS = struct.Struct("=I")
_INSTRUCTION = struct.Struct("=HBBI")
_EXTRA = 0xFFFFF000
"""SKF_AD_OFF of linux/filter.h: what is no byte of the packet is loaded from here."""
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06


class Frame(NamedTuple):
    """One packet: interface, how it passed (`OUTGOING` or not, packet(7)), the link's protocol,
    its length from the IP header on, the bytes of it that were kept, for how many it stands."""

    interface: int
    kind: int
    protocol: int
    length: int
    head: bytes
    weight: int


HOST, BROADCAST, MULTICAST, OTHERHOST, OUTGOING = range(5)


class Missed(NamedTuple):
    """What passed the choice by chance since last asked, and what of it found the ring full."""

    packets: int
    lost: int


class Ring:
    """All interfaces but the loopback, IPv4 and IPv6."""

    def __init__(self) -> None:
        self.weight = 1
        self._changes = [(0, 1)]  # from when on (nanoseconds) a packet stood for how many
        self._at = 0
        try:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ALL))
        except PermissionError:
            raise SourceError("seeing packets needs root (or CAP_NET_RAW): try sudo") from None
        except OSError as error:
            raise SourceError(f"this kernel shows no packets: {error}") from error
        try:
            self._filter(1)
            self._socket.setsockopt(_PACKET, _VERSION, 2)
            frames = _BLOCK * _BLOCKS // _FRAME
            self._socket.setsockopt(
                _PACKET, _RX_RING,
                _REQUEST.pack(_BLOCK, _BLOCKS, _FRAME, frames, _RETIRE, 0, 0),
            )  # fmt: skip
            self._memory = mmap.mmap(self._socket.fileno(), _BLOCK * _BLOCKS)
            self.missed()  # what came before the filter is in no ring
        except OSError as error:
            self._socket.close()
            raise SourceError(f"this kernel has no ring for packets: {error}") from error

    def fileno(self) -> int:
        """Readable when a block is full, or some time after its first packet."""
        return self._socket.fileno()

    def close(self) -> None:
        """Give socket and ring back."""
        self._memory.close()
        self._socket.close()

    def thin(self, weight: int) -> None:
        """From now on one packet stands for so many; a power of two."""
        if weight != self.weight:
            self._filter(weight)
            self._changes = [*self._changes[-1:], (time.time_ns(), weight)]
            self.weight = weight

    def missed(self) -> Missed:
        """Asked now and then; each time since the last."""
        said = self._socket.getsockopt(_PACKET, _STATISTICS, 12)
        packets, lost, _freezes = struct.unpack("=III", said)
        return Missed(packets, lost)

    def take(self, most: int = _BLOCKS) -> Iterator[Frame]:
        """What has come, a whole block at a time; each block is given back once it was read."""
        for _number in range(most):
            base = self._at * _BLOCK
            status, count, first, *moments = _DESCRIPTOR.unpack_from(self._memory, base)
            if not status & _USER:
                return
            yield from self._block(base, count, first, moments)
            _STATUS.pack_into(self._memory, base + 8, _KERNEL)
            self._at = (self._at + 1) % _BLOCKS

    def _block(self, base: int, count: int, first: int, moments: list[int]) -> Iterator[Frame]:
        memory, unpack = self._memory, _HEAD.unpack_from
        began, ended = (s * 1_000_000_000 + n for s, n in (moments[1:3], moments[3:5]))
        changed, weight = self._changes[-1]
        before = self._changes[0][1]
        if ended < changed:
            weight = before
        mixed = began < changed <= ended
        at = base + first
        for _number in range(count):
            step, seconds, nanos, snapped, length, net, protocol, interface, _type, kind = unpack(
                memory, at
            )
            start = at + net
            stands = weight
            if mixed and seconds * 1_000_000_000 + nanos < changed:
                stands = before
            yield Frame(
                interface, kind, int.from_bytes(protocol), length,
                memory[start : start + snapped], stands,
            )  # fmt: skip
            at += step

    def _filter(self, weight: int) -> None:
        """No loopback, nothing but IP, and of that one in `weight`, by the kernel's own dice."""
        loopback = socket.if_nametoindex("lo")
        lines = [  # jumps count from the next line
            (_LOAD, 0, 0, _EXTRA + 8),  # the interface's number
            (_EQUAL, 5, 0, loopback),
            (_LOAD, 0, 0, _EXTRA + 0),  # the link's protocol
            (_EQUAL, 1, 0, _IPV4),
            (_EQUAL, 0, 2, _IPV6),
            (_LOAD, 0, 0, _EXTRA + 56),  # a random number
            (_ANY_BIT, 0, 1, weight - 1),  # any of these bits is set
            (_RETURN, 0, 0, 0),
            (_RETURN, 0, 0, SNAP),
        ]
        program = b"".join(_INSTRUCTION.pack(*line) for line in lines)
        held = ctypes.create_string_buffer(program, len(program))
        self._socket.setsockopt(
            socket.SOL_SOCKET, _ATTACH_FILTER,
            struct.pack("HL", len(lines), ctypes.addressof(held)),
        )  # fmt: skip
