"""How the kernel lists rules, sets and elements: what the gate reads of their attributes.

Touches nothing. Numbers are those of linux/netfilter/nf_tables.h. Limits: elements with one key
and one expression; of rules the sets and the counter only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tidegate.nfnetlink import attributes

GETRULE = 10 << 8 | 7


class Element(NamedTuple):
    """One element as the kernel lists it; `left` is in milliseconds, None where it has no end."""

    key: bytes
    left: int | None


def element(item: bytes) -> Element:
    """The key of an element and the time it has left."""
    key, left = b"", None
    for kind, value in attributes(item):
        if kind == 1:
            key = value[4:]
        elif kind == 5:
            left = int.from_bytes(value)
    return Element(key, left)


def packets(item: bytes) -> int:
    """What the counter of an element says: NFTA_COUNTER_PACKETS of NFTA_SET_ELEM_EXPR's data."""
    expression = dict(attributes(dict(attributes(item)).get(7, b"")))
    return int.from_bytes(dict(attributes(expression.get(2, b""))).get(2, b""))


def volume(item: bytes) -> int:
    """The same counter's bytes: NFTA_COUNTER_BYTES."""
    expression = dict(attributes(dict(attributes(item)).get(7, b"")))
    return int.from_bytes(dict(attributes(expression.get(2, b""))).get(1, b""))


def counted(
    rule: Sequence[tuple[int, bytes]],
) -> tuple[tuple[str, ...], int, int] | None:
    """The sets and the counter of one rule's expressions; None where it has no counter."""
    sets: list[str] = []
    numbers = None
    for _kind, expression in rule:
        parts = dict(attributes(expression))
        data = dict(attributes(parts.get(2, b"")))
        if parts.get(1) == b"lookup\0":
            sets.append(data.get(1, b"\0")[:-1].decode("ascii", "replace"))
        elif parts.get(1) == b"counter\0":  # NFTA_COUNTER_BYTES, NFTA_COUNTER_PACKETS
            numbers = int.from_bytes(data.get(2, b"")), int.from_bytes(data.get(1, b""))
    return None if numbers is None else (tuple(sets), *numbers)


def steady(kind: int, payload: bytes, highest: int) -> Iterator[tuple[int, bytes]]:
    """The attributes of a chain, set or rule that stand still while packets flow."""
    for number, value in attributes(payload, 4):
        if kind == GETRULE and number == 4:
            for _number, expression in attributes(value):
                parts = dict(attributes(expression))
                name = parts.get(1, b"")
                yield number, name + (b"" if name == b"counter\0" else parts.get(2, b""))
        elif number <= highest:
            yield number, value
