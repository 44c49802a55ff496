"""The story of the fleet, as a test; it takes about a minute."""

from __future__ import annotations

import pytest
from tests.story import fleet, fleet_cast


@pytest.mark.daemons
def test_the_fleet(capfd: pytest.CaptureFixture[str]) -> None:
    if why := fleet_cast.missing():
        pytest.skip(why)
    code = fleet.main()
    assert code == 0, capfd.readouterr().out
