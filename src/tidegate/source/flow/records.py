"""Flow records by IANA's information elements, whoever exported them → flows.

Touches nothing. Elements by their numbers (https://www.iana.org/assignments/ipfix, which NetFlow
v9's agree with up to 127). Limits: a record without both addresses is no flow.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import NamedTuple

from tidegate.model import Micros
from tidegate.traffic import Flow

Record = dict[int, bytes | int]

REVERSE_ENTERPRISE = 29305
"""Elements of the way back, in one record with those of the way there (RFC 5103)."""
REVERSE = 1 << 16
"""Added to the number of an element that is of the way back."""

_MILLI = 1000
_SECOND = 1_000_000
_NTP_EPOCH = 2_208_988_800  # seconds from 1900 to 1970
_WRAP = 1 << 32

# Whether an element is an address (bytes) or a number.
WANTED: dict[int, bool] = {
    8: True, 12: True, 27: True, 28: True,
    **dict.fromkeys((
        1, 2, 4, 6, 7, 11, 21, 22, 23, 24, 34, 50, 85, 86, 150, 151, 152, 153, 154, 155, 156, 157,
        158, 159, 160, 180, 181, 182, 183, 231, 232, 298, 299, 305, 306,
    ), False),
}  # fmt: skip
_PACKETS, _BYTES = (2, 86, 24, 298), (1, 85, 23, 231)
_BACK_PACKETS, _BACK_BYTES = (REVERSE + 2, REVERSE + 86, 299), (REVERSE + 1, REVERSE + 85, 232)
_SOURCE_PORTS, _PORTS = (7, 180, 182), (11, 181, 183)


class Clock(NamedTuple):
    """When a datagram was sent by its exporter's clock, and for how many milliseconds that had been
    running (None: not told)."""

    sent: Micros
    uptime: int | None


def flows_of(record: Mapping[int, bytes | int], clock: Clock, exporter: str) -> tuple[Flow, ...]:
    """The flow of a record; two where it also counts the way back; none without addresses."""
    source = _address(record, 8, 27)
    destination = _address(record, 12, 28)
    if source is None or destination is None:
        return ()
    first, last = _time(record, clock, _FIRST), _time(record, clock, _LAST)
    there = Flow(
        min(first, last), max(first, last), source, destination,
        _number(record, (4,)), _number(record, _SOURCE_PORTS), _number(record, _PORTS),
        _number(record, _PACKETS), _number(record, _BYTES), _number(record, (6,)), exporter,
    )  # fmt: skip
    packets = _number(record, _BACK_PACKETS)
    if not packets:
        return (there,)
    back = there._replace(
        source=destination, destination=source, source_port=there.port, port=there.source_port,
        packets=packets, bytes=_number(record, _BACK_BYTES),
        flags=_number(record, (REVERSE + 6,)),
    )  # fmt: skip
    return there, back


def boot_of(record: Mapping[int, bytes | int]) -> int:
    """When the exporter was started, in milliseconds, where it says so: its uptime counts from
    there, and IPFIX has none in its header."""
    return _number(record, (160,))


def rate_of(record: Mapping[int, bytes | int]) -> int:
    """One packet of so many is looked at; 0 where the record does not say."""
    interval, space = _number(record, (305,)), _number(record, (306,))
    if interval:
        return (interval + space) // interval
    return _number(record, (34, 50))


def _number(record: Mapping[int, bytes | int], names: tuple[int, ...]) -> int:
    """The first of these that is there and not 0."""
    for name in names:
        value = record.get(name)
        if isinstance(value, int) and value:
            return value
    return 0


def _address(record: Mapping[int, bytes | int], four: int, six: int) -> str | None:
    """An address in its canonical spelling. Some exporters fill both, one of them with zeros."""
    short, long = record.get(four), record.get(six)
    if isinstance(short, bytes) and len(short) == 4 and (any(short) or not isinstance(long, bytes)):
        return socket.inet_ntop(socket.AF_INET, short)
    if isinstance(long, bytes) and len(long) == 16:
        return socket.inet_ntop(socket.AF_INET6, long)
    return None


# Elements that say when the first or last packet passed: of the exporter's uptime in milliseconds,
# microseconds before it was sent, seconds, milliseconds, NTP's micro- and nanoseconds.
_FIRST, _LAST = (22, 158, 150, 152, 154, 156), (21, 159, 151, 153, 155, 157)


def _time(record: Mapping[int, bytes | int], clock: Clock, names: tuple[int, ...]) -> Micros:
    uptime, before, seconds, millis, micros, nanos = names
    value = _number(record, (millis,))
    if value:
        return value * _MILLI
    value = _number(record, (seconds,))
    if value:
        return value * _SECOND
    value = _number(record, (micros, nanos))
    if value:
        return ((value >> 32) - _NTP_EPOCH) * _SECOND + ((value & 0xFFFF_FFFF) * _SECOND >> 32)
    value = _number(record, (before,))
    if value:
        return clock.sent - value
    if uptime in record and clock.uptime is not None:
        # It wraps after 49 days; what lies ahead of the datagram was before that.
        ago = clock.uptime - _number(record, (uptime,))
        return clock.sent - (ago + _WRAP if ago < -_WRAP // 2 else ago) * _MILLI
    return clock.sent
