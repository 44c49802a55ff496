"""The story of the bot in /var/tmp, as a test; it takes half a minute."""

from __future__ import annotations

import pytest
from tests.story import bot, webhost


@pytest.mark.daemons
def test_a_bot_is_capped_named_and_then_not_started(capfd: pytest.CaptureFixture[str]) -> None:
    if not webhost.compiler():
        pytest.skip("no C compiler; run: packaging/setup-checkout daemons")
    code = bot.main()
    assert code == 0, capfd.readouterr().out
