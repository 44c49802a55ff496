"""A classic BPF program for a conntrack socket: what the kernel need not even tell us.

Touches nothing: instructions as bytes. An event is told where a source that counts begins a
connection, where it is answered for the first time, and where it ends unanswered; of these, whole
sources by a share. Limits: what stands elsewhere than usual in a message is told, never lost.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Sequence
from typing import NamedTuple

from tidegate.source.traffic.reach import MIX, Reach, named
from tidegate.subject import Network

WHOLE = 1 << 16
MOST = 4096  # instructions that the kernel takes (BPF_MAXINSNS)
MOST_LOUD = 16

_INSTRUCTION = struct.Struct("=HBBI")
_LD, _LDB, _IMM, _MEM, _ST = 0x20, 0x30, 0x00, 0x60, 0x02
_LDX_MEM, _AND, _XOR, _XOR_X, _MUL, _RSH = 0x61, 0x54, 0xA4, 0xAC, 0x24, 0x74
_JA, _JEQ, _JGE, _JSET, _RET = 0x05, 0x15, 0x35, 0x45, 0x06
_SOURCE, _TARGET, _STATUS = 0, 1, 2  # slots of the program's memory

LITTLE = sys.byteorder == "little"
TYPE_AT, SUBSYSTEM_AT, FLAGS_AT = (4, 5, 7) if LITTLE else (5, 4, 6)
FAMILY_AT = 16
CREATED = 0x04  # NLM_F_CREATE, in the higher byte of the flags
SEEN_REPLY, ASSURED, ESTABLISHED = 2, 4, 3
DESTROYED = 2


class Layout(NamedTuple):
    """Where things stand in a message of one family, in the kernel's usual order."""

    width: int
    source: int
    target: int
    protocol: int
    end: int
    status: int

    @property
    def state(self) -> int:
        """The TCP state of an update: behind status and timeout, twice nested."""
        return self.status + 24


V4, V6 = Layout(4, 32, 40, 52, 72, 136), Layout(16, 32, 52, 76, 96, 184)
_STATE_HEAD = int.from_bytes(struct.pack("=HH", 5, 1))
_CLOSING = 4  # TCP_CONNTRACK_FIN_WAIT, and whatever comes behind it
_STATUS_HEAD = int.from_bytes(struct.pack("=HH", 8, 3))


class Share(NamedTuple):
    """What is listened to: sources by a hash below `whole` (65536: all), those that are `loud`
    (key, share of their destinations) in part; connections that come in by the share `inward`."""

    salt: int = 0
    whole: int = WHOLE
    loud: tuple[tuple[int, int], ...] = ()
    inward: int = WHOLE


def mixed(value: int, salt: int) -> int:
    """The hash that the program reckons: 16 bits."""
    return (((value ^ salt) * MIX) & 0xFFFFFFFF) >> 16


class _Program:
    """Instructions with names to jump to."""

    def __init__(self) -> None:
        self._code: list[tuple[int, int, int, int | str]] = []
        self._labels: dict[str, int] = {}

    def do(self, code: int, k: int = 0) -> None:
        self._code.append((code, 0, 0, k))

    def label(self, name: str) -> None:
        self._labels[name] = len(self._code)

    def go(self, name: str) -> None:
        self._code.append((_JA, 0, 0, name))

    def when(self, code: int, k: int, name: str) -> None:
        """Go there if it holds, else on."""
        self._code.append((code, 0, 1, k))
        self.go(name)

    def unless(self, code: int, k: int, name: str) -> None:
        """Go there if it does not hold, else on."""
        self._code.append((code, 1, 0, k))
        self.go(name)

    def packed(self) -> bytes:
        out = []
        for place, (code, yes, no, k) in enumerate(self._code):
            value = self._labels[k] - place - 1 if isinstance(k, str) else k
            out.append(_INSTRUCTION.pack(code, yes, no, value))
        return b"".join(out)


def heard(share: Share, key: int, target: int) -> bool:
    """Whether the program lets connections of this source and destination through."""
    if mixed(key, share.salt) >= share.whole:
        return False
    part = dict(share.loud[:MOST_LOUD]).get(key)
    return part is None or mixed(target, share.salt) < part


def program(reach: Reach, share: Share) -> bytes:
    """The instructions. Too many claims for the kernel: everything is told."""
    made = _Program()
    made.do(_LDB, SUBSYSTEM_AT)
    made.unless(_JEQ, 1, "drop")
    made.do(_LDB, FAMILY_AT)
    made.when(_JEQ, 2, "v4")
    made.unless(_JEQ, 10, "drop")
    for name, layout in (("v6", V6), ("v4", V4)):
        made.label(name)
        _family(made, name, layout, reach)
    _judge(made, share)
    made.label("drop")
    made.do(_RET, 0)
    made.label("tell")
    made.do(_RET, 0xFFFFFFFF)
    found = made.packed()
    return found if len(found) // 8 <= MOST else _INSTRUCTION.pack(_RET, 0, 0, 0xFFFFFFFF)


