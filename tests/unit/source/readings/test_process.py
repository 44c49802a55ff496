"""The sampler as a process with the rights it has in service: another user, who may read all."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidegate.daemon.privilege import Identity, drop
from tidegate.model import SECOND, Sample
from tidegate.policy.guards import ReadingSpec
from tidegate.policy.models import Policy
from tidegate.source.readings import queue
from tidegate.source.readings.remote import RemoteReadings
from tidegate.source.readings.sampler import serve

CAP_DAC_READ_SEARCH = 2
USER = 61_236

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="not root"),
]


@contextlib.contextmanager
def sampler(
    spool: Path, policy: Policy, keep: tuple[int, ...]
) -> Iterator[tuple[int, RemoteReadings]]:
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            queue._exim = lambda _named: str(spool)
            drop(Identity("x", USER, USER, ()), keep)
            serve(theirs, lambda: policy)
        finally:
            os._exit(0)
    theirs.close()
    readings = RemoteReadings(ours)
    try:
        yield pid, readings
    finally:
        readings.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def first(readings: RemoteReadings, name: str) -> Sample:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for one in readings.take():
            if one.reading == name:
                return one
        time.sleep(0.05)
    raise AssertionError(name)


@pytest.fixture
def spool(public_folder) -> Path:
    """As Exim's own user leaves it: for nobody else."""
    (public_folder / "input").mkdir()
    for number in range(3):
        (public_folder / "input" / f"1qXyzA-00000{number}-0A-H").touch()
    (public_folder / "input").chmod(0o700)
    return public_folder


def test_it_counts_a_queue_that_only_its_owner_may_look_into(spool):
    with sampler(spool, Policy(), (CAP_DAC_READ_SEARCH,)) as (_pid, readings):
        readings.want({"queue(exim)": SECOND})
        assert first(readings, "queue(exim)").value == 3
    with sampler(spool, Policy(), ()) as (_pid, readings):
        readings.want({"queue(exim)": SECOND})
        assert f"may not be looked into by user {USER}" in first(readings, "queue(exim)").why


def test_what_it_may_read_its_commands_may_not(spool):
    (spool / "secret").write_text("7\n")
    (spool / "secret").chmod(0o600)
    policy = Policy(
        readings=(
            ReadingSpec("file", file=str(spool / "secret")),
            ReadingSpec("command", command=("cat", str(spool / "secret"))),
        )
    )
    with sampler(spool, policy, (CAP_DAC_READ_SEARCH,)) as (_pid, readings):
        readings.want({"file": SECOND, "command": SECOND})
        found = {}
        deadline = time.monotonic() + 20
        while len(found) < 2 and time.monotonic() < deadline:
            found |= {one.reading: one for one in readings.take()}
            time.sleep(0.05)
    assert found["file"].value == 7
    assert "Permission denied" in found["command"].why


@pytest.mark.parametrize("how", ["hang up", "SIGTERM"])
def test_it_ends_with_the_watcher_and_takes_its_commands_with_it(spool, how):
    marker = f"1234.{os.getpid()}"
    policy = Policy(readings=(ReadingSpec("lag", command=("sleep", marker), timeout=600 * SECOND),))

    def running() -> bool:
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and marker.encode() in (entry / "cmdline").read_bytes():
                    return True
        return False

    with sampler(spool, policy, ()) as (pid, readings):
        readings.want({"lag": SECOND})
        deadline = time.monotonic() + 20
        while not running():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        if how == "SIGTERM":
            os.kill(pid, signal.SIGTERM)
        else:
            readings.close()
        while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        while running():
            assert time.monotonic() < deadline
            time.sleep(0.05)
