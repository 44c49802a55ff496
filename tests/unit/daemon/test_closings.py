"""What a report says of guards' gates: how often closed, how long, by whom; restarts, warnings."""

from __future__ import annotations

from tests.unit.daemon.test_effect import NOW, deed, report

from tidegate.daemon.closings import Closings
from tidegate.ledger.port import Deed
from tidegate.model import HOUR, MINUTE, Subject


def move(action: str, ago: int, gate: str = "web.stop", **more: object) -> Deed:
    """A guard's move so many minutes ago."""
    values = {"action": action, "subject": Subject(f"gate:{gate}"), "rule": "web", "by": "guard",
              "ports": (), "count": 0, "time": NOW - ago * MINUTE}  # fmt: skip
    return deed(f"{action} {ago}", span=0, **values | more)


def rows(*deeds: Deed) -> list[dict[str, object]]:
    added = Closings(NOW - HOUR, NOW)
    for one in deeds:
        added.take(one)
    return list(added.view())


def test_how_often_how_long_and_by_whom() -> None:
    (row,) = rows(
        move("close", 50),
        move("open", 40),
        move("close", 30, by="anna (uid 1000)"),
        move("close", 29),
        move("open", 25, by="anna (uid 1000)"),
        move("open", 24, by="anna (uid 1000)"),
        move("close", 3),
    )
    assert (row["gate"], row["guard"], row["closings"], row["minutes"]) == (
        "web.stop",
        "web",
        3,
        18,
    )
    assert (row["by"], row["closed_now"]) == ({"guard": 2, "anna (uid 1000)": 1}, True)


def test_closed_before_the_period_counts_from_its_beginning() -> None:
    (row,) = rows(move("open", 50))
    assert (row["closings"], row["minutes"], row["closed_now"]) == (0, 10, False)
    assert rows(move("open", 50, by="anna (uid 1000)")) == [], "who knows what a person opened"


def test_what_was_not_done_closed_nothing() -> None:
    (row,) = rows(
        move("close", 9, state="refused"),
        move("close", 8, state="skipped"),
        move("close", 7, mode="observe", state="observed"),
        move("open", 6, mode="observe", state="observed"),
    )
    assert (row["closings"], row["minutes"], row["refused"], row["observed"]) == (0, 0, 1, 1)


def test_restarts_and_warnings_are_counted() -> None:
    (leak, load) = rows(
        move("fire", 9, "leak"), move("fire", 8, "leak"), move("give-up", 7, "leak"),
        move("warn", 6, "load"), move("clear", 5, "load"), move("hold", 4, "idle"),
    )  # fmt: skip
    assert (leak["gate"], leak["restarts"], leak["given_up"]) == ("leak", 2, 1)
    assert (load["gate"], load["warnings"], load["closings"]) == ("load", 1, 0)


def test_a_report_has_bans_and_gates_side_by_side() -> None:
    view = report(deed(), move("close", 9), move("open", 4))
    assert (view["bans"], view["decisions"], view["subjects"]) == (1, 3, 1)
    assert [(row["gate"], row["minutes"]) for row in view["gates"]] == [("web.stop", 5)]
