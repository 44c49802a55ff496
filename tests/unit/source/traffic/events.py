"""Conntrack's messages as the kernel writes them, made by hand; and its BPF machine in Python.

Touches nothing. Limits: two ports or an echo, zone 0, which is what the program and `Outcomes` look at; the
machine knows the instructions that the program uses.
"""

from __future__ import annotations

import socket
import struct

from tidegate.nfnetlink import attribute

NESTED = 0x8000
NEW, UPDATED, DESTROYED = "new", "updated", "destroyed"
_KINDS = {NEW: (0x100, 0x600), UPDATED: (0x100, 0), DESTROYED: (0x102, 0)}


def packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def _tuple(kind: int, source: str, target: str, protocol: int, ports: tuple[int, int]) -> bytes:
    first, second = (3, 4) if ":" in source else (1, 2)
    addresses = attribute(first, packed(source)) + attribute(second, packed(target))
    numbers = attribute(1, bytes([protocol]))
    if protocol in (1, 58):
        at = 4 if protocol == 1 else 7
        numbers += attribute(at, struct.pack(">H", ports[0]))
        numbers += attribute(at + 1, b"\x08") + attribute(at + 2, b"\0")
    else:
        numbers += attribute(2, struct.pack(">H", ports[0]))
        numbers += attribute(3, struct.pack(">H", ports[1]))
    return attribute(
        kind | NESTED, attribute(1 | NESTED, addresses) + attribute(2 | NESTED, numbers)
    )


def event(
    kind: str,
    source: str,
    target: str,
    *,
    protocol: int = 6,
    ports: tuple[int, int] = (40000, 80),
    status: int = 8,
    state: int | None = 1,
    before: bytes = b"",
) -> bytes:
    """One datagram. `state` None: without TCP's; `before`: attributes in front of it."""
    body = _tuple(1, source, target, protocol, ports)
    body += _tuple(2, target, source, protocol, ports[::-1])
    body += attribute(12, b"abcd") + attribute(3, struct.pack(">I", status))
    if kind != DESTROYED:
        body += attribute(7, struct.pack(">I", 120))
    body += before
    if state is not None and protocol == 6:
        tcp = attribute(1, bytes([state]))
        body += attribute(4 | NESTED, attribute(1 | NESTED, tcp))
    number, flags = _KINDS[kind]
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    head = struct.pack("=IHHII", 20 + len(body), number, flags, 0, 0)
    return head + struct.pack(">BBH", family, 0, 0) + body


def run(program: bytes, packet: bytes) -> int:
    """What the program returns for a packet, as the kernel's machine would: 0 where it reads beyond
    its end."""
    code = list(struct.iter_unpack("=HBBI", program))
    a = x = 0
    memory: dict[int, int] = {}
    at = 0
    while True:
        op, yes, no, k = code[at]
        at += 1
        size = {0x20: 4, 0x30: 1}.get(op)
        if size is not None:
            if k + size > len(packet):
                return 0
            a = int.from_bytes(packet[k : k + size])
        elif op == 0x00:
            a = k
        elif op == 0x60:
            a = memory[k]
        elif op == 0x61:
            x = memory[k]
        elif op == 0x02:
            memory[k] = a
        elif op == 0x54:
            a &= k
        elif op == 0xA4:
            a ^= k
        elif op == 0xAC:
            a ^= x
        elif op == 0x24:
            a = a * k & 0xFFFFFFFF
        elif op == 0x74:
            a >>= k
        elif op == 0x05:
            at += k
        elif op in (0x15, 0x35, 0x45):
            holds = {0x15: a == k, 0x35: a >= k, 0x45: bool(a & k)}[op]
            at += yes if holds else no
        elif op == 0x06:
            return k
        else:
            raise AssertionError(f"instruction {op:#x}")
