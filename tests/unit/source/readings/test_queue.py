"""Queues: spools made as Exim and Postfix make them."""

from __future__ import annotations

import os
import pwd
import shutil
import string
import subprocess
import sys
from pathlib import Path

import pytest

from tidegate.errors import SourceError
from tidegate.source.readings import queue
from tidegate.source.readings.queue import Queues

LETTERS = string.digits + string.ascii_letters


def exim(folder: Path, messages: int, *, split: bool) -> None:
    """Messages with header and data files, in folders by the sixth letter of their names."""
    (folder / "input").mkdir(exist_ok=True)
    for number in range(messages):
        letter = LETTERS[number % 62]
        place = folder / "input" / letter if split else folder / "input"
        if split and number < 62:
            place.mkdir(exist_ok=True)
        for end in "HD":
            (place / f"1qXyz{letter}-{number:06d}-0A-{end}").touch()


def postfix(folder: Path, **messages: int) -> None:
    for name in ("incoming", "active", "maildrop"):
        (folder / name).mkdir()
    for number in range(16):
        (folder / "deferred" / f"{number:X}").mkdir(parents=True)
    for name, count in messages.items():
        for number in range(count):
            below = f"{number % 16:X}/" if name == "deferred" else ""
            (folder / name / f"{below}{number % 16:X}{number:09X}").touch()


def count(program: str, folder: Path) -> float:
    taken = Queues(**{program: str(folder)}).taker(program).attempt(1)
    assert taken.why == ""
    return taken.value


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("messages", [0, 1, 100, 700])
def test_few_messages_of_exim_are_counted_exactly(tmp_path, split, messages):
    exim(tmp_path, messages, split=split)
    (tmp_path / "input" / "1qXyzA-000001-0A-J").touch()  # a journal of a delivery is no message
    assert count("exim", tmp_path) == messages


def test_exim_counts_what_lies_there_since_before_the_queue_was_split(tmp_path):
    exim(tmp_path, 62, split=True)
    exim(tmp_path, 5, split=False)
    assert count("exim", tmp_path) == 67


def test_postfix_is_counted_over_its_queues_and_hashed_folders(tmp_path):
    postfix(tmp_path, incoming=1, active=20, deferred=300, maildrop=4)
    assert count("postfix", tmp_path) == 325


def test_many_are_estimated_cheaply_and_stay_right(tmp_path, monkeypatch):
    monkeypatch.setattr(queue, "MANY", 2_000)
    exim(tmp_path, 6_200, split=True)
    taker = Queues(exim=str(tmp_path)).taker("exim")
    assert taker.attempt(1).value == 6_200
    looked: list[str] = []
    real = os.listdir
    monkeypatch.setattr(queue.os, "listdir", lambda path: looked.append(path) or real(path))
    assert taker.attempt(2).value == 6_200
    assert len(looked) <= 62 // 10 + 2
    for letter in LETTERS[:31]:
        for file in sorted((tmp_path / "input" / letter).glob("*-H"))[:50]:
            file.unlink()
    true = 6_200 - 31 * 50
    assert taker.attempt(3).value == pytest.approx(true, rel=0.1)
    for look in range(queue.EXACT_EVERY):
        taker.attempt(4 + look)
    assert taker.attempt(99).value == pytest.approx(true, rel=0.01)


def test_a_queue_that_empties_is_counted_exactly_again(tmp_path, monkeypatch):
    monkeypatch.setattr(queue, "MANY", 600)
    exim(tmp_path, 620, split=True)
    taker = Queues(exim=str(tmp_path)).taker("exim")
    assert taker.attempt(1).value == 620
    for file in (tmp_path / "input").rglob("*-H"):
        file.unlink()
    (tmp_path / "input/z/1qXyzz-000001-0A-H").touch()
    assert taker.attempt(2).value == 1


def test_a_spool_that_is_not_there_is_unknown_and_found_when_it_comes(tmp_path):
    taker = Queues(exim=str(tmp_path)).taker("exim")
    assert taker.attempt(1).why == (
        f"{tmp_path}/input is not there: is the program installed, and its spool there?"
    )
    exim(tmp_path, 3, split=False)
    assert taker.attempt(2).value == 3


def test_a_spool_that_moved_is_asked_for_again(tmp_path, monkeypatch):
    places = [tmp_path / "old", tmp_path / "new"]
    for place in places:
        place.mkdir()
    exim(places[1], 4, split=False)
    monkeypatch.setattr(queue, "_exim", lambda _named: str(places.pop(0)))
    taker = Queues().taker("exim")
    assert taker.attempt(1).value is None
    assert taker.attempt(2).value == 4
    assert taker.attempt(3).value == 4


@pytest.mark.skipif(shutil.which("exim4") is None, reason="no exim4")
def test_exim_itself_says_where_its_spool_is(monkeypatch):
    said = subprocess.run(["exim4", "-bP", "spool_directory"], capture_output=True, text=True)
    monkeypatch.setattr(queue, "_first", lambda *_paths: "not asked")
    assert said.stdout.strip() == f"spool_directory = {queue._exim('')}"


def test_another_program_is_refused():
    with pytest.raises(SourceError, match='expected "exim" or "postfix"'):
        Queues().taker("sendmail")


@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
def test_who_may_not_look_is_told_what_to_run(public_folder):
    exim(public_folder, 3, split=False)
    (public_folder / "input").chmod(0o700)
    nobody = pwd.getpwnam("nobody")
    program = (
        "from tidegate.source.readings.queue import Queues;"
        f"print(Queues(exim={str(public_folder)!r}).taker('exim').attempt(1).why)"
    )
    source = Path(queue.__file__).parents[3]
    said = subprocess.run(
        [sys.executable, "-c", program],
        user=nobody.pw_uid,
        group=nobody.pw_gid,
        extra_groups=(),
        env={"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    if "ModuleNotFoundError" in said.stderr:
        pytest.skip("nobody can't read this checkout")
    assert f"may not be looked into by user {nobody.pw_uid}; run as root: setfacl" in said.stdout
