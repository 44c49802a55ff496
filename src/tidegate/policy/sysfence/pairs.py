"""Rules that belong together: one stops a service, another starts it; or one restarts it.

Touches nothing. Such a pair is one guard here; as two rules it can leave a service stopped for
good, which `warnings` says. Limits: only commands that do nothing else (see `services`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tidegate.model import MINUTE, SECOND
from tidegate.policy import ranges
from tidegate.policy.durations import format_duration
from tidegate.policy.expressions import both, either, text_of
from tidegate.policy.guards import Condition, GateSpec, GuardSpec, Restart, Service, Step
from tidegate.policy.sysfence.services import Does, does
from tidegate.policy.sysfence.tree import Rule
from tidegate.text import printable

_WAIT = 5 * MINUTE


class Entry(NamedTuple):
    """A rule with its file, its condition on our readings, and which one it is, from 1."""

    path: str
    rule: Rule
    when: Condition
    number: int

    @property
    def place(self) -> str:
        """Where it stands, as notes begin."""
        return f"{self.path}:{self.rule.line}:{self.rule.column}"

    @property
    def called(self) -> str:
        """Its name for people."""
        name = printable(self.rule.name)
        return f'"{name}"' if name else f"the rule in line {self.rule.line}"

    @property
    def does(self) -> Does | None:
        """What its command does to a service."""
        return does(self.rule.script) if self.rule.script is not None else None


class Group(NamedTuple):
    """Rules that make one guard of a service, or ("") a rule of its own."""

    service: str
    rules: tuple[Entry, ...]
    notes: tuple[str, ...] = ()

    def those(self, verb: str) -> list[Entry]:
        """Its rules that do this to the service."""
        return [one for one in self.rules if one.does and one.does.verb == verb]


def grouped(entries: Sequence[Entry]) -> Iterator[Group]:
    """Rules by the service that they stop and start, in the order of the first of each."""
    pairs = {service: (*stops, *starts) for service, stops, starts in _both(entries)}
    done: set[str] = set()
    for entry in entries:
        act = entry.does
        if act is None:
            yield Group("", (entry,))
        elif act.verb == "restart":
            yield Group(act.service, (entry,))
        elif act.service not in pairs:
            other = "starts it again" if act.verb == "stop" else "stops it"
            yield Group("", (entry,), (
                f"{entry.place}: {entry.called} {act.verb}s {act.service}, but no rule {other};"
                " kept as it is",
            ))  # fmt: skip
        elif act.service not in done:
            done.add(act.service)
            yield Group(act.service, pairs[act.service])


def guard(name: str, group: Group) -> tuple[GuardSpec, list[str]]:
    """One guard of a group's rules, and what it does otherwise than they did."""
    restarts = group.those("restart")
    if restarts:
        return _restart(name, restarts[0])
    stops, starts = group.those("stop"), group.those("start")
    close, opening = (either([one.when for one in those]) for those in (stops, starts))
    gate = GateSpec(name, Service(group.service))
    spec = GuardSpec(
        name, close, opening, steps=(Step(gate),),
        stated_close=text_of(close), stated_open=text_of(opening),
    )  # fmt: skip
    notes = [
        f"{stops[0].place}: {_names(stops)} stops {group.service} and {_names(starts)} starts it:"
        f" one guard, {name}, closed when {text_of(close)}, open again when {text_of(opening)}"
    ]
    notes += [f"{starts[0].place}: {said}" for _key, said in ranges.notes(spec)]
    logging = [one for one in group.rules if one.rule.log]
    if logging:
        notes.append(f"{logging[0].place}: log is left out: every closing and opening is recorded")
    return spec, notes


def _restart(name: str, entry: Entry) -> tuple[GuardSpec, list[str]]:
    act = entry.does
    assert act is not None
    terms = Restart(act.service, wait=max(_WAIT, act.pause))
    spec = GuardSpec(
        name, entry.when, steps=(Step(GateSpec(name, terms)),), stated_close=text_of(entry.when)
    )
    pause = (
        f"; the pause of {act.pause // SECOND}s between stop and start is left out"
        if act.pause
        else ""
    )
    note = (
        f"{entry.place}: {entry.called} restarts {act.service}: looked at again after"
        f" {format_duration(terms.wait)}, at most {terms.most} times a day, then given up loudly,"
        f" where sysfence would restart it for ever{pause}"
    )
    return spec, [note]


def warnings(entries: Sequence[Entry]) -> list[str]:
    """What pairs can come to that stay two rules, as sysfence has them."""
    found = []
    for service, stops, starts in _both(entries):
        for stop in stops:
            for start in starts:
                meeting = together(stop.when, start.when)
                if meeting:
                    found.append(_warning(service, stop, start, meeting))
    return found


def together(one: Condition, other: Condition) -> str:
    """How two conditions can hold together, such as `la1 <= 2 and la5 >= 6`; "": they can't."""
    first, second = ranges.ways(one), ranges.ways(other)
    if first is None or second is None:
        return f"{text_of(other)} and {text_of(one)}"
    for way in ((*mine, *theirs) for theirs in second for mine in first):
        if ranges.possible(way):
            return text_of(both([*dict.fromkeys(way)])) if way else "anything"
    return ""


def _warning(service: str, stop: Entry, start: Entry, meeting: str) -> str:
    head = f"{start.place}: {meeting} can hold together: "
    if start.rule.run_once and not stop.rule.run_once:
        does = (
            f"then {stop.called} stops {service} again, and {start.called}, which runs once, may"
            " never start it: it can stay stopped for good"
        )
    elif stop.rule.run_once and not start.rule.run_once:
        does = (
            f"then {start.called} starts {service} again, and {stop.called}, which runs once, does"
            " not stop it any more, however high the load"
        )
    elif stop.rule.run_once:
        does = f"then whether {service} runs depends on which of the two was true first"
    else:
        does = f"then {service} is stopped and started at every look"
    return f'{head}{does}; reading = "lenient" makes one guard of both, which does not'


def _both(entries: Sequence[Entry]) -> Iterator[tuple[str, list[Entry], list[Entry]]]:
    """Services that some rules stop and others start."""
    by_service: dict[str, tuple[list[Entry], list[Entry]]] = {}
    for entry in entries:
        act = entry.does
        if act is not None and act.verb != "restart":
            both = by_service.setdefault(act.service, ([], []))
            both[act.verb == "start"].append(entry)
    for service, (stops, starts) in by_service.items():
        if stops and starts:
            yield service, stops, starts


def _names(entries: Sequence[Entry]) -> str:
    return " or ".join(one.called for one in entries)
