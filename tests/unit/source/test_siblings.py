"""Which names are a log's former selves, and in what order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tidegate.source.siblings import itself, rotated_from, siblings


def make(folder: Path, *names: str) -> None:
    for age, name in enumerate(names):
        (folder / name).write_bytes(name.encode() + b"\n")
        os.utime(folder / name, (1000 + age, 1000 + age))


def names(path: Path, *, ordered: bool = True) -> list[str]:
    found = siblings(str(path))
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
    assert rotated_from(f"/var/log/{name}") == (original and f"/var/log/{original}")


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
    assert [Path(each.path).name for each in siblings(str(tmp_path / "log"))] == [
        "log.bak",
        "log~",
        "log.1",
    ]


def test_a_missing_directory_and_a_crowded_one(tmp_path: Path) -> None:
    assert siblings(str(tmp_path / "none" / "log")) == []
    make(tmp_path, *(f"log.{number}" for number in range(1, 101)))
    found = names(tmp_path / "log")
    assert len(found) == 64
    assert found[-1] == "log.1"


def test_what_is_no_regular_file_is_left_out(tmp_path: Path) -> None:
    make(tmp_path, "log.1")
    os.mkfifo(tmp_path / "log.2")
    (tmp_path / "log.3").mkdir()
    (tmp_path / "log.4").symlink_to("log.1")
    assert names(tmp_path / "log") == ["log.1"]


def test_a_link_has_the_siblings_of_its_target_too(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    make(data, "real.2", "real.1", "real")
    (tmp_path / "log").symlink_to(data / "real")
    make(tmp_path, "log.3")
    assert names(tmp_path / "log") == ["log.3", "real.2", "real.1"]
    assert itself(str(tmp_path / "log"))[0].inode == (data / "real").stat().st_ino
    assert itself(str(tmp_path / "none")) == []
