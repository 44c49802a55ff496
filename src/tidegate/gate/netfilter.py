"""The nf_tables questions and changes that the gate needs, as netlink messages.

Touches the kernel's table of the given name, family inet; needs CAP_NET_ADMIN. Constants are those
of linux/netfilter/nf_tables.h. Limits: elements with fixed-size keys; the layout is nft's task.
"""

from __future__ import annotations

import errno
import hashlib
import struct
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from tidegate.errors import GateError
from tidegate.gate.listing import GETRULE, Element, counted, element, packets, steady
from tidegate.gate.netlink import (
    F_CREATE,
    F_EXCL,
    NESTED,
    Failure,
    Message,
    Netlink,
    head,
    refused,
)
from tidegate.nfnetlink import NETFILTER, attribute, attributes

GETTABLE, DELTABLE, GETCHAIN, GETSET = (10 << 8 | kind for kind in (1, 2, 4, 10))
NEWSETELEM, GETSETELEM, DELSETELEM, GETGEN = (10 << 8 | kind for kind in (12, 13, 14, 16))

PER_MESSAGE = 1024
"""Elements in one message: an attribute holds 64 KiB, and an IPv6 element takes 40 bytes."""

_INET = struct.pack("=BBH", 1, 0, 0)
_ANY = struct.pack("=BBH", 0, 0, 0)


class Change(NamedTuple):
    """Elements to put into one set, to create (refused where they exist) or to delete; or all of
    its elements to flush, whatever `keys` says.

    `timeouts` are milliseconds, one for each key, or () for elements without an end.
    """

    operation: Literal["put", "create", "delete", "flush"]
    set_name: str
    keys: Sequence[bytes]
    timeouts: Sequence[int] = ()


class Fault(NamedTuple):
    """What the kernel refused, and the errno: this many `keys` from `first` on of that change.

    Where the kernel points at one element, `keys` is 1; `of_set`: it points at the set or the
    table itself, so these are missing. A message is refused at its first faulty element.
    """

    change: int
    first: int
    keys: int
    errno: int
    of_set: bool


class _Sent(NamedTuple):
    """Where one message came from: change, first key, keys, and where and how large they are."""

    change: int
    first: int
    keys: int
    start: int
    stride: int


