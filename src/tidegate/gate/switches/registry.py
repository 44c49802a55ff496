"""Which kind closes and opens which terms: the one table that a new kind is entered in.

Touches nothing. Limits: throttles and refusals are the kernel's, and so the other keeper's.
"""

from __future__ import annotations

from tidegate.gate.switches.agent import Agents
from tidegate.gate.switches.command import Commands, Runs
from tidegate.gate.switches.freeze import Freezes
from tidegate.gate.switches.halt import Halts
from tidegate.gate.switches.haproxy import Haproxies
from tidegate.gate.switches.keepalived import TrackFiles
from tidegate.gate.switches.kinds import Kind, Once, Tools
from tidegate.gate.switches.properties import Limits
from tidegate.gate.switches.restart import Restarts
from tidegate.gate.switches.service import Services
from tidegate.policy.guards import (
    Agent,
    Command,
    Freeze,
    Halt,
    Haproxy,
    Keepalived,
    Properties,
    Restart,
    Run,
    Service,
)


def kinds(tools: Tools) -> dict[type, Kind]:
    """What can be closed and opened."""
    return {
        Service: Services(tools),
        Command: Commands(tools),
        Freeze: Freezes(tools),
        Halt: Halts(tools),
        Properties: Limits(tools),
        Haproxy: Haproxies(tools),
        Agent: Agents(tools),
        Keepalived: TrackFiles(tools),
    }


def onces(tools: Tools) -> dict[type, Once]:
    """What can be fired."""
    return {Restart: Restarts(tools), Run: Runs(tools)}
