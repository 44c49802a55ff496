from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tidegate.posture.webtrees import find

NOW = datetime.now(UTC)
FILES = {
    "wp": ("wp-includes/version.php", "<?php\n$wp_version = '6.4.2';\n", "WordPress", "6.4.2"),
    "wp-old": ("wp-includes/version.php", "$wp_version = '4.6.29';", "WordPress", "4.6.29"),
    "joomla": (
        "administrator/manifests/files/joomla.xml", "<extension><version>3.10.12</version>",
        "Joomla", "3.10.12",
    ),
    "joomla5": (
        "administrator/manifests/files/joomla.xml", "<version>5.2.1</version>", "Joomla", "5.2.1",
    ),
    "joomla15": (
        "libraries/joomla/version.php", "var $RELEASE = '1.5';\nvar $DEV_LEVEL = '10';", "Joomla",
        "1.5.10",
    ),
}  # fmt: skip


def put(root: Path, name: str) -> None:
    inner, text, _kind, _version = FILES[name]
    path = root / "sites" / name / "htdocs" / inner
    path.parent.mkdir(parents=True)
    path.write_text(text)


@pytest.mark.parametrize("name", FILES)
def test_each_version_file_is_read(tmp_path: Path, name: str) -> None:
    put(tmp_path, name)
    (found,) = find([tmp_path], NOW).trees
    assert (found.kind, found.version) == FILES[name][2:]
    assert found.path == str(tmp_path / "sites" / name / "htdocs")
    assert bool(found.why) == (name in ("wp-old", "joomla", "joomla15"))


def test_a_tree_that_nobody_has_updated_is_old(tmp_path: Path) -> None:
    put(tmp_path, "wp")
    path = tmp_path / "sites/wp/htdocs/wp-includes/version.php"
    long_ago = (NOW - timedelta(days=200)).timestamp()
    os.utime(path, (long_ago, long_ago))
    (found,) = find([tmp_path], NOW).trees
    assert found.why.startswith("not updated since 20")


def test_links_are_not_followed_and_pipes_do_not_hang(tmp_path: Path) -> None:
    put(tmp_path / "outside", "wp")
    root = tmp_path / "root"
    (root / "trap/wp-includes").mkdir(parents=True)
    os.mkfifo(root / "trap/wp-includes/version.php")
    (root / "linked/wp-includes").mkdir(parents=True)
    version = next((tmp_path / "outside").rglob("version.php"))
    (root / "linked/wp-includes/version.php").symlink_to(version)
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "loop").symlink_to(root)
    assert find([root, root / "trap"], NOW).trees == ()


def test_the_walk_is_bounded_and_says_where_it_left_off(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number:02}").mkdir()
    told: list[str] = []
    found = find([tmp_path], NOW, told.append, most=10)
    assert found.cut.startswith("looked at 10 folders, and left off at ")
    assert told[-1] == "11 web folders looked at"
