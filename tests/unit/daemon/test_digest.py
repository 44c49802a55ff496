"""What goes out when: the pace, digests, all-clears, and texts that mean harm."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tidegate.daemon.digest import MOST_WAITING, Digest, Letter, Notice, notice
from tidegate.model import DAY, HOUR, MINUTE, SECOND

NOW = 1_800_000_000 * SECOND


def one(number: int, about: str = "apache", clear: bool = False, time: int = NOW) -> Notice:
    return notice(time, f"number {number}", f"text {number}", about, clear)


def subjects(letter: Letter | None) -> list[str]:
    return [] if letter is None else [one.subject for one in letter.notices]


def test_so_many_go_at_once_and_the_rest_as_one_digest() -> None:
    digest = Digest(2, HOUR)
    went = []
    for number in range(6):
        digest.add(one(number))
        went.append(subjects(digest.due(NOW + number * SECOND)))
    assert went == [["number 0"], ["number 1"], [], [], [], []]
    assert digest.due(NOW + HOUR - SECOND) is None
    late = digest.due(NOW + HOUR)
    assert subjects(late) == ["number 2", "number 3", "number 4", "number 5"]
    assert late is not None
    assert late.subject == "4 notices, the latest: number 5"
    assert "text 2" in late.text
    assert digest.due(NOW + HOUR + SECOND) is None


def test_what_happens_at_once_is_one_letter() -> None:
    digest = Digest(4, HOUR)
    digest.add(one(1))
    digest.add(one(2))
    assert subjects(digest.due(NOW)) == ["number 1", "number 2"]


def test_a_letter_that_did_not_arrive_waits_before_the_others_and_costs_nothing() -> None:
    digest = Digest(1, HOUR)
    digest.add(one(1))
    letter = digest.due(NOW)
    assert letter is not None
    digest.add(one(2))
    digest.back(letter, NOW)
    assert subjects(digest.due(NOW + SECOND)) == ["number 1", "number 2"]
    assert digest.due(NOW + MINUTE) is None


def test_a_clock_set_back_keeps_nothing_back() -> None:
    digest = Digest(1, HOUR)
    digest.add(one(1))
    assert digest.due(NOW)
    digest.add(one(2, time=NOW - DAY))
    assert subjects(digest.due(NOW - DAY)) == ["number 2"]


def test_all_clears_survive_a_flood() -> None:
    digest = Digest(1, HOUR)
    digest.add(one(0))
    assert digest.due(NOW)
    digest.add(one(1, "apache", clear=True))
    for number in range(5 * MOST_WAITING):
        digest.add(one(number, "mysql"))
    digest.add(one(2, "mysql", clear=True))
    assert digest.waiting == MOST_WAITING
    letter = digest.due(NOW + HOUR)
    assert letter is not None
    assert [one.about for one in letter.notices if one.clear] == ["apache", "mysql"]
    assert len(letter.notices) + letter.left_out == 5 * MOST_WAITING + 2
    assert "older ones that are left out" in letter.text


def test_a_flood_of_all_clears_is_bounded_by_what_they_are_about() -> None:
    digest = Digest(1, HOUR)
    for number in range(1000):
        digest.add(one(number, f"gate{number % 7}", clear=True))
    assert digest.waiting == MOST_WAITING
    letter = digest.due(NOW)
    assert letter is not None
    assert {one.about for one in letter.notices} == {f"gate{number}" for number in range(7)}


def test_yesterdays_news_is_counted_only() -> None:
    digest = Digest(1, HOUR)
    digest.add(one(1, time=NOW - DAY))
    assert digest.due(NOW) is None
    digest.add(one(2))
    letter = digest.due(NOW)
    assert letter is not None
    assert (subjects(letter), letter.left_out) == (["number 2"], 1)


@given(st.text(max_size=300), st.text(max_size=300))
def test_texts_only_tell(subject: str, text: str) -> None:
    made = notice(NOW, subject, text)
    assert made.subject.isprintable()
    assert all(line.isprintable() for line in made.text.split("\n"))


def test_letters_are_bounded() -> None:
    digest = Digest(1, HOUR)
    for number in range(MOST_WAITING):
        digest.add(notice(NOW, "x" * 1000, "y" * 100_000 + str(number)))
    letter = digest.due(NOW)
    assert letter is not None
    assert len(letter.text) < 100_000
    assert letter.text.endswith("(the rest is too long for one letter)")


@given(
    st.lists(st.tuples(st.integers(0, 600), st.booleans(), st.booleans()), max_size=60),
    st.integers(1, 4),
)
def test_never_more_letters_than_said_and_no_all_clear_lost(
    steps: list[tuple[int, bool, bool]], most: int
) -> None:
    digest = Digest(most, HOUR)
    now, sent, clears, arrived = NOW, [], 0, 0
    for number, (seconds, clear, fails) in enumerate(steps):
        now += seconds * SECOND
        digest.add(one(number, f"gate{number}", clear, now))
        clears += clear
        letter = digest.due(now)
        if letter is not None and fails:
            digest.back(letter, now)
        elif letter is not None:
            sent.append(now)
            arrived += sum(one.clear for one in letter.notices)
    last = digest.due(now + HOUR)
    arrived += sum(one.clear for one in last.notices) if last else 0
    assert arrived == clears
    for moment in sent:
        assert sum(moment - HOUR < other <= moment for other in sent) <= most
