"""Guards under bad input, through a whole `tidegate run`: one clear line each, and the others go on.

What can't be meant is refused with file, line and key. What fails while the daemon runs is told once,
shown by `guard list` and `why`, and is over by itself; another guard closes and opens meanwhile.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from tests.kernel.daemon import until
from tests.kernel.namespaces import Namespace
from tests.kernel.pretended import Pretended

from tidegate.cli import main

# -- what can't be meant -----------------------------------------------------------------------

GUARD = """
[guard.web]
close = "{close}"
open = "{open}"
service = "web"
"""
FAULTS = {
    "an unknown sensor": ("laod1 >= 10", "la1 <= 2", 3, "close", "there is no reading 'laod1'"),
    "a sensor of another kind": ("disk.fee(/) < 1G", "la1 <= 2", 3, "close", "'disk.free'"),
    "division": ("memfree / 2 < 1G", "la1 <= 2", 3, "close", "nothing is calculated"),
    "a rate for a size": ("memfree < 10M/s", "la1 <= 2", 3, "close", "a size such as"),
    "a size for a time": ("disk.full-in(/) < 5M", "la1 <= 2", 3, "close", "a time such as"),
    "percent of nothing": ("la1 >= 10%", "la1 <= 2", 3, "close", "it has no whole"),
    "close that can't hold": ("la1 >= 10 and la1 < 5", "la1 <= 2", 3, "close", "can never hold"),
    "open within close": ("la1 >= 10", "la1 >= 12", 4, "open", "so it would never open"),
    "a sentence cut off": ("la1 >= 10 or", "la1 <= 2", 3, "close", "column "),
}  # fmt: skip


@pytest.fixture
def policy(public_folder: Path) -> Path:
    return public_folder / "tidegate.toml"


@pytest.mark.parametrize("name", FAULTS)
def test_what_cannot_be_meant_is_one_line_with_its_place(
    policy: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    close, opens, line, key, said = FAULTS[name]
    policy.write_text(GUARD.format(close=close, open=opens))
    with pytest.raises(SystemExit) as ended:
        main(["check", "--config", str(policy)])
    out, err = capfd.readouterr()
    assert (ended.value.code, out) == (2, "")
    (told,) = err.splitlines()
    assert told.startswith(f"tidegate: {policy}:{line}: guard.web.{key}: ")
    assert said in told


# -- what fails while it runs ------------------------------------------------------------------

WELL = """
[guard.well]
close = { when = "la1 >= 10", at-least = "1s" }
open = { when = "la1 <= 2", at-least = "1s" }
service = "web"
"""
OWN = """
[reading.{name}]
command = ["{folder}/{name}"]
every = "1s"
timeout = "1s"

[guard.{name}]
flaps = 9
close = {{ when = "{name} >= 10", at-least = "1s" }}
open = {{ when = "{name} <= 2", at-least = "1s" }}
command = {{ close = ["/usr/bin/touch", "{folder}/{name}.closed"], open = ["/bin/rm", "-f", "{folder}/{name}.closed"] }}
"""
FILE = OWN.replace('command = ["{folder}/{name}"]', 'file = "{folder}/{name}"')
READINGS = {
    "hangs": ("exec sleep 60", "did not end within 1 s; it was killed"),
    "fails": ("echo 3; echo no server there >&2; exit 7", "failed with exit code 7: no server there"),
    "floods": ("exec cat /dev/zero", "prints more than 64 KiB"),
    "babbles": ("echo none", 'expected a number on the first line, not "none"'),
    "vanishes": ("", "vanishes: does not exist"),
}  # fmt: skip


@pytest.fixture
def here(public_folder: Path) -> Iterator[Pretended]:
    """A daemon, not started yet, with a service that runs, and no systemd."""
    with ExitStack() as stack:
        space = Namespace("bad")
        stack.callback(space.close)
        made = Pretended(public_folder, space)
        stack.callback(made.close)
        made.host.service("web")
        yield made


def said(here: Pretended, *words: str) -> list[str]:
    """Lines of the daemon's log that have all of these words."""
    return [line for line in here.said().splitlines() if all(word in line for word in words)]


