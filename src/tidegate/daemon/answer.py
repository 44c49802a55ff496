"""Answers what people ask over the control socket, and does what they order.

Touches the watcher it belongs to. Who may read and who may act was decided by the control server.
Limits: each answer is made in the loop, between two blocks; long lists are streamed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

from tidegate import subject as subjects
from tidegate.chronicle.store import Chronicle
from tidegate.control.call import Call
from tidegate.control.views import entry_view
from tidegate.daemon import (
    asked,
    fleetview,
    gateview,
    gatework,
    incidentwork,
    outview,
    outwork,
    overview,
)
from tidegate.daemon.act import Actor
from tidegate.daemon.fleeting import Fleeting, Later
from tidegate.daemon.guarding import Guarding
from tidegate.daemon.incidents import Incidents
from tidegate.daemon.moves import PREFIX
from tidegate.daemon.orders import by_hand
from tidegate.daemon.pipeline import Pipeline
from tidegate.daemon.wiring import Wiring
from tidegate.errors import LedgerError
from tidegate.model import HOUR, SECOND, Micros, Subject
from tidegate.policy.durations import format_duration
from tidegate.source.port import Source


class Daemon(Protocol):
    """What the answers are made from: the watcher, as far as they need it."""

    pipeline: Pipeline
    sources: dict[str, Source]
    actor: Actor
    guarding: Guarding
    incidents: Incidents
    chronicle: Chronicle
    fleeting: Fleeting
    wiring: Wiring
    started: Micros
    loaded_at: Micros
    knocks: int

    def reload(self, now: Micros) -> list[str]:
        """New policy in; the faults if the old one stays."""

    def count_drops(self, now: Micros) -> None:
        """Ask the gate what was dropped since last asked."""

    def checkpoint(self, now: Micros) -> None:
        """Save now."""


log = logging.getLogger("tidegate.watcher")

Answer = tuple[int, object]

LONGEST_HISTORY = 10_000


class Answerer:
    """One method a path; `answer` finds it."""

    def __init__(self, watcher: Daemon) -> None:
        self._watcher = watcher
        self._paths: dict[tuple[str, str], Callable[[Call, Micros], Answer]] = {
            ("GET", "/status"): partial(overview.status, watcher),
            ("GET", "/list"): self._list,
            ("GET", "/why"): self._why,
            ("GET", "/history"): self._history,
            ("GET", "/targets"): partial(overview.targets, watcher),
            ("GET", "/sources"): partial(outview.sources, watcher),
            ("GET", "/report"): partial(overview.report, watcher),
            ("GET", "/fleet"): partial(fleetview.hosts, watcher),
            ("GET", "/guards"): partial(gatework.guards, watcher),
            ("GET", "/incidents"): partial(incidentwork.listed, watcher),
            ("GET", "/incident"): partial(incidentwork.shown, watcher),
            ("GET", "/feed"): partial(incidentwork.feed, watcher),
            ("GET", "/minutes"): partial(incidentwork.minutes, watcher),
            ("POST", "/note"): partial(incidentwork.note, watcher),
            ("POST", "/gate"): partial(gatework.order, watcher),
            ("POST", "/ban"): self._ban,
            ("POST", "/unban"): self._unban,
            ("POST", "/allow"): self._allow,
            ("POST", "/quarantine"): partial(outwork.quarantine, watcher),
            ("POST", "/release"): partial(outwork.release, watcher),
            ("POST", "/reload"): self._reload,
        }

    def answer(self, call: Call, now: Micros) -> None:
        """Answer one call, whatever it is."""
        handler = self._paths.get((call.method, call.path))
        if handler is None:
            call.reply(404, {"error": f"there is no {call.method} {call.path}"})
            return
        try:
            status, value = handler(call, now)
        except asked.WrongError as wrong:
            call.reply(400, {"error": str(wrong)})
        except LedgerError as error:
            call.reply(503, {"error": str(error)})
        except Exception:  # a question must never end the daemon, whatever is wrong with the answer
            log.exception("%r could not be answered", call)
            call.reply(500, {"error": "an error inside; the daemon's log has it"})
        else:
            if isinstance(value, Later):
                self._watcher.fleeting.wait(call, value, now)
            elif isinstance(value, Iterator):
                call.stream(value, status)
            else:
                call.reply(status, value)

    # -- reading ------------------------------------------------------------------------------

    def _list(self, _call: Call, now: Micros) -> Answer:
        entries = self._watcher.actor.standing(now)
        gates = list(gateview.closed(self._watcher, now))

        confined = list(outview.rows(self._watcher, now))

        def rows() -> Iterator[object]:
            yield from gates
            yield from confined
            for entry in entries:
                view = entry_view(entry)
                view["left"] = max(0, (entry.decision.until - now) // SECOND)
                yield view

        return 200, rows()

    def _why(self, call: Call, now: Micros) -> Answer:
        name = call.query.get("address", "")
        if gatework.names_gate(self._watcher, name):
            return 200, gatework.why(self._watcher, name, now)
        subject = self._subject(name, call)
        ledger, allow = self._watcher.wiring.ledger, self._watcher.pipeline.judge.allow
        entries = ledger.history(100, subject)
        standing = {entry.decision.id for entry in ledger.standing(now, subject)}
        cut = {entry.decision.id for entry in outview.standing(self._watcher, now, subject)}
        known = standing | cut
        return 200, fleetview.why(self._watcher, subject, {
            "v": 1,
            "subject": subject,
            "banned": [entry_view(one) for one in entries if one.decision.id in standing],
            "quarantined": [
                outview.row(self._watcher, one, now) for one in entries if one.decision.id in cut
            ],
            "earlier": [entry_view(one) for one in entries if one.decision.id not in known],
            "protected": allow.spared(subject, now, self._good(subject)),
            "spared_outward": allow.spared_outward(subject, now),
            "tallies": [
                {
                    "rule": window.rule.name, "stated": window.rule.stated, "count": count,
                    **({"together": True} if window.rule.shared else {}),
                }
                for window in self._watcher.pipeline.windows.windows
                if (count := window.holding(subject))
            ],
        })  # fmt: skip

    def _history(self, call: Call, _now: Micros) -> Answer:
        given = call.query.get("subject", "").removeprefix(PREFIX)
        limit = asked.number(call.query.get("limit", "100"), LONGEST_HISTORY)
        entries = gatework.history(self._watcher, given, limit) if given else []
        if not entries and not (given and gatework.names_gate(self._watcher, given)):
            subject = self._subject(given, call) if given else None
            entries = self._watcher.wiring.ledger.history(limit, subject)
        return 200, (entry_view(entry) for entry in entries)

    def _subject(self, name: str, call: Call) -> Subject:
        found = outview.named(self._watcher, name, call.query.get("user", ""))
        return found or gatework.subject(self._watcher, name)

    # -- acting -------------------------------------------------------------------------------

    def _ban(self, call: Call, now: Micros) -> Answer:
        subject, span = asked.subject(call.body.get("subject")), asked.span(call.body, "1h")
        judge, limit = self._watcher.pipeline.judge, self._watcher.pipeline.policy.limits
        if span > limit.longest_ban:
            at_most = format_duration(limit.longest_ban)
            raise asked.WrongError(f"for: at most {at_most} (limits.longest-ban)")
        if subjects.network(subject) is None:
            raise asked.WrongError(
                f"{subject}: only addresses and networks can be banned;"
                f" to keep in what it sends: tidegate quarantine {subject}"
            )
        ports = asked.ports(call.body)
        spared = judge.allow.spared(subject, now, self._good(subject))
        if spared == "exempt":
            judge.exempt(subject, 0)
            spared = judge.allow.spared(subject, now, self._good(subject))
        if spared:
            raise asked.WrongError(f"{subject} can't be banned: {spared}")
        words = {"by": call.peer.label, "note": asked.note(call.body)}
        decisions = [by_hand("ban", subject, ports, now, now + span, **words)]
        # Who was allowed by hand is not any more: an allow stands before every ban.
        if any(one.subject == subject for one in self._watcher.wiring.ledger.allowed(now)):
            decisions.insert(0, by_hand("disallow", subject, (), now, now, **words))
        return outwork.done(self._watcher, decisions, now, local=asked.local(call.body))

    def _good(self, subject: Subject) -> bool:
        return self._watcher.pipeline.record.ever(subject)

    def _unban(self, call: Call, now: Micros) -> Answer:
        standing = self._watcher.actor.standing
        if call.body.get("all") is True:
            chosen = [entry.decision.subject for entry in standing(now)]
        else:
            chosen = [self._whom(call)]
        words = {"by": call.peer.label, "note": asked.note(call.body)}
        if len(chosen) == 1 and subjects.network(chosen[0]) is None:
            return outwork.leave_alone(self._watcher, chosen[0], now + HOUR, now=now, **words)
        decisions = []
        for subject in dict.fromkeys(chosen):
            if call.body.get("all") is not True:
                decisions += outwork.freed(self._watcher, subject, now=now, **words)
            self._watcher.pipeline.pardon(subject, now)
            decisions.append(by_hand("unban", subject, (), now, now + HOUR, **words))
        local = asked.local(call.body)
        status, answer = outwork.done(self._watcher, decisions, now, local=local)
        if len(chosen) == 1:
            around = subjects.covering(chosen[0])
            still = {one.decision.subject for one in standing(now, chosen[0])}
            cut = outview.standing(self._watcher, now, chosen[0])
            still |= {one.decision.subject for one in cut}
            answer["still"] = [network for network in around if network in still]
        return status, answer

    def _allow(self, call: Call, now: Micros) -> Answer:
        subject, span = self._whom(call), asked.span(call.body, "1d")
        words = {"by": call.peer.label, "note": asked.note(call.body)}
        if subjects.network(subject) is None:
            return outwork.leave_alone(self._watcher, subject, now + span, now=now, **words)
        decisions = outwork.freed(self._watcher, subject, now=now, **words)
        self._watcher.pipeline.judge.exempt(subject, now + span)
        decisions.append(by_hand("allow", subject, (), now, now + span, **words))
        return outwork.done(self._watcher, decisions, now)

    def _whom(self, call: Call) -> Subject:
        """An address or a network; or a source of `[outward]`, where there is such a thing."""
        if self._watcher.pipeline.policy.outward is None:
            return asked.subject(call.body.get("subject"))
        return outview.source(self._watcher, call.body)

    def _reload(self, _call: Call, now: Micros) -> Answer:
        faults = self._watcher.reload(now)
        if faults:
            return 400, {"error": "\n".join(faults), "faults": faults}
        return 200, {"v": 1, "policy": self._watcher.pipeline.policy.hash}
