"""A restart: of a service that leaks, by systemd as one job, else as a stop and a start.

Touches the service. Limits: what does not run is not started by it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tidegate.errors import GateError
from tidegate.gate.switches.kinds import Tools
from tidegate.gate.switches.record import Before, Records
from tidegate.gate.switches.service import Services
from tidegate.gate.switches.systemd import Unit
from tidegate.model import Micros
from tidegate.policy.guards import GateSpec, Restart, Service

_WITHIN = 300.0


class Restarts:
    """The kind of `Restart`."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    def fire(self, terms: Restart, begun: Callable[[Any, Before], None]) -> str:
        """Restart it, if it runs."""
        began = time.monotonic()
        services, stopped = Services(self._tools), Service(terms.service)
        before = services.look(stopped)
        if why := before.get("away"):
            raise GateError(f"{why}, so it is not restarted")
        if self._tools.systemd:
            Unit(terms.service, self._tools).restart(_WITHIN)
        else:
            begun(stopped, before)
            services.close(stopped, before)
            services.open(stopped, before)
        return f"restarted in {time.monotonic() - began:.1f} s"


def too_often(records: Records, spec: GateSpec, now: Micros) -> str:
    """Why it must not be fired again just now; if it may be, that is remembered, also by a new
    process."""
    terms = spec.terms
    if not isinstance(terms, Restart):
        return ""
    recent = [one for one in records.fired(spec.name) if now - terms.within < one <= now]
    if len(recent) >= terms.most:
        return f"restarted {terms.most} times already, which is the most"
    with suppress(GateError):
        records.note_fired(spec.name, [*recent, now])
    return ""
