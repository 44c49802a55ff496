from __future__ import annotations

from dataclasses import replace

import pytest

from tidegate.daemon.halting import gates, told
from tidegate.model import GateReport, Subject
from tidegate.policy.models import Policy
from tidegate.policy.outward import OutwardSpec

FREEZE = Policy(outward=OutwardSpec(uids=True, stop="freeze"))


def test_who_is_cut_off_is_halted_but_never_root() -> None:
    assert gates(FREEZE, {33: 100, 0: 100}) == {"outward.uid-33": 100}


@pytest.mark.parametrize(
    "policy",
    [
        Policy(),
        Policy(outward=OutwardSpec(uids=True)),
        Policy(outward=OutwardSpec(uids=True, stop="freeze", mode="observe")),
        replace(FREEZE, mode="observe"),
    ],
)
def test_nobody_is_where_policy_does_not_say_so(policy: Policy) -> None:
    assert gates(policy, {33: 100}) == {}
    assert policy.has_switches == (policy.outward is not None and policy.outward.stop == "freeze")


def test_what_became_of_them_is_told_of_users_alone() -> None:
    states = {"outward.uid-33": GateReport("outward.uid-33", "closed", 1, "stands still: /tmp/x")}
    assert told(states, Subject("uid:33")) == "closed: stands still: /tmp/x"
    assert told(states, Subject("uid:34")) is None
    assert told(states, Subject("192.0.2.7")) is None
    states["outward.uid-33"] = GateReport("outward.uid-33", "open", 1, "")
    assert told(states, Subject("uid:33")) is None
