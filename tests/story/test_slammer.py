"""The story of Slammer, as a test; it takes two to three minutes."""

from __future__ import annotations

import pytest
from tests.story import slammer


@pytest.mark.daemons
def test_seven_customers_flood_and_the_network_stays_up(capfd: pytest.CaptureFixture[str]) -> None:
    code = slammer.main()
    assert code == 0, capfd.readouterr().out
