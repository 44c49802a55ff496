"""Fixtures of the kernel tests: a world of namespaces, and a gate in its mail host.

Touches the kernel through `namespaces`; everything is removed after each test, also a failed one.
Limits: root and nftables; the tests are skipped without (see tests/conftest.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from tests.kernel.namespaces import Namespace, World

from tidegate.gate.netfilter import Netfilter
from tidegate.gate.nftables import NftablesGate
from tidegate.gate.port import Request
from tidegate.model import SECOND, Micros, Subject


def now() -> Micros:
    return time.time_ns() // 1000


def ban(subject: str, *ports: int, seconds: float = 600) -> Request:
    return Request("ban", Subject(subject), ports, now() + int(seconds * SECOND))


def unban(subject: str, ports: tuple[int, ...] | None = None) -> Request:
    return Request("unban", Subject(subject), ports, 0)


def allow(subject: str, seconds: float = 600) -> Request:
    return Request("allow", Subject(subject), None, now() + int(seconds * SECOND))


@pytest.fixture
def world() -> Iterator[World]:
    """An attacker, a mail host and a host behind it."""
    try:
        made = World()
    except RuntimeError as error:
        pytest.skip(f"no network namespaces here: {error}")
    yield made
    made.close()


@pytest.fixture
def alone() -> Iterator[Namespace]:
    """One namespace with nothing but its loopback, entered by the test."""
    try:
        made = Namespace("alone")
    except RuntimeError as error:
        pytest.skip(f"no network namespaces here: {error}")
    with ExitStack() as stack:
        stack.callback(made.close)
        stack.enter_context(made.inside())
        yield made


@pytest.fixture
def make_gate() -> Iterator[Callable[..., NftablesGate]]:
    """Makes gates (in the namespace that the caller is in) and closes them afterwards."""
    with ExitStack() as stack:

        def make(*arguments: object, **options: object) -> NftablesGate:
            gate = NftablesGate(*arguments, **options)  # type: ignore[arg-type]
            stack.callback(gate.close)
            return gate

        yield make


@pytest.fixture
def gate(world: World, make_gate: Callable[..., NftablesGate]) -> NftablesGate:
    """The mail host's gate. Its sockets are the mail host's; nft has to be run `inside` it."""
    made = make_gate()
    with world.host.inside():
        made.replace([], [], now())
    return made


@pytest.fixture
def netfilter(alone: Namespace) -> Iterator[Netfilter]:
    """The kernel's table of that one namespace."""
    made = Netfilter("tidegate")
    yield made
    made.close()
