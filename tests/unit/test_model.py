"""The shared values: frozen, equal by content, spans in whole microseconds."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from tidegate import model
from tidegate.model import Batch, Decision, Kind, Origin, Subject


def decision() -> Decision:
    return Decision(
        id="d",
        time=0,
        action="ban",
        subject=Subject("192.0.2.7"),
        rule="virus-senders",
        ports=(25,),
        until=10 * model.MINUTE,
        duration=10 * model.MINUTE,
        count=16,
        step=0,
        mode="enforce",
        reason="16 in 5m",
    )


def test_spans_are_microseconds() -> None:
    assert (model.SECOND, model.MINUTE) == (10**6, 60 * 10**6)
    assert (model.HOUR, model.DAY) == (3600 * 10**6, 86400 * 10**6)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Kind("exim.malware", "abuse", 1, "exim.malware-data", "exim"), "weight"),
        (Origin(1, "exim", "/var/log/exim4/mainlog", "1:ab"), "path"),
        (decision(), "until"),
    ],
)
def test_what_stages_share_can_not_be_changed(value: object, name: str) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(value, name, 0)


def test_a_decision_is_its_content() -> None:
    assert decision() == decision()
    assert decision().spared == ""
    assert decision().by == "rule"


def test_batches_share_nothing() -> None:
    one, other = Batch("exim", 1), Batch("exim", 1)
    one.quarantined.append(model.Quarantined(0, "exim.malware-data", "too slow", b""))
    one.successes[Subject("192.0.2.7")] = model.Success(1, 0, 0, 0)
    assert other.quarantined == []
    assert other.successes == {}
