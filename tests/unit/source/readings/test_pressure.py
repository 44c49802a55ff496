"""Pressure, from this host and from kernels that have none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.source.readings.pressure import Pressure
from tidegate.source.readings.taking import Places

LINES = "some avg10=12.50 avg60=3.00 avg300=1.25 total=77\n"


def kernel(folder: Path, text: str = LINES) -> Pressure:
    (folder / "pressure").mkdir()
    (folder / "pressure/cpu").write_text(text)
    return Pressure(Places(str(folder), ""))


@pytest.mark.parametrize(
    ("name", "share"), [("psi.cpu.some", 12.5), ("psi.cpu.some60", 3), ("psi.cpu.some300", 1.25)]
)
def test_each_span_is_a_reading(tmp_path, name, share):
    assert kernel(tmp_path).taker(name).attempt(1) == (share, None, "")


def test_a_line_that_the_kernel_does_not_have_is_unknown(tmp_path):
    taken = kernel(tmp_path).taker("psi.cpu.full").attempt(1)
    assert taken == (None, None, "this kernel has no 'full' pressure for cpu")


def test_a_kernel_without_pressure_says_what_may_switch_it_on(tmp_path):
    taken = Pressure(Places(str(tmp_path), "")).taker("psi.io.full").attempt(1)
    assert taken.value is None
    assert "psi=1" in taken.why


@pytest.mark.parametrize("name", ["psi.cpu", "psi.cpu.most", "psi.disk.some", "psi.cpu.some10"])
def test_other_names_are_none(name):
    assert Pressure(Places()).taker(name) is None


@pytest.mark.skipif(not Path("/proc/pressure").is_dir(), reason="this kernel has no pressure")
def test_this_kernel_is_read():
    for what in ("cpu", "memory", "io"):
        assert 0 <= Pressure(Places()).taker(f"psi.{what}.some").attempt(1).value <= 100
