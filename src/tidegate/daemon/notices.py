"""Notices on their way: each place they go to has its own pace, its own thread, its own troubles.

Touches threads, one a place while a letter is under way; `deliver` touches the rest. What fails is
tried again, after 10 seconds, then twice as long each time up to 10 minutes, for a day.
Limits: over a restart what waits is kept only as far as somebody saves `changes`; what was under
way then may arrive twice.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator

from tidegate.daemon.deliver import deliver as carried
from tidegate.daemon.digest import Digest, Letter, notice
from tidegate.errors import WorldError
from tidegate.model import MINUTE, SECOND, Change, Micros
from tidegate.policy.guards import NoticeSpec

Deliver = Callable[[NoticeSpec, Letter], None]
"""Brings a letter there; WorldError says why it did not."""

FIRST_WAIT: Micros = 10 * SECOND
LONGEST_WAIT: Micros = 10 * MINUTE
LONGEST_WAY: Micros = 5 * MINUTE
"""What is under way for longer hangs; it is waited for, and said."""
PART = "notices"
"""The name of this part of the daemon's memory."""


class Notices:
    """All places that notices go to. Nothing here waits."""

    part = PART

    def __init__(self, specs: Iterable[NoticeSpec], deliver: Deliver = carried) -> None:
        self._deliver = deliver
        self._places = {spec.name: Place(spec, deliver) for spec in specs}
        self._forgotten: list[str] = []

    def tell(
        self,
        names: Iterable[str],
        time: Micros,
        subject: str,
        text: str,
        *,
        about: str = "",
        clear: bool = False,
    ) -> None:
        """Have these places told, at the next `tick` or as soon as their pace allows.

        `about`: the gate or guard; `clear`: the end of what was told of it. Both texts may hold
        anything: they are made harmless here. Names that the policy does not have are passed over.
        """
        one = notice(time, subject, text, about, clear)
        for name in dict.fromkeys(names):
            if name in self._places:
                self._places[name].digest.add(one)

    def tick(self, now: Micros) -> bool:
        """Send what is due, take back what did not arrive. Call it every second.

        Returns whether anything happened, so that `changes` has something to save.
        """
        happened = [place.tick(now) for place in self._places.values()]  # every one, not the first
        return any(happened)

    def failures(self) -> dict[str, str]:
        """Of every place that ever failed: why it does, "" if it is well again.

        The texts stay the same while the trouble does, so that they can be said once.
        """
        return {
            name: place.trouble for name, place in self._places.items() if place.trouble is not None
        }

    def waiting(self) -> dict[str, int]:
        """Of every place: how many notices wait for it."""
        return {name: place.digest.waiting for name, place in self._places.items()}

    def reload(self, specs: Iterable[NoticeSpec]) -> None:
        """A new policy: what waits for a place that is still there goes on waiting."""
        old, self._places = self._places, {}
        for spec in specs:
            place = old.get(spec.name)
            if place is None:
                place = Place(spec, self._deliver)
            else:
                place.renew(spec)
            self._places[spec.name] = place
        self._forgotten += [name for name in old if name not in self._places]

    def changes(self) -> Iterator[Change]:
        """What waits, where that changed since the last call, for a checkpoint."""
        for name, place in self._places.items():
            packed = place.packed()
            if packed != place.saved:
                place.saved = packed
                yield Change(PART, name, packed)
        for name in self._forgotten:
            yield Change(PART, name, None)
        self._forgotten = []

    def restore(self, change: Change) -> bool:
        """Take back one saved change; False if it is not ours."""
        if change.part != PART:
            return False
        if change.key in self._places:
            if change.value is not None:
                self._places[change.key].digest.unpack(change.value)
        else:
            self._forgotten.append(change.key)
        return True

    def close(self, now: Micros, patience: float = 2.0) -> None:
        """Send what may go out now, and give it that many seconds (all places together)."""
        self.tick(now)
        for place in self._places.values():
            place.wait(patience / max(1, len(self._places)))
            place.settle(now)


class Place:
    """One place: what waits for it, and the letter under way."""

    def __init__(self, spec: NoticeSpec, deliver: Deliver) -> None:
        self.digest = Digest(spec.most, spec.within)
        self.trouble: str | None = None
        self.saved = b""
        self._spec, self._deliver = spec, deliver
        self._tries = 0
        self._failed: Micros = 0
        self._under_way: _Errand | None = None

    def renew(self, spec: NoticeSpec) -> None:
        """From now on there; an address that was corrected is tried at once."""
        if spec != self._spec:
            self._tries = 0
        self._spec = spec
        self.digest.limit(spec.most, spec.within)

    def tick(self, now: Micros) -> bool:
        """Take in what became of the letter under way, and send the next; whether there was one."""
        settled = self.settle(now)
        if self._under_way is not None or (self._tries and 0 <= now - self._failed < self._pause()):
            return settled
        letter = self.digest.due(now)
        if letter is None:
            return settled
        errand = _Errand(self._deliver, self._spec, letter, now)
        try:
            errand.start()
        except RuntimeError:
            errand.trouble = "no thread can be started for it: the host is at its limits"
            self._arrived(errand, now)
            return True
        self._under_way = errand
        return True

    def settle(self, now: Micros) -> bool:
        """Take in what became of the letter under way; False while it is, or if there is none."""
        if self._under_way is None:
            return False
        if self._under_way.is_alive():
            if now - self._under_way.sent > LONGEST_WAY:
                self.trouble = "one is under way and does not arrive; those after it wait"
            return False
        self._arrived(self._under_way, now)
        self._under_way = None
        return True

    def packed(self) -> bytes:
        """What waits, with the letter under way."""
        errand = self._under_way
        return self.digest.packed(None if errand is None else errand.letter)

    def wait(self, seconds: float) -> None:
        """Wait for the letter under way."""
        if self._under_way is not None:
            self._under_way.join(seconds)

    def _pause(self) -> Micros:
        return min(FIRST_WAIT << min(self._tries - 1, 16), LONGEST_WAIT)

    def _arrived(self, errand: _Errand, now: Micros) -> None:
        if errand.trouble:
            self._tries += 1
            self._failed = now
            self.trouble = errand.trouble
            self.digest.back(errand.letter, errand.sent)
        else:
            self._tries = 0
            if self.trouble is not None:
                self.trouble = ""


class _Errand(threading.Thread):
    """One letter under way. `trouble` says why it did not arrive, "" if it did; read it afterwards.

    A thread ends with the process, so a notice never keeps the daemon from stopping.
    """

    def __init__(self, deliver: Deliver, spec: NoticeSpec, letter: Letter, now: Micros) -> None:
        super().__init__(name=f"notice {spec.name}", daemon=True)
        self.letter, self.sent = letter, now
        self.trouble = "it ended without a word"
        self._carry, self._spec = deliver, spec

    def run(self) -> None:
        """Carry it there."""
        try:
            self._carry(self._spec, self.letter)
        except WorldError as error:
            self.trouble = str(error) or "no reason given"
        else:
            self.trouble = ""
