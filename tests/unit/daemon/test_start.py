"""What the daemon starts with: sources or guards, at least one of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.daemon import start
from tidegate.errors import OperatorError
from tidegate.policy.models import Policy


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[Policy]:
    """The policies that would have been started with, as an ordinary user."""
    found: list[Policy] = []

    def alone(_config: Path, policy: Policy) -> int:
        found.append(policy)
        return 0

    monkeypatch.setattr(start.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(start, "_check", lambda *_words: None)
    monkeypatch.setattr(start, "_alone", alone)
    return found


@pytest.mark.parametrize(
    "text",
    [
        "[guard.x]\nwarn = 'la1 > 8'\n",
        "[guard.x]\nrun = { when = 'la1 > 8', script = 'true' }\n",
        "[source.x]\nfile = '/var/log/x'\n",
    ],
)
def test_guards_alone_are_enough(text: str, begun: list[Policy], tmp_path: Path) -> None:
    policy = tmp_path / "p.toml"
    policy.write_text(text)
    assert start.start(policy, observe=False) == 0
    assert len(begun) == 1


def test_a_policy_that_asks_for_nothing_is_refused(begun: list[Policy], tmp_path: Path) -> None:
    policy = tmp_path / "p.toml"
    policy.write_text("mode = 'observe'\n")
    with pytest.raises(OperatorError, match=r"no \[source.NAME\] .* and no \[guard.NAME\]"):
        start.start(policy, observe=False)
    assert begun == []
