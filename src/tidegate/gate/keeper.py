"""The keeper: the privileged side of the conversation, which believes the watcher nothing.

Touches the gate it is given, the socket to the watcher, its `ear`, and looks whether the off-file
exists: then nothing is closed and all work refused. Limits: one watcher; never reads a log.
"""

from __future__ import annotations

import gc
import os
import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tidegate.errors import GateError, TidegateError
from tidegate.frames import Channel, Closed, Frame, Malformed
from tidegate.gate.charter import Charter, Tempo, judge_all
from tidegate.gate.doorman import Doorman
from tidegate.gate.ear import Ear, Reader
from tidegate.gate.outward.confiner import Confiner
from tidegate.gate.outward.port import OutwardGate
from tidegate.gate.port import AllowingGate, Refusal
from tidegate.gate.protocol import PART, VERSION
from tidegate.gate.replacement import Replacement, listed
from tidegate.gate.smtp421 import Responder
from tidegate.model import Micros

OFF_FILE = Path("/etc/tidegate/off")
MOST_BANS = 2_000_000
"""Bans that one replacement may bring; memory is bounded by it."""

_PATIENCE, _TRIES = 10.0, 3


def clock() -> Micros:
    """Now, by the system's clock."""
    return time.time_ns() // 1000


class Keeper:
    """Answers one watcher. Call `receive` when `fileno` is readable, `tick` each second.

    `load_charter` reads the root-owned policy; it raises TidegateError where that is faulty, at
    the start as well. `listen` opens a reader of knocks; `responder` tells senders to come back
    where policy has a gate for that, `outward` caps what leaves. `malformed` counts frames that
    were none.
    """

    def __init__(
        self,
        connection: socket.socket,
        gate: AllowingGate,
        load_charter: Callable[[], Charter],
        *,
        now: Callable[[], Micros] = clock,
        off_file: Path = OFF_FILE,
        listen: Callable[[], Reader] | None = None,
        responder: Responder | None = None,
        outward: OutwardGate | None = None,
    ) -> None:
        self._channel = Channel(connection)
        self.ear = Ear(self._channel, listen)
        self._gate = gate
        self._doorman = Doorman(gate, responder)
        self._load_charter = load_charter
        self._now = now
        self._off_file = off_file
        self._noticed = ""
        self._replacement: Replacement | None = None
        self.malformed = 0
        self._in_a_row = 0
        self._charter = load_charter()
        self._confiner = Confiner(outward, self._charter)
        self._tempo = Tempo(self._charter, now())
        gate.allow, gate.gates = self._charter.allow, self._charter.gates
        self._off = self._is_off()
        if self._off:
            self._open_all()

    def fileno(self) -> int:
        """Readable when the watcher said something."""
        return self._channel.fileno()

    def close(self) -> None:
        """End the conversation; what is closed stays until its end."""
        self.ear.close()
        self._doorman.close()
        self._channel.close()

    def receive(self) -> bool:
        """Take in and answer; False when the watcher has gone, or talks nonsense."""
        try:
            self._channel.fill()
            while True:
                try:
                    frame = self._channel.next()
                    if frame is None:
                        return True
                    answer = self._answer(frame)
                    self._in_a_row = 0
                except Malformed as error:
                    self.malformed += 1
                    self._in_a_row += 1
                    self._say({"type": "error", "reason": f"malformed: {error}"})
                    if error.fatal or self._in_a_row >= _TRIES:
                        return False
                    continue
                self._say_all(answer)
        except (Closed, TimeoutError):
            return False

    def hear(self) -> bool:
        """Pass on who knocked, when `ear` is readable; False when the watcher has gone."""
        try:
            self.ear.hear()
        except Closed:
            return False
        return True

    def tick(self) -> bool:
        """Look at the off-file and at the table; False when the watcher has gone."""
        try:
            self.ear.tick(getattr(self._gate, "deaf", ""))
            self._doorman.tick(self._charter.gates, self._is_off())
            if self._is_off():
                if not self._off:
                    self._off = True
                    self._open_all()
                    self._notice("off")
                return True
            if self._off:
                self._off = False
                self._notice("resync")
            self._notice(self._state())
        except (Closed, TimeoutError):
            return False
        return True

    def _state(self) -> str:
        try:
            return "drift" if self._gate.drifted() or self._confiner.drifted() else ""
        except GateError:
            return "failed"

    def _notice(self, notice: str) -> None:
        """Tell what has changed, once."""
        if notice and notice != self._noticed:
            self._say({"type": "notice", "notice": notice})
        self._noticed = notice

    def _say(self, frame: Frame) -> None:
        self._channel.send(frame, _PATIENCE)

    def _say_all(self, answer: Frame) -> None:
        """An answer with more refusals than fit a frame goes out in parts."""
        refusals = answer.get("refusals", [])
        while len(refusals) > PART:
            self._say({"type": "part", "refusals": refusals[:PART]})
            refusals = refusals[PART:]
        self._say({**answer, "refusals": refusals})

    def _is_off(self) -> bool:
        return os.path.lexists(self._off_file)

    def _open_all(self) -> None:
        with suppress(GateError):  # then nothing of ours can stand there either
            self._gate.open_all()
        self._confiner.open_all()

    def _answer(self, frame: Frame) -> Frame:
        act = _ACTS.get(frame["type"])
        if act is None:
            raise Malformed("no such type")
        if self._is_off() and frame["type"] in _WORK:
            self._replacement = None
            return {"type": "error", "reason": f"switched off: {self._off_file} exists", "off": 1}
        try:
            answer = act(self, frame)
        except TidegateError as error:
            element = error.element if isinstance(error, GateError) else None
            return {"type": "error", "reason": str(error), "element": element}
        if frame["type"] in _WORK and self._is_off():
            self._open_all()  # switched off while we were at it
        return {"type": "done", "evicted": self._gate.evicted, **answer}

    def _hello(self, frame: Frame) -> Frame:
        if frame.get("version") != VERSION:
            raise Malformed(f"version {VERSION} is spoken here")
        return {"version": VERSION, "off": self._is_off()}

    def _apply(self, frame: Frame) -> Frame:
        now = self._now()
        requests, places, refusals = judge_all(
            listed(frame, "requests"), self._charter, self._tempo, now
        )
        if requests:
            found = self._gate.apply(requests, now)
            refusals += [Refusal(places[index], reason) for index, reason in found]
        return {"refusals": refusals}

    def _begin(self, _frame: Frame) -> Frame:
        self._replacement = Replacement()
        return {}

    def _part(self, frame: Frame) -> Frame:
        bringing = self._replacement
        if bringing is None:
            raise Malformed("a part of nothing")
        try:
            bringing.take(frame, self._charter, self._tempo, self._now(), MOST_BANS)
        except Malformed:
            self._replacement = None
            raise
        return {}

    def _commit(self, _frame: Frame) -> Frame:
        bringing, self._replacement = self._replacement, None
        if bringing is None:
            raise Malformed("nothing to commit")
        refusals = bringing.commit(self._gate, self._now())
        self._noticed = ""
        return {"refusals": refusals}

    def _drifted(self, _frame: Frame) -> Frame:
        off = self._is_off()
        drifted = not off and (self._gate.drifted() or self._confiner.drifted())
        return {"drifted": drifted, "off": off}

    def _observe(self, _frame: Frame) -> Frame:
        closed = self._gate.observe(self._now())
        for first in range(0, len(closed), PART):
            self._say({"type": "part", "closed": closed[first : first + PART]})
        return {}

    def _open(self, _frame: Frame) -> Frame:
        self._gate.open_all()
        self._confiner.open_all()
        return {}

    def _reload(self, _frame: Frame) -> Frame:
        charter = self._load_charter()
        if (charter.rate, charter.burst) != (self._charter.rate, self._charter.burst):
            self._tempo = Tempo(charter, self._now())
        wanted = charter.allow, charter.gates
        changed = wanted != (self._charter.allow, self._charter.gates)
        self._charter = charter
        if changed:
            self._gate.allow, self._gate.gates = wanted
        return {"changed": changed, "outward": self._confiner.govern(charter)}


