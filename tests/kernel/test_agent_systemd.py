"""The agent under a real systemd: in a scope of its own, so that it outlives our service's stop."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from tests.kernel import systemd
from tests.kernel.daemon import until
from tests.kernel.systemd import Systemd

from tidegate.errors import GateError
from tidegate.gate.switches.kinds import Ran, Tools
from tidegate.gate.switches.lease import Leases

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(bool(systemd.missing()), reason=systemd.missing() or "-"),
]


def run(words: Sequence[str], seconds: float, *, ranked: bool = False) -> Ran:
    done = subprocess.run(words, capture_output=True, text=True, timeout=seconds)
    return Ran(done.returncode, done.stdout + done.stderr)


@pytest.fixture
def tools() -> Iterator[Tools]:
    """Commands run where systemd is PID 1; the state files are seen from here, too."""
    try:
        booted = Systemd()
    except RuntimeError as error:
        pytest.skip(str(error))
    booted.run("ip", "link", "set", "lo", "up")
    made = booted.tools(run)
    yield replace(made, leases=booted.folder / "agents")
    booted.close()


def groups(folder: Path) -> list[tuple[int, str]]:
    """The agents of this folder: pid and control group."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            if any(word.startswith(bytes(folder)) for word in words):
                found.append((int(process.name), (process / "cgroup").read_text()))
    return found


def test_it_has_a_scope_of_its_own_and_says_what_hinders_it(tools: Tools) -> None:
    leases = Leases(tools)
    leases.ensure("agent-one", "127.0.0.1:7777")
    ((pid, group),) = groups(tools.leases)
    assert ".scope" in group
    with pytest.raises(GateError, match="in use"):
        leases.ensure("agent-two", "127.0.0.1:7777")
    os.kill(pid, signal.SIGTERM)
    until("its end", lambda: not groups(tools.leases))
