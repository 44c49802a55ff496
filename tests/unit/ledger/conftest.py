"""What the ledger's tests share: both ledgers, and decisions to put in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tidegate.ledger.memory import MemoryLedger
from tidegate.ledger.port import Ledger
from tidegate.ledger.sqlite import SqliteLedger
from tidegate.model import MINUTE, SECOND, Decision, Subject

NOW = 1_700_000_000 * SECOND


@pytest.fixture(params=["sqlite", "memory"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    """Either ledger, empty: what one answers the other must answer too."""
    if request.param == "memory":
        made: Ledger = MemoryLedger()
    else:
        made = SqliteLedger(str(tmp_path / "ledger.db"))
    yield made
    made.close()


@pytest.fixture
def decide() -> Callable[..., Decision]:
    """A maker of decisions: `decide(id, action, subject, **other)`, a ten-minute ban by default."""

    def make(name: str, action: str = "ban", subject: str = "192.0.2.7", **other: Any) -> Decision:
        time = other.pop("time", NOW)
        values: dict[str, Any] = {
            "rule": "virus-senders",
            "ports": (25,) if action == "ban" else (),
            "until": time + 10 * MINUTE,
            "duration": 10 * MINUTE,
            "count": 16,
            "step": 0,
            "mode": "enforce",
            "reason": "16 exim.malware in 5m",
        }
        return Decision(
            id=name,
            time=time,
            action=action,
            subject=Subject(subject),
            **(values | other),  # type: ignore[arg-type]
        )

    return make
