"""Both scanners find every place where a literal ends, and the right one is chosen."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.detector import scanner
from tidegate.detector.scanner import ReScanner, VectorScanner, choose, flags_of

NAMES: tuple[scanner.EngineName, ...] = ("vectorscan", "re")
PIECES = [b"abcab", b"cabca", b"bcabc", b"a.c*d", b"\\x41(", b"\x00\xff\n[", b"aaaaa", b"abcabcab"]


@pytest.mark.parametrize("name", NAMES)
def test_every_end_is_found_in_order(name: scanner.EngineName) -> None:
    found = choose(name, [b"virus", b"rus found", b"nothing"])
    assert found.name == name
    assert found.scan(b"a virus found\nviruses\n") == [(7, 0), (13, 1), (19, 0)]
    assert found.scan(b"clean\n") == []


@pytest.mark.parametrize("name", NAMES)
def test_overlapping_occurrences_are_all_found(name: scanner.EngineName) -> None:
    assert choose(name, [b"aaaaa"]).scan(b"aaaaaaa") == [(5, 0), (6, 0), (7, 0)]


@pytest.mark.parametrize("name", NAMES)
def test_literals_are_bytes_not_patterns(name: scanner.EngineName) -> None:
    found = choose(name, [b"a.c*d", b"\x00\xff[^x"])
    assert found.scan(b"abccd a.c*d A.C*D \x00\xff[^x\n") == [(11, 0), (23, 1)]


@given(st.lists(st.sampled_from([*PIECES, b"a", b"b", b"c", b"\n", b"\x00", b"\xff"]), max_size=40))
def test_both_find_the_same(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    assert list(FAST.scan(data)) == list(PLAIN.scan(data))


FAST, PLAIN = VectorScanner(PIECES), ReScanner(PIECES)


def test_without_literals_nothing_is_compiled() -> None:
    found = choose("vectorscan", [])
    assert (found.name, found.scan(b"anything\n")) == ("re", [])


def test_auto_is_vectorscan_where_it_can_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanner.platform, "machine", lambda: "x86_64")
    assert choose("auto", [b"literal"], "fpu sse4_1 sse4_2 avx").name == "vectorscan"
    assert choose("auto", [b"literal"], None).name == "vectorscan"


def test_auto_is_re_on_an_old_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanner.platform, "machine", lambda: "x86_64")
    assert choose("auto", [b"literal"], "fpu sse2 sse4_1").name == "re"


def test_flags_of_this_machine() -> None:
    assert flags_of("processor\t: 0\nflags\t\t: fpu sse4_2\n\nflags\t\t: x\n") == " fpu sse4_2"
    assert flags_of("processor : 0\nFeatures : fp asimd\n") is None
    here = flags_of(Path("/proc/cpuinfo").read_text("utf-8"))
    assert choose("auto", [b"literal"], here).name in NAMES


def test_flags_say_nothing_on_other_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanner.platform, "machine", lambda: "aarch64")
    assert choose("auto", [b"literal"], "fp asimd").name == "vectorscan"


def test_auto_is_re_without_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyperscan", None)
    assert choose("auto", [b"literal"]).name == "re"
