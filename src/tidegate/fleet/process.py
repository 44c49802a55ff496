"""The fleet's process: it talks to the engine for the watcher, and tells it what is to be believed.

Touches the sockets to both. Frames in: `share`, `remember`, `say`, `settled`, `explain`, `look`,
`restore`, `reload`, `report`, `pools`, `ask`. Frames out: `heard`, `health`, `error`. Limits: it
waits for nobody; what the watcher does not take waits here; it begins when that has remembered.
"""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from tidegate.errors import TidegateError
from tidegate.fleet import frames
from tidegate.fleet.counting import functions
from tidegate.fleet.engine import access
from tidegate.fleet.engine.connection import Login
from tidegate.fleet.journal.shelf import FOLDER, Shelf
from tidegate.fleet.member import Member, Setting
from tidegate.fleet.plan.planning import kept
from tidegate.fleet.port import Place, Quote
from tidegate.fleet.rounds import PATIENCE, Rounds, now
from tidegate.fleet.trust import keys
from tidegate.fleet.trust.admission import Remembering
from tidegate.fleet.trust.keys import Identity, Signer
from tidegate.frames import Channel, Closed, Frame, Malformed
from tidegate.model import Change, Micros, Subject
from tidegate.policy.fleet import FleetSpec
from tidegate.policy.models import Policy

PATIENT = 10.0
"""Seconds to wait for what the watcher remembers, before beginning without it."""
_HEALTHY = 1.0
_MOST_UNSENT = 10_000


def serve(
    end: socket.socket, policy: Callable[[], Policy], signer: Signer, identity: Identity,
    epoch: int, login: Login | None = None, clock: Callable[[], Micros] = now,
) -> None:  # fmt: skip
    """Talk to the fleet for the watcher at the other end, until that is gone."""
    process = Process(end, policy, signer, identity, epoch, login, clock)
    try:
        while process.turn():
            pass
    finally:
        process.close()


class Process:
    """One conversation with each side. Call `turn` until it says that the watcher is gone."""

    def __init__(
        self, end: socket.socket, policy: Callable[[], Policy], signer: Signer,
        identity: Identity, epoch: int, login: Login | None, clock: Callable[[], Micros],
    ) -> None:  # fmt: skip
        self._channel, self._policy, self._clock = Channel(end), policy, clock
        first = policy()
        spec = first.fleet
        assert spec is not None, "there is no process without [fleet]"
        self._spec, self._login = spec, login or access.login_of(spec)
        shards = functions.SHARDS if spec.kind == "cluster" else 1
        verify = Remembering(keys.verify)
        self.member = Member(Setting(identity, signer.sign, epoch, verify, shards))
        # What stands on the shelf is offered to an engine that forgot it.
        shelf = Shelf(Path(first.paths.fleet) / FOLDER, identity.fleet, identity.desk, verify)
        self.member.carrying.carrier.hold(shelf.policies())
        engine = access.engine_of(spec, PATIENCE, self._login)
        self.member.planning.kept = kept(Path(first.paths.state))
        self.rounds = Rounds(self.member, engine, clock, copies=spec.read == "replica")
        self._govern(first)
        self._begun = False
        self._patience = time.monotonic() + PATIENT
        self._out: deque[Frame] = deque()
        self._restored: list[Change] = []
        self._listed: list[Subject] = []
        self._said: Frame = {}
        self._said_at, self._used = 0.0, time.process_time()

    def turn(self) -> bool:
        """Wait for what comes next and do it; False where the watcher is gone."""
        try:
            ready = self._wait()
            if self._channel.fileno() in ready:
                self._heed()
            if not self._begun and time.monotonic() > self._patience:
                self._begun = True
            if self._begun:
                self.rounds.turn(ready)
            self._out += frames.heard_frames(self.member.heard())
            self._tell()
        except Closed:
            return False
        return True

    def close(self) -> None:
        """End both conversations."""
        self.rounds.close()
        self._channel.close()

    def _wait(self) -> set[int]:
        poll = select.poll()
        out = bool(self._out) or not self._channel.flush()
        poll.register(self._channel.fileno(), select.POLLIN | (select.POLLOUT if out else 0))
        for fd in self.rounds.fds() if self._begun else ():
            poll.register(fd, select.POLLIN)
        return {fd for fd, _event in poll.poll(1000 * self.rounds.pause() + 1)}

    def _heed(self) -> None:
        self._channel.fill()
        while True:
            try:
                frame = self._channel.next()
                if frame is None:
                    return
                self._do(frame)
            except Malformed as error:
                if error.fatal:
                    raise Closed from error
                self._complain(f"malformed: {error}")
            except (KeyError, TypeError, ValueError) as error:
                self._complain(f"malformed: {error}")

    def _do(self, frame: Frame) -> None:
        member, moment = self.member, self._clock()
        match frame["type"]:
            case "share":
                member.share([frames.read_shared(row) for row in frame["rows"]], moment)
            case "remember":
                member.remember([frames.read_shared(row) for row in frame["rows"]])
            case "say":
                member.say([frames.read_decision(row) for row in frame["rows"]], moment)
            case "settled":
                member.settled(frame["id"], frame["until"])
            case "explain":
                quotes = [Quote(*row) for row in frame["rows"]]
                member.quotes.explain(frame["subject"], frame["rule"], frame["until"], quotes)
            case "look":
                self._listed += frame["rows"]
                if frame["done"]:
                    member.look(self._listed)
                    self._listed = []
            case "restore":
                self._restored += [frames.read_change(row) for row in frame["rows"]]
                if frame["done"]:
                    member.restore(self._restored, moment)
                    self._restored, self._begun = [], True
            case "reload":
                self._reload()
            case "report":
                member.reports.report(frame["more"])
            case "pools":
                member.pools.follow([Place(*row) for row in frame["rows"]], moment)
            case "ask":
                if frame["what"] == "why":
                    member.quotes.ask(frame["number"], Subject(frame["subject"]))
                else:
                    member.reports.ask(frame["number"])
            case other:
                raise Malformed(f"nothing is called {str(other)[:40]!r} here")

    def _reload(self) -> None:
        try:
            self._govern(self._policy())
        except TidegateError as error:
            self._complain(str(error))

    def _govern(self, policy: Policy) -> None:
        spec = policy.fleet
        if spec is None or _where(spec) != _where(self._spec):
            self._complain("[fleet] has another engine now: restart tidegate")
            return
        self.member.follow(policy.rules, spec.min_hosts, bans=spec.bans)

    def _complain(self, reason: str) -> None:
        self._out.append({"type": "error", "reason": reason})

    def _tell(self) -> None:
        """Send what there is, without waiting."""
        if time.monotonic() - self._said_at >= _HEALTHY:
            passed, self._said_at = time.monotonic() - self._said_at, time.monotonic()
            used, self._used = time.process_time() - self._used, time.process_time()
            found = self.rounds.health()._replace(cost=round(used / passed, 4))
            health: Frame = {"type": "health", **found._asdict()}
            if health != self._said and self._channel.offer(health):
                self._said = health
        while self._out and self._channel.offer(self._out[0]):
            self._out.popleft()
        if len(self._out) > _MOST_UNSENT:
            raise Closed  # it has stopped listening: all begins anew


def _where(spec: FleetSpec) -> tuple[object, ...]:
    """What of the section a running conversation can't change: its password is read by root."""
    return (spec.engines, spec.kind, spec.name, spec.user, spec.password_file, spec.ca, spec.read)
