from __future__ import annotations

import os
from pathlib import Path

import pytest

from tidegate.errors import WorldError
from tidegate.posture.plan import FileStep, MountStep, Plan
from tidegate.posture.record import NAME, Record, Records, write_whole

PLAN = Plan(
    (FileStep("/etc/fstab", b"caf\xe9\n", b"new\n"), FileStep("/etc/x", None, b"y")),
    (MountStep("/tmp", "bind", ("noexec",)), MountStep("/dev/shm", "flags", ())),
)
RECORD = Record(PLAN, "applying", "2026-08-21T14:03:22+00:00")


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    records = Records(tmp_path / "posture")
    with records.alone():
        assert records.read() is None
        records.write(RECORD)
        assert records.read() == RECORD
        assert (tmp_path / "posture/fstab.before").read_bytes() == b"caf\xe9\n"
        records.remove()
        records.remove()
        assert records.read() is None
    assert [one.name for one in (tmp_path / "posture").iterdir()] == ["lock"]


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", '{"version": 2}', '{"version": 1, "stage": "odd", "time": "", "files": [], "mounts": []}',
        '{"version": 1, "stage": "applied", "time": "", "files": [{"path": 1}], "mounts": []}',
        '{"version": 1, "stage": "applied", "time": "", "files": [{"path": "x", "before": "!", "after": ""}],'
        ' "mounts": []}',
        '{"version": 1, "stage": "applied", "time": "", "files": [],'
        ' "mounts": [{"path": "/", "do": "rm", "added": []}]}',
    ],
)  # fmt: skip
def test_one_that_can_not_be_understood_is_said_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text)
    with pytest.raises(WorldError) as caught:
        Records(tmp_path).read()
    assert "nothing was changed" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_at_a_time_are_one_too_many(tmp_path: Path) -> None:
    first, second = Records(tmp_path / "posture"), Records(tmp_path / "posture")
    with (
        first.alone(),
        pytest.raises(WorldError, match="another tidegate harden is at work"),
        second.alone(),
    ):
        pass
    with second.alone():
        pass


def test_a_whole_file_keeps_its_mode_and_a_failed_one_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "fstab"
    write_whole(path, b"one", 0o640)
    write_whole(path, b"two", 0o600, (os.getuid(), os.getgid()))
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"two", 0o600)
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(IsADirectoryError):
        write_whole(folder, b"x", 0o600)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["folder", "fstab"]
