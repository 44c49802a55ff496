"""The load of the fleet's bench: who is seen by whom, and figures that say what they should."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from bench.fleetload import LIMIT, Plan, attacker, events, is_attacker
from bench.fleettable import Cell, Figures

from bench import fleetpage, fleettable

PLAN = Plan(60, 10, 5)


def test_attackers_cross_the_limit_exactly_and_nobody_else_does() -> None:
    seen = events(PLAN, set(range(60)))
    counts = Counter(one.subject for one in seen)
    hosts = Counter((one.subject, one.agent) for one in seen if is_attacker(one.subject))
    attackers = {subject for subject in counts if is_attacker(subject)}
    assert attackers == {attacker(number) for number in range(400)}
    assert {counts[subject] for subject in attackers} == {LIMIT}
    assert set(Counter(subject for subject, _agent in hosts).values()) == {5}
    assert set(hosts.values()) == {LIMIT // 5}
    assert max(count for subject, count in counts.items() if not is_attacker(subject)) < LIMIT
    assert len(seen) == 10 * PLAN.rate


def test_two_processes_see_what_one_would_of_attackers() -> None:
    tries = [
        [one for one in events(PLAN, mine) if is_attacker(one.subject)]
        for mine in (set(range(60)), set(range(0, 60, 2)), set(range(1, 60, 2)))
    ]
    assert sorted(tries[1] + tries[2]) == tries[0]


def run(agents: int, *, stolen: float = 0, server: float = 20, given: float = 100) -> Figures:
    return Figures(
        Cell(agents, 3), stolen, 0, 100, 0, (200, 400), (server,), 50, 90, given, 10, 100, 7.5, 5,
        {},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("one", "verdict"),
    [
        (run(10), "ok"),
        (run(10, stolen=5.1), "void"),
        (run(10)._replace(others=31), "void"),
        (run(10)._replace(everywhere=(301, 1001)), "MISS: p50, p99"),
        (run(10)._replace(everywhere=(float("nan"), float("nan")), missed=3),
         "MISS: decisions, p50, p99"),
        (run(10, server=51, given=601)._replace(taken=151), "MISS: server, in, out"),
    ],
)  # fmt: skip
def test_verdicts(one: Figures, verdict: str) -> None:
    assert fleettable.row(one)[-1] == verdict


def test_what_a_host_more_costs_is_the_line_between_the_smallest_and_the_largest() -> None:
    found = [run(10, server=10.5, given=20), run(1000, server=60, given=515), run(1000, stolen=9)]
    line = fleetpage.slope(found)
    assert line is not None
    assert [round(one, 6) for one in line] == [100, 10, 125]
    assert fleetpage.slope([found[0], found[2]]) is None
    assert fleetpage.slope([found[0], run(90)]) is None
    assert fleetpage.slope([found[0], found[1]._replace(missed=1)]) is None


def test_figures_take_their_place_in_a_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{fleetpage.BEGIN}\nold\n{fleetpage.END}\nafter\n")
    for _ in range(2):
        fleetpage.write(page, [run(10), run(1000, server=60)], (30.0, 100.0))
    text = page.read_text()
    assert "old" not in text
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert text.count("| 10 hosts") == 1
