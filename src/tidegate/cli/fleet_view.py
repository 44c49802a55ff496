"""The hosts of a fleet as lines for people: the worst first, the rest counted.

Touches nothing: the daemon's answer and the time in, lines out. Limits: what a host reports is its
own word; whether it is silent is told by its last report and by both clocks against the engine's.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from tidegate.cli.common import left_text
from tidegate.text import printable

Answer = Mapping[str, Any]

SILENT = 60.0
"""Seconds without a report (there is one every 10) after which a host counts as silent."""
CLOCK = 60_000_000
"""Microseconds: a clock that is farther off counts alone."""
SLOW = 1_000_000
TITLE = (
    "HOST", "SEEN", "VERSION", "POLICY", "LAG", "CLOCK", "BANS", "DRIFT", "SPOOL", "REFUSED",
    "WHAT",
)  # fmt: skip
_TITLE = TITLE[:7]
_RIGHT = frozenset(("LAG", "CLOCK", "BANS"))
_LONG = 24  # longer names stand on a line of their own
_MANY = 5
_COMPARED = ("version", "policy")
_WORST = ("no member", "silent", "trouble", "clock", "drift", "spool", "other", "slow", "refused")


class Row(NamedTuple):
    """A host: what is wrong with it (the worst first), its cells as of TITLE, what to say of it,
    what it says itself."""

    host: str
    wrong: tuple[str, ...]
    cells: tuple[str, ...]
    what: str
    trouble: str

    @property
    def ill(self) -> bool:
        """Whether it needs somebody. That something was refused once in its name is said, but does
        not make it ill: numbers of that only grow, and anybody at the engine can use a name."""
        return self.wrong not in ((), ("refused",))


def rows(answer: Answer, now: datetime) -> list[Row]:
    """Every host, the worst first, those equally well by name."""
    hosts: Sequence[Answer] = answer["hosts"]
    own = answer["fleet"]["skew"]
    refused: defaultdict[str, int] = defaultdict(int)
    for (host, _reason), number in refusals(answer).items():
        refused[host] += number
    usual = {key: _usual(hosts, key) for key in _COMPARED}
    found = [_row(one, refused[one["host"]], usual, _age(one, own, now)) for one in hosts]
    return sorted(found, key=lambda one: (_rank(one.wrong), one.host))


def refusals(answer: Answer) -> dict[tuple[str, str], int]:
    """How much was refused here, by host ("": nobody known) and reason."""
    found = {}
    for key, number in answer["fleet"]["refused"].items():
        host, _space, reason = key.partition(" ")
        found[host, reason] = number
    return found


def head(answer: Answer, found: Sequence[Row]) -> list[str]:
    """What is to be said before the table: the conversation, and how many are well."""
    fleet = answer["fleet"]
    detail = f": {printable(fleet['detail'])}" if fleet["detail"] else ""
    lines = [
        f"fleet    {fleet['host'] or 'this host'}, {fleet['state']}{detail};"
        f" engine {fleet['engine']}",
        f"here     clock {clock(fleet['skew'])} against the engine's, lag {span(fleet['lag'])},"
        f" spool {fleet['spool']}, {fleet['dropped']} dropped, said {fleet['said']},"
        f" heard {fleet['heard']}; {fleet['standing']} bans stand",
    ]
    lines += [f"WARNING  {printable(one)}" for one in fleet["troubles"]]
    if not answer["answered"]:
        return [*lines, "hosts    not known just now: the engine has not answered"]
    well = sum(1 for one in found if not one.wrong)
    counted = Counter(one.wrong[0] for one in found if one.wrong)
    worse = "".join(f", {counted[name]} {_SAYS[name]}" for name in _WORST if counted[name])
    lines.append(f"hosts    {len(found)}: {well} well{worse}")
    for word in _COMPARED:
        some = Counter(_shown(one, word) for one in answer["hosts"] if one["version"])
        if some:
            most = [f"{name} on {number}" for name, number in some.most_common(_MANY)]
            rest = f", {len(some) - _MANY} others" if len(some) > _MANY else ""
            lines.append(f"{word:<8} {', '.join(most)}{rest}")
    return lines


def body(found: Sequence[Row], most: int, width: int = 100) -> list[str]:
    """The table, with spaces: `most` hosts at most (0: all), and how the rest is. What is wrong
    stands behind a host, or below it where it finds no room."""
    shown = found[:most] if most else found
    cells = [_TITLE, *([one.cells[TITLE.index(name)] for name in _TITLE] for one in shown)]
    wide = [max(len(row[at]) for row in cells if at or len(row[0]) <= _LONG)
            for at in range(len(_TITLE))]  # fmt: skip
    lines = []
    for number, row in enumerate(cells):
        name, *rest = row
        if len(name) > _LONG:
            lines.append(name)
            name = ""
        told = [name.ljust(wide[0])] + [
            cell.rjust(size) if title in _RIGHT else cell.ljust(size)
            for title, size, cell in zip(_TITLE[1:], wide[1:], rest, strict=True)
        ]
        line = "  ".join(told)
        one = shown[number - 1] if number else None
        below = [one.trouble] if one and one.trouble else []
        if one and one.what and len(line) + 2 + len(one.what) > width:
            below.insert(0, one.what)
        elif one:
            line += f"  {one.what}"
        lines += [line.rstrip(), *(f"    {text}" for text in below)]
    left = found[len(shown) :]
    if left:
        ill = sum(1 for one in left if one.ill)
        how = f"{ill} of them not well" if ill else "all well"
        lines.append(f"and {len(left)} more, {how}: tidegate fleet status --all")
    return lines


def refused(answer: Answer) -> list[str]:
    """What was refused here, those hosts first of whom it was most."""
    of: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for (host, reason), number in refusals(answer).items():
        of[host][reason] += number
    ordered = sorted(of.items(), key=lambda one: (-one[1].total(), one[0]))
    lines = []
    for host, reasons in ordered[:_MANY]:
        said = ", ".join(f"{reason} {number}" for reason, number in reasons.most_common())
        lines.append(f"refused  {printable(host) or 'nobody we know'}: {said}")
    if len(ordered) > _MANY:
        rest = sum(reasons.total() for _host, reasons in ordered[_MANY:])
        lines.append(f"refused  {rest} of {len(ordered) - _MANY} other hosts")
    return lines


_SAYS = {
    "no member": "no member", "silent": "silent", "trouble": "in trouble", "clock": "clock off",
    "drift": "drifting", "spool": "with a spool", "refused": "refused", "other": "other policy",
    "slow": "slow",
}  # fmt: skip


def _row(one: Answer, refused: int, usual: Mapping[str, str], age: float | None) -> Row:
    reported = bool(one["version"])
    differs = [key for key in _COMPARED if reported and _shown(one, key) != usual[key]]
    signs = {
        "no member": not one["member"],
        "silent": age is None or age > SILENT,
        "trouble": bool(one["trouble"]),
        "clock": abs(one["skew"]) > CLOCK,
        "drift": one["drift"] > 0,
        "spool": one["spool"] > 0,
        "refused": refused > 0,
        "other": bool(differs),
        "slow": one["lag"] > SLOW,
    }
    wrong = tuple(name for name in _WORST if signs[name])
    amount = {"drift": one["drift"], "spool": one["spool"], "refused": refused}
    said = [
        f"{name} {' and '.join(differs) if name == 'other' else amount.get(name, '')}".strip()
        for name in wrong
    ]
    cells = (
        printable(one["host"]),
        "never" if age is None else left_text(max(0, round(age))).partition(" ")[0],
        printable(one["version"]) or "-",
        _shown(one, "policy") if reported else "-",
        span(one["lag"]), clock(one["skew"]), str(one["bans"]), str(one["drift"]),
        str(one["spool"]), str(refused), ", ".join(wrong),
    )  # fmt: skip
    return Row(one["host"], wrong, cells, ", ".join(said), printable(one["trouble"]))


def _age(one: Answer, own: int, now: datetime) -> float | None:
    """How long ago it reported, with the error of both clocks taken out."""
    if not one["sent"]:
        return None
    passed = (now - datetime.fromisoformat(one["sent"])).total_seconds()
    return float(passed - (own - one["skew"]) / 1e6)


def _rank(wrong: Iterable[str]) -> tuple[int, int]:
    """The worst thing decides, then how many there are."""
    places = [_WORST.index(name) for name in wrong]
    return (min(places, default=len(_WORST)), -len(places))


def _usual(hosts: Iterable[Answer], key: str) -> str:
    found = Counter(_shown(one, key) for one in hosts if one["version"])
    return found.most_common(1)[0][0] if found else ""


def _shown(one: Answer, key: str) -> str:
    """A version; or the number of the published policy that holds there. Hashes are not compared:
    below the published one each host has a policy of its own, with its own files and addresses."""
    if key == "policy":
        trial = ", on trial" if one["more"].get("trial") is True else ""
        return f"{one['policy']}{trial}" if one["policy"] else "own"
    return str(one[key])


def span(micros: int) -> str:
    """A short time: `12 ms`, `3.4 s`, `10m 2s`."""
    if micros < 1_000_000:
        return f"{micros // 1000} ms"
    if micros < 60_000_000:
        return f"{micros / 1e6:.1f} s"
    return left_text(micros // 1_000_000)


def clock(micros: int) -> str:
    """How far a clock is off: `+12 ms` is ahead."""
    if abs(micros) < 1000:
        return "0 ms"
    return f"{'+' if micros > 0 else '-'}{span(abs(micros))}"
