"""The story of the overloaded web server, as a test; it takes four to six minutes."""

from __future__ import annotations

import pytest
from tests.story import overload, webserver


@pytest.mark.daemons
def test_an_overloaded_server_is_throttled_stopped_and_started_again(
    capfd: pytest.CaptureFixture[str],
) -> None:
    if why := webserver.missing():
        pytest.skip(why)
    code = overload.main()
    assert code == 0, capfd.readouterr().out
