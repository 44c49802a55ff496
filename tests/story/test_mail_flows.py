"""The story of the mail flows, as a test; it takes two to three minutes."""

from __future__ import annotations

import pytest
from tests.story import exim, mail_flows


@pytest.mark.daemons
def test_the_mail_flows_under_a_flood(capfd: pytest.CaptureFixture[str]) -> None:
    if why := exim.missing():
        pytest.skip(why)
    code = mail_flows.main()
    assert code == 0, capfd.readouterr().out
