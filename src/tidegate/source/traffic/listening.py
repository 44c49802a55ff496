"""The two ears of the meter: connections and cut packets, each tried again where it can't be had.

Touches netlink sockets, routes and the clock of what it cost; told the time. Limits: whatever is
missing is one line of `troubles`, the other ear goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from tidegate.errors import SourceError
from tidegate.model import SECOND, Micros, Subject
from tidegate.policy.outward import OutwardSpec
from tidegate.source.traffic import conntrack
from tidegate.source.traffic.conntrack import Conntrack
from tidegate.source.traffic.cuts import Cuts, Owner
from tidegate.source.traffic.filters import WHOLE, program
from tidegate.source.traffic.nflog import Nflog
from tidegate.source.traffic.outcomes import Outcomes
from tidegate.source.traffic.reach import Reach
from tidegate.source.traffic.routes import behind
from tidegate.source.traffic.sampling import Sampling
from tidegate.source.traffic.sockets import Flow, Sockets

LOOK: Micros = 5 * SECOND
LOOKUPS = 300
"""Sockets asked for a second, at the most; beyond that a host's own connections are nameless."""

Own = Callable[[], Iterable[str]]


class Listening:
    """What is heard, kept until it is taken. `own`: this host's addresses."""

    def __init__(self, spec: OutwardSpec, own: Own, owner: Owner | None, now: Micros) -> None:
        self._spec, self._own = spec, own
        reach = self._reach()
        self.outcomes = Outcomes(reach, self._user_of)
        self.cuts = Cuts(reach, owner)
        self.sampling = Sampling()
        self.conntrack: Conntrack | None = None
        self.nflog: Nflog | None = None
        self.troubles: dict[str, str] = {}
        self.overruns = self.lookups = 0
        self._lost_before = 0
        self._looked: Micros = now
        self._measured: Micros = now
        self._used = time.process_time()
        self._spent = self.cost = 0.0
        self._sockets: Sockets | None = None
        with suppress(SourceError):
            self._sockets = Sockets()
        self._open()

    def close(self) -> None:
        """Listen no more."""
        for one in (self.conntrack, self.nflog, self._sockets):
            if one is not None:
                one.close()

    def fds(self) -> list[int]:
        """Readable when there is something to hear."""
        return [one.fileno() for one in (self.nflog, self.conntrack) if one is not None]

    def govern(self, spec: OutwardSpec) -> None:
        """The policy has changed."""
        self._spec = spec
        self._turn(self._reach())

    def hear(self, now: Micros) -> int:
        """Take in what has come, without waiting; how much it was."""
        heard = 0
        if self.nflog is not None:
            try:
                for kept in self.nflog.read():
                    self.cuts.add(kept, now)
                    heard += 1
            except SourceError as error:
                self._dropped("cuts", str(error))
        if self.conntrack is not None:
            began = time.thread_time()
            try:
                count, overrun = self.conntrack.drain(lambda data: self.outcomes.hear(data, now))
            except SourceError as error:
                self._dropped("connections", str(error))
                return heard
            finally:
                self._spent += time.thread_time() - began
            heard += count
            if overrun:  # answers may be among what was lost
                self.overruns += 1
                self.outcomes.forget()
        return heard

    def tick(self, now: Micros) -> None:
        """Each fraction of a second: time has passed; now and then look how things are."""
        self.outcomes.tick(now)
        if not 0 <= now - self._measured < SECOND:
            self._measure(now)
        if not 0 <= now - self._looked < LOOK:
            self._looked = now
            self._open()
            reach = self._reach()
            if not reach.same_as(self.outcomes.reach):
                self._turn(reach)

    @property
    def lost(self) -> int:
        """Events and logged packets that never came here."""
        connections = self.conntrack.lost if self.conntrack is not None else 0
        packets = self.nflog.lost if self.nflog is not None else 0
        return self._lost_before + connections + packets + self.cuts.beyond

    def _measure(self, now: Micros) -> None:
        span = abs(now - self._measured)
        self._measured = now
        span = max(span, SECOND // 10)
        used = time.process_time()
        self.cost, self._used = (used - self._used) * SECOND / span, used
        # Only what connections cost: fewer of them would not make cut packets cheaper.
        cost, self._spent = self._spent * SECOND / span, 0.0
        outcomes = self.outcomes
        if self.sampling.look(now, span, cost, outcomes.by_key, outcomes.inward):
            self._attach()
        outcomes.by_key.clear()
        outcomes.inward = self.lookups = 0

    def _attach(self) -> None:
        share = self.sampling.share
        self.outcomes.weight = WHOLE / share.inward
        self.outcomes.forget(share)
        if self.conntrack is not None:
            try:
                self.conntrack.attach(program(self.outcomes.reach, share))
            except OSError as error:
                self._dropped("connections", f"no filter for connections: {error.strerror}")

    def _turn(self, reach: Reach) -> None:
        self.outcomes.reach = self.cuts.reach = reach
        self._attach()

    def _open(self) -> None:
        """Whatever is not there yet."""
        if self.conntrack is None:
            try:
                self.conntrack = Conntrack()
                self.troubles.pop("connections", None)
                self._attach()
            except SourceError as error:
                self.troubles["connections"] = str(error)
        if self.conntrack is not None:
            silent = conntrack.silent()
            if silent:
                self.troubles["connections"] = silent
            else:
                self.troubles.pop("connections", None)
        if self.nflog is None:
            try:
                self.nflog = Nflog()
                self.troubles.pop("cuts", None)
            except SourceError as error:
                self.troubles["cuts"] = f"{error}; the caps hold, but nobody is told whom they cut"

    def _dropped(self, name: str, why: str) -> None:
        """An ear failed: closed here, tried again soon."""
        self.troubles[name] = why
        gone = self.nflog if name == "cuts" else self.conntrack
        if gone is not None:
            self._lost_before += gone.lost
            gone.close()
        if name == "cuts":
            self.nflog = None
        else:
            self.conntrack = None
            self.outcomes.forget()

    def _reach(self) -> Reach:
        return Reach(self._spec, self._own(), behind(self._spec.interfaces))

    def _user_of(
        self, protocol: int, near: str, near_port: int, far: str, far_port: int
    ) -> Subject | None:
        if self._sockets is None or self.lookups >= LOOKUPS:
            return None
        self.lookups += 1
        try:
            found = self._sockets.of(Flow(protocol, near, near_port, far, far_port))
        except SourceError:
            return None
        if found is None or not (found.number or found.user):
            return None
        return Subject(f"uid:{found.user}")
