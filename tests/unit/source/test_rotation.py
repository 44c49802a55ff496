"""Where the lines of a rotated log are found again."""

from __future__ import annotations

import os
from pathlib import Path

from tidegate.model import Position
from tidegate.source import rotation
from tidegate.source.tail import Fingerprint, open_tail


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
