"""The init script for hosts without systemd, for real: start, ban, reload, stop, in a namespace."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.kernel.daemon import PATHS, SOURCE, until, virus
from tests.kernel.namespaces import Namespace

from tidegate.daemon.service import Step, carry_out, disabling, enabling
from tidegate.gate.nftables import delete_table

pytestmark = pytest.mark.kernel

RULE = """
[rule.virus-senders]
on = ["exim.malware"]
more-than = 0
within = "5m"
ban = { ports = [25], ladder = ["1h"] }
"""
Script = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def folder(public_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root folder of its own, with a policy and a log; what the script writes stays in it."""
    for name in ("etc/init.d", "etc/rc2.d", "log"):
        (public_folder / name).mkdir(parents=True)
    (public_folder / "etc/passwd").write_text(Path("/etc/passwd").read_text())
    (public_folder / "log/mainlog").touch()
    text = (SOURCE + PATHS + RULE).replace("{folder}", str(public_folder))
    (public_folder / "tidegate.toml").write_text(text)
    for name in ("pidfile", "logfile", "settings"):
        monkeypatch.setenv(name.upper(), str(public_folder / name))
    monkeypatch.setenv("PYTHONPATH", ":".join(filter(None, sys.path)))
    return public_folder


@pytest.fixture
def steps(folder: Path) -> list[Step]:
    options = ("--config", str(folder / "tidegate.toml"))
    command = (sys.executable, "-m", "tidegate")
    steps = enabling("sysv", command, options, str(folder))
    for step in steps:
        if step.path and not step.done:
            carry_out(step, str(folder))
    return steps


@pytest.fixture
def script(folder: Path, steps: list[Step], alone: Namespace) -> Iterator[Script]:
    def script(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [folder / "etc/init.d/tidegate", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )

    yield script
    script("stop")
    with suppress(OSError, ValueError):
        os.kill(int((folder / "pidfile").read_text().split()[0]), 9)


def banned(alone: Namespace, address: str) -> Callable[[], bool]:
    def banned() -> bool:
        done = subprocess.run(
            ["ip", "netns", "exec", alone.name, "nft", "list", "table", "inet", "tidegate"],
            capture_output=True, text=True,
        )  # fmt: skip
        return address in done.stdout

    return banned


def append(folder: Path, text: str) -> None:
    with (folder / "log/mainlog").open("a") as log:
        log.write(text)


def pid(folder: Path) -> int:
    return int((folder / "pidfile").read_text().split()[0])


def test_start_ban_stop(folder: Path, script: Script, alone: Namespace) -> None:
    assert script("status").returncode == 3
    done = script("start")
    assert done.returncode == 0, done.stdout
    first = pid(folder)
    append(folder, virus("192.0.2.7"))
    until("the ban", banned(alone, "192.0.2.7"))
    # Again: it runs already, and stays the same process.
    assert "runs already" in script("start").stdout
    assert pid(folder) == first
    assert script("status").returncode == 0
    done = script("stop")
    assert done.returncode == 0, done.stdout
    assert "bans stand in the kernel" in done.stdout
    assert not Path(f"/proc/{first}").exists()
    assert not (folder / "pidfile").exists()
    assert banned(alone, "192.0.2.7")()
    done = script("stop")
    assert (done.returncode, done.stdout) == (0, "tidegate: does not run\n")
    with alone.inside():
        assert delete_table()
    assert not banned(alone, "192.0.2.7")()


def test_reload_and_restart(folder: Path, script: Script, alone: Namespace) -> None:
    assert script("start").returncode == 0
    first = pid(folder)
    policy = folder / "tidegate.toml"
    policy.write_text(policy.read_text().replace("more-than = 0", "more-than = 1"))
    socket = folder / "run/watcher/control.sock"
    until("the socket", socket.exists)
    assert script("reload").returncode == 0
    until("the reload", lambda: "reload" in (folder / "logfile").read_text().lower())
    assert script("restart").returncode == 0
    assert pid(folder) != first


def test_a_faulty_policy_is_told_at_once(folder: Path, script: Script) -> None:
    (folder / "tidegate.toml").write_text("[allow\n")
    done = script("start")
    assert done.returncode == 1
    assert "not valid TOML" in done.stdout
    assert "exit code 2" in done.stdout
    assert not (folder / "pidfile").exists()


def test_another_process_of_that_number_is_left_alone(folder: Path, script: Script) -> None:
    other = subprocess.Popen(["sleep", "100"])
    try:
        (folder / "pidfile").write_text(f"{other.pid} 1\n")
        assert "does not run" in script("stop").stdout
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_disable_ends_it_and_opens_everything(
    folder: Path, script: Script, alone: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = tmp_path / "update-rc.d"
    stand_in.write_text(f'#!/bin/sh\necho "$*" >>"{tmp_path}/told"\n')
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (folder / "etc/rc2.d/S01tidegate").symlink_to("../init.d/tidegate")
    assert script("start").returncode == 0
    first = pid(folder)
    append(folder, virus("192.0.2.7"))
    until("the ban", banned(alone, "192.0.2.7"))
    for step in disabling("sysv", str(folder)):
        if step.words:
            carry_out(step, str(folder))
        else:
            delete_table()  # the test stands in the namespace
    assert (tmp_path / "told").read_text() == "-f tidegate remove\n"
    assert not Path(f"/proc/{first}").exists()
    assert not banned(alone, "192.0.2.7")()
    assert (folder / "tidegate.toml").exists()
    assert (folder / "state").exists()
