"""Gates by a real systemd: PID 1 in namespaces of its own (see `systemd`), and systemctl."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kernel import systemd
from tests.kernel.switching import Keeping, gate, keeping, wait_until
from tests.kernel.systemd import Systemd

from tidegate.gate.switches import timer
from tidegate.gate.switches.kinds import Runner, Tools
from tidegate.model import SECOND
from tidegate.policy.guards import Command, Freeze, Properties, Restart, Run, Service

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(bool(systemd.missing()), reason=systemd.missing() or "-"),
]

UNIT = """\
[Unit]
DefaultDependencies=no
[Service]
ExecStart=/bin/sleep 100000
"""
WEB = gate("web", Service("web"))


class Machine:
    """What `keeping` needs of a host, with systemd."""

    def __init__(self, folder: Path, booted: Systemd) -> None:
        self.folder = folder
        self.booted = booted
        (folder / "gates").mkdir(mode=0o700)

    def tools(self, run: Runner) -> Tools:
        return self.booted.tools(run)

    def active(self, unit: str) -> bool:
        return self.booted.show(unit, "ActiveState") == "active"


@pytest.fixture(scope="module")
def booted() -> Iterator[Systemd]:
    try:
        made = Systemd()
    except RuntimeError as error:
        pytest.skip(str(error))
    yield made
    made.close()


@pytest.fixture
def host(booted: Systemd) -> Iterator[Machine]:
    booted.unit("web.service", UNIT)
    yield Machine(Path(tempfile.mkdtemp(dir=booted.folder)), booted)
    booted.run("systemctl", "stop", "web.service", "tidegate-overdue.timer")


def test_stops_and_starts_again_with_what_went_down_with_it(host):
    host.booted.unit("app.service", UNIT.replace("[Service]", "Requires=web.service\n[Service]"))
    with keeping(host, WEB) as keeper:
        keeper.want("web")
        keeper.until("web", "closed")
        assert not host.active("web") and not host.active("app.service")
        assert host.active("tidegate-overdue.timer")
        keeper.want()
        keeper.until("web", "open")
        assert host.active("web") and host.active("app.service")
        wait_until(lambda: not host.active("tidegate-overdue.timer"))
    host.booted.run("systemctl", "stop", "app.service")


def test_people_are_respected(host):
    with keeping(host, WEB, gate("gone", Service("nothere"))) as keeper:
        assert "no unit nothere.service" in keeper.until("gone", "refused").detail
        host.booted.run("systemctl", "stop", "web")
        keeper.want("web")
        assert "inactive" in keeper.until("web", "away").detail
        host.booted.run("systemctl", "start", "web")
        keeper.want()
        keeper.until("web", "open")
        keeper.want("web")
        keeper.until("web", "closed")
        host.booted.run("systemctl", "start", "web")
        assert "somebody else" in keeper.until("web", "taken").detail
        keeper.want()
        keeper.until("web", "open")
        keeper.want("web")
        keeper.until("web", "closed")
        host.booted.run("systemctl", "mask", "web")
        host.booted.run("systemctl", "daemon-reload")
        keeper.want()
        keeper.until("web", "taken")
        assert not host.active("web")
    host.booted.run("systemctl", "unmask", "web")
    host.booted.run("systemctl", "daemon-reload")


def test_a_unit_that_does_not_stop_is_killed(host):
    run = "ExecStart=/bin/sh -c 'trap \"\" TERM; while :; do sleep 1; done'\nTimeoutStopSec=600"
    host.booted.unit("mule.service", UNIT.replace("ExecStart=/bin/sleep 100000", run))
    time.sleep(0.5)
    with keeping(host, gate("mule", Service("mule", stop_within=2 * SECOND))) as keeper:
        keeper.want("mule")
        assert "killed" in keeper.until("mule", "closed").detail
        keeper.want()
        keeper.until("mule", "open")
        assert host.active("mule")
    host.booted.run("systemctl", "kill", "--signal=KILL", "mule")


def test_limits_and_frost_are_put_back(host):
    slow = Properties("web", (("CPUWeight", "20"), ("MemoryHigh", "512M")))
    with keeping(host, gate("slow", slow), gate("ice", Freeze("web.service"))) as keeper:
        before = [host.booted.show("web", key) for key in ("CPUWeight", "MemoryHigh")]
        keeper.want("slow", "ice")
        keeper.until("slow", "closed")
        keeper.until("ice", "closed")
        assert host.booted.show("web", "CPUWeight") == "20"
        assert host.booted.show("web", "MemoryHigh") == str(512 << 20)
        events = host.booted.group / "system.slice/web.service/cgroup.events"
        assert "frozen 1" in events.read_text()
        keeper.want()
        keeper.until("slow", "open")
        keeper.until("ice", "open")
        assert "frozen 0" in events.read_text()
        assert [host.booted.show("web", key) for key in ("CPUWeight", "MemoryHigh")] == before


def test_restarts_as_one_job(host):
    with keeping(host, gate("leaky", Restart("web"))) as keeper:
        keeper.until("leaky", "open")
        before = host.booted.show("web", "InvocationID")
        keeper.switches.fire("leaky", 0)
        keeper.until("leaky", "closing")
        keeper.until("leaky", "open")
        assert host.booted.show("web", "InvocationID") not in ("", before)


def test_a_timer_opens_when_all_of_us_are_killed(host, monkeypatch):
    monkeypatch.setattr(timer, "AFTER", 6.0)
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", "src"))
    with keeping(host, WEB) as keeper:
        keeper.want("web", seconds=4)
        keeper.until("web", "closed")
        kill_all(keeper)
        assert not host.active("web")
    wait_until(lambda: host.active("web"), 40)
    wait_until(lambda: not host.active("tidegate-overdue.timer"), 40)
    assert not (host.folder / "gates/web.json").exists()


def kill_all(keeper: Keeping) -> None:
    children = Path(f"/proc/{keeper.pid}/task/{keeper.pid}/children").read_text().split()
    os.kill(keeper.pid, signal.SIGSTOP)  # so that nobody sees the other go
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    keeper.kill()


def test_a_command_is_a_unit_of_its_own(host):
    """So no sandbox of ours concerns it, and what it starts does not end with us."""
    said = host.folder / "said"
    shut = host.folder / "shut"
    shut.write_text(f"""#!/bin/sh
