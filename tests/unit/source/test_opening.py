"""Opening logs: only regular files, only trustworthy links, and errors that say what helps."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tidegate.errors import SourceError
from tidegate.source.opening import explain, group_name, my_name, open_log, user_name

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@contextmanager
def as_nobody() -> Iterator[None]:
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def refusal(path: Path) -> str:
    with pytest.raises(SourceError) as refused:
        os.close(open_log(str(path))[0])
    return str(refused.value)


def test_a_regular_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\n")
    descriptor, status = open_log(str(path))
    assert os.read(descriptor, 10) == b"one\n"
    assert status.st_size == 4
    assert not os.get_inheritable(descriptor)
    assert not os.get_blocking(descriptor)
    os.close(descriptor)


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
    kinds = {"fifo": "a FIFO", "socket": "a socket", ".": "a directory"}
    for name, kind in kinds.items():
        path = tmp_path / name
        assert refusal(path) == f"{path}: is {kind}; a log must be a regular file"
    assert refusal(Path("/dev/null")).startswith("/dev/null: is a character device;")
    assert refusal(tmp_path / "none") == f"{tmp_path / 'none'}: does not exist"


def test_a_fifo_swapped_in_at_the_last_moment_hangs_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\n")
    honest = os.stat(path)
    path.unlink()
    os.mkfifo(path)
    monkeypatch.setattr(os, "stat", lambda *_, **__: honest)
    before = len(os.listdir("/proc/self/fd"))
    assert refusal(path) == f"{path}: is a FIFO; a log must be a regular file"
    assert len(os.listdir("/proc/self/fd")) == before


def test_links(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"")
    (tmp_path / "link").symlink_to("real")
    os.close(open_log(str(tmp_path / "link"))[0])
    (tmp_path / "loop").symlink_to("loop")
    assert refusal(tmp_path / "loop").endswith("loop: Too many levels of symbolic links")


@needs_root
def test_links_of_others(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"")
    (tmp_path / "link").symlink_to("real")
    os.chown(tmp_path / "link", 65534, 65534, follow_symlinks=False)
    assert refusal(tmp_path / "link") == (
        f"{tmp_path / 'link'}: the symbolic link {tmp_path / 'link'} belongs to nobody, its target "
        "to root; only root or the target's owner may link"
    )
    os.chown(tmp_path / "real", 65534, 65534)
    os.close(open_log(str(tmp_path / "link"))[0])


@needs_root
def test_what_would_help(public_folder: Path) -> None:
    log = public_folder / "log"
    log.write_bytes(b"")
    log.chmod(0o640)
    os.chown(log, 0, 4)
    with as_nobody():
        assert my_name() == "nobody"
        assert refusal(log) == (
            f"{log}: nobody may not read {log} (root:adm, mode 0640); "
            f"`usermod -aG adm nobody` and a restart, or `setfacl -m u:nobody:r {log}`"
        )
    os.chown(log, 0, 0)  # nobody should join root's group
    with as_nobody():
        assert refusal(log) == (
            f"{log}: nobody may not read {log} (root:root, mode 0640); "
            f"try `setfacl -m u:nobody:r {log}` "
            "(and again after each rotation: put it into logrotate's postrotate)"
        )
    folder = public_folder / "closed" / "inner"
    folder.mkdir(parents=True)
    (folder / "log").write_bytes(b"")
    folder.parent.chmod(0o750)
    os.chown(folder.parent, 0, 4)
    with as_nobody():
        assert refusal(folder / "log") == (
            f"{folder / 'log'}: nobody may not enter {folder.parent} (root:adm, mode 0750); "
            f"`usermod -aG adm nobody` and a restart, or `setfacl -m u:nobody:x {folder.parent}`"
        )
    folder.parent.chmod(0o755)
    folder.chmod(0o700)
    with as_nobody():
        assert refusal(folder / "log").endswith(f"; try `setfacl -m u:nobody:x {folder}`")


def test_other_errors_speak_for_themselves() -> None:
    assert explain("/log", OSError(errno.EIO, "Input/output error")) == "/log: Input/output error"


def test_names_without_an_entry() -> None:
    assert user_name(0) == "root"
    assert user_name(3_999_999_999) == "uid 3999999999"
    assert group_name(0) == "root"
    assert group_name(3_999_999_999) == "3999999999"
