"""The story of the full spool, as a test; it takes three minutes."""

from __future__ import annotations

import pytest
from tests.story import exim, full_spool


@pytest.mark.daemons
def test_a_small_spool_under_a_flood(capfd: pytest.CaptureFixture[str]) -> None:
    if why := exim.missing():
        pytest.skip(why)
    code = full_spool.main()
    assert code == 0, capfd.readouterr().out
