"""Tells owners of their sources: cut off, held back, let back; once each, and not too often.

Touches the ledger that it is handed, to read what was decided, and the notices. What it has told of
is a number of a row in the ledger, saved with what waits, so a restart tells nothing twice and
forgets nothing. Limits: one notice to an owner in `PACE`, with `MOST` things in it; what is over is
counted there. Whom it goes to stands in the policy alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from tidegate.daemon import owner_text
from tidegate.daemon.notices import Notices
from tidegate.daemon.owner_desk import Desk
from tidegate.daemon.owner_text import LINES, LONGEST, News
from tidegate.daemon.whose import owners_of, whole
from tidegate.errors import LedgerError
from tidegate.ledger.port import Entry, Ledger
from tidegate.model import (
    DAY,
    SECOND,
    Action,
    Batch,
    Block,
    Change,
    Decision,
    Micros,
    Outcome,
    Subject,
)
from tidegate.policy.outward import Owner

PART = "owners"
"""The name of this part of the daemon's memory."""
MOST_KNOWN = 4096
_ACTIONS: tuple[Action, ...] = ("quarantine", "release")
PACK = "outward"


class OwnerNotices:
    """What owners are still to be told, and who of theirs is away."""

    part = PART

    def __init__(self, owners: Sequence[Owner], ledger: Ledger, notices: Notices) -> None:
        self._owners = tuple(owners)
        self._ledger, self._notices = ledger, notices
        self._desks: dict[str, Desk] = {}
        self._row: int | None = None  # told of every decision up to this row; None: never looked
        # Who is cut off: until when, until when watched, and whose it is.
        self._away: dict[Subject, tuple[Micros, Micros, tuple[str, ...]]] = {}
        self._warned: dict[Subject, Micros] = {}
        self._saved: dict[str, bytes] = {}

    # -- what happens -------------------------------------------------------------------------

    def begin(self) -> None:
        """After a start: what was decided before anybody was to be told of it is no news."""
        if self._row is None:
            self._look(0)

    def heard(self, decision: Decision, outcome: Outcome) -> None:
        """A source was cut off, or let back by hand; what was not carried out is not told."""
        if outcome.state != "applied":
            return
        if decision.action == "release":
            if decision.subject in self._away:
                by = decision.by if decision.by not in ("rule", "reload") else ""
                self._back(decision.subject, decision.time, decision.watched, by)
            return
        lines = tuple(line.line[:LONGEST] for line in decision.evidence[-LINES:])
        found = owners_of(self._owners, decision.subject, lines)
        if not found:
            return
        before = self._away.get(decision.subject, (0, 0, ()))
        until, watched = max(decision.until, before[0]), max(decision.watched, before[1])
        names = tuple(dict.fromkeys((*before[2], *(owner.name for owner in found))))
        if len(self._away) < MOST_KNOWN or decision.subject in self._away:
            self._away[decision.subject] = until, watched, names
        by = "" if decision.by == "rule" else decision.by
        news = News(
            "cut", decision.time, decision.subject, until, watched, decision.reason, by, lines
        )
        self._add(found, news)

    def noticed(self, batch: Batch, block: Block) -> None:
        """What a block says of sources, as warnings: whether it is enough for more comes later."""
        if not self._owners:
            return
        for event in batch.events:
            if event.kind.pack == PACK:
                at = event.offset - block.offset
                line = block.data[at : at + event.length].decode("utf-8", "replace")
                self.warned(event.subject, event.time, line.strip())

    def warned(self, subject: Subject, time: Micros, line: str) -> None:
        """Something was held back, or seen, that is not enough for cutting off. Once a day for each
        source; more than that is counted."""
        found = owners_of(self._owners, subject, (line,))
        if not found or subject in self._away:
            return
        last = self._warned.get(subject)
        if last is not None and 0 <= time - last < DAY:
            for owner in found:
                self._desk(owner.name).again(subject)
            return
        if len(self._warned) >= MOST_KNOWN:
            del self._warned[next(iter(self._warned))]
        self._warned[subject] = time
        self._add(found, News("warned", time, subject, lines=(line[:LONGEST],)))

    def tick(self, now: Micros) -> bool:
        """Look at what was decided, and hand over what is due. Whether anything was: then save
        before it is sent, so that it is not handed over twice."""
        told = self._look(now)
        for subject, (until, watched, _names) in list(self._away.items()):
            if until <= now:
                self._back(subject, until, watched, "")
                told = True
        for subject, time in list(self._warned.items()):
            if not 0 <= now - time < DAY:
                del self._warned[subject]
        for owner in self._owners:
            desk = self._desks.get(owner.name)
            if desk is None or not desk.due(now):
                continue
            self._hand_over(owner, desk, now)
            told = True
        return told

    def _look(self, now: Micros) -> bool:
        """Every decision that was settled since last looked, in its order; whether there was one.

        At the very first look all that stands there is known; what was dropped has gone, too.
        """
        if not self._owners:
            self._row = None  # who comes into the policy later is told of what is decided then
            return False
        actions = () if self._row is None else _ACTIONS
        try:
            top, found = self._ledger.after(self._row or 0, actions)
        except LedgerError:
            return False  # said where it is written; told when it is well again
        first, before = self._row is None, self._row or 0
        for row, entry in found:
            if entry.state == "intended":  # not carried out yet: all after it wait, too
                return self._row != before
            if now - entry.decision.time < DAY:  # what is older than that is no news
                self.heard(entry.decision, _outcome(entry))
            self._row = row
        if not found:
            self._row = top
        return first or bool(found)

    # -- the parts ----------------------------------------------------------------------------

    def _back(self, subject: Subject, time: Micros, watched: Micros, by: str) -> None:
        _until, _watched, names = self._away.pop(subject)
        owners = [owner for owner in self._owners if owner.name in names]
        self._add(owners, News("back", time, subject, 0, watched, by=by))

    def _add(self, owners: Iterable[Owner], news: News) -> None:
        for owner in owners:
            # What others of a wider source did is not for this owner.
            own = news if whole(owner, Subject(news.subject)) else news._replace(lines=())
            self._desk(owner.name).add(own)

    def _desk(self, name: str) -> Desk:
        return self._desks.setdefault(name, Desk())

    def _hand_over(self, owner: Owner, desk: Desk, now: Micros) -> None:
        self._notices.tell(
            owner.notify,
            now // SECOND * SECOND,
            owner_text.subject_line(owner.name, desk.waiting),
            owner_text.body(owner.name, desk.waiting, desk.left_out),
            about=f"owner {owner.name}",
            clear=all(one.what == "back" for one in desk.waiting),
        )
        desk.emptied(now)

    # -- reload and memory --------------------------------------------------------------------

    def reload(self, owners: Sequence[Owner]) -> None:
        """A new policy: what waits for an owner that is still there goes on waiting."""
        self._owners = tuple(owners)
        names = {owner.name for owner in owners}
        self._desks = {name: desk for name, desk in self._desks.items() if name in names}
        self.begin()

    def changes(self) -> Iterator[Change]:
        """What changed since the last call, for a checkpoint."""
        packed = {f"owner {name}": desk.packed() for name, desk in self._desks.items()}
        if self._row is not None:
            packed["row"] = str(self._row).encode("ascii")
        if self._away:
            packed["away"] = _json(
                [[subject, *ends[:2], list(ends[2])] for subject, ends in self._away.items()]
            )
        if self._warned:
            packed["warned"] = _json(list(self._warned.items()))
        for key, value in packed.items():
            if self._saved.get(key) != value:
                yield Change(PART, key, value)
        for key in self._saved.keys() - packed.keys():
            yield Change(PART, key, None)
        self._saved = packed

    def restore(self, change: Change) -> bool:
        """Take back one saved change; False if it is not ours. What is damaged is forgotten."""
        if change.part != PART or change.value is None:
            return False
        self._saved[change.key] = change.value
        if change.key.startswith("owner "):
            self._desk(change.key.removeprefix("owner ")).unpack(change.value)
            return True
        with suppress(ValueError, TypeError):
            self._unpack(change.key, json.loads(change.value))
        return True

    def _unpack(self, key: str, found: Any) -> None:
        if key == "row":
            self._row = int(found)
        elif key == "away":
            self._away = {
                Subject(str(who)): (int(until), int(watched), tuple(str(one) for one in names))
                for who, until, watched, names in found
            }
        elif key == "warned":
            self._warned = {Subject(str(who)): int(time) for who, time in found}


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def _outcome(entry: Entry) -> Outcome:
    state: Any = entry.state
    return Outcome(entry.decision.id, state, entry.detail, entry.settled or 0)
