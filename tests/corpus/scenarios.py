"""Scenarios of the corpus: a log, and who has to be reported under thresholds that are stated.

Touches nothing but the files it is handed. A leaky bucket is a score: it overflows over `capacity`
points, and one leaks every `leakspeed`. Limits: what has no thresholds of its own is judged by ours
against port scans; conditions on anything but time and different values are not known.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tests.corpus.judging import ARRIVAL

from tidegate import subject as subjects
from tidegate.daemon.pipeline import Pipeline
from tidegate.detector.engine import Engine
from tidegate.model import MINUTE, SECOND, Block, Subject
from tidegate.policy.durations import parse_duration
from tidegate.policy.models import BanTerms, Counted, Policy, Rule, ScoreTerms

VALUES = {
    "evt.Meta.http_path": "uri",
    "evt.Parsed.request": "uri",
    "evt.Parsed.http_args": "uri",
    "evt.Parsed.file_name": "uri",
    "evt.Meta.target_user": "user",
    "evt.Meta.user": "user",
    "evt.Parsed.dst_port": "dport",
}
NO_BAN = BanTerms(())
SCANS = Rule("scans", (), 10, 10 * MINUTE, NO_BAN, "ours")


class Scenario(NamedTuple):
    """A log, who is to be reported, and the rules that stand for its thresholds."""

    name: str
    data: bytes
    expected: frozenset[Subject]
    rules: tuple[Rule, ...]


@dataclass
class Report:
    """How one scenario went: who was reported, and who of them would be closed for.

    Many hosts of the corpus are loopback addresses, which are reported and then spared.
    """

    name: str
    expected: frozenset[Subject]
    found: frozenset[Subject]
    closed: frozenset[Subject]

    @property
    def missed(self) -> frozenset[Subject]:
        return self.expected - self.found


def scenarios(folder: Path, kinds: Iterable[str]) -> Iterator[Scenario]:
    on = tuple(Counted(kind, 1) for kind in kinds)
    for path in sorted(folder.glob("*.json")):
        said = json.loads(path.read_text("utf-8"))
        rules = [_rule(name, on, params) for name, params in said["params"].items()]
        expected = {subjects.of_host(one) for one in said["expected_offenders"]} - {None}
        data = "".join(f"{line}\n" for line in said["logs"]).encode("utf-8", "surrogateescape")
        ours = Rule("scans", on, SCANS.threshold, SCANS.within, NO_BAN, "ours")
        yield Scenario(path.stem, data, frozenset(filter(None, expected)), tuple(rules) or (ours,))


def _rule(name: str, on: tuple[Counted, ...], params: dict[str, Any]) -> Rule:
    name = name.replace("/", ".")
    if params["type"] == "trigger":
        return Rule(name, on, 1, MINUTE, NO_BAN, "once")
    capacity, leak = int(params["capacity"]), parse_duration(params["leakspeed"])
    if capacity < 0:  # no bound but a condition of its own, which is not known here
        return Rule(name, on, 10, leak, NO_BAN, "many")
    distinct = VALUES.get(params.get("distinct", ""), "")
    if distinct:
        within = max(leak * (capacity + 1), SECOND)
        return Rule(name, on, capacity + 1, within, NO_BAN, "distinct", distinct=distinct)
    terms = ScoreTerms(capacity, True, capacity, leak, 1)
    return Rule(name, on, 1, 1, NO_BAN, "leaky", score=terms)


def play(engine: Engine, scenario: Scenario) -> Report:
    policy = Policy(rules=scenario.rules)
    pipeline = Pipeline(policy, {"corpus": engine}, {}, durable=False)
    decisions, _batch = pipeline.feed(Block("corpus", scenario.data, 0, ARRIVAL, 0))
    found = frozenset(one.subject for one in decisions)
    closed = frozenset(one.subject for one in decisions if not one.spared)
    return Report(scenario.name, scenario.expected, found, closed)
