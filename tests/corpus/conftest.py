"""The table of the log corpus, printed below the results of the test run.

Touches nothing. The corpus itself is found, skipped or demanded by the conftest above.
Limits: the corpus is data of other projects, for tests only; nothing of it may be copied from here.
"""

from __future__ import annotations

import pytest
from tests.corpus.judging import Score, table

_SCORES: pytest.StashKey[list[Score]] = pytest.StashKey()


_NOTES: pytest.StashKey[list[str]] = pytest.StashKey()


def note(config: pytest.Config, line: str) -> None:
    """A line that stands below the table."""
    config.stash.setdefault(_NOTES, []).append(line)


def _scores(config: pytest.Config) -> list[Score]:
    return config.stash.setdefault(_SCORES, [])


@pytest.fixture
def scores(request: pytest.FixtureRequest) -> list[Score]:
    """What is appended here stands in the table."""
    return _scores(request.config)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """The table, if any corpus test ran."""
    if scores := _scores(config):
        terminalreporter.section("log corpus")
        for line in table(scores):
            terminalreporter.write_line(line)
    for line in config.stash.get(_NOTES, []):
        terminalreporter.write_line(line)