for word; do echo "<$word>"; done > {said}
cat /proc/self/cgroup /proc/self/oom_score_adj >> {said}
sleep 600 > /dev/null 2>&1 &
echo $! > {host.folder}/pid
""")
    shut.chmod(0o755)
    words = (str(shut), "$HOME ${HOME}", "$HOME", "%n", "a b", "$$")
    with keeping(host, gate("door", Command(words, ("/bin/true",)))) as keeper:
        keeper.until("door", "open")
        keeper.want("door")
        keeper.until("door", "closed")
        lines = said.read_text().splitlines()
        assert lines[:5] == [f"<{word}>" for word in words[1:]]
        assert any("/tidegate-command-" in line for line in lines[5:]) and lines[-1] == "0"
        assert host.booted.run("kill", "-0", (host.folder / "pid").read_text().strip()) == 0
        keeper.want()
        keeper.until("door", "open")


def test_how_a_command_fails_is_told_and_one_that_hangs_is_ended(host):
    many = {
        "fails": Command(("/bin/sh", "-c", "exit 7"), ("/bin/true",)),
        "dies": Command(("/bin/sh", "-c", "kill -9 $$"), ("/bin/true",)),
        "hangs": Command(("/bin/sh", "-c", "sleep 661 & sleep 661"), ("/bin/true",), 1 * SECOND),
        "runs": Run(f"echo ran > {host.folder}/ran; exit 3"),
    }
    with keeping(host, *(gate(name, terms) for name, terms in many.items())) as keeper:
        for name in many:
            keeper.until(name, "open")
        keeper.want("fails", "dies", "hangs")
        keeper.switches.fire("runs", 0)
        assert "exit code 7: what it printed: journalctl" in keeper.until("fails", "refused").detail
        assert "ended by signal 9" in keeper.until("dies", "refused").detail
        assert "took longer than 1 s" in keeper.until("hangs", "refused").detail
        assert "exit code 3" in keeper.until("runs", "refused").detail
        assert (host.folder / "ran").exists()
    assert host.booted.run("pgrep", "-f", "sleep 661") != 0


def test_where_systemd_makes_no_unit_the_command_is_run_all_the_same(host, monkeypatch):
    whole = Machine.tools

    def without(self: Machine, run: Runner) -> Tools:
        def refusing(words, seconds, *, ranked=False):
            if words[0] == "systemd-run":
                words = ["sh", "-c", "echo Failed to connect to bus >&2; exit 1"]
            return whole(self, run).run(words, seconds, ranked=ranked)

        return Tools(refusing, systemd=True)

    monkeypatch.setattr(Machine, "tools", without)
    shut = Command(("/usr/bin/touch", str(host.folder / "shut")), ("/bin/true",))
    with keeping(host, gate("door", shut)) as keeper:
        keeper.until("door", "open")
        keeper.want("door")
        keeper.until("door", "closed")
    assert (host.folder / "shut").exists()
