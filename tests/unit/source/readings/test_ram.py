"""Memory and swap, from this host and from hosts written down."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.source.readings.ram import NAMES, Memory
from tidegate.source.readings.taking import Places

TEXT = """MemTotal:        1000 kB
MemFree:          100 kB
MemAvailable:     350 kB
Buffers:           50 kB
Cached:           200 kB
SwapCached:         7 kB
SwapTotal:        500 kB
SwapFree:         400 kB
"""


def taken(folder: Path, text: str, name: str):
    (folder / "meminfo").write_text(text)
    return Memory(Places(str(folder), "")).taker(name).attempt(1)


@pytest.mark.parametrize(
    ("name", "kilo", "whole"),
    [
        ("memfree", 350, 1000),
        ("memused", 650, 1000),
        ("memavailable", 350, 1000),
        ("swapfree", 400, 500),
        ("swapused", 100, 500),
    ],
)
def test_each_is_in_bytes_beside_its_whole(tmp_path, name, kilo, whole):
    assert taken(tmp_path, TEXT, name) == (kilo * 1024, whole * 1024, "")


@pytest.mark.parametrize("name", ["swapfree", "swapused"])
def test_without_swap_swap_is_unknown(tmp_path, name):
    bare = TEXT.replace("500", "0").replace("400", "0")
    assert taken(tmp_path, bare, name) == (None, None, "this host has no swap")


def test_a_kernel_that_does_not_estimate_says_so(tmp_path):
    old = "".join(line for line in TEXT.splitlines(True) if "Available" not in line)
    assert taken(tmp_path, old, "memavailable").why.startswith("this kernel does not estimate")
    assert taken(tmp_path, old, "memfree").value == 350 * 1024


def test_nonsense_is_unknown(tmp_path):
    assert "makes no sense" in taken(tmp_path, "nothing\n", "memused").why


def test_this_host_has_memory():
    memory = Memory(Places())
    for look, name in enumerate(NAMES):
        found = memory.taker(name).attempt(look)
        assert found.why == "this host has no swap" or 0 <= found.value <= found.whole
