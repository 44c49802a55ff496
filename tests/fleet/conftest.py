"""Fixtures with real servers; a test that needs one is skipped where none is installed.

Touches processes and folders that `servers` makes. Limits: one server for all tests that empty it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fleet import servers


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test here needs a server."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.daemons)


@pytest.fixture(scope="session")
def shared_server() -> Iterator[servers.Server]:
    """A server for every test that begins by emptying it."""
    with (
        tempfile.TemporaryDirectory(prefix="tidegate-redis-") as folder,
        servers.server(Path(folder)) as made,
    ):
        yield made
