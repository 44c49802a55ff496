"""Fixtures of the tests with real daemons: a world, a machine in it, and Tidegate on the machine.

Touches namespaces, mounts, processes and a folder through `machine` and `guard`, and removes all of
them after each test, also a failed one. Limits: root, and the daemons of Debian (tests/conftest.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.daemons.guard import Guard
from tests.daemons.machine import Machine
from tests.kernel.namespaces import World


@pytest.fixture
def world() -> Iterator[World]:
    """An attacker with several addresses, and the host that is attacked."""
    try:
        made = World()
    except RuntimeError as error:
        pytest.skip(f"no network namespaces here: {error}")
    yield made
    made.close()


@pytest.fixture
def machine(world: World, public_folder: Path) -> Iterator[Machine]:
    """The attacked host, with nothing running on it but its journal."""
    made = Machine(public_folder, world.host)
    yield made
    made.close()


@pytest.fixture
def guarded(world: World, machine: Machine) -> Iterator[Callable[..., Guard]]:
    """Starts Tidegate on the machine: `guarded({"SOURCE": [LOG, ...]}, RULES)`."""
    with ExitStack() as stack:

        def start(logs: Mapping[str, Sequence[Path]], rules: str = "") -> Guard:
            made = Guard(machine, world, logs, rules)
            stack.callback(made.close)
            made.start()
            return made

        yield start
