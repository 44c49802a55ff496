"""Killed at every step of a closing and an opening, nothing stays stopped, nor is a person undone."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from tests.kernel.switching import Host, Keeping, gate, keeping, wait_until

from tidegate.errors import GateError
from tidegate.gate.switches import keeper, switch
from tidegate.gate.switches.kinds import Runner, Tools
from tidegate.gate.switches.record import Records
from tidegate.model import SECOND
from tidegate.policy.guards import Command, Restart, Service

pytestmark = pytest.mark.kernel

WEB = gate("web", Service("web"))
LEASE = 2.0
MOST = 30


class Dying:
    """A service keeper's `serve` that ends its own process at the n-th effect."""

    def __init__(
        self, folder: Path, number: int, when: Literal["before", "after"], everybody: bool
    ) -> None:
        self._told = folder / "effect"
        self._number = number
        self._when = when
        self._everybody = everybody
        self._count = 0
        self._pid = 0

    def serve(self, *words: Any, tools: Callable[[Runner], Tools], **named: Any) -> None:
        self._pid = os.getpid()
        for name in ("write", "remove"):
            setattr(Records, name, self._effect(getattr(Records, name), name))

        def wrapped(run: Runner) -> Tools:
            return replace(tools(run), run=self._effect(run, "run"))

        keeper.serve(*words, tools=wrapped, **named)

    def _effect(self, act: Callable[..., Any], name: str) -> Callable[..., Any]:
        def effect(*words: Any, **named: Any) -> Any:
            if os.getpid() != self._pid:  # the dead man's, who has our memory
                return act(*words, **named)
            self._count += 1
            mine = self._count == self._number
            if mine and self._when == "before":
                self._die(f"before {name}")
            done = act(*words, **named)
            if mine:
                self._die(f"after {name}")
            return done

        return effect

    def _die(self, what: str) -> None:
        self._told.write_text(what)
        if self._everybody:
            path = Path(f"/proc/self/task/{self._pid}/children")
            for child in path.read_text().split():
                os.kill(int(child), signal.SIGKILL)
        os.kill(self._pid, signal.SIGKILL)


@pytest.fixture
def hosts(public_folder: Path) -> Iterator[Callable[[str], Host]]:
    with ExitStack() as stack:

        def make(name: str) -> Host:
            (public_folder / name).mkdir()
            made = Host(public_folder / name)
            stack.callback(made.close)
            return made

        yield make


def recorded(host: Host) -> list[Path]:
    return list((host.folder / "gates").glob("*.json"))


def live(keeping: Keeping, *, restart: bool = False) -> bool:
    """Close and open the gate, or fire it; False where the service keeper died meanwhile."""
    try:
        if restart:
            keeping.until("web", "open")
            keeping.switches.fire("web", 0)
            keeping.until("web", "closing")
            keeping.until("web", "open")
            return True
        keeping.want("web", seconds=LEASE)
        keeping.until("web", "closed")
        keeping.want()
        keeping.until("web", "open")
    except GateError:
        return False
    return True


@pytest.mark.parametrize("restart", [False, True], ids=["stop", "restart"])
@pytest.mark.parametrize("everybody", [False, True], ids=["keeper", "everybody"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_the_nth_effect_the_service_runs_again(
    hosts, when, everybody, restart, monkeypatch
):
    monkeypatch.setattr(switch, "FIRE_WITHIN", int(LEASE * SECOND))
    spec = gate("web", Restart("web")) if restart else WEB
    died = []
    with ExitStack() as stack:
        for number in range(1, MOST):
            host = hosts(f"{number}")
            host.service("web")
            dying = Dying(host.folder, number, when, everybody)
            made = stack.enter_context(keeping(host, spec, serve=dying.serve))
            if live(made, restart=restart):
                break
            died.append(host)
        assert (4 if restart else 6) <= len(died) < MOST - 1
        for host in died:
            if everybody:  # with nobody left, it is the next one's turn
                stack.enter_context(keeping(host, spec))
        for host in died:
            where = (host.folder / "effect").read_text()
            wait_until(lambda host=host: host.runs("web") and not recorded(host))
            assert host.runs("web"), where


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_a_person_has_stopped_stays_stopped_whoever_dies(hosts, when):
    with ExitStack() as stack:
        for number in range(1, 6):
            host = hosts(f"{number}")
            host.service("web")
            host.stop("web")
            dying = Dying(host.folder, number, when, everybody=True)
            made = stack.enter_context(keeping(host, WEB, serve=dying.serve))
            made.want("web", seconds=LEASE)
            with suppress(GateError):
                made.until("web", "away")
                made.want()
                made.until("web", "open")
            made.close()
            again = stack.enter_context(keeping(host, WEB))
            again.until("web", "open")
            assert not recorded(host)
            assert not host.runs("web")


def test_a_command_half_done_is_undone(hosts):
    """Killed while its command runs: the command is ended, and its opposite is run."""
    host = hosts("one")
    drain = host.folder / "drain"
    drain.write_text(f'#!/bin/sh\necho "$1" >> {host.folder}/drained\n[ "$1" = out ] || sleep 60\n')
    drain.chmod(0o755)
    terms = Command((str(drain), "in"), (str(drain), "out"))
    drained = host.folder / "drained"
    with keeping(host, gate("drain", terms)) as made:
        made.want("drain", seconds=LEASE)
        wait_until(drained.exists)
        made.kill()
        wait_until(lambda: drained.read_text() == "in\nout\n" and not recorded(host))
