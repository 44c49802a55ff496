"""The story of a host that can hardly act, as a test; it takes about three minutes."""

from __future__ import annotations

import pytest
from tests.story import distress, enclosure, webserver


@pytest.mark.daemons
def test_a_host_that_can_hardly_act(capfd: pytest.CaptureFixture[str]) -> None:
    if why := webserver.missing() or enclosure.missing():
        pytest.skip(why)
    code = distress.main()
    assert code == 0, capfd.readouterr().out
