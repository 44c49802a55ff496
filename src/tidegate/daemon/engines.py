"""Where the fleet's engine is, by address: nobody closes for it, whatever its lines look like.

Touches the resolver, in a thread of its own where a name has to be looked up, so that nothing waits
for it. Limits: looked up at the start and at a reload; until then, and where it fails, only
addresses that stand in the policy are known.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from urllib.parse import urlsplit

from tidegate import subject as subjects
from tidegate.model import Subject
from tidegate.policy.fleet import FleetSpec

ENGINE = "the fleet's engine"
_MOST = 64


class Engines:
    """The addresses of the engines of this policy."""

    def __init__(self, spec: FleetSpec | None) -> None:
        hosts = hosts_of(spec)
        self._found = tuple(one for host in hosts if (one := literal(host)) is not None)
        names = [host for host in hosts if literal(host) is None]
        if names:
            threading.Thread(
                target=self._look_up, args=(names,), name="engines", daemon=True
            ).start()

    def protected(self) -> Sequence[tuple[Subject, str]]:
        """Each with the reason."""
        return [(one, ENGINE) for one in self._found]

    def _look_up(self, names: Iterable[str]) -> None:
        found = list(self._found)
        for name in names:
            with suppress(OSError, UnicodeError):
                rows = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
                places = (literal(str(row[4][0])) for row in rows)
                found += [one for one in places if one is not None]
        self._found = tuple(dict.fromkeys(found))[:_MOST]


def hosts_of(spec: FleetSpec | None) -> list[str]:
    """The hosts that the engines' addresses name; none for sockets of this host."""
    hosts = []
    for text in spec.engines if spec is not None else ():
        with suppress(ValueError):  # said where somebody connects to it
            hosts.append(urlsplit(text).hostname or "")
    return [host for host in hosts if host]


def literal(host: str) -> Subject | None:
    """A host that is an address, as that address alone."""
    return subjects.parse(f"{host.partition('%')[0]}/{128 if ':' in host else 32}")
