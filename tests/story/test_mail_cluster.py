"""The story of the mail cluster, as a test; it takes about two minutes."""

from __future__ import annotations

import pytest
from tests.story import balancer, cluster, mail_cluster, mailnode


@pytest.mark.daemons
def test_the_mail_cluster(capfd: pytest.CaptureFixture[str]) -> None:
    if why := mailnode.missing() or cluster.missing(*balancer.NEEDED):
        pytest.skip(why)
    code = mail_cluster.main()
    assert code == 0, capfd.readouterr().out