def _family(made: _Program, name: str, layout: Layout, reach: Reach) -> None:
    """Whether the event counts, by its addresses; then its source, target and status kept."""
    own = [one for one in sorted(reach.own) if len(one) == layout.width]
    family = 4 if layout is V4 else 6
    for network in _of(family, (*reach.nobody, *reach.busy)):
        _inside(made, layout.source, network, "drop")
    for network in _of(family, reach.nobody):
        _inside(made, layout.target, network, "drop")
    _fold(made, layout.target, layout.width // 4)
    made.do(_ST, _TARGET)
    _fold(made, layout.source, 2 if family == 6 else 1)
    made.do(_ST, _SOURCE)
    for address in own:
        single = Network(family, layout.width * 8, address)
        _inside(made, layout.source, single, f"{name} local")
        _inside(made, layout.target, single, f"{name} inward")
    for number, claim in enumerate(reach.claims):
        if claim.network.family == family:
            skip = f"{name} {number}"
            _inside(made, layout.source, claim.network, skip + " is", skip + " not")
            made.label(skip + " is")
            if not claim.each:
                made.do(_IMM, named(claim.subject))
                made.do(_ST, _SOURCE)
            made.go(f"{name} status")
            made.label(skip + " not")
    made.go("drop")
    made.label(f"{name} local")
    if not reach.uids:
        made.go("drop")
    made.do(_MEM, _TARGET)
    made.do(_ST, _SOURCE)
    made.label(f"{name} status")
    made.do(_LD, layout.status - 4)
    made.unless(_JEQ, _STATUS_HEAD, "share")  # another protocol, a zone: told by share alone
    made.do(_LD, layout.status)
    made.do(_ST, _STATUS)
    made.do(_LDB, TYPE_AT)
    made.when(_JEQ, DESTROYED, "ended")  # and may be too short to be read further
    made.do(_LDB, layout.protocol)
    made.unless(_JEQ, 6, "outcome")
    made.do(_LD, layout.state - 4)
    made.unless(_JEQ, _STATE_HEAD, "outcome")
    made.do(_LDB, layout.state)  # of an update; further states are no news
    made.when(_JGE, _CLOSING, "drop")
    made.go("outcome")
    made.label(f"{name} inward")
    _inward(made, layout)


def _inward(made: _Program, layout: Layout) -> None:
    """TCP that comes to us: where it begins, and where the shaking of hands is finished."""
    made.do(_LDB, layout.protocol)
    made.unless(_JEQ, 6, "drop")
    made.do(_LDB, TYPE_AT)
    made.when(_JEQ, DESTROYED, "drop")
    made.do(_LDB, FLAGS_AT)
    made.when(_JSET, CREATED, "inward share")
    made.do(_LDB, layout.state)
    made.when(_JEQ, ESTABLISHED, "inward share")
    made.go("drop")


def _judge(made: _Program, share: Share) -> None:
    """Which of the events that count are told."""
    made.label("outcome")
    made.do(_LDB, FLAGS_AT)
    made.when(_JSET, CREATED, "share")
    made.do(_MEM, _STATUS)
    made.when(_JSET, ASSURED, "drop")  # told before, when it was answered
    made.when(_JSET, SEEN_REPLY, "share")
    made.go("drop")
    made.label("ended")
    made.do(_MEM, _STATUS)
    made.when(_JSET, SEEN_REPLY, "drop")
    made.label("share")
    _sampled(made, share)
    made.go("tell")
    made.label("inward share")
    if share.inward < WHOLE:
        _hashed(made, _SOURCE, share.salt, share.inward)
    made.go("tell")


def _sampled(made: _Program, share: Share) -> None:
    """On where the source is listened to, else the end: as `heard`."""
    if share.whole < WHOLE:
        _hashed(made, _SOURCE, share.salt, share.whole)
    for key, part in share.loud[:MOST_LOUD]:
        made.do(_MEM, _SOURCE)
        made.unless(_JEQ, key, f"not {key}")
        _hashed(made, _TARGET, share.salt, part)
        made.label(f"not {key}")


def _hashed(made: _Program, slot: int, salt: int, below: int) -> None:
    """On where what stands in a slot is hashed below that, else the end."""
    made.do(_MEM, slot)
    made.do(_XOR, salt)
    made.do(_MUL, MIX)
    made.do(_RSH, 16)
    made.when(_JGE, below, "drop")


def _fold(made: _Program, at: int, words: int) -> None:
    """As `folded`, into A."""
    made.do(_LD, at)
    for word in range(1, words):
        made.do(_MUL, MIX)
        made.do(_ST, 3)
        made.do(_LDX_MEM, 3)
        made.do(_LD, at + word * 4)
        made.do(_XOR_X)


def _inside(made: _Program, at: int, network: Network, yes: str, no: str = "") -> None:
    """To `yes` where the address there is in the network, else to `no` (on)."""
    over = no or f"over {id(made)} {len(made._code)}"
    for word in range(len(network.bits) // 4):
        left = network.length - word * 32
        if left <= 0:
            break
        mask = 0xFFFFFFFF << max(0, 32 - left) & 0xFFFFFFFF
        made.do(_LD, at + word * 4)
        if mask != 0xFFFFFFFF:
            made.do(_AND, mask)
        made.unless(_JEQ, int.from_bytes(network.bits[word * 4 : word * 4 + 4]) & mask, over)
    made.go(yes)
    if not no:
        made.label(over)


def _of(family: int, networks: Sequence[Network]) -> list[Network]:
    return [one for one in networks if one.family == family]
