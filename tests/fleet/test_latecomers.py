"""Who comes late to a fleet, on a real server: what one host holds is taken over at once.

Touches processes and folders that `fleets` makes. Limits: those of `agents`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fleet.agents import FLEET
from tests.fleet.fleets import NAMES, Near
from tests.fleet.servers import MISSING

from tidegate.fleet import wire
from tidegate.fleet.decisions import saying, stream
from tidegate.fleet.decisions.decisions import Entry
from tidegate.fleet.decisions.stream import Parcel
from tidegate.fleet.wire import Kind
from tidegate.model import MINUTE, Subject

pytest.importorskip("cryptography")
pytestmark = pytest.mark.skipif(MISSING, reason="no redis-server is installed")


@pytest.fixture
def near(tmp_path: Path) -> Iterator[Near]:
    with contextlib.ExitStack() as stack:
        made = Near(tmp_path, stack)
        made.truth.liars.add("web2")  # says what no watcher of the test has said
        yield made
        for agent in made.agents:
            agent.stop()


def test_a_latecomer_takes_thousands_of_bans_of_one_host_without_waiting(near: Near) -> None:
    """Each in a message of its own, as somebody says them who bans one after another. What is not
    taken at once would be read again a minute later, 1,200 at a time."""
    now = near.clock.now()
    wanted = {Subject(f"198.18.{number >> 8}.{number & 255}") for number in range(3_000)}
    commands: list[stream.Command] = []
    for number, one in enumerate(sorted(wanted), 1):
        said = Entry("", "ban", "", now, one, until=now + 30 * MINUTE, by="root (uid 0)")
        (body,) = saying.bodies([saying.identify("web2", said)])
        message = wire.Message(Kind.DECISIONS, "web2", wire.sequence(1, number), now, body)
        sealed = wire.seal(message, FLEET, near.desk.signers["web2"].sign)
        commands += stream.say(Parcel.of(sealed, now + 30 * MINUTE))
    with contextlib.closing(near.engine.connect()) as connection:
        for at in range(0, len(commands), 1_000):
            connection.call(commands[at : at + 1_000], 60)
    late = near.agent(NAMES[0])
    near.agents.append(late)
    near.until("all of them to be closed for", lambda: late.closed() >= wanted)
    assert not late.health().refused
