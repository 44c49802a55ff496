"""Packs loaded from files, and their example lines tried: the shipped ones, and faulty ones."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path

import pytest
from tests.unit.detector.making import DOOR, packs

from tidegate.detector.engine import Engine
from tidegate.detector.pack import load_packs, try_examples
from tidegate.detector.scanner import EngineName
from tidegate.errors import PackError

SHIPPED = ("dovecot", "exim", "postfix", "sshd")


def test_shipped_packs_are_sound() -> None:
    assert {pack.name for pack in load_packs(judge_shipped=True)} >= set(SHIPPED)


@pytest.mark.parametrize("scanner", ["vectorscan", "re"])
def test_every_shipped_example_holds(scanner: EngineName) -> None:
    shipped = load_packs()
    together = Engine(shipped, zone=UTC, engine=scanner)
    for pack in shipped:
        assert try_examples(pack, together) == []
        assert try_examples(pack, Engine([pack], zone=UTC, engine=scanner)) == []


def test_own_packs_come_along(tmp_path: Path) -> None:
    path = tmp_path / "door.toml"
    path.write_text(DOOR, "utf-8")
    assert [pack.name for pack in load_packs([path], shipped=False)] == ["door"]
    names = [pack.name for pack in load_packs([path])]
    assert names == sorted(names)
    assert {"door", "sshd"} <= set(names)


def test_an_own_pack_replaces_a_shipped_one(tmp_path: Path) -> None:
    path = tmp_path / "sshd.toml"
    path.write_text(DOOR.replace('"door"', '"sshd"'), "utf-8")
    found = {pack.name: pack for pack in load_packs([path])}
    assert found["sshd"].programs == ("doord", "door/*")


def test_two_own_packs_of_one_name(tmp_path: Path) -> None:
    paths = [tmp_path / "a.toml", tmp_path / "b.toml"]
    for path in paths:
        path.write_text(DOOR, "utf-8")
    with pytest.raises(PackError, match=r"b\.toml: name: door is already taken by .*a\.toml"):
        load_packs(paths)


def test_the_faults_of_all_files_come_together(tmp_path: Path) -> None:
    broken, missing = tmp_path / "broken.toml", tmp_path / "missing.toml"
    broken.write_text("name = 7\n", "utf-8")
    with pytest.raises(PackError) as caught:
        load_packs([broken, missing])
    assert f"{broken}: name: expected a text" in caught.value.faults
    assert caught.value.faults[-1].startswith(f"{missing}: expected a readable file: No such file")


def test_good_examples_hold() -> None:
    (door,) = packs(DOOR)
    assert try_examples(door, Engine([door], zone=UTC)) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            'subject = "192.0.2.7" }]',
            'subject = "192.0.2.9" }]',
            "door.wrong-key: match: expected subject '192.0.2.9', it is '192.0.2.7'",
        ),
        (
            'session = "a1" }]',
            'session = "a2" }]',
            "door.opened: match: expected session 'a2', it is 'a1'",
        ),
        (
            '{ line = "jammed" }',
            '{ line = "jam" }',
            "door.jammed: match: expected one event, there are 0",
        ),
        (
            'match = [{ line = "jammed" }]',
            'match = [{ line = "jammed", user = "x" }]',
            "expected user 'x', it is None",
        ),
        (
            "odd key x from door.example.net",
            "wrong key for x from door.example.net",
            "",
        ),
        (
            '"odd key x from door.example.net", subject = "door.example.net"',
            '"wrong key for x from 192.0.2.7", subject = "192.0.2.7"',
            "door.any-key: match: expected it to match here, door.wrong-key takes it",
        ),
        (
            'match = [{ line = "jammed" }]',
            'match = [{ line = "jammed" }]\nreject = ["jammed", "odd key x from 192.0.2.7"]',
            "door.jammed: reject: expected no event, it matches: 'jammed'",
        ),
        ('{ line = "jammed" }', '{ line = "jammed", kind = "jammed" }', ""),
        ('{ line = "jammed" }', '{ line = "jammed", kind = "door.jammed", count = 1 }', ""),
        (
            '{ line = "jammed" }',
            '{ line = "jammed", kind = "opened" }',
            "expected kind 'door.opened'",
        ),
    ],
)
def test_bad_examples_are_told(old: str, new: str, said: str) -> None:
    assert old in DOOR
    (door,) = packs(DOOR.replace(old, new, 1))
    faults = try_examples(door, Engine([door], zone=UTC))
    assert len(faults) == (1 if said else 0), faults
    if said:
        assert faults[0].startswith("0.toml: detector door.")
        assert said in faults[0]
