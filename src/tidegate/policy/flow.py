"""Where routers send their flow records, and which of them may: values, and how they are written.

Touches nothing. Addresses in numbers only: nothing asks DNS. Limits: one UDP port a source.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from tidegate.model import Subject

_WHERE = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):([0-9]{1,5})", re.ASCII)


@dataclass(frozen=True, slots=True)
class FlowPort:
    """A UDP port of ours, and whose datagrams count there."""

    host: str
    port: int
    exporters: tuple[Subject, ...] = ()


def listening(value: object) -> FlowPort:
    """An own address with a port, such as `0.0.0.0:2055` or `[::]:2055`."""
    found = _WHERE.fullmatch(value) if isinstance(value, str) else None
    try:
        if found is not None and 1 <= int(found[3]) <= 65535:
            family = 6 if found[1] else 4
            host = ipaddress.ip_address(found[1] or found[2])
            if host.version == family:
                return FlowPort(str(host), int(found[3]))
    except ValueError:
        pass
    raise ValueError('an address of this host with a port, such as "0.0.0.0:2055" or "[::]:2055"')
