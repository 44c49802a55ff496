"""What an owner is told when there is more than fits: a return is the last to be left out."""

from __future__ import annotations

from tidegate.daemon.owner_desk import GRACE, MOST, PACE, SOON, Desk
from tidegate.daemon.owner_text import News, body, subject_line
from tidegate.model import HOUR, MINUTE, SECOND

NOW = 1_755_000_000 * SECOND


def test_warnings_are_left_out_first_then_cuts_and_returns_at_last() -> None:
    desk = Desk()
    for n in range(MOST - 2):
        desk.add(News("back", NOW + n, f"back {n}"))
    desk.add(News("cut", NOW, "cut"))
    desk.add(News("warned", NOW, "warned"))
    desk.add(News("warned", NOW, "one more"))
    assert (desk.left_out, desk.waiting[-1].subject) == (1, "warned")
    desk.add(News("back", NOW, "late"))
    assert "warned" not in {one.what for one in desk.waiting}
    desk.add(News("back", NOW, "later"))
    assert "cut" not in {one.what for one in desk.waiting}
    desk.add(News("back", NOW, "last"))
    assert (len(desk.waiting), desk.left_out) == (MOST, 4)
    assert "back 0" not in {one.subject for one in desk.waiting}
    assert desk.waiting[-1].subject == "last"


def test_when_it_goes_out() -> None:
    desk = Desk()
    assert not desk.due(NOW)
    desk.add(News("warned", NOW, "a"))
    assert not desk.due(NOW + GRACE - 1)
    assert desk.due(NOW + GRACE)
    desk.add(News("cut", NOW, "b"))
    assert desk.due(NOW + SOON)
    desk.emptied(NOW + SOON)
    desk.add(News("cut", NOW + MINUTE, "c"))
    assert not desk.due(NOW + SOON + PACE - 1)
    assert desk.due(NOW + SOON + PACE)
    assert desk.due(NOW - HOUR), "somebody has set the clock back"


def test_it_is_kept_over_a_restart() -> None:
    desk, again = Desk(), Desk()
    desk.add(News("cut", NOW, "a", NOW + 1, NOW + 2, "why", "who", ("line",)))
    desk.sent, desk.left_out = 7, 8
    again.unpack(desk.packed())
    assert (again.waiting, again.sent, again.left_out) == (desk.waiting, 7, 8)


def test_in_words() -> None:
    news = [
        News("cut", NOW, "192.0.2.7", NOW + 90 * SECOND),
        News("warned", NOW, "192.0.2.8"),
        News("back", NOW, "192.0.2.9", by="anna (uid 1000)"),
        News("back", NOW, "192.0.2.10"),
    ]
    assert subject_line("seven", news) == "seven: 1 is cut off, 1 was held back, 2 are let back"
    text = body("seven", news, 0)
    assert "(1m30s), then it is let back by itself" in text
    assert "probation" not in text
    assert "192.0.2.9 is let back, by anna (uid 1000): it can begin connections again." in text
