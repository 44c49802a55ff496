"""Bounces to nobody, as a share of what the same services wrote."""

from __future__ import annotations

import pytest

from tidegate.evidence.backscatter import share


@pytest.mark.parametrize(
    ("kinds", "successes", "count", "part"),
    [
        ({}, 10, 0, 0.0),
        ({"sshd.auth_failed": 7}, 3, 0, 0.0),
        ({"exim.bounce_refused": 5, "exim.malware": 5, "sshd.auth_failed": 90}, 0, 5, 0.5),
        ({"exim.bounce_refused": 1, "postfix.bounce_refused": 1}, 6, 2, 0.25),
    ],
)
def test_share(kinds: dict[str, int], successes: int, count: int, part: float) -> None:
    assert share(kinds, successes) == (count, part)
