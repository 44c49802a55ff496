from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.posture.processes import Process
from tidegate.posture.programs import judged

PLACES = ("/tmp", "/var/tmp")


def process(executable: str, *words: str, deleted: bool = False, folder: str = "/") -> Process:
    return Process(7, 33, 100, "x", executable, deleted, words, folder)


@pytest.mark.parametrize(
    ("one", "why", "path"),
    [
        (process("/var/tmp/bot"), "place", "/var/tmp/bot"),
        (process("/var/tmp/bot", deleted=True), "deleted", "/var/tmp/bot"),
        (process("/memfd:x", deleted=True), "memory", "/memfd:x"),
        (process("/usr/bin/perl", "perl", "-w", "/tmp/b.pl"), "script", "/tmp/b.pl"),
        (process("/usr/bin/python3.11", "python3", "b.py", folder="/tmp/x"), "script", "/tmp/x/b.py"),
        (process("/usr/bin/php8.2", "php", "-q", "../tmp/a.php", folder="/var"), "script", "/tmp/a.php"),
        (process("/usr/sbin/nginx", deleted=True), "replaced", "/usr/sbin/nginx"),
    ],
)  # fmt: skip
def test_each_reason(one: Process, why: str, path: str) -> None:
    found = judged(one, PLACES)
    assert found is not None
    assert (found.why, found.path) == (why, path)


@pytest.mark.parametrize(
    "one",
    [
        process("/usr/bin/vim", "vim", "/tmp/notes"),
        process("/tmpfoo/bot"),
        process("/usr/bin/python3", "python3", "-m", "http.server", "/tmp/x"),
        process("/bin/dash", "sh", "-c", "ls", "/tmp/x"),
        process("/usr/bin/perl", "perl", "/usr/share/x.pl", "/tmp/input"),
        process("/usr/bin/perl", "perl"),
    ],
)
def test_what_is_as_it_should_be(one: Process) -> None:
    assert judged(one, PLACES) is None


def test_places_are_folders_not_prefixes(tmp_path: Path) -> None:
    assert judged(process(f"{tmp_path}x/bot"), [str(tmp_path)]) is None