_ACTS: dict[str, Callable[[Keeper, Frame], Frame]] = {
    "hello": Keeper._hello,
    "ping": lambda keeper, _frame: {"off": keeper._is_off(), "malformed": keeper.malformed},
    "apply": Keeper._apply,
    "replace-begin": Keeper._begin,
    "replace-part": Keeper._part,
    "replace-commit": Keeper._commit,
    "drifted": Keeper._drifted,
    "observe": Keeper._observe,
    "dropped": lambda keeper, _frame: {"dropped": keeper._gate.dropped()},
    "switch": lambda keeper, frame: keeper._doorman.switch(frame, keeper._now()),
    "throttled": lambda keeper, _frame: {"throttled": keeper._gate.throttled()},
    "confine": lambda keeper, frame: keeper._confiner.confine(frame, keeper._now()),
    "outward": lambda keeper, _frame: keeper._confiner.state(keeper._now()),
    "open-all": Keeper._open,
    "reload": Keeper._reload,
}
_WORK = frozenset({"apply", "replace-begin", "replace-part", "replace-commit", "switch", "confine"})


def serve(
    connection: socket.socket,
    gate: AllowingGate,
    load_charter: Callable[[], Charter],
    *,
    now: Callable[[], Micros] = clock,
    off_file: Path = OFF_FILE,
    listen: Callable[[], Reader] | None = None,
    responder: Responder | None = None,
    outward: OutwardGate | None = None,
) -> None:
    """Answer the watcher until it goes. Raises TidegateError where the first charter is faulty."""
    keeper = Keeper(
        connection, gate, load_charter,
        now=now, off_file=off_file, listen=listen, responder=responder, outward=outward,
    )  # fmt: skip
    # A restore makes some hundred thousand tuples and no cycle; looking for cycles again and
    # again took a fifth of its time.
    thresholds = gc.get_threshold()
    gc.set_threshold(500_000, 10, 10)
    poll, heard = select.poll(), -1
    poll.register(keeper, select.POLLIN)
    due = time.monotonic() + 1
    try:
        while True:
            heard = keeper.ear.watched(poll, heard)
            wait = max(0, due - time.monotonic())
            for descriptor, _events in poll.poll(wait * 1000):
                if not (keeper.hear() if descriptor == heard else keeper.receive()):
                    return
            if time.monotonic() >= due:
                due = time.monotonic() + 1
                if not keeper.tick():
                    return
    finally:
        gc.set_threshold(*thresholds)
        keeper.close()
