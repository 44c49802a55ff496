"""Which names are a log's former selves, and where its lines are found again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tidegate.model import Position
from tidegate.source import rotation
from tidegate.source.tail import Fingerprint, open_tail


def make(folder: Path, *names: str) -> None:
    for age, name in enumerate(names):
        (folder / name).write_bytes(name.encode() + b"\n")
        os.utime(folder / name, (1000 + age, 1000 + age))


def names(path: Path, *, ordered: bool = True) -> list[str]:
    found = rotation.siblings(str(path))
    return [Path(each.path).name for each in found if each.ordered == ordered]


@pytest.mark.parametrize(
    ("name", "original"),
    [
        ("mail.log.1", "mail.log"),
        ("mail.log.12.gz", "mail.log"),
        ("mail.log-20260821", "mail.log"),
        ("mail.log.2026-08-21.xz", "mail.log"),
        ("mail.log.old", "mail.log"),
        ("mail.log", None),
        ("access-20260821.log", None),
        ("mainlog", None),
    ],
)
def test_the_original_of_a_rotated_name(name: str, original: str | None) -> None:
    assert rotation.rotated_from(f"/var/log/{name}") == (original and f"/var/log/{original}")


def test_counters_go_downwards(tmp_path: Path) -> None:
    make(tmp_path, "log.1", "log.10", "log.2", "log", "log.3.gz", "other.1")
    assert names(tmp_path / "log") == ["log.10", "log.2", "log.1"]


def test_dates_go_upwards(tmp_path: Path) -> None:
    make(tmp_path, "log-20260822", "log-20260820", "log-20260821")
    assert names(tmp_path / "log") == ["log-20260820", "log-20260821", "log-20260822"]


def test_mixed_names_go_by_their_time(tmp_path: Path) -> None:
    make(tmp_path, "log-20260820", "log.2", "log.1", "log-20260819")
    assert names(tmp_path / "log") == ["log-20260820", "log.2", "log.1", "log-20260819"]


def test_a_number_before_the_ending(tmp_path: Path) -> None:
    make(tmp_path, "app-20260821.log", "app-20260820.log", "app.log", "apple-1.log")
    assert names(tmp_path / "app.log") == ["app-20260820.log", "app-20260821.log"]


def test_strays_come_first(tmp_path: Path) -> None:
    make(tmp_path, "log.bak", "log.1", "log~")
    assert names(tmp_path / "log", ordered=False) == ["log.bak", "log~"]
    assert [Path(each.path).name for each in rotation.siblings(str(tmp_path / "log"))] == [
        "log.bak",
        "log~",
        "log.1",
    ]


def test_a_missing_directory_and_a_crowded_one(tmp_path: Path) -> None:
    assert rotation.siblings(str(tmp_path / "none" / "log")) == []
    make(tmp_path, *(f"log.{number}" for number in range(1, 101)))
    found = names(tmp_path / "log")
    assert len(found) == 64
    assert found[-1] == "log.1"


def test_finding_by_identity(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"one\n")
    tail = open_tail(str(log), str(log))
    identity = tail.identity
    tail.close()
    (tmp_path / "log.bak").write_bytes(b"one\ntwo\n")
    log.rename(tmp_path / "log.1")
    log.write_bytes(b"another\n")
    found = rotation.find(str(log), identity)
    assert found is not None
    assert found.key[1] == (tmp_path / "log.1").stat().st_ino
    found.close()
    (tmp_path / "log.1").unlink()
    found = rotation.find(str(log), identity, 4)
    assert found is not None  # a copy will do
    assert found.size() == 8
    found.close()
    assert rotation.find(str(log), identity, 9) is None
    assert rotation.find(str(log), "stdin") is None


def test_positions_that_are_none_of_a_file(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"one\n")
    nonsense = Position("log", str(log), "journal:_COMM=sshd", 3)
    resumed = rotation.resume(str(log), [nonsense])
    assert resumed.lost == [nonsense]
    assert resumed.live is not None
    assert resumed.live.offset == 0
    resumed.live.close()


def test_the_position_of_an_empty_file_whose_inode_is_another_file_by_now(tmp_path: Path) -> None:
    log = tmp_path / "log"
    (tmp_path / "log.1").write_bytes(b"read long ago\n")
    log.write_bytes(b"one\n")
    live = open_tail(str(log), str(log))
    inode = (tmp_path / "log.1").stat().st_ino
    stale = Position("log", str(log), Fingerprint.of(inode, b"").identity, 0)
    resumed = rotation.resume(str(log), [stale, Position("log", str(log), live.identity, 4)])
    assert resumed.leaving == []
    assert resumed.live is not None
    assert resumed.live.offset == 4
    resumed.live.close()
    live.close()
    # Alone it is all we know.
    resumed = rotation.resume(str(log), [stale])
    assert [tail.offset for tail in resumed.leaving] == [0]
    assert resumed.live is not None
    for tail in (*resumed.leaving, resumed.live):
        tail.close()


def test_of_two_copies_at_a_restart_the_longer_one_holds_more(tmp_path: Path) -> None:
    log = tmp_path / "log"
    (tmp_path / "log.2").write_bytes(b"one\ntwo\n")
    (tmp_path / "log.1").write_bytes(b"one\n")
    position = Position("log", str(log), Fingerprint.of(0, b"one\n").identity, 4)
    resumed = rotation.resume(str(log), [position])
    assert resumed.leaving[0].next() == (4, b"two\n")
    for tail in resumed.leaving:
        tail.close()


def test_of_two_copies_the_longer_one_holds_more(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"one\n")
    tail = open_tail(str(log), str(log))
    tail.next()
    (tmp_path / "log.2").write_bytes(b"one\ntwo\n")
    (tmp_path / "log.1").write_bytes(b"one\n")
    os.truncate(log, 0)
    [found] = (each for each in rotation.unread(tail, {tail.key}, emptied=True) if each.offset)
    assert found.next() == (4, b"two\n")
    found.close()
    tail.close()
