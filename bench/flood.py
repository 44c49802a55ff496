"""Packets by the thousand: built once, sent with sendmmsg(2) from raw sockets, timed by the CPU.

Touches a raw socket in the network namespace of the caller, and the own process's scheduling, for
as long as it sends. The receiving side of a veth pair runs in the sender's time, so its CPU seconds
are the whole path's. Limits: IPv4; one thread.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address

_LIBC = ctypes.CDLL(None, use_errno=True)
AT_ONCE = 1000
SYN, PUSH, ACK = 0x02, 0x08, 0x10


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p), ("namelen", ctypes.c_uint32),
        ("iov", ctypes.c_void_p), ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p), ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_size_t),  # and padding
        ("sent", ctypes.c_size_t),
    )  # fmt: skip


def sum16(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return int(~(total + (total >> 16)) & 0xFFFF)


def packet(source: str, target: str, protocol: int, payload: bytes) -> bytes:
    """An IPv4 packet with the checksums of UDP or TCP."""
    addresses = IPv4Address(source).packed + IPv4Address(target).packed
    odd = len(payload) % 2
    pseudo = addresses + struct.pack(">BBH", 0, protocol, len(payload)) + payload + bytes(odd)
    at = 6 if protocol == socket.IPPROTO_UDP else 16
    payload = payload[:at] + struct.pack(">H", sum16(pseudo)) + payload[at + 2 :]
    # The kernel fills in the length and the checksum of the header of a raw packet.
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, 64, protocol, 0)
    return head + addresses + payload


def udp(source: str, target: str, sport: int, port: int, size: int = 64) -> bytes:
    """One datagram."""
    body = struct.pack(">HHHH", sport, port, 8 + size, 0) + bytes(size)
    return packet(source, target, socket.IPPROTO_UDP, body)


def tcp(
    source: str, target: str, ports: tuple[int, int], flags: int, numbers: tuple[int, int],
    size: int = 0,
) -> bytes:  # fmt: skip
    """One segment; `numbers`: sequence and acknowledgement."""
    body = struct.pack(">HHIIBBHHH", *ports, *numbers, 0x50, flags, 60_000, 0, 0) + bytes(size)
    return packet(source, target, socket.IPPROTO_TCP, body)


class Train:
    """Packets to one next hop, ready to be sent again and again by `where`, a raw socket."""

    def __init__(self, where: socket.socket, packets: Sequence[bytes]) -> None:
        self._socket = where
        self._count = len(packets)
        self._kept = [ctypes.create_string_buffer(one, len(one)) for one in packets]
        self._names = [
            ctypes.create_string_buffer(
                struct.pack("=HH", socket.AF_INET, 0) + one[16:20] + bytes(8), 16
            )
            for one in packets
        ]
        self._vectors = (_Vector * len(packets))(
            *(_Vector(ctypes.addressof(one), len(one)) for one in self._kept)
        )
        self._headers = (_Header * len(packets))()
        for at, header in enumerate(self._headers):
            header.name, header.namelen = ctypes.addressof(self._names[at]), 16
            header.iov, header.iovlen = ctypes.addressof(self._vectors[at]), 1

    def send(self) -> None:
        """All of them once."""
        size, descriptor = ctypes.sizeof(_Header), self._socket.fileno()
        start = ctypes.addressof(self._headers)
        done = 0
        while done < self._count:
            sent = _LIBC.sendmmsg(
                descriptor, ctypes.c_void_p(start + done * size),
                min(AT_ONCE, self._count - done), 0,
            )  # fmt: skip
            if sent < 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            done += sent

    def cost(self, times: int) -> float:
        """CPU microseconds of one packet, sent so many times over."""
        began = time.thread_time_ns()
        for _turn in range(times):
            self.send()
        return (time.thread_time_ns() - began) / 1000 / (times * self._count)


def raw() -> socket.socket:
    """A socket for packets with headers of their own."""
    made = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
    return made


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """On one processor, before everybody else: what a packet causes is done in our time then, not
    in the kernel's threads. For a fraction of a second only."""
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cpus)})
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        os.sched_setaffinity(0, cpus)
