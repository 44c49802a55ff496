"""Guards through a whole `tidegate run`: a reading crosses, gates close in the world, and open again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kernel.daemon import PATIENCE, Daemon, until
from tests.kernel.namespaces import World

pytestmark = pytest.mark.kernel

CREW = ("keeper", "watcher", "service keeper", "sampler")
READING = """
[reading.heat]
file = "{folder}/heat"
every = "1s"
"""
COMMAND = """
[guard.web]
close = { when = "heat >= 10", at-least = "1s" }
open = { when = "heat <= 2", at-least = "1s" }
ladder = [
  { throttle = { ports = [80], rate = "20/m", burst = 3 } },
  { command = { close = ["touch", "{folder}/shut"], open = ["rm", "-f", "{folder}/shut"] }, after = "1s" },
]
"""
WARNING = """
[guard.heat]
warn = { when = "heat >= 8" }
notify = ["here"]
capture = { commands = [["echo", "what a command printed"]] }
[notify.here]
command = ["sh", "-c", "cat >> {folder}/told"]
"""


@pytest.fixture
def hot(world: World, public_folder: Path) -> Iterator[Daemon]:
    """A daemon whose guards look at a file that the test writes."""
    made = guarded(public_folder, world, COMMAND)
    yield made
    made.close()


def guarded(folder: Path, world: World | None, guards: str) -> Daemon:
    (folder / "heat").write_text("1\n")
    made = Daemon(folder, world.host if world else None, "")
    made.write_policy(guards.replace("{folder}", str(folder)), READING)
    return made


def heat(daemon: Daemon, value: float) -> None:
    fresh = daemon.folder / "heat.new"
    fresh.write_text(f"{value}\n")
    fresh.rename(daemon.folder / "heat")


def states(daemon: Daemon) -> dict[str, str]:
    answer = daemon.ask("/guards")
    return {
        gate["gate"]: gate["state"] for guard in answer.get("guards", ()) for gate in guard["gates"]
    }


def throttled(daemon: Daemon) -> bool:
    """Whether the kernel has the port in the throttle's set."""
    assert daemon.space is not None
    words = ("nft", "-j", "list", "ruleset")
    listed = json.loads(daemon.space.run(*words))["nftables"]
    sets = [one["set"] for one in listed if "set" in one]
    return any(
        "web" in one["name"] and one["type"] == "inet_service" and one.get("elem") for one in sets
    )


def test_a_reading_closes_step_by_step_and_opens_again(hot: Daemon) -> None:
    hot.start()
    hot.crew(*CREW)
    shut = hot.folder / "shut"
    until("the gates", lambda: states(hot) == {"web.throttle": "open", "web.command": "open"})
    assert not throttled(hot)
    heat(hot, 11)
    until("the throttle", lambda: throttled(hot))
    until("the command", shut.exists)
    until("both", lambda: set(states(hot).values()) == {"closed"})
    told = hot.verb("why", "web.command")
    assert "heat = 11" in told.stdout
    assert "tidegate open web.command" in told.stdout
    assert "web.command" in hot.verb("list").stdout
    assert "tide     high; closed: web.command, web.throttle" in hot.verb("status").stdout
    heat(hot, 1)
    until("the command to be undone", lambda: not shut.exists())
    assert throttled(hot), "the lower step stays for a while, to see whether calm lasts"
    hot.verb("open", "web.throttle", "--note", "I looked")
    until("the throttle to go", lambda: not throttled(hot))
    rows = [(row["action"], row["subject"], row["state"]) for row in hot.history()]
    assert rows == [
        ("close", "gate:web.throttle", "applied"),
        ("close", "gate:web.command", "applied"),
        ("open", "gate:web.command", "applied"),
        ("open", "gate:web.throttle", "applied"),
    ]
    assert hot.stop() == 0


def test_a_person_closes_holds_and_resumes(hot: Daemon) -> None:
    hot.start()
    until("the gates", lambda: set(states(hot).values()) == {"open"})
    shut = hot.folder / "shut"
    refused = hot.verb("close", "web")
    assert refused.returncode == 2
    assert "web.throttle, web.command" in refused.stderr
    assert "there is no gate 'nothing'" in hot.verb("close", "nothing").stderr
    assert hot.verb("close", "web.command", "--for", "1h", "--note", "by hand").returncode == 0
    until("the command", shut.exists)
    assert "by hand" in hot.verb("why", "web.command").stdout
    assert hot.verb("open", "web").returncode == 0
    until("it to be undone", lambda: not shut.exists())
    assert hot.verb("hold", "web").returncode == 0
    assert hot.verb("resume", "web").returncode == 0
    heat(hot, 50)
    until("the throttle", lambda: throttled(hot))
    assert hot.stop() == 0


@pytest.mark.parametrize("role", CREW)
def test_whoever_is_killed_nothing_stays_closed(hot: Daemon, role: str) -> None:
    hot.start()
    heat(hot, 11)
    shut = hot.folder / "shut"
    until("the command", shut.exists)
    until("the report", lambda: states(hot).get("web.command") == "closed")
    hot.kill(role)
    hot.crew(*CREW)
    until("the daemon", lambda: states(hot).get("web.command") == "closed")
    assert shut.exists(), "while it is hot it stays closed"
    heat(hot, 1)
    until("the command to be undone", lambda: not shut.exists())
    assert hot.stop() == 0


def test_off_opens_and_on_closes_again(hot: Daemon) -> None:
    hot.start()
    heat(hot, 11)
    shut = hot.folder / "shut"
    until("the command", shut.exists)
    assert hot.verb("off", "--config", str(hot.policy)).returncode == 0
    until("the command to be undone", lambda: not shut.exists())
    assert hot.verb("on", "--config", str(hot.policy)).returncode == 0
    until("it to close again", shut.exists)


def test_off_opens_without_a_daemon(hot: Daemon) -> None:
    process = hot.start().process
    heat(hot, 11)
    shut = hot.folder / "shut"
    until("the command", shut.exists)
    assert process is not None
    process.kill()
    process.wait(PATIENCE)
    assert shut.exists()
    assert hot.verb("off", "--config", str(hot.policy)).returncode == 0
    assert not shut.exists()


def test_a_gate_that_leaves_the_policy_opens(hot: Daemon) -> None:
    hot.start()
    heat(hot, 11)
    shut = hot.folder / "shut"
    until("the command", shut.exists)
    hot.write_policy('[guard.other]\nwarn = { when = "heat > 90" }\n', READING)
    assert hot.verb("reload").returncode == 0, hot.said()
    until("the command to be undone", lambda: not shut.exists())
    until("the throttle to go", lambda: not throttled(hot))
    assert hot.stop() == 0


def test_a_policy_of_warnings_runs_as_an_ordinary_user(public_folder: Path) -> None:
    here = guarded(public_folder, None, WARNING)
    heat(here, 9)
    for path in (public_folder, *public_folder.rglob("*")):
        os.chown(path, 65534, 65534)
    words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
    with here.output.open("ab") as output:
        here.process = subprocess.Popen(
            [*words, sys.executable, "-m", "tidegate", "run", "--config", str(here.policy)],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        told = public_folder / "told"
        until("the notice", lambda: told.exists() and "heat" in told.read_text())
        assert "what a command printed" in told.read_text()
        assert [row["action"] for row in here.history()] == ["warn"]
        heat(here, 1)
        until(
            "the all-clear", lambda: [r["action"] for r in here.history()] == ["warn", "clear"], 150
        )
    finally:
        here.process.send_signal(signal.SIGTERM)
        here.close()
