"""Who has a host's password at the engine spoils what all read and write: it is mended by the hosts.

Touches processes and folders that `fleets` makes. Limits: those of `agents`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fleet import servers
from tests.fleet.agents import Agent
from tests.fleet.fleets import Near, them
from tests.fleet.test_stream import shipped_rights

from tidegate.cli.fleet_acl import _OWN_KEYS
from tidegate.fleet.decisions import mail, mending, stream
from tidegate.fleet.decisions.stream import ENDS, HELD, STREAM
from tidegate.model import MINUTE

pytest.importorskip("cryptography")
pytestmark = pytest.mark.skipif(servers.MISSING, reason="no redis-server is installed")
LAST = f"{(1 << 64) - 1}-{(1 << 64) - 1}"
Spoils = tuple[tuple[bytes | str, ...], ...]


@pytest.fixture
def near(tmp_path: Path) -> Iterator[Near]:
    with contextlib.ExitStack() as stack:
        made = Near(tmp_path, stack)
        yield made
        for agent in made.agents:
            agent.stop()


def works(near: Near, number: int) -> None:
    """Hosts convict together, and say bans to each other."""
    near.pattern(number)
    near.agents[1].ban(them(number + 1))
    near.closed_everywhere(them(number), them(number + 1))


def _held(near: Near) -> set[bytes]:
    """What hosts would say again: of what all heard by themselves only one of them holds it."""
    found: set[bytes] = set()
    for one in near.agents:
        with one.lock:
            found |= one.member.assembly.offers._held.keys()
    return found


def _kept(near: Near) -> set[bytes]:
    found = near.engine("HKEYS", HELD)
    return set(found) if isinstance(found, list) else set()


@pytest.mark.parametrize(
    "spoils",
    [
        (("SET", STREAM, "x"),),
        (("SET", HELD, "x"),),
        (("SET", ENDS, "x"),),
        (("SET", STREAM, "x"), ("SET", HELD, "x"), ("SET", ENDS, "x")),
        (("XADD", STREAM, LAST, "m", "x"),),
        (("XADD", STREAM, "MAXLEN", "0", LAST, "m", "x"),),
        (("XADD", STREAM, f"{(1 << 64) - 1}-{(1 << 64) - 4}", "m", "x"),),
    ],
    ids=["stream", "held", "ends", "all", "the end", "the end, unseen", "nearly the end"],
)  # fmt: skip
def test_what_all_have_decided_is_mended_and_said_again(near: Near, spoils: Spoils) -> None:
    near.start()
    works(near, 1)
    for command in spoils:
        assert not isinstance(near.engine(*command), Exception)
    works(near, 10)
    works(near, 20)
    assert near.engine("TYPE", STREAM) == b"stream"
    near.until("all to be there again", lambda: _held(near) <= _kept(near))
    near.until(
        "it to be told",
        lambda: any("password" in each for one in near.agents for each in one.health().troubles),
    )
    near.desk.enrol("web4")
    with contextlib.closing(near.engine.connect()) as one:
        near.desk.tell(one)
    near.agents.append(near.agent("web4"))
    near.closed_everywhere(*map(them, (1, 2, 10, 11, 20, 21)))
    assert near.engine("TYPE", HELD) == b"hash"
    assert near.engine("TYPE", ENDS) == b"zset"
    near.converged()


def test_spoiled_again_at_once_it_is_mended_a_minute_later(near: Near) -> None:
    near.start()
    works(near, 1)
    for number in (10, 20):
        near.engine("SET", STREAM, "x")
        near.agents[0].ban(them(number))
        near.clock.leap(MINUTE, near.engine)
        near.closed_everywhere(them(number))


@pytest.mark.parametrize(
    "spoil",
    [("SET", "x"), ("XADD", LAST, "m", "x"), ("XADD", "MAXLEN", "0", LAST, "m", "x")],
    ids=["text", "the end", "the end, unseen"],
)  # fmt: skip
def test_a_box_is_mended_by_whose_it_is(near: Near, spoil: tuple[str, ...]) -> None:
    """All claims go by mail here."""
    agents = near.start()
    for one in agents:
        one.member.claiming.circle = 0
    works(near, 1)
    for one in agents:
        box = mail.box(one.name)
        near.engine("UNLINK", box)
        assert not isinstance(near.engine(spoil[0], box, *spoil[1:]), Exception)
    near.clock.leap(MINUTE, near.engine)
    near.until("the boxes to be mended", lambda: not any(_lies(near, one) for one in agents))
    works(near, 10)


def _lies(near: Near, agent: Agent) -> bool:
    """Whether something of somebody else is in its box."""
    kind = near.engine("TYPE", mail.box(agent.name))
    if kind == b"stream":
        last, _said = stream.state(near.engine("XINFO", "STREAM", mail.box(agent.name)))
        return last.startswith(b"18446")
    return kind != b"none"


@pytest.mark.parametrize("keys", ["shared", "own", "least"])
def test_these_rights_suffice_to_mend(near: Near, keys: str) -> None:
    rights = ["resetkeys", *shipped_rights()]
    if keys == "own":
        rights = [_OWN_KEYS.format("web1") if one == "~{tg:*" else one for one in rights]
        rights = [word for one in rights for word in one.split()]
    elif keys == "least":
        rights = ["resetkeys", "~{tg:*", "-@all", *(f"+{one}" for one in mending.COMMANDS)]
    assert near.engine("ACL", "SETUSER", "tide", "on", "nopass", *rights) == b"OK"
    kept = [*mending._KEPT, (mail.box("web1"), b"stream")]
    with contextlib.closing(near.engine.connect()) as one:
        assert one.call([("AUTH", "tide", "any")], 30) == [b"OK"]
        assert one.call([mending.mend(*kept)], 30) == [0]
        near.engine("SET", mail.box("web1"), "x")
        assert one.call([mending.mend(*kept)], 30) == [4]
        assert near.engine("EXISTS", STREAM, HELD, ENDS, mail.box("web1")) == 0


def test_what_is_right_stays(near: Near) -> None:
    before = near.engine("HLEN", HELD)
    assert near.engine(*mending.mend(*mending._KEPT)) == 0
    assert near.engine("HLEN", HELD) == before != 0
    assert "keys and their types" in str(near.engine("FCALL", "tg1_mend", "1", STREAM))
