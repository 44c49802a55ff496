"""A small name server for tests: answers from a table, over UDP on one socket.

Touches the socket it is given and one thread. Limits: A, MX; one question a query.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Mapping
from contextlib import suppress

TYPES = {"A": 1, "MX": 15}
NO_ERROR, SERVFAIL, NXDOMAIN = 0, 2, 3

Records = Mapping[tuple[str, str], list[str]]


def encoded(name: str) -> bytes:
    """A name on the wire; "." is the root."""
    labels = [label for label in name.split(".") if label]
    return b"".join(bytes([len(one)]) + one.encode() for one in labels) + b"\0"


def data(kind: str, value: str) -> bytes:
    """`192.0.2.1`, or `10 mail.example.org`."""
    if kind == "A":
        return socket.inet_aton(value)
    preference, host = value.split()
    return struct.pack(">H", int(preference)) + encoded(host)


def reply(query: bytes, records: Records, failing: str = "") -> bytes:
    """What is answered: names ending in `failing` fail, what is not in the table is not there."""
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode().lower())
        at += 1 + query[at]
    (kind,) = struct.unpack_from(">H", query, at + 1)
    name = ".".join(labels)
    found = [
        data(text, one)
        for (owner, text), values in records.items()
        for one in values
        if owner == name and TYPES[text] == kind
    ]
    code = NO_ERROR if any(owner == name for owner, _kind in records) else NXDOMAIN
    if failing and name.endswith(failing):
        code, found = SERVFAIL, []
    head = query[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, len(found), 0, 0)
    rows = [b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 60, len(one)) + one for one in found]
    return head + query[12 : at + 5] + b"".join(rows)


class NameServer:
    """Answers on the socket, until closed."""

    def __init__(self, channel: socket.socket, records: Records, failing: str = "") -> None:
        self._channel = channel
        self._records, self._failing = records, failing
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        while True:
            query, sender = self._channel.recvfrom(4096)
            if not query:
                return
            with suppress(OSError):
                self._channel.sendto(reply(query, self._records, self._failing), sender)

    def close(self) -> None:
        """End it."""
        self._channel.sendto(b"", self._channel.getsockname())
        self._thread.join(10)
        self._channel.close()
