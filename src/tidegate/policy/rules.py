"""Rules: what the keys of one rule mean together, and every contradiction between them.

Touches nothing. The values of single keys were read by `tables`; here they become one `Rule`.
Limits: kinds are not looked up; whether anything sees them is checked where the packs are known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

from tidegate.policy import values
from tidegate.policy.durations import format_duration
from tidegate.policy.guards import Level
from tidegate.policy.models import TIDES, BanTerms, Counted, Rule, ScoreTerms

CONDITIONS = ("more-than", "at-least", "score-over", "score-at-least")
_SCORED = ("decay", "half-life", "release-at", "compat", "knock")
MOST_DISTINCT = 256

Table = Mapping[str, Any]


class RuleReader:
    """Reads one rule. `raw` is its table as it was written, `data` what was readable of it, `terms`
    what of its `ban` or `quarantine`, `tides` what it says of tides; `faults` is added to."""

    def __init__(
        self,
        path: str,
        raw: Table,
        data: Table,
        terms: Table,
        faults: list[tuple[str, str]],
        tides: Mapping[str, Table] = MappingProxyType({}),
    ) -> None:
        self._path = path
        self._raw = raw
        self._data = data
        self._terms = terms
        self._faults = faults
        self._tides = tides

    def rule(self, name: str) -> Rule:
        """The rule; meaningless where there are faults."""
        raw, data = self._raw, self._data
        if "on" not in raw:
            self._fault("", '"on" is missing')
        condition = [key for key in CONDITIONS if key in raw]
        if len(condition) != 1:
            names = ", ".join(f'"{key}"' for key in CONDITIONS)
            self._fault("", f"expected exactly one of {names}")
        scored = bool(condition) and condition[0].startswith("score-")
        if scored:
            self._only(("within", "distinct"), "goes with more-than or at-least")
        else:
            self._only(_SCORED, "goes with score-over or score-at-least")
            if condition and "within" not in raw:
                self._fault("", '"within" is missing')
        threshold = data["more-than"] + 1 if "more-than" in data else data.get("at-least", 1)
        if "distinct" in data and threshold > MOST_DISTINCT:
            said = f"distinct values are counted exactly, up to {MOST_DISTINCT}"
            self._fault(condition[0], said)
        return Rule(
            name=name,
            on=self._on(scored=scored),
            threshold=threshold,
            within=data.get("within", 1),
            ban=self._ban(),
            stated=stated(data),
            mode=data.get("mode", "enforce"),
            enabled=data.get("enabled", True),
            score=self._score() if scored else None,
            distinct=data.get("distinct", ""),
            reset_on=data.get("reset-on", ()),
            good_record=data.get("good-record", "ignore"),
            probation=data.get("probation", not scored),
            tightened=self._tightened(condition[0]) if len(condition) == 1 else (),
            **({"forget": data["forget"]} if "forget" in data else {}),
        )

    def _fault(self, key: str, said: str) -> None:
        self._faults.append((f"{self._path}.{key}" if key else self._path, said))

    def _only(self, keys: Sequence[str], why: str) -> None:
        for key in keys:
            if key in self._raw:
                self._fault(key, f"{key} {why}")

    def _tightened(self, key: str) -> tuple[tuple[Level, int], ...]:
        """The thresholds of higher tides; `key` is the rule's own condition."""
        found: list[tuple[Level, int]] = []
        scored = key.startswith("score-")
        counts = (key,) if scored else ("more-than", "at-least")
        most = _counted(key, self._data.get(key, 0))
        for level in TIDES[1:]:
            if level not in self._tides:
                continue
            given, where = self._tides[level], f"when.{level}"
            if len(given) != 1 or next(iter(given)) not in counts:
                self._fault(where, f"expected {' or '.join(counts)}, such as {{ {key} = 2 }}")
                continue
            ((said, number),) = given.items()
            number = _counted(said, number)
            if number > most and key in self._data:
                self._fault(where, "a higher tide can only tighten; expected no more than before")
            most = number
            found.append((level, number))
        return tuple(found)

    def _on(self, *, scored: bool) -> tuple[Counted, ...]:
        where, unless = self._data.get("where", ()), self._data.get("unless", ())
        on = tuple(
            one._replace(where=one.where + where, unless=unless) for one in self._data.get("on", ())
        )
        if not scored and any(one.weight is not None and one.weight < 0 for one in on):
            self._fault("on", "only a score can take points off")
        if "distinct" in self._data and any(one.weight not in (None, 1) for one in on):
            self._fault("on", "different values count one each, without weights")
        return on

    def _score(self) -> ScoreTerms | None:
        data = self._data
        over = "score-over" in data
        limit = data.get("score-over", data.get("score-at-least", 0))
        if ("decay" in data) == ("half-life" in data):
            said = 'expected one of "decay", such as "3/day", and "half-life", such as "24h"'
            self._fault("", said)
            return None
        release = data.get("release-at", limit if over else 0)
        form: Literal["linear", "steps", "exponential"] = "linear"
        points, span = data.get("decay", (0, data.get("half-life", 1)))
        if "half-life" in data:
            form = "exponential"
            release = data.get("release-at", limit if over else max(1, limit // 2))
            if release < 1:
                self._fault("release-at", "a score that halves never comes down to 0; expected 1")
        if "compat" in data:
            form = "steps"
            self._only(("half-life",), 'can\'t be had with compat = "modsecurity"')
        if release > limit:
            self._fault("release-at", f"expected at most {limit}, the limit")
        return ScoreTerms(limit, over, release, span, points, form, data.get("knock", 1))

    def _ban(self) -> BanTerms:
        written, terms = self._raw.get("ban"), self._terms
        outward = "quarantine" in self._raw
        key = "quarantine" if outward else "ban"
        if outward and written is not None:
            self._fault("", 'expected only one of "ban" and "quarantine"')
        elif written is None and not outward:
            self._fault("", '"ban" is missing, such as ban = { ports = [25] }')
        elif not outward and isinstance(written, Mapping) and "ports" not in written:
            said = '"ports" is missing; [] closes every port, "service" those of the service'
            self._fault("ban", said)
        if "for" in terms and "ladder" in terms:
            self._fault(key, 'expected only one of "for" and "ladder"')
        steps = (terms["for"],) if "for" in terms else terms.get("ladder", BanTerms().ladder)
        if outward:
            return BanTerms(ladder=steps, outward=True)
        ports = terms.get("ports", ())
        if ports == values.SERVICE:
            return BanTerms(ladder=steps, service=True)
        return BanTerms(ports=ports, ladder=steps)


def _counted(key: str, number: int) -> int:
    """More than 2 is at least 3; scores are as they are written."""
    return number + 1 if key == "more-than" else number


def stated(data: Table) -> str:
    """A rule's condition in words, such as `more than 15 within 5m`."""
    if "decay" in data or "half-life" in data:
        words = (
            f"score over {data['score-over']}"
            if "score-over" in data
            else f"score at least {data.get('score-at-least', 0)}"
        )
        if "half-life" in data:
            return f"{words}, halved in {format_duration(data['half-life'])}"
        points, span = data["decay"]
        return f"{words}, {points} fading in {format_duration(span)}"
    words = (
        f"more than {data['more-than']}"
        if "more-than" in data
        else f"at least {data.get('at-least', 1)}"
    )
    distinct = f" different {data['distinct']}" if "distinct" in data else ""
    return f"{words}{distinct} within {format_duration(data.get('within', 1))}"
