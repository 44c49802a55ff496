"""Matchers: what a slot, a program and a set of literals stand for, all of it bounded."""

from __future__ import annotations

import pytest
from tests.unit.detector.making import DOOR, GATE, bare_pack, packs

from tidegate.detector import matcher
from tidegate.detector.line import SHAPES
from tidegate.detector.matcher import NOBODY, Literals, Programs, Slot, count_of, matchers_of
from tidegate.errors import PackError


def names(literals: Literals, key: int, without: tuple[str, ...] = ()) -> list[str]:
    return [each.detector.name for each in literals.matchers(key, without)]


def test_slots() -> None:
    address, host = Slot(host=False, nobody=False), Slot(host=True, nobody=True)
    assert address[b"192.0.2.7"] == host[b"192.0.2.7"] == "192.0.2.7"
    assert address[b"::ffff:192.0.2.7"] == "192.0.2.7"
    assert address[b"2001:db8::1%eth0"] == "2001:db8::/64"
    assert (address[b"mx.example.org"], host[b"MX.example.org"]) == (None, "mx.example.org")
    assert (address[b"999.0.2.7"], host[b"999.0.2.7"], address[b"\xff"]) == (None, None, None)
    assert (address[None], address[b""], host[None], host[b""]) == (None, None, NOBODY, NOBODY)


def test_a_wide_slot_takes_every_form_of_a_subject() -> None:
    wide = Slot(host=False, nobody=False, wide=True)
    same = (
        "uid:33",
        "interface:lan0.7",
        "service:25",
        "192.0.2.7",
        "192.0.2.0/24",
        "2001:db8::/48",
    )
    assert [wide[each.encode()] for each in same] == list(same)
    assert wide[b"2001:db8:1:2::7"] == "2001:db8:1:2::/64"
    assert (wide[b"192.0.2.7/24"], wide[b"192.0.2.7/32"]) == ("192.0.2.0/24", "192.0.2.7")
    assert [wide[each] for each in (b"www-data", b"uid:", b"192.0.2.0/33", b"", None)] == [None] * 5


def test_memories_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matcher, "_REMEMBERED", 4)
    slot, programs = Slot(host=False, nobody=False), Programs(["p1*"])
    for number in range(20):
        assert slot[b"192.0.2.%d" % number] == f"192.0.2.{number}"
        assert programs[b"p%d" % number] == str(number).startswith("1")
    assert len(slot) <= 4
    assert len(programs) <= 4


def test_programs_are_compared_whole() -> None:
    programs = Programs(["doord", "door/*", "a.b"])
    taken = [b"doord", b"door/x", b"door/x/y", b"door/", b"a.b"]
    assert all(programs[each] for each in taken)
    assert not any(programs[each] for each in (b"doord2", b"xdoord", b"door", b"a-b", b"Doord"))


def test_a_line_of_no_program_is_of_those_that_write_bare_lines() -> None:
    assert (Programs(["doord"])[None], Programs(["doord"], bare=False)[None]) == (True, False)


def test_counts() -> None:
    values = [None, b"", b"0", b"3", b"5000", b"99999999999999999999", b"x", b"-1"]
    assert [count_of(each) for each in values] == [1, 1, 1, 3, 1000, 1000, 1, 1]


def test_who_is_asked_for_a_literal() -> None:
    literals = Literals(matchers_of(packs(DOOR, GATE), None))
    key = literals.texts.index(b"wrong key")
    assert names(literals, key) == ["door.wrong-key", "door.any-key", "gate.rattled"]
    assert names(literals, key, ("door.any-key",)) == ["door.wrong-key", "gate.rattled"]


def test_who_is_asked_for_several_literals() -> None:
    literals = Literals(matchers_of(packs(DOOR, GATE), None))
    jammed, odd = literals.texts.index(b"jammed"), literals.texts.index(b"odd key")
    key = literals.merge(jammed, odd)
    assert names(literals, key) == ["door.any-key", "door.jammed"]
    assert literals.merge(odd, jammed) == key == literals.merge(key, odd)
    assert literals.merge(jammed, jammed) == jammed


def test_a_flood_of_odd_lines_asks_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matcher, "_MERGED", 1)
    pack = bare_pack("many", [(f"d{index}", f"text{index}", "x") for index in range(9)])
    literals = Literals(matchers_of([pack], None))
    for first in range(9):
        for second in range(9):
            key = literals.merge(first, second)
            assert f"many.d{second}" in names(literals, key)
            assert f"many.d{first}" in names(literals, key)
    assert len(literals._sets) <= 11
    assert len(literals._merged) <= 16


def test_literals_of_some_matchers() -> None:
    matchers = matchers_of(packs(DOOR), None)
    literals = Literals(matchers)
    found = literals.of(each for each in matchers if each.detector.name == "door.jammed")
    assert [literals.texts[index] for index in found] == [b"jammed"]


def test_detectors_by_name() -> None:
    both = packs(DOOR, GATE)
    assert {each.pack for each in matchers_of(both, None)} == {0, 1}
    assert [each.detector.name for each in matchers_of(both, ["gate"])] == ["gate.rattled"]
    chosen = matchers_of(both, ["door.jammed", "door.knock"])
    assert [each.detector.name for each in chosen] == ["door.knock", "door.jammed"]


def test_unknown_names_are_told_with_the_nearest() -> None:
    with pytest.raises(PackError) as caught:
        matchers_of(packs(DOOR), ["dor", "door", "zzz"])
    assert caught.value.faults == (
        "dor: unknown detector; did you mean door?",
        "zzz: unknown detector",
    )


def test_one_step_needs_the_pack_s_program() -> None:
    matchers = matchers_of(packs(DOOR), ["door.knock"])
    tagged = next(number for number, shape in enumerate(SHAPES) if shape.name == "bsd tag")
    ready = matchers[0].with_header(tagged, SHAPES[tagged])
    assert matchers[0].with_header(tagged, SHAPES[tagged]) is ready
    line = b"Aug 21 14:03:22 mx %s[77]: knock at 192.0.2.7"
    found = ready.match(line % b"doord", 0, 64)
    assert found
    assert (found[1], found[ready.address], found["_pid"]) == (
        b"Aug 21 14:03:22",
        b"192.0.2.7",
        b"77",
    )
    assert found[ready.process] == b"77"
    assert ready.match(line % b"otherd", 0, 64) is None
