from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidegate.errors import WorldError
from tidegate.posture.evidence import Bounds, Evidence

TALKS = """
import socket, sys
a = socket.socket(); a.connect(("127.0.0.1", int(sys.argv[1])))
b = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
b.bind(("::1", 0)); b.connect(("::1", 6667))
print("up", flush=True); sys.stdin.read()
"""


@pytest.fixture
def bot(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    shutil.copy("/bin/sleep", tmp_path / "bot")
    made = subprocess.Popen([tmp_path / "bot", "1000000"])
    yield made
    made.kill()
    made.wait()


def test_it_is_kept_once(bot: subprocess.Popen[bytes], tmp_path: Path) -> None:
    evidence = Evidence(tmp_path / "kept")
    first = evidence.keep(bot.pid)
    before = first.record.read_bytes()
    assert evidence.keep(bot.pid) == first
    assert first.record.read_bytes() == before
    names = sorted(one.name for one in (tmp_path / "kept").iterdir())
    assert names == sorted([first.record.name, f"{first.hash}.bin"])


def test_whom_it_talks_to_is_kept(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        made = subprocess.Popen(
            [sys.executable, "-c", TALKS, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            assert made.stdout is not None
            assert made.stdout.readline() == b"up\n"
            said = json.loads(Evidence(tmp_path / "kept").keep(made.pid).record.read_bytes())
        finally:
            made.kill()
            made.communicate()
    ends = {(one["kind"], one["remote"], one["state"]) for one in said["sockets"]}
    assert ("tcp", f"127.0.0.1:{port}", "established") in ends
    assert ("udp6", "[::1]:6667", "established") in ends


@pytest.mark.parametrize(
    ("bounds", "why"),
    [
        (Bounds(copy=10), "more than are copied"),
        (Bounds(copies=10), "is full: move away what you have looked at"),
        (Bounds(spare=1 << 60), "the disk is too full for a copy"),
    ],
)
def test_what_is_too_much_is_told_and_not_copied(
    bot: subprocess.Popen[bytes], tmp_path: Path, bounds: Bounds, why: str
) -> None:
    kept = Evidence(tmp_path / "kept", bounds=bounds).keep(bot.pid)
    assert why in kept.copy
    assert len(kept.hash) == 64
    assert list((tmp_path / "kept").glob("*.bin")) == []
    assert json.loads(kept.record.read_bytes())["copy"] == kept.copy


def test_nothing_kept_goes_for_room(bot: subprocess.Popen[bytes], tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    Evidence(folder).keep(os.getpid())
    with pytest.raises(WorldError, match="holds 1 processes, and no more"):
        Evidence(folder, bounds=Bounds(records=1)).keep(bot.pid)
    assert len(list(folder.glob("*.json"))) == 1


def test_one_that_is_gone_and_a_folder_that_others_may_read(tmp_path: Path) -> None:
    ended = subprocess.Popen(["/bin/true"])
    ended.wait()
    with pytest.raises(WorldError, match="is gone"):
        Evidence(tmp_path / "kept").keep(ended.pid)
    (tmp_path / "open").mkdir(mode=0o755)
    with pytest.raises(WorldError, match="must be root's alone"):
        Evidence(tmp_path / "open").keep(os.getpid())
