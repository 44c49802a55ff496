"""Readings that can't be taken are told once, and once more when they can."""

from __future__ import annotations

from tidegate.daemon.unknowns import QUIET, Unknowns
from tidegate.model import SECOND, Sample

NOW = 1_700_000_000 * SECOND


def lost(second: int = 0, why: str = "it failed") -> Sample:
    return Sample("lag", NOW + second * SECOND, None, None, why)


def well(second: int = 0) -> Sample:
    return Sample("lag", NOW + second * SECOND, 1.0)


def test_what_lasts_is_told_once_and_its_end_once() -> None:
    here = Unknowns()
    assert here.take([lost(0)]) == ([], [])
    assert here.take([lost(1)]) == (
        ["reading lag is unknown, and closes nothing: it failed"],
        [],
    )
    assert here.take([lost(2), lost(3, "for 3 s already")]) == ([], [])
    assert here.take([well(4)]) == ([], ["reading lag: well again (was: it failed)"])
    assert here.take([well(5)]) == ([], [])


def test_a_rate_is_unknown_at_its_first_look_and_nobody_hears_of_it() -> None:
    assert Unknowns().take([lost(0), well(1), lost(2), well(3)]) == ([], [])


def test_what_comes_and_goes_is_no_flood_of_lines() -> None:
    here = Unknowns()
    said = []
    for second in range(0, 2 * QUIET // SECOND, 4):
        for made in (lost(second), lost(second + 1), well(second + 2)):
            told = here.take([made])
            said += told[0] + told[1]
    assert len(said) == 4


def test_what_nobody_reads_any_more_is_forgotten() -> None:
    here = Unknowns()
    here.take([lost(0), lost(1)])
    here.keep({"la1"})
    assert here.take([well(2)]) == ([], [])


def test_that_nothing_arrives_any_more_is_said_once_and_so_is_its_end() -> None:
    unknowns = Unknowns()
    start = 1_800_000_000 * SECOND
    said = [
        (second, line)
        for second in range(200)
        if (line := unknowns.silence(second < 5 or second > 100, SECOND, start + second * SECOND))
    ]
    assert said == [
        (27, "readings: none has arrived for 23 s; all are unknown, and close nothing"),
        (101, "readings: well again, they arrive"),
    ]
    assert unknowns.silence(heard=False, every=0, now=start + 999 * SECOND) == "", "none is wanted"