def said_once(here: Pretended, *words: str) -> str:
    until(f"a line with {words}", lambda: said(here, *words))
    (line,) = said(here, *words)
    return line


def the_other_guard_works(here: Pretended) -> None:
    """It closes and opens, whatever is wrong elsewhere."""
    here.load(12)
    here.wait_state(well="closed")
    assert not here.host.runs("web")
    here.load(1)
    here.wait_state(well="open")
    assert here.host.runs("web")


def script(path: Path, text: str) -> None:
    """In one step, so that nobody runs half of it; it counts how often it was run."""
    fresh = path.with_suffix(".new")
    fresh.write_text(f"#!/bin/sh\necho >> {path}.runs\n{text}\n")
    fresh.chmod(0o755)
    fresh.rename(path)


def runs(path: Path) -> int:
    counted = Path(f"{path}.runs")
    return len(counted.read_text()) if counted.exists() else 0


@pytest.mark.kernel
def test_a_reading_that_fails_is_told_once_closes_nothing_and_is_over_by_itself(
    here: Pretended,
) -> None:
    policy = WELL
    for name, (text, _why) in READINGS.items():
        path = here.folder / name
        Path(f"{path}.runs").touch()
        Path(f"{path}.runs").chmod(0o666)
        if text:
            script(path, text)
        else:
            path.write_text("3\n")
        policy += (OWN if text else FILE).format(name=name, folder=here.folder)
    here.guards(policy)
    here.start()
    until("the file to be read", lambda: not _unknown(here, "vanishes"))
    (here.folder / "vanishes").unlink()
    for name, (_text, why) in READINGS.items():
        assert why.lower() in said_once(here, f"reading {name} is unknown").lower()
        assert why.lower() in _unknown(here, name).lower()
    the_other_guard_works(here)

    listed = here.verb("guard", "list").stdout
    for name, (_text, why) in READINGS.items():
        (line,) = [row for row in listed.splitlines() if f"{name} is unknown: " in row]
        assert why.lower() in line.lower()
        assert why.lower() in here.verb("why", name).stdout.lower()
    before = {name: runs(here.folder / name) for name in READINGS}
    for name, (text, _why) in READINGS.items():
        if text:
            until("more tries", lambda name=name: runs(here.folder / name) >= before[name] + 3)
        assert len(said(here, f"reading {name} is unknown")) == 1
    assert not list(here.folder.glob("*.closed")), "unknown closes nothing"

    for name, (text, _why) in READINGS.items():
        if text:
            script(here.folder / name, "echo 12")
        else:
            (here.folder / name).write_text("12\n")
    for name in READINGS:
        assert "was: " in said_once(here, f"reading {name}: well again")
        here.wait_state(**{name: "closed"})
        assert (here.folder / f"{name}.closed").exists()
    assert "Traceback" not in here.said()


def _unknown(here: Pretended, name: str) -> str:
    """Why this reading is unknown, as the daemon tells it; "" if it is known."""
    for guard in here.ask("/guards").get("guards", ()):
        for one in guard["unknown"]:
            if one["reading"] == name:
                return str(one["why"])
    return ""


GATES = """
[guard.{name}]
flaps = 9
close = {{ when = "la1 >= 10", at-least = "1s" }}
open = {{ when = "la1 <= 2", at-least = "1s" }}
{gate}
"""
COMMAND = 'command = {{ close = ["{folder}/{name}"], open = ["/bin/rm", "-f", "{folder}/{name}.done"], timeout = "1s" }}'
REFUSED = {
    "nounit": ('service = "nosuch"', "there is no service nosuch"),
    "nosystemd": ('properties = {{ unit = "web.service", CPUWeight = "20" }}', "systemd"),
    "nosocket": (
        'haproxy = {{ socket = "{folder}/haproxy.sock", backend = "imap", server = "one" }}',
        "HAProxy does not answer at",
    ),
    "hung": (COMMAND, "took longer than 1 s"),
    "failed": (COMMAND, "exit code 7: no server there"),
    "flooded": (COMMAND, "took longer than 1 s"),
    "missing": (COMMAND, "missing: not found"),
}  # fmt: skip
SCRIPTS = {
    "hung": "exec sleep 60",
    "failed": "echo no server there >&2; exit 7",
    "flooded": "exec cat /dev/zero",
}


