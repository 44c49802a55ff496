"""What switches are to the daemon: told which shall be closed, they report what became of it.

Touches nothing itself. A switch is a gate that is no firewall entry: a service, a balancer, a
control group, a command. Each closing carries an end (`until`), renewed while it is wanted, so
that it opens when nobody renews it. Limits: nothing here blocks; a stop may take minutes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from tidegate.model import GateReport, Micros
from tidegate.policy.guards import LEASE as LEASE


class Switches(Protocol):
    """All switches of a policy. Raises GateError only where the keeper of them is gone."""

    def fileno(self) -> int:
        """Readable when a report has arrived; -1: there is nothing to wait for."""

    def want(self, closed: Mapping[str, Micros], now: Micros) -> None:
        """Exactly these gates shall be closed, each until then; every other one open. Idempotent:
        said again to renew. What a person has opened or stopped meanwhile is reported, not fought.
        """

    def fire(self, gate: str, now: Micros) -> None:
        """Restart or run this one, once."""

    def reports(self) -> Sequence[GateReport]:
        """What has changed since last asked; after a start, every gate once."""

    def troubles(self) -> Sequence[str]:
        """What hinders whoever carries this out, in words, since last asked."""

    def reload(self) -> None:
        """Policy has changed: read it anew."""

    def open_all(self) -> None:
        """Open everything now (`off`)."""

    def close(self) -> None:
        """End the conversation; what is closed stays until its end."""
