"""Pid files of daemons whose user is not root's friend: they name nobody but their own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tidegate.gate.switches.pidfile import stated

pytestmark = pytest.mark.kernel

NOBODY = 65534


@pytest.fixture
def sleeping() -> Iterator[Callable[[int], int]]:
    """A process of that user: its number."""
    made: list[subprocess.Popen[bytes]] = []

    def start(user: int) -> int:
        made.append(subprocess.Popen(["sleep", "600"], user=user, group=user))
        return made[-1].pid

    yield start
    for one in made:
        one.kill()
        one.wait()


@pytest.fixture
def own(public_folder: Path) -> Path:
    """The folder of a daemon that runs as another user."""
    found = public_folder / "daemon"
    found.mkdir()
    os.chown(found, NOBODY, NOBODY)
    return found


def written(path: Path, pid: int, user: int, mode: int = 0o644) -> Path:
    path.write_text(f"{pid}\n")
    os.chown(path, user, user)
    path.chmod(mode)
    return path


def test_believed_of_its_own_users_processes_and_root_of_any(own, sleeping):
    theirs, roots = sleeping(NOBODY), sleeping(0)
    for user, pid, believed in (
        (NOBODY, theirs, True),
        (NOBODY, roots, False),  # it could not have ended that itself
        (0, theirs, True),
        (0, roots, True),
    ):
        found = stated(written(own / "a.pid", pid, user))
        assert (found is not None and found.pid == pid) is believed, (user, believed)
    assert stated(written(own / "a.pid", roots, 0, 0o666)) is None


def test_a_link_or_a_pipe_of_theirs_is_nothing(own, public_folder, sleeping):
    real = written(public_folder / "sshd.pid", sleeping(0), 0)
    assert stated(real) is not None
    link = own / "a.pid"
    link.symlink_to(real)
    assert stated(link) is not None  # root's own
    os.chown(link, NOBODY, NOBODY, follow_symlinks=False)
    assert stated(link) is None
    deep = own / "deep"
    deep.symlink_to(public_folder)
    os.chown(deep, NOBODY, NOBODY, follow_symlinks=False)
    assert stated(deep / "sshd.pid") is None
    os.mkfifo(own / "b.pid")
    assert stated(own / "b.pid") is None  # and nobody waits for whoever writes it


def test_a_file_of_any_size_is_read_to_the_number_only(own, sleeping):
    path = written(own / "a.pid", sleeping(0), 0)
    os.truncate(path, 1 << 40)
    found = stated(path)
    assert found is None or found.pid > 1
