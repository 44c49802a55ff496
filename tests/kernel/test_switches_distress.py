"""When no process can be made any more: a control group that is full, and a service to be stopped."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.kernel.switching import Host, gate, keeping, wait_until

from tidegate import distress
from tidegate.gate.switches import keeper
from tidegate.policy.guards import Command, Freeze, Properties, Service

pytestmark = pytest.mark.kernel

GROUPS = Path("/sys/fs/cgroup")


def hierarchy(file: str, controller: str) -> Path | None:
    """Where a group made by us will have this file; None: nowhere here."""
    for root in (GROUPS, GROUPS / "unified", GROUPS / controller):
        if not (root / "cgroup.procs").exists():
            continue
        probe = root / f"tidegate-test-probe-{os.getpid()}"
        probe.mkdir()
        try:
            if (probe / file).exists():
                return root
        finally:
            probe.rmdir()
    return None


def make_group(file: str, controller: str) -> Iterator[Path]:
    root = hierarchy(file, controller)
    if root is None:
        pytest.skip(f"no control group has {file} here")
    made = root / f"tidegate-test-{os.getpid()}-{time.monotonic_ns()}"
    made.mkdir()
    yield made
    wait_until(lambda: _removed(made))  # what has just ended is there for a while


def _removed(group: Path) -> bool:
    for pid in (group / "cgroup.procs").read_text().split():
        with suppress(OSError):
            (group.parent / "cgroup.procs").write_text(pid)
    with suppress(OSError):
        group.rmdir()
    return not group.exists()


@pytest.fixture
def full() -> Iterator[Path]:
    yield from make_group("pids.max", "pids")


@pytest.fixture
def host(public_folder: Path) -> Iterator[Host]:
    made = Host(public_folder)
    yield made
    made.close()


def fill(group: Path) -> None:
    """No process more in there, however many of those that there are come to an end."""
    (group / "pids.max").write_text("1")


def test_stops_and_starts_a_service_though_no_process_can_be_made(host, full):
    host.service("web")

    def serve(*words: object, **named: object) -> None:
        (full / "cgroup.procs").write_text(str(os.getpid()))
        keeper.serve(*words, **named)  # type: ignore[arg-type]

    spec = gate("note", Command(("/bin/echo", "closed"), ("/bin/echo", "open")))
    with keeping(host, gate("web", Service("web")), spec, serve=serve) as made:
        made.until("web", "open")
        time.sleep(0.5)
        fill(full)
        made.want("web", "note")
        # The script can't fork either; but its daemon can be told by a signal.
        made.until("web", "closed")
        assert not host.runs("web")
        made.until("note", "closed")
        made.want("web")
        made.until("note", "open")
        (full / "pids.max").write_text("max")
        made.want()
        made.until("web", "open")
        assert host.runs("web")
        wait_until(lambda: made.hear() or "can be made again" in " ".join(made.troubles))
        lines = [one for one in made.troubles if "no process can be made" in one]
        assert len(lines) == 1


def test_what_we_start_is_not_spared_as_we_are(host):
    host.service("web")

    def serve(*words: object, **named: object) -> None:
        distress.spare()
        distress.lock(stays_root=True)
        keeper.serve(*words, **named)  # type: ignore[arg-type]

    with keeping(host, gate("web", Service("web")), serve=serve) as made:
        made.want("web")
        made.until("web", "closed")
        made.want()
        made.until("web", "open")
        assert os.getpriority(os.PRIO_PROCESS, made.pid) == distress.NICE
        pid = host.pid("web")
        assert os.getpriority(os.PRIO_PROCESS, pid) == 0
        assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "0\n"
        limits = Path(f"/proc/{pid}/limits").read_text()
        own = Path("/proc/self/limits").read_text()
        assert _locked(limits) == _locked(own)
        assert "VmLck:	       0 kB" in Path(f"/proc/{pid}/status").read_text()


def _locked(limits: str) -> list[str]:
    return next(line.split() for line in limits.splitlines() if "locked" in line)


@pytest.fixture(params=[("cgroup.freeze", ""), ("freezer.state", "freezer")], ids=["v2", "v1"])
def freezable(request: pytest.FixtureRequest) -> Iterator[Path]:
    yield from make_group(*request.param)


@pytest.fixture
def sleeper(freezable: Path) -> Iterator[int]:
    made = subprocess.Popen(["/bin/sh", "-c", "while :; do sleep 0.01; done"])
    (freezable / "cgroup.procs").write_text(str(made.pid))
    yield made.pid
    made.kill()
    made.wait()


def test_freezes_a_control_group_by_its_path(host, freezable, sleeper):
    spec = gate("ice", Freeze(str(freezable)))
    with keeping(host, spec, gate("all", Freeze(str(freezable.parent)))) as made:
        assert made.until("all", "refused").detail
        made.want("ice")
        made.until("ice", "closed")
        ticks = _ticks(sleeper)
        time.sleep(0.3)
        assert _ticks(sleeper) == ticks
        made.want()
        made.until("ice", "open")
        wait_until(lambda: _ticks(sleeper) != ticks)
        made.want("ice")
        made.until("ice", "closed")
        made.kill()
    with keeping(host, spec) as made:
        made.want()
        made.until("ice", "open")


def _ticks(pid: int) -> str:
    """How often it gave up the processor: it stands still where this does."""
    text = Path(f"/proc/{pid}/status").read_text()
    return text[text.index("voluntary_ctxt") :]


def test_sets_limits_of_a_control_group_by_its_path(host):
    for group in make_group("cpu.shares", "cpu"):
        before = (group / "cpu.shares").read_text()
        spec = gate("slow", Properties(str(group), (("CPUWeight", "20"),)))
        wrong = gate("wrong", Properties(str(group), (("Nonsense", "20"),)))
        unnamed = gate("unnamed", Properties("web.service", (("CPUWeight", "20"),)))
        with keeping(host, spec, wrong, unnamed) as made:
            assert "Nonsense can't be set without systemd" in made.until("wrong", "refused").detail
            assert "by a path" in made.until("unnamed", "refused").detail
            made.want("slow")
            made.until("slow", "closed")
            assert (group / "cpu.shares").read_text() == "204\n"
            made.want()
            made.until("slow", "open")
            assert (group / "cpu.shares").read_text() == before
            made.want("slow")
            made.until("slow", "closed")
            (group / "cpu.shares").write_text("300")
            made.want()
            assert "somebody else" in made.until("slow", "taken").detail
        assert (group / "cpu.shares").read_text() == "300\n"
