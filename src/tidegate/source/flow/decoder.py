"""Datagrams of NetFlow v5, v9 (RFC 3954) and IPFIX (RFC 7011) → flows.

Touches nothing. A datagram is taken whole or not at all: flows and templates of one that turns out
to be malformed are dropped together. Limits: `TEMPLATES` of `FIELDS` fields an exporter, and
`EXPORTERS`; whichever was announced longest ago goes for a new one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from tidegate.source.flow.records import Clock, Record, boot_of, flows_of, rate_of
from tidegate.source.flow.templates import (
    ENTERPRISE,
    FIELDS,
    VARIABLE,
    Field,
    Malformed,
    Template,
)
from tidegate.traffic import Flow

__all__ = ["Decoded", "Decoder", "Malformed"]

TEMPLATES = 128
EXPORTERS = 256

_V5 = struct.Struct("!HHIIIIBBH")
_V5_RECORD = struct.Struct("!4s4s4sHHIIIIHHxBBBHHBBxx")
_V9 = struct.Struct("!HHIIII")
_IPFIX = struct.Struct("!HHIII")
_SET = struct.Struct("!HH")
_HEAD = struct.Struct("!HH")
_SCOPED = struct.Struct("!HHH")
_NUMBER = struct.Struct("!I")


class Decoded(NamedTuple):
    """What one datagram held. `waiting`: sets whose template has not been announced yet; `left`:
    records without addresses, such as options. `every`: one packet of so many is looked at."""

    version: int
    flows: tuple[Flow, ...]
    waiting: int = 0
    left: int = 0
    every: int = 1


class _Exporter:
    """What one router has announced."""

    __slots__ = ("boot", "every", "templates")

    def __init__(self) -> None:
        self.boot = 0
        self.templates: dict[tuple[int, int, int], Template] = {}
        self.every = 1


class Decoder:
    """Takes datagrams apart; remembers the templates of each exporter and domain."""

    def __init__(self) -> None:
        self._exporters: dict[str, _Exporter] = {}
        self.evicted = 0

    @property
    def templates(self) -> int:
        """How many are remembered."""
        return sum(len(one.templates) for one in self._exporters.values())

    def decode(self, data: bytes, exporter: str) -> Decoded:
        """The flows of one datagram. Raises Malformed; then nothing was learnt of it."""
        if len(data) < 2:
            raise Malformed(f"{len(data)} bytes are no flow datagram")
        version = int.from_bytes(data[:2])
        if version == 5:
            return _version5(data, exporter)
        if version in (9, 10):
            known = self._exporters.get(exporter) or _Exporter()
            decoded = _Message(data, version, exporter, known).read()
            self._keep(exporter, known)  # nothing is learnt from one that was malformed
            return decoded
        raise Malformed(f"version {version} is neither NetFlow v5 or v9 nor IPFIX (10)")

    def _keep(self, exporter: str, known: _Exporter) -> None:
        if exporter not in self._exporters and len(self._exporters) >= EXPORTERS:
            gone = self._exporters.pop(next(iter(self._exporters)))
            self.evicted += len(gone.templates)
        self._exporters[exporter] = known
        while len(known.templates) > TEMPLATES:
            del known.templates[next(iter(known.templates))]
            self.evicted += 1


def _version5(data: bytes, exporter: str) -> Decoded:
    """One export after the other: some exporters, and files of them, put several into one."""
    flows: list[Flow] = []
    at, every = 0, 1
    while True:
        if len(data) - at < _V5.size:
            raise Malformed(f"NetFlow v5: {len(data)} bytes, the header alone has {_V5.size}")
        version, count, uptime, seconds, nanos, *_rest, sampling = _V5.unpack_from(data, at)
        end = at + _V5.size + count * _V5_RECORD.size
        if version != 5 or len(data) < end:
            raise Malformed(f"NetFlow v5: {count} records need {end} bytes, {len(data)} came")
        clock = Clock(seconds * 1_000_000 + min(nanos, 999_999_999) // 1000, uptime)
        for record in _V5_RECORD.iter_unpack(data[at + _V5.size : end]):
            flows += _flows5(record, clock, exporter)
        every = max(sampling & 0x3FFF, every)
        if not any(data[end:]):
            return Decoded(5, tuple(flows), every=every)
        at = end


def _flows5(record: tuple[Any, ...], clock: Clock, exporter: str) -> tuple[Flow, ...]:
    source, destination, _hop, _in, _out, packets, octets, first, last = record[:9]
    source_port, port, flags, protocol = record[9:13]
    found: Record = {
        8: source, 12: destination, 1: octets, 2: packets, 4: protocol, 6: flags,
        7: source_port, 11: port, 22: first, 21: last,
    }  # fmt: skip
    return flows_of(found, clock, exporter)


class _Message:
    """One datagram of v9 or IPFIX while it is read."""

    def __init__(self, data: bytes, version: int, exporter: str, known: _Exporter) -> None:
        self._version, self._exporter, self._known = version, exporter, known
        self._name = "IPFIX" if version == 10 else "NetFlow v9"
        header = _IPFIX if version == 10 else _V9
        if len(data) < header.size:
            raise Malformed(f"{self._name}: {len(data)} bytes, the header alone has {header.size}")
        if version == 10:
            _version, length, seconds, _seq, self._domain = _IPFIX.unpack_from(data)
            if not _IPFIX.size <= length <= len(data):
                raise Malformed(f"IPFIX: says it has {length} bytes, {len(data)} came")
            data, uptime = data[:length], None
        else:
            _version, _count, uptime, seconds, _seq, self._domain = _V9.unpack_from(data)
        self._clock = Clock(seconds * 1_000_000, uptime)
        self._data, self._begin = data, header.size
        self._new: dict[tuple[int, int, int], Template | None] = {}
        self._every, self._boot = known.every, known.boot
        self._waiting = self._left = 0

    def read(self) -> Decoded:
        """Everything in it; only then is what it announces remembered."""
        flows: list[Flow] = []
        # A data set may stand before its template: templates first, whatever the order.
        sets = list(self._sets())
        plain, options = (2, 3) if self._version == 10 else (0, 1)
        for number, body in sets:
            if number in (plain, options):
                self._announced(body, options=number == options)
        for number, body in sets:
            if number >= 256:
                flows += self._flows(number, body)
        known = self._known
        for key, template in self._new.items():
            known.templates.pop(key, None)
            if template is not None:
                known.templates[key] = template
        known.every, known.boot = self._every, self._boot
        return Decoded(self._version, tuple(flows), self._waiting, self._left, self._every)

    def _now(self) -> Clock:
        sent, uptime = self._clock
        if uptime is None and self._boot:
            return Clock(sent, sent // 1000 - self._boot)
        return self._clock

    def _sets(self) -> Iterator[tuple[int, bytes]]:
        data, at = self._data, self._begin
        while at < len(data):
            if len(data) - at < _SET.size:
                if any(data[at:]):
                    raise Malformed(f"{self._name}: {len(data) - at} bytes behind the last set")
                return
            number, length = _SET.unpack_from(data, at)
            if length < _SET.size or at + length > len(data):
                raise Malformed(
                    f"{self._name}: set {number} says {length} bytes, {len(data) - at} are left"
                )
            yield number, data[at + _SET.size : at + length]
            at += length

    def _announced(self, body: bytes, *, options: bool) -> None:
        at = 0
        # What is shorter than a template's beginning is padding.
        while len(body) - at >= (_SCOPED.size if options else _HEAD.size):
            number, count = _HEAD.unpack_from(body, at)
            if not number and not any(body[at:]):
                return
            if self._version == 10 and number < 4 and not count:  # all of them are withdrawn
                mine = (key for key in self._known.templates if key[:2] == (10, self._domain))
                self._new.update(dict.fromkeys(mine))
                at += _HEAD.size
                continue
            if number < 256:
                raise Malformed(f"{self._name}: {number} is no number of a template")
            if self._version == 10 and not count:  # withdrawn (RFC 7011 §8.1)
                self._new[self._version, self._domain, number] = None
                at += _HEAD.size
                continue
            if options and self._version == 9:
                _number, scope, length = _SCOPED.unpack_from(body, at)
                count = (scope + length) // 4
            at += _SCOPED.size if options else _HEAD.size
            fields, at = self._fields(body, at, count)
            self._new[self._version, self._domain, number] = Template(fields, options=options)
            if len(self._new) > TEMPLATES:
                raise Malformed(f"{self._name}: more than {TEMPLATES} templates in one datagram")

    def _fields(self, body: bytes, at: int, count: int) -> tuple[list[Field], int]:
        if count > FIELDS:
            raise Malformed(f"{self._name}: a template of {count} fields, {FIELDS} are the most")
        fields = []
        for _ in range(count):
            if len(body) - at < _HEAD.size:
                raise Malformed(f"{self._name}: a template of {count} fields is cut off")
            number, length = _HEAD.unpack_from(body, at)
            at += _HEAD.size
            enterprise = 0
            if self._version == 10 and number & ENTERPRISE:
                if len(body) - at < _NUMBER.size:
                    raise Malformed(f"{self._name}: an enterprise's number is cut off")
                (enterprise,) = _NUMBER.unpack_from(body, at)
                number, at = number & ~ENTERPRISE, at + _NUMBER.size
            fields.append(Field(number, length, enterprise))
        if self._version == 9 and any(one.length == VARIABLE for one in fields):
            raise Malformed("NetFlow v9: a field of 65535 bytes")
        return fields, at

    def _flows(self, number: int, body: bytes) -> Iterator[Flow]:
        key = self._version, self._domain, number
        template = self._new[key] if key in self._new else self._known.templates.get(key)
        if template is None:
            self._waiting += 1
            return
        for record in template.records(body):
            every = rate_of(record)
            if every:
                self._every = every
            self._boot = boot_of(record) or self._boot
            found = () if template.options else flows_of(record, self._now(), self._exporter)
            self._left += not found
            yield from found
