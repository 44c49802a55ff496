"""Fixtures with real servers; a test that needs one is skipped where none is installed.

Touches processes and folders that `servers` makes. Limits: one server for all tests that empty it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fleet import servers


@pytest.fixture(scope="session")
def shared_server() -> Iterator[servers.Server]:
    """A server for every test that begins by emptying it."""
    if servers.MISSING:
        pytest.skip("no redis-server; run: packaging/setup-checkout daemons")
    with (
        tempfile.TemporaryDirectory(prefix="tidegate-redis-") as folder,
        servers.server(Path(folder)) as made,
    ):
        yield made