class Netfilter:
    """One table of the family inet in this network namespace. Raises GateError."""

    def __init__(self, table: str) -> None:
        self._table = attribute(1, _text(table))
        self._netlink = Netlink(NETFILTER)

    def close(self) -> None:
        """Give the socket back."""
        self._netlink.close()

    def generation(self) -> int:
        """The number of the ruleset: it moves with every commit of anybody (about 10 µs)."""
        for payload in self._netlink.ask(GETGEN, _ANY):
            for kind, value in attributes(payload, 4):
                if kind == 1:
                    return int.from_bytes(value)
        raise GateError("the kernel named no ruleset generation")

    def transact(self, changes: Sequence[Change], each: int = PER_MESSAGE) -> list[Fault]:
        """Do all changes in one transaction; on any fault nothing is done and all are returned.

        `each` elements go into one message, and a message tells of its first fault only: with 1
        every faulty element is named in one go.
        """
        messages: list[Message] = []
        sent: list[_Sent] = []
        for number, change in enumerate(changes):
            if change.operation == "flush":
                messages.append(Message(DELSETELEM, 0, _INET + self._set(change.set_name)))
                sent.append(_Sent(number, 0, 0, 1 << 16, 1))
                continue
            for first in range(0, len(change.keys), each):
                message, place = self._message(number, change, first, each)
                messages.append(message)
                sent.append(place)
        if not messages:
            return []
        return [
            _fault(sent[failure.message], failure) for failure in self._netlink.transact(messages)
        ]

    def _message(self, number: int, change: Change, first: int, each: int) -> tuple[Message, _Sent]:
        keys = change.keys[first : first + each]
        encoded, stride = _encode(keys, change.timeouts[first : first + each])
        before = _INET + self._set(change.set_name)
        payload = before + attribute(NESTED | 3, encoded)
        sent = _Sent(number, first, len(keys), len(before) + 4, stride)
        if change.operation == "delete":
            return Message(DELSETELEM, 0, payload), sent
        flags = F_CREATE | F_EXCL if change.operation == "create" else F_CREATE
        return Message(NEWSETELEM, flags, payload), sent

    def delete_table(self) -> bool:
        """Delete the table with everything in it; False where there was none."""
        failures = self._netlink.transact([Message(DELTABLE, 0, _INET + self._table)])
        if failures and failures[0].errno != errno.ENOENT:
            raise refused(failures[0].errno)
        return not failures

    def holds(self, set_name: str, key: bytes) -> bool:
        """Whether the set holds this element now."""
        element, _stride = _encode([key], ())
        question = _INET + self._set(set_name) + attribute(NESTED | 3, element)
        try:
            return bool(self._netlink.ask(GETSETELEM, question))
        except FileNotFoundError:
            return False

    def elements(self, set_name: str) -> list[Element]:
        """Every element of a set; about 4 µs each. [] where there is no such set."""
        return [element(item) for item in self._items(set_name)]

    def counted(self, set_name: str) -> list[tuple[bytes, int]]:
        """Every element of a set, and how many packets its own counter has counted."""
        return [(element(item).key, packets(item)) for item in self._items(set_name)]

    def items(self, set_name: str) -> list[tuple[bytes, bytes]]:
        """Every element of a set: its key, and all of it as the kernel lists it."""
        return [(element(item).key, item) for item in self._items(set_name)]

    def _items(self, set_name: str) -> Iterator[bytes]:
        try:
            found = self._netlink.ask(GETSETELEM, _INET + self._set(set_name), dump=True)
        except FileNotFoundError:
            return
        for payload in found:
            for kind, value in attributes(payload, 4):
                if kind == 3:
                    yield from (item for _kind, item in attributes(value))

    def sets(self) -> dict[str, int]:
        """The table's sets, nft's unnamed ones included, and the size that each was given."""
        found: dict[str, int] = {}
        for payload in self._own(GETSET):
            parts = dict(attributes(payload, 4))
            name = parts[2][:-1].decode("ascii", "replace")
            size = dict(attributes(parts.get(9, b""))).get(1, b"")  # NFTA_SET_DESC_SIZE
            found[name] = int.from_bytes(size)
        return found

    def chains(self) -> list[str]:
        """The names of the table's chains."""
        return [
            dict(attributes(payload, 4))[3][:-1].decode("ascii", "replace")
            for payload in self._own(GETCHAIN)
        ]

    def fingerprint(self) -> bytes:
        """A digest of table, chains, rules and sets, without counters and elements; b"": no table.

        Handles are part of it, so a table that was replaced by an equal one has another.
        """
        digest = hashlib.sha256()
        try:
            table = self._netlink.ask(GETTABLE, _INET + self._table)
        except FileNotFoundError:
            return b""
        for payload in table:
            flags = [value for kind, value in attributes(payload, 4) if kind == 2]
            digest.update(repr(flags).encode())
        for kind, highest in ((GETCHAIN, 10), (GETSET, 18), (GETRULE, 7)):
            for payload in self._own(kind):
                digest.update(repr(list(steady(kind, payload, highest))).encode())
        return digest.digest()

    def counters(self, chain: str) -> list[tuple[tuple[str, ...], int, int]]:
        """Of each rule with a counter: the sets it looks into, packets, bytes (about 10 µs each).

        Only rules are listed, no elements.
        """
        question = _INET + self._table + attribute(2, _text(chain))
        try:
            found = [
                list(attributes(value))
                for payload in self._netlink.ask(GETRULE, question, dump=True)
                for kind, value in attributes(payload, 4)
                if kind == 4  # NFTA_RULE_EXPRESSIONS
            ]
        except FileNotFoundError:
            return []
        return [told for rule in found if (told := counted(rule)) is not None]

    def _own(self, kind: int) -> Iterator[bytes]:
        try:
            found = self._netlink.ask(kind, _INET + self._table, dump=True)
        except FileNotFoundError:
            return
        own = next(attributes(self._table))
        for payload in found:  # the kernel does not filter every kind by table
            if next(attributes(payload, 4), None) == own:
                yield payload

    def _set(self, set_name: str) -> bytes:
        return self._table + attribute(2, _text(set_name))


def _text(value: str) -> bytes:
    return value.encode("ascii") + b"\0"


def _encode(keys: Sequence[bytes], timeouts: Sequence[int]) -> tuple[bytes, int]:
    """The elements of one message, and the bytes that each of them takes."""
    length = len(keys[0])
    if padding := -length % 4:
        keys = [key + bytes(padding) for key in keys]
    key_head = head(NESTED | 1, length + padding + 4) + head(1, length)
    length += padding
    if not timeouts:
        before = head(NESTED | 1, length + 8) + key_head
        return b"".join([before + key for key in keys]), length + 12
    before = head(NESTED | 1, length + 20) + key_head
    middle = head(4, 8)
    pack = struct.Struct(">Q").pack
    parts = [
        before + key + middle + pack(timeout) for key, timeout in zip(keys, timeouts, strict=True)
    ]
    return b"".join(parts), length + 24


def _fault(place: _Sent, failure: Failure) -> Fault:
    """Which keys a failure is about, by the offset that the kernel names where it does."""
    offset, code = failure.offset, failure.errno
    if offset is None:
        return Fault(place.change, place.first, place.keys, code, False)
    if offset < place.start:
        return Fault(place.change, place.first, place.keys, code, True)
    key = min((offset - place.start) // place.stride, place.keys - 1)
    return Fault(place.change, place.first + key, 1, code, False)
