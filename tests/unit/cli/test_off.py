"""Break glass on a host that has no room left: the switch is a file, and an empty one will do."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tidegate.cli import main
from tidegate.cli import off as off_module


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(off_module, "_delete_table", lambda: True)
    path = tmp_path / "tidegate.toml"
    path.write_text(f'[paths]\noff = "{tmp_path}/etc/off"\n')
    return path


def test_on_a_full_disk_it_opens_all_the_same(
    policy: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(_path: Path, _text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(SystemExit) as ended:
        main(["off", "--config", str(policy), "--note", "locked out"])
    assert ended.value.code == 0
    assert "Everything is open" in capfd.readouterr().out
    assert (policy.parent / "etc" / "off").read_bytes() == b""


def test_where_there_is_room_it_says_who_and_why(policy: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["off", "--config", str(policy), "--note", "locked out"])
    assert ended.value.code == 0
    assert (policy.parent / "etc" / "off").read_text().endswith("locked out\n")


def test_where_no_file_can_be_made_it_says_so(
    policy: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (policy.parent / "etc").write_text("a file in the way")
    with pytest.raises(SystemExit) as ended:
        main(["off", "--config", str(policy)])
    assert ended.value.code == 3
    (line,) = capfd.readouterr().err.splitlines()
    assert "run it as root: sudo tidegate off" in line
