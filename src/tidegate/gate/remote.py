"""The watcher's gate: asks the keeper to close and open, over a Unix socket.

Touches that socket only. Waits for each answer; select on `fileno` for what the keeper says by
itself and read it with `notices`. Limits: the keeper's own clock and charter decide, not ours.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Any

from tidegate.errors import GateError, GoneError
from tidegate.frames import Channel, Frame, Malformed
from tidegate.frames import Closed as Hung
from tidegate.gate.outward.port import Capped, Filtered, OutwardState
from tidegate.gate.port import Closed, Dropped, Knock, Refusal, Request, Throttled
from tidegate.gate.protocol import PART, VERSION
from tidegate.model import Ban, Confined, GateReport, Micros, Subject

_PATIENCE = 60.0
_KEPT = 10_000
"""Knocks kept until somebody asks; ten seconds of what a keeper passes on."""


class RemoteGate:
    """A `Gate` behind a keeper. Every method raises GoneError where the keeper is gone.

    `off` is true while the keeper refuses work because a person switched everything off. `deaf`
    says why no knocks can be heard; "" while they can.
    """

    def __init__(self, connection: socket.socket, *, patience: float = _PATIENCE) -> None:
        self._channel = Channel(connection)
        self._patience = patience
        self._notices: list[str] = []
        self._knocks: list[Knock] = []
        self._overflow = self._missed = 0
        self.deaf = ""
        self.evicted = 0
        self.off = False
        self.off = bool(self._ask({"type": "hello", "version": VERSION})["off"])

    def fileno(self) -> int:
        """Readable when the keeper said something by itself, or has gone."""
        return self._channel.fileno()

    def close(self) -> None:
        """End the conversation."""
        self._channel.close()

    def notices(self) -> list[str]:
        """What the keeper said by itself since last asked, without waiting: `drift` (replace!),
        `resync` (switched on again: replace!), `off`, `failed`."""
        try:
            self._channel.fill()
            while (frame := self._channel.next()) is not None:
                self._take(frame)
        except (Hung, Malformed) as error:
            raise GoneError("the keeper is gone") from error
        found, self._notices = self._notices, []
        return found

    def knocks(self) -> list[Knock]:
        """Who is closed for and tried again, of what was taken in since last asked."""
        found, self._knocks = self._knocks, []
        return found

    @property
    def missed(self) -> int:
        """How many knocks were too many to be passed on."""
        return self._missed + self._overflow

    def apply(self, requests: Sequence[Request], now: Micros) -> list[Refusal]:
        """Carry out requests; see `Gate.apply`. The keeper takes the time from its own clock."""
        refusals: list[Refusal] = []
        for first in range(0, len(requests), PART):
            frame = {"type": "apply", "requests": requests[first : first + PART]}
            refusals += _refusals(self._ask(frame), first)
        return refusals

    def replace(self, bans: Sequence[Ban], allows: Sequence[Ban], now: Micros) -> list[Refusal]:
        """Make exactly this the state; see `Gate.replace`. Streamed, then done at once."""
        self._ask({"type": "replace-begin"})
        for first in range(0, len(bans), PART):
            self._ask({"type": "replace-part", "bans": bans[first : first + PART]})
        for first in range(0, len(allows), PART):
            self._ask({"type": "replace-part", "allows": allows[first : first + PART]})
        answer = self._ask({"type": "replace-commit"})
        # What called for this before it was done is made good by it.
        self._notices = [one for one in self._notices if one not in ("drift", "resync")]
        return _refusals(answer, 0)

    def drifted(self) -> bool:
        """Whether somebody else changed the table; never while it is switched off."""
        answer = self._ask({"type": "drifted"})
        self.off = bool(answer.get("off"))
        return bool(answer.get("drifted"))

    def observe(self, now: Micros) -> list[Closed]:
        """What is closed now, read from the kernel by the keeper."""
        return [
            Closed(Subject(subject), tuple(ports), until, bool(allow))
            for subject, ports, until, allow in self._ask({"type": "observe"})["closed"]
        ]

    def dropped(self) -> list[Dropped]:
        """What was dropped so far, by set, read from the kernel by the keeper."""
        return [
            Dropped(name, tuple(ports), packets, size)
            for name, ports, packets, size in self._ask({"type": "dropped"})["dropped"]
        ]

    def switch(self, closed: Mapping[str, Micros], now: Micros) -> list[GateReport]:
        """Close exactly these gates of guards; see `Gate.switch`. By the keeper's own clock."""
        answer = self._ask({"type": "switch", "closed": dict(closed)})
        return [GateReport(*one) for one in answer["reports"]]

    def throttled(self) -> list[Throttled]:
        """What the gates of guards have cut or refused, read from the kernel by the keeper."""
        return [
            Throttled(gate, packets, size, tuple((Subject(who), cut) for who, cut in heaviest))
            for gate, packets, size, heaviest in self._ask({"type": "throttled"})["throttled"]
        ]

    def confine(self, confined: Sequence[Confined], now: Micros) -> list[Refusal]:
        """Exactly these are cut off or watched; see `OutwardGate.confine`. By the keeper's own
        clock and policy."""
        return _refusals(self._ask({"type": "confine", "confined": list(confined)}), 0)

    def outward_state(self, now: Micros) -> OutwardState:
        """How the caps of what leaves stand, read from the kernel by the keeper."""
        why, capped, filtered, confined = self._ask({"type": "outward"})["outward"]
        return OutwardState(
            str(why),
            tuple(Capped(*one) for one in capped),
            tuple(Filtered(*one) for one in filtered),
            tuple(Confined(*one) for one in confined),
        )

    def open_all(self) -> None:
        """Open everything now."""
        self._ask({"type": "open-all"})

    def reload(self) -> bool:
        """Have the keeper read the policy again. Whether the allowlist or the gates of
        guards changed: then `replace`."""
        return bool(self._ask({"type": "reload"}).get("changed"))

    def _ask(self, frame: Frame) -> Frame:
        parts: dict[str, list[Any]] = {"closed": [], "refusals": []}
        try:
            self._channel.send(frame, self._patience)
            while True:
                answer = self._channel.wait(self._patience)
                for name, part in parts.items():
                    part += answer.get(name, [])
                if answer["type"] != "part" and not self._take(answer):
                    break
        except (Hung, Malformed) as error:
            raise GoneError("the keeper is gone") from error
        except TimeoutError as error:
            self.close()
            raise GoneError("the keeper does not answer") from error
        if answer["type"] == "error":
            self.off = bool(answer.get("off"))
            raise GateError(str(answer["reason"]), answer.get("element"))
        self.evicted = answer.get("evicted", self.evicted)
        return {**answer, **parts}

    def _take(self, frame: Frame) -> bool:
        """Keep what the keeper said by itself for later; False where it is an answer."""
        if frame["type"] == "knocks":
            found = [Knock(Subject(subject), port) for subject, port in frame["knocks"]]
            room = _KEPT - len(self._knocks)
            self._knocks += found[:room]
            self._overflow += len(found[room:])
            self._missed, self.deaf = int(frame["missed"]), str(frame["deaf"])
            return True
        if frame["type"] != "notice":
            return False
        notice = str(frame["notice"])
        if notice in ("off", "resync"):
            self.off = notice == "off"
        self._notices.append(notice)
        return True


def _refusals(answer: Frame, first: int) -> list[Refusal]:
    return [Refusal(first + index, str(reason)) for index, reason in answer.get("refusals", [])]