class Balancer:
    """What HAProxy answers at its socket, for one server."""

    def __init__(self, path: Path) -> None:
        self.path, self.admin = path, 0
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                asking, _peer = self._listening.accept()
                with asking:
                    asking.sendall(self._answer(asking.recv(4096).decode()).encode())

    def _answer(self, line: str) -> str:
        if line.startswith("set server imap/one state "):
            self.admin = 8 if line.split()[-1] == "drain" else 0
            return "\n"
        head = "# be_id be_name srv_id srv_name srv_admin_state srv_uweight srv_iweight"
        return f"1\n{head}\n1 imap 1 one {self.admin} 100 100\n\nPid: 4711\n"

    def close(self) -> None:
        self.path.unlink()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


@contextmanager
def balancer(path: Path) -> Iterator[Balancer]:
    made = Balancer(path)
    try:
        yield made
    finally:
        made.close()


def detail(here: Pretended, name: str) -> str:
    for guard in here.ask("/guards").get("guards", ()):
        for gate in guard["gates"]:
            if gate["gate"] == name:
                return f"{gate['state']}: {gate['detail']}"
    return ""


@pytest.mark.kernel
def test_a_gate_that_fails_is_told_once_and_the_others_close_and_open(here: Pretended) -> None:
    policy = WELL
    for name, (gate, _why) in REFUSED.items():
        gate = gate.format(folder=here.folder, name=name)
        policy += GATES.format(name=name, gate=gate)
    for name, text in SCRIPTS.items():
        script(here.folder / name, text)
    here.guards(policy)
    here.start()
    the_other_guard_works(here)
    for name, (_gate, why) in REFUSED.items():
        assert why in said_once(here, f"gate {name}: refused: ")
        assert why in here.verb("why", name).stdout
        # A command is only known to fail once it has been run: now it has been undone.
        until("its state", lambda name=name: detail(here, name) == "open: " or name not in SCRIPTS)
    listed = here.verb("guard", "list").stdout
    for name in REFUSED.keys() - SCRIPTS.keys():
        assert REFUSED[name][1] in detail(here, name), "what would be in the way stays told"
        assert REFUSED[name][1] in listed
    assert not list(here.folder.glob("*.done"))

    # What was missing is there again: each closes by itself at its next try, and opens.
    here.host.service("nosuch")
    for name in (*SCRIPTS, "missing"):
        script(here.folder / name, f"touch {here.folder}/{name}.done")
    with balancer(here.folder / "haproxy.sock") as haproxy:
        here.load(12)
        patience = 5 * 60.0
        able = [name for name in REFUSED if name != "nosystemd"]
        for name in able:
            until(f"{name} closed", lambda name=name: here.states()[name] == "closed", patience)
        assert not here.host.runs("nosuch")
        assert haproxy.admin == 8
    # HAProxy goes away while its server is drained: opening is tried until it is back.
    here.load(1)
    for name in [name for name in able if name != "nosocket"]:
        here.wait_state(**{name: "open"})
    assert here.host.runs("nosuch")
    until("it told", lambda: "it can't be opened, and is tried again" in detail(here, "nosocket"))
    assert "HAProxy does not answer" in detail(here, "nosocket")
    with balancer(here.folder / "haproxy.sock") as haproxy:
        haproxy.admin = 8
        until("it open", lambda: here.states()["nosocket"] == "open", patience)
        assert haproxy.admin == 0
    assert "Traceback" not in here.said()
