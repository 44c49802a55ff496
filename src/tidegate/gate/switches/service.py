"""Services: stopped while closed, started again when open, if it was us who stopped them.

Touches the service that its terms name, by systemctl where systemd is PID 1, else by its init
script. Limits: what each of the two can tell apart, see `systemd` and `initscript`.
"""

from __future__ import annotations

import time

from tidegate.errors import GateError
from tidegate.gate.switches.initscript import InitScript
from tidegate.gate.switches.kinds import Standing, Tools, seconds
from tidegate.gate.switches.record import Before, Record
from tidegate.gate.switches.systemd import Unit
from tidegate.policy.guards import Service


class Services:
    """The kind of `Service`."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    def look(self, terms: Service) -> Before:
        """What runs; `away` where it does not."""
        return self._one(terms).look()

    def close(self, terms: Service, before: Before) -> str:
        """Stop it."""
        began = time.monotonic()
        said = self._one(terms).stop(before, seconds(terms.stop_within))
        return said or f"stopped in {time.monotonic() - began:.1f} s"

    def open(self, terms: Service, before: Before) -> str:
        """Start it."""
        one = self._one(terms)
        return one.start(before) if isinstance(one, Unit) else one.start()

    def state(self, terms: Service, record: Record) -> tuple[Standing, str]:
        """Whether it is still stopped, and whether we may start it."""
        try:
            one = self._one(terms)
        except GateError as error:
            return "taken", str(error)
        return one.state(record)

    def _one(self, terms: Service) -> Unit | InitScript:
        return (Unit if self._tools.systemd else InitScript)(terms.service, self._tools)
