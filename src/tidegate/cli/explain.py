"""What `tidegate detect --explain` prints: of each line what was recognised, tried, taken, counted.

Touches standard output. The analysis itself is `detector.explain`, what rules make of an event
`evidence.counted`. Limits: every line is told of, so it is for some lines, not for whole logs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import click

from tidegate import subject as subjects
from tidegate.cli.common import emit
from tidegate.cli.detect import row_of
from tidegate.cli.explanation import page, shown
from tidegate.daemon.build import Plan
from tidegate.detector.audit import AuditLogs
from tidegate.detector.budget import CpuBudget
from tidegate.detector.definition import Detector
from tidegate.detector.engine import Engine
from tidegate.detector.explain import Explainer, Explanation, Taken, Tried
from tidegate.evidence.counted import Counts, counted
from tidegate.model import Block, Event
from tidegate.prefixes import PrefixSet
from tidegate.source.replay import Replay
from tidegate.text import well_formed


def explain(
    planned: Plan,
    engine: Engine,
    anyway: Sequence[str],
    blocks: Iterable[tuple[str, Block]],
    as_json: bool,
) -> None:
    """Explain every line of these (path, block) pairs; `anyway`: the detectors that were named."""
    explainer = Explainer(engine.literals, anyway=anyway, budget=CpuBudget())
    teller = _Teller(planned, engine)
    audits: dict[str, AuditLogs] = {}
    numbers: dict[str, int] = {}
    for path, block in blocks:
        if block.framing == "audit":
            block = audits.setdefault(path, AuditLogs()).fold(block).block
        events: dict[int, list[Event]] = {}
        for event in engine.detect(block, fields=True).events:
            events.setdefault(event.offset - block.offset, []).append(event)
        for start, stop in _lines(block.data):
            numbers[path] = number = numbers.get(path, 0) + 1
            told = explainer.line(block, start, stop)
            if told is None:
                continue
            view = teller.view(told, events.get(start, []), block)
            view = {"v": 1, "line": number, **({"file": path} if path else {}), **view}
            if as_json:
                emit(view)
            else:
                click.echo("\n".join(page(view, told)))
    sys.stdout.flush()


def stated(lines: Sequence[str]) -> Iterator[tuple[str, Block]]:
    """The texts of `--line` as a block that arrives now."""
    data = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")
    yield "", Block("detect", data, 0, time.time_ns() // 1000, 0)


def recorded(recordings: Sequence[Replay]) -> Iterator[tuple[str, Block]]:
    """The blocks of some files, each with its path where there are several."""
    for recording in recordings:
        for block in recording.blocks():
            yield (recording.path if len(recordings) > 1 else ""), block


def _lines(data: bytes) -> Iterator[tuple[int, int]]:
    start = 0
    while start < len(data):
        stop = data.find(b"\n", start)
        stop = len(data) if stop < 0 else stop
        yield start, stop
        start = stop + 1


class _Teller:
    """Puts together what the line says, what came of it, and what the policy makes of that."""

    def __init__(self, planned: Plan, engine: Engine) -> None:
        self._policy = planned.loaded.policy
        self._sources = planned.sources
        self._weights = planned.weights()
        self._allowed = PrefixSet(self._policy.allow)
        self._detectors = {one.detector.name: one.detector for one in engine.literals.every()}

    def view(self, told: Explanation, events: Sequence[Event], block: Block) -> dict[str, Any]:
        """One line as `--json` has it."""
        matched = {one.detector: one for one in told.tried if one.outcome == "matched"}
        seen = {event.kind.detector for event in events}
        return {
            "text": shown(told.line),
            "header": {
                "form": told.form,
                **{key: _clean(getattr(told, key)) for key in ("stamp", "host", "program", "pid")},
                "message": told.message,
                "repeated": told.repeated,
            },
            "literals": [_clean(text) for text in told.literals],
            "of_program": [_clean(text) for text in told.of_program],
            "tried": [_tried(one) for one in told.tried],
            "events": [self._event(event, matched, block) for event in events],
            "dropped": [
                {"detector": name, "why": _dropped(self._detectors[name])}
                for name in matched
                if name not in seen
            ],
        }

    def _event(self, event: Event, matched: dict[str, Tried], block: Block) -> dict[str, Any]:
        row = row_of(event, 0, "")
        del row["v"], row["line"]
        tried = matched.get(event.kind.detector)
        taken = tried.taken if tried else ()
        said = tried.time_from if tried else ""
        if said not in ("", "arrival") and event.time == block.arrival:
            said = "impossible stamp"
        rules = counted(event, self._policy.rules, self._weights)
        return row | {
            "from": {
                "subject": next(
                    ([one.start, one.stop] for one in taken if one.name == "addr"), None
                ),
                "time": said,
                "session": _session(event, taken),
            },
            "rules": [_rule(one) for one in rules],
            "notes": list(self._notes(event)),
        }

    def _notes(self, event: Event) -> Iterator[str]:
        """What keeps this event from ever leading to a ban, whatever the rules say."""
        network = subjects.network(event.subject)
        if event.subject and network is None:
            yield "the subject is no address: it is counted and shown, never banned"
        if network is not None and self._allowed.holds(network):
            yield "[allow] has the subject: nothing is closed for it"
        read = {event.kind.pack, event.kind.detector}
        if not any(not one.detectors or read & set(one.detectors) for one in self._sources):
            yield f"no [source] of the policy is read by the detectors {event.kind.pack}"


def _tried(one: Tried) -> dict[str, Any]:
    row: dict[str, Any] = {"detector": one.detector, "kind": one.kind, "outcome": one.outcome}
    if one.at >= 0:
        row["at"] = one.at
    if one.expected:
        row["expected"] = _clean(one.expected)
    if one.taken:
        row["taken"] = [
            {"name": each.name, "start": each.start, "stop": each.stop, "value": _clean(each.value)}
            for each in one.taken
        ]
    return row


def _rule(one: Counts) -> dict[str, Any]:
    row: dict[str, Any] = {"rule": one.rule, "stated": one.stated, "weight": one.weight}
    row |= ({"why": one.why} if one.why else {}) | ({"resets": True} if one.resets else {})
    return row | ({"together": True} if one.together else {})


def _session(event: Event, taken: Sequence[Taken]) -> str:
    if not event.session:
        return ""
    return "message" if any(one.name == "session" and one.value for one in taken) else "header"


def _dropped(detector: Detector) -> str:
    if detector.session == "joins":
        return "it names nobody, and waits for a line of its connection that does"
    return "it is not believed here: it stands behind a torn line"


def _clean(text: str) -> str:
    return well_formed(text)
