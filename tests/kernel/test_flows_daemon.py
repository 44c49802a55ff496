"""A router's flow records end in the firewall: the whole daemon, listening on a real port."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kernel.daemon import Daemon, until
from tests.kernel.namespaces import HOST, World
from tests.unit.source.flow.test_decoder import record5, v5

pytestmark = pytest.mark.kernel

GUESSER = "192.0.2.7"
POLICY = """
[source.edge]
netflow = "127.0.0.1:2055"
exporters = ["127.0.0.1"]

[rule.guessers]
on = ["inward.guessing"]
at-least = 1
within = "10m"
ban = { ports = [22], ladder = ["10m"] }
"""


@pytest.fixture
def daemon(world: World, public_folder: Path) -> Iterator[Daemon]:
    made = Daemon(public_folder, world.host, POLICY)
    try:
        yield made.start()
    finally:
        made.close()


def guesses() -> bytes:
    """Eleven logins that failed, as a router tells of them."""
    return v5(
        *(
            record5(
                socket.inet_aton(GUESSER), socket.inet_aton(HOST), packets=22, octets=3700,
                first=1000 + n * 300, last=1200 + n * 300, sport=40000 + n, port=22,
            )
            for n in range(11)
        ),
        sent=int(time.time()),
    )  # fmt: skip


def sent(world: World, *datagrams: bytes) -> None:
    with world.host.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as router:
        for data in datagrams:
            router.sendto(data, ("127.0.0.1", 2055))


def edge(daemon: Daemon) -> dict[str, object]:
    (found,) = [one for one in daemon.ask("/status")["sources"] if one["name"] == "edge"]
    return found


def test_a_guesser_that_a_router_tells_of_is_closed_out(world: World, daemon: Daemon) -> None:
    until("the port", lambda: edge(daemon)["state"] == "waiting")
    with world.host.listen(22):
        assert world.attacker.reaches(HOST, 22, GUESSER)
        sent(world, b"\0\x05rubbish", guesses())
        (row,) = until(
            "the ban", lambda: [one for one in daemon.history() if one["state"] == "applied"]
        )
        assert (row["action"], row["subject"], row["ports"]) == ("ban", GUESSER, [22])
        assert world.attacker.cut_off(HOST, 22, GUESSER)
    assert (
        "tidegate inward: guessing 192.0.2.7: 10 short connections to"
        in daemon.verb("why", GUESSER).stdout
    )
    for _ in range(20):
        sent(world, b"\0\x07" * 20)
    found = until(
        "all of it", lambda: edge(daemon) if edge(daemon)["flows"]["malformed"] == 21 else None
    )
    assert found["state"] == "degraded"
    assert found["flows"]["flows"] == 11
    until("what is said", lambda: "malformed datagrams" in daemon.said())
    assert daemon.said().count("malformed datagrams") == 1
