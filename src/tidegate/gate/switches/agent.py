"""HAProxy's agent-check as a switch: our answer is `drain`, or a lower weight, while it is closed.

Touches the agent's state file and starts the agent (`lease`, `responder`), which goes back to
`ready up 100%` by itself when nobody renews. Limits: what HAProxy makes of the answers is not seen
from here, only that it asks; its own `maint` or drain there is undone by an opening of ours.
"""

from __future__ import annotations

from tidegate.gate.switches.kinds import Standing, Tools
from tidegate.gate.switches.lease import Answering, Leases, left
from tidegate.gate.switches.port import LEASE
from tidegate.gate.switches.record import Before, Record
from tidegate.model import SECOND
from tidegate.policy.guards import Agent

TOLD_WITHIN = 5.0
"""Seconds to wait for balancers to ask: HAProxy's agent-inter is 2 s unless stated."""


class Agents:
    """Drains this host, or lowers its weight, at every balancer that asks the agent."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._leases = Leases(tools)

    def look(self, terms: Agent) -> Before:
        """Nothing is to be put back but `ready`; begins to answer. GateError where it can't."""
        self._leases.ensure(_name(terms), terms.listen)
        return {}

    def close(self, terms: Agent, before: Before) -> str:
        """Say it from now on, and wait until a balancer has asked."""
        self._leases.ensure(_name(terms), terms.listen)
        said = _word(self._leases.put(_name(terms), terms.weight, LEASE / SECOND))
        if self._tools.until(lambda: self._untold(terms) > 0, TOLD_WITHIN):
            return f"balancers are told {said}"
        return (
            f"no balancer has asked yet; at HAProxy: `agent-check`, and `agent-addr` and"
            f" `agent-port` of {terms.listen}"
        )

    def open(self, terms: Agent, before: Before) -> str:
        """Say `ready up 100%`, unless another gate still says less; wait until it is heard."""
        weight = self._leases.put(_name(terms), terms.weight, 0.0)
        self._leases.ensure(_name(terms), terms.listen)
        if weight < 100:
            return f"balancers are told {_word(weight)}, for another gate"
        if self._tools.until(lambda: self._untold(terms) == 0, TOLD_WITHIN):
            return "balancers are told ready"
        return "a balancer has not asked since; it is told ready as soon as it does"

    def state(self, terms: Agent, record: Record) -> tuple[Standing, str]:
        """It stands as long as somebody says so: this renews it, and starts an agent that died."""
        self._leases.put(_name(terms), terms.weight, left(record.deadline))
        self._leases.ensure(_name(terms), terms.listen)
        return "closed", ""

    def _untold(self, terms: Agent) -> int:
        found: Answering | None = self._leases.ask(_name(terms))
        return found.untold if found else 0


def _name(terms: Agent) -> str:
    return f"agent-{terms.listen}"


def _word(weight: int) -> str:
    return "drain" if weight <= 0 else f"{weight}%"
