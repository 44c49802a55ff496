"""Every reading that a condition may ask for is taken by something."""

from __future__ import annotations

import time

import pytest

from tidegate.policy.arguments import EXAMPLES
from tidegate.policy.guards import ReadingSpec
from tidegate.policy.needs import source_of
from tidegate.policy.readings import CATALOGUE, canonical
from tidegate.source.readings import once as module
from tidegate.source.readings.catalogue import Catalogue
from tidegate.source.readings.once import once
from tidegate.source.readings.taking import NO_RATE


def clock() -> int:
    return time.time_ns() // 1000


def names() -> list[str]:
    found = []
    for one in CATALOGUE.values():
        if not one.argument or one.argument.startswith("["):
            found.append(canonical(one.name))
        if one.argument:
            found.append(canonical(one.name, EXAMPLES[one.argument.strip("[]")]))
    return found


@pytest.mark.parametrize("name", [name for name in names() if source_of(name) == name])
def test_each_of_them_has_a_taker(name):
    taker = Catalogue().taker(name)
    if not taker.worker:
        assert "there is no reading" not in taker.attempt(1).why
    slow = CATALOGUE[name.partition("(")[0]].cost == "costly"
    assert not slow or taker.worker  # what is costly never holds the others up


@pytest.mark.parametrize("name", [name for name in names() if source_of(name) != name])
def test_a_slope_is_sampled_by_something_that_has_a_taker(name):
    assert source_of(name).partition("(")[0] in CATALOGUE
    assert "there is no reading" not in Catalogue().taker(source_of(name)).attempt(1).why


def test_argument_in_quotes_is_the_same_path():
    name = canonical("disk.free", "/tmp")
    assert Catalogue().taker(name).attempt(1).value > 0
    assert Catalogue().taker('disk.free("/no such place")').attempt(1).why == (
        "/no such place: no such file or directory"
    )


def test_one_of_the_administrators_own_goes_before(tmp_path):
    (tmp_path / "la").write_text("99")
    catalogue = Catalogue([ReadingSpec("la1", file=str(tmp_path / "la"))])
    assert catalogue.taker("la1").attempt(1).value == 99


def test_a_reading_is_made_once():
    catalogue = Catalogue()
    assert catalogue.taker("la1") is catalogue.taker("la1")


def test_once_takes_rates_twice_and_says_what_it_cannot(monkeypatch):
    monkeypatch.setattr(module, "APART", 0.1)
    wanted = ["la1", "interface.in(lo)", "disk.free(/no)", "disk.full-in(/)", "processes", "moon"]
    found = once(wanted, clock)
    assert set(found) == set(wanted)
    assert found["la1"].value is not None
    assert found["interface.in(lo)"].value is not None
    assert found["processes"].value > 0
    assert found["disk.free(/no)"].why == "/no: no such file or directory"
    assert "the daemon knows it after a while" in found["disk.full-in(/)"].why
    assert found["moon"].why == 'there is no reading "moon"'
    assert NO_RATE not in {one.why for one in found.values()}


def test_once_waits_for_nobody_for_ever():
    spec = ReadingSpec("lag", command=("sleep", "1000"), timeout=300_000)
    found = once(["lag", "la1"], clock, [spec])
    assert found["lag"].why == "sleep did not end within 0.3 s; it was killed"
