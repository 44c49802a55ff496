"""The keeper's outward part believes the watcher nothing: whom it may have cut off, and how long."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.gate.conftest import CHARTER, START

from tidegate.errors import GateError
from tidegate.frames import Malformed
from tidegate.gate.charter import Charter
from tidegate.gate.outward.confiner import Confiner
from tidegate.gate.outward.lanes import place, subject_of
from tidegate.gate.outward.memory import MemoryOutward
from tidegate.gate.outward.port import MOST, OutwardState
from tidegate.model import DAY, HOUR, Confined, Subject
from tidegate.policy.outward import OutwardSpec

SPEC = OutwardSpec(
    uids=True, networks=(Subject("192.0.2.0/24"), Subject("2001:db8:1::/48")),
    customers=(Subject("198.51.100.0/28"), Subject("2001:db8:7::/48"), Subject("203.0.113.7")),
    interfaces=("lan0",), busy=(Subject("192.0.2.25"), Subject("uid:105"), Subject("192.0.2.64/26")),
)  # fmt: skip
OURS = Charter(
    outward=SPEC, spared=(Subject("192.0.2.1"), Subject("uid:999"), Subject("198.51.100.3")),
    longest=30 * DAY,
)  # fmt: skip
UNTIL = START + HOUR

MAY = [
    "uid:33", "interface:lan0", "192.0.2.7", "2001:db8:1:2::/64", "198.51.100.0/28",
    "2001:db8:7::/48", "203.0.113.7", "198.51.100.4", "2001:db8:7:1::/64",
]  # fmt: skip
MAY_NOT = [
    "uid:0", "uid:00", "uid:033", "uid:105", "uid:999", "uid:4294967295", "uid:99999999999", "uid:",
    "uid:x", "uid:٣", "interface:lan1", "interface:", "192.0.2.1", "192.0.2.25", "192.0.2.65",
    "192.0.2.0/24", "192.0.2.8/30", "192.0.3.1", "127.0.0.1", "2001:db8:1::/48", "2001:db8:1::1",
    "2001:db8:1:2::1/64", "2001:db8:2:2::/64", "198.51.100.3", "198.51.100.0/29", "::ffff:192.0.2.7",
    "192.0.2.07", "192.0.2.7/32", "service:exim", "www-data", "", "0.0.0.0/0", "::/0",
]  # fmt: skip


@pytest.fixture
def gate() -> MemoryOutward:
    return MemoryOutward()


@pytest.fixture
def confiner(gate: MemoryOutward) -> Iterator[Confiner]:
    yield Confiner(gate, OURS)


def frame(*items: Any) -> dict[str, Any]:
    return {"type": "confine", "confined": list(items)}


def test_who_may_be_cut_off(confiner: Confiner, gate: MemoryOutward) -> None:
    assert confiner.confine(frame(*([one, UNTIL, 0] for one in MAY)), START) == {"refusals": []}
    assert [one.subject for one in gate.state(START).confined] == MAY


def test_who_may_not(confiner: Confiner, gate: MemoryOutward) -> None:
    items = [[one, UNTIL, 0] for one in (*MAY_NOT, "uid:33")]
    refused = confiner.confine(frame(*items), START)["refusals"]
    assert [one.index for one in refused] == list(range(len(MAY_NOT)))
    assert [one.subject for one in gate.state(START).confined] == ["uid:33"]


@pytest.mark.parametrize(
    "item",
    [None, 7, "uid", [], ["uid:33"], ["uid:33", UNTIL], ["uid:33", UNTIL, 0, 0], [33, UNTIL, 0],
     ["uid:33", 1.5, 0], ["uid:33", True, 0], ["uid:33", UNTIL, None], [["uid:33"], UNTIL, 0],
     ["uid:33", START + 31 * DAY, 0], ["uid:33", 0, START + 31 * DAY], {"a": 1, "b": 2, "c": 3}],
)  # fmt: skip
def test_what_is_no_source_with_ends(confiner: Confiner, item: Any) -> None:
    refused = confiner.confine(frame(["uid:34", UNTIL, 0], item), START)["refusals"]
    assert [one.index for one in refused] == [1]


def test_each_once_and_not_too_many(confiner: Confiner, gate: MemoryOutward) -> None:
    twice = confiner.confine(frame(["uid:33", UNTIL, 0], ["uid:33", UNTIL, 0]), START)["refusals"]
    assert [(one.index, one.reason) for one in twice] == [(1, "it is named twice")]
    many = [[f"uid:{1000 + number}", UNTIL, 0] for number in range(MOST + 2)]
    refused = confiner.confine(frame(*many), START)["refusals"]
    assert [one.index for one in refused] == [MOST, MOST + 1]
    assert len(gate.state(START).confined) == MOST


@pytest.mark.parametrize("confined", [None, {}, "uid:33", [["uid:33", UNTIL, 0]] * (2 * MOST + 1)])
def test_what_is_no_list(confiner: Confiner, confined: Any) -> None:
    with pytest.raises(Malformed):
        confiner.confine({"type": "confine", "confined": confined}, START)


def test_without_outward_in_the_policy(gate: MemoryOutward) -> None:
    gate.standing = True
    confiner = Confiner(gate, CHARTER)
    assert not gate.standing, "what a former policy left is gone"
    [refused] = confiner.confine(frame(["uid:33", UNTIL, 0]), START)["refusals"]
    assert "no [outward]" in refused.reason
    assert confiner.govern(OURS)
    assert not confiner.govern(OURS)
    assert confiner.confine(frame(["uid:33", UNTIL, 0]), START) == {"refusals": []}
    assert gate.standing
    confiner.govern(CHARTER)
    confiner.confine(frame(), START)
    assert not gate.standing


def test_without_a_gate() -> None:
    confiner = Confiner(None, OURS)
    with pytest.raises(GateError, match="no outward gate"):
        confiner.confine(frame(), START)
    assert confiner.state(START) == {"outward": OutwardState("there is no outward gate here")}
    assert not confiner.drifted()
    confiner.open_all()


def test_ends_that_are_over_are_told_as_none(confiner: Confiner, gate: MemoryOutward) -> None:
    confiner.confine(frame(["uid:33", UNTIL, UNTIL + HOUR], ["uid:34", UNTIL, 0]), START)
    assert gate.state(UNTIL).confined == (Confined(Subject("uid:33"), 0, UNTIL + HOUR),)


def test_a_subject_comes_back_from_its_place() -> None:
    for one in MAY:
        found = place(SPEC, Subject(one))
        assert not isinstance(found, str)
        assert subject_of(*found) == one


@settings(max_examples=300, deadline=None)
@given(st.text() | st.from_regex(r"(uid|interface):[0-9a-z]{0,12}|[0-9a-f:.]{0,40}(/[0-9]{1,3})?"))
def test_no_text_gets_past(subject: str) -> None:
    found = place(SPEC, Subject(subject))
    if not isinstance(found, str):
        assert subject_of(*found) == subject
