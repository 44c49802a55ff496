"""Which pools need this host: by their probes, and by what the fleet says of who is in service.

Touches nothing. The fleet's word is one more condition for leaving, never a reason to leave: who
lies there keeps a host in service at the most. Limits: `words` is for somebody to keep up to date.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from tidegate.decision.warning import Evidence
from tidegate.model import Micros
from tidegate.policy.guards import Pool


class Word(NamedTuple):
    """What the fleet says: "unasked" or not answered yet; this host "may" leave; it has to "stay",
    since only `others` are in service; nobody is there to ask ("away"). `back`: it is out, and
    has to come back."""

    answer: Literal["unasked", "may", "stay", "away"]
    others: int = 0
    back: bool = False


class Pools:
    """The pools of one policy. `words` of those that are asked about in the fleet; `leaving`: those
    that a guard wants to leave, and waits for a word of."""

    def __init__(self, pools: Iterable[Pool], evidence: Evidence) -> None:
        self.words: Mapping[str, Word] = {}
        self.leaving: set[str] = set()
        self._pools = {pool.name: pool for pool in pools}
        self._evidence = evidence

    def lacking(self, name: str, now: Micros) -> tuple[bool, str]:
        """Whether a member of a pool that is out has to come back, and why none may leave."""
        pool = self._pools.get(name)
        if pool is None:
            return False, ""
        back, why = self._probed(pool, now)
        word = self.words.get(name)
        if word is None:
            return back, why
        if why:
            alone = "; its fleet does not answer: the probes alone decide"
            return back, why + (alone if word.answer == "away" else "")
        if word.answer != "stay" and not word.back:
            return False, ""
        others = f"{word.others} {'says' if word.others == 1 else 'say'} so"
        return word.back, (
            f"the fleet keeps it: pool {name} needs {pool.least} others in service, and {others}"
        )

    def leave(self, name: str, now: Micros) -> tuple[bool, str]:
        """A guard is about to leave a pool: whether it may at once, or else asks by this; and what
        is to be said about it."""
        pool, word = self._pools.get(name), self.words.get(name)
        if pool is None or word is None:
            return True, ""
        if word.answer == "away":
            return True, "; its fleet does not answer, so the probes of its pool decided alone"
        if not self._probed(pool, now)[1]:
            self.leaving.add(name)
        return word.answer == "may", ""

    def _probed(self, pool: Pool, now: Micros) -> tuple[bool, str]:
        values = {peer: self._evidence.value(peer, now) for peer in pool.peers}
        well = sum(value is not None and value >= 1 for value in values.values())
        unknown = sum(value is None for value in values.values())
        if well >= pool.least:
            return False, ""
        told = ", ".join(
            f"{peer} is {'unknown' if value is None else 'well' if value >= 1 else 'down'}"
            for peer, value in values.items()
        )
        told = told or "it has no other member"
        why = f"pool {pool.name} needs {pool.least} in service, and {told}"
        return well + unknown < pool.least, why
