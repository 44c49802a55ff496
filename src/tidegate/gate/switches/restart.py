"""A restart: of a service that leaks, by systemd as one job, else as a stop and a start.

Touches the service. Limits: what does not run is not started by it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tidegate.errors import GateError
from tidegate.gate.switches.kinds import Tools
from tidegate.gate.switches.record import Before
from tidegate.gate.switches.service import Services
from tidegate.gate.switches.systemd import Unit
from tidegate.policy.guards import Restart, Service

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
