"""The watcher's part: it tries a published policy, takes it, goes back, and tells the others."""

from types import SimpleNamespace

import pytest

from tidegate.daemon.journaling import Journaling
from tidegate.errors import PolicyError
from tidegate.fleet.journal.course import Book
from tidegate.model import MINUTE, SECOND

NOW = 1000 * MINUTE


def book(number, canary=False, mine=True):
    until = NOW + 15 * MINUTE if canary else 0
    return Book(f"{number:032x}", number, "abc", canary, mine, 600, until, "office")


class Shelf:
    """The librarian's answers; `refuses` what may not be chosen."""

    def __init__(self, *books):
        self.books, self.current, self.trouble = tuple(books), "", ""
        self.refuses = set()
        self.put_in = []

    def look(self):
        return ""

    def put(self, bundle):
        self.put_in.append(bundle)
        return "" if bundle == b"good" else "forged"

    def revoke(self, paper):
        return self.put(paper)

    def use(self, wanted):
        if wanted in self.refuses:
            return "no"
        self.current = wanted
        return ""

    def book(self, wanted=""):
        return next((one for one in self.books if one.id == (wanted or self.current)), None)


class Watcher:
    """Loads what the shelf says; some ids `fail` when they are tried, or `break` when loaded."""

    def __init__(self, shelf):
        self.shelf, self.fail, self.breaks, self.waits = shelf, set(), set(), {}
        self.loaded, self.said, self.wrong, self.tried = "", {}, 0, []
        breaker = SimpleNamespace(trips=0)
        self.pipeline = SimpleNamespace(
            engines={}, judge=SimpleNamespace(breaker=breaker),
            totals=SimpleNamespace(quarantined=0), policy=SimpleNamespace(fleet=object()),
        )  # fmt: skip
        self.wiring = self

    @property
    def plan(self):
        below = (
            SimpleNamespace(id=self.loaded, number=int(self.loaded, 16)) if self.loaded else None
        )
        return SimpleNamespace(loaded=SimpleNamespace(below=below))

    def rehearsed(self, wanted):
        self.tried.append(wanted)
        if wanted in self.fail:
            raise PolicyError(["fleet policy: a fault"])
        return wanted, self.waits.get(wanted, "")

    def reload(self, now, tried):
        assert tried == self.shelf.current
        if self.shelf.current in self.breaks:
            return ["the keeper refuses"]
        self.loaded = self.shelf.current
        return []

    def say(self, about, text):
        self.said[about] = text

    def troubled(self):
        return self.wrong


@pytest.fixture
def made():
    shelf = Shelf(book(1))
    watcher = Watcher(shelf)
    journaling = Journaling(watcher, shelf)
    journaling.begin(NOW)
    assert watcher.loaded == book(1).id
    return shelf, watcher, journaling


def test_the_newest_is_tried_then_taken_and_told(made):
    shelf, watcher, journaling = made
    shelf.books = (book(2), book(1))
    journaling.hear([b"good"], NOW)
    assert (watcher.loaded, shelf.current) == (book(2).id,) * 2
    told = journaling.report()
    assert (told["policy"], told["published"], told["not_taken"]) == (2, book(2).id, [])
    tried = len(watcher.tried)
    journaling.tick(NOW + SECOND)
    assert len(watcher.tried) == tried


def test_what_has_faults_here_is_never_used_and_said_why(made):
    shelf, watcher, journaling = made
    shelf.books = (book(2), book(1))
    watcher.fail.add(book(2).id)
    journaling.hear([b"good"], NOW)
    journaling.tick(NOW + SECOND)
    assert (watcher.loaded, shelf.current) == (book(1).id,) * 2
    assert journaling.report()["not_taken"] == [f"{book(2).id} fleet policy: a fault"]
    assert "number 2 is not taken (number 1 holds)" in watcher.said["published policy"]
    assert watcher.tried.count(book(2).id) == 1


def test_what_can_not_be_loaded_after_all_gives_way_to_what_was_before(made):
    shelf, watcher, journaling = made
    shelf.books = (book(2), book(1))
    watcher.breaks.add(book(2).id)
    journaling.hear([b"good"], NOW)
    assert (watcher.loaded, shelf.current) == (book(1).id,) * 2
    assert "the keeper refuses" in journaling.trouble()


def test_a_canary_goes_back_when_its_breaker_trips_and_stays_there(made):
    shelf, watcher, journaling = made
    shelf.books = (book(2, canary=True), book(1))
    journaling.hear([b"good"], NOW)
    assert watcher.loaded == book(2).id
    watcher.pipeline.judge.breaker.trips += 1
    journaling.tick(NOW + MINUTE)
    assert (watcher.loaded, shelf.current) == (book(1).id,) * 2
    again = Journaling(watcher, shelf)
    for change in journaling.changes():
        assert again.restore(change)
    again.begin(NOW + 2 * MINUTE)
    assert watcher.loaded == book(1).id


def test_a_canary_that_nobody_confirmed_goes_back(made):
    shelf, watcher, journaling = made
    shelf.books = (book(2, canary=True), book(1))
    journaling.hear([b"good"], NOW)
    journaling.tick(NOW + 14 * MINUTE)
    assert watcher.loaded == book(2).id
    journaling.tick(NOW + 15 * MINUTE)
    assert watcher.loaded == book(1).id


def test_what_others_try_is_not_tried_here(made):
    shelf, watcher, journaling = made
    shelf.books = (book(2, canary=True, mine=False), book(1))
    journaling.hear([b"good"], NOW)
    assert watcher.loaded == book(1).id


def test_what_needs_a_start_is_taken_and_waits_for_it(made):
    shelf, watcher, journaling = made
    shelf.books = (book(2), book(1))
    watcher.waits[book(2).id] = "the first guard needs a process of its own"
    journaling.hear([b"good"], NOW)
    journaling.tick(NOW + SECOND)
    assert (watcher.loaded, shelf.current) == (book(1).id, book(2).id)
    assert journaling.report()["waits"] == "the first guard needs a process of its own"


def test_a_librarian_that_refuses_is_not_asked_every_second(made):
    shelf, watcher, journaling = made
    shelf.books = (book(2), book(1))
    shelf.refuses.add(book(2).id)
    for second in range(5):
        journaling.tick(NOW + second * SECOND)
    assert watcher.tried.count(book(2).id) == 1
    assert watcher.loaded == book(1).id


def test_what_was_in_use_and_fell_with_its_publisher_gives_way(made):
    shelf, watcher, journaling = made
    shelf.books, shelf.current = (), ""
    journaling.hear([b"TG a list"], NOW)
    assert watcher.loaded == ""
    assert journaling.number == 0


def test_without_a_librarian_nothing_is_done():
    watcher = Watcher(Shelf(book(1)))
    journaling = Journaling(watcher, None)
    journaling.begin(NOW)
    journaling.hear([b"good"], NOW)
    journaling.tick(NOW)
    assert (watcher.loaded, watcher.tried, journaling.report()) == ("", [], {})
