"""What is published comes to every member over a real engine, also one that forgot or lies."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fleet import servers
from tests.fleet.nodes import (
    Node,
    ask,
    certificate,
    enrol,
    fleet,
    now,
    prepare,
    publish,
    run,
    settle,
)
from tests.fleet.nodes import revocation as revoked
from tests.fleet.servers import Server, server
from tests.unit.fleet.press import files, judge, shelf
from tests.unit.fleet.village import FLEET, Host

from tidegate.fleet.decisions import stream
from tidegate.fleet.engine.connection import Login
from tidegate.fleet.journal import carrier, journal
from tidegate.fleet.journal.journal import Entry
from tidegate.fleet.trust.members import May

pytestmark = pytest.mark.skipif(servers.MISSING, reason="no redis-server is installed")


def say(
    made: Server, number: int, text: bytes = b"# 1", name: str = "web1", **more: object
) -> bytes:
    """What `fleet publish` does on the host of this name; the entry's id."""
    content = journal.pack(files(text))
    entry = Entry(number, journal.digest(content), **more)
    sealed = journal.publish(entry, name, FLEET, now(), Host(name).seal.sign)
    for command in (*carrier.hand_in(entry, content, sealed), stream.tell(sealed)):
        assert not isinstance(ask(made, *command), Exception)
    return stream.identity(sealed)


def ids(node: Node) -> list[bytes]:
    return [judge(one).id for one in node.journal]


def test_what_one_publishes_comes_to_all_at_once_and_to_who_joins_later(
    shared_server: Server,
) -> None:
    with fleet(shared_server, "web1", "web2") as nodes:
        settle(nodes)
        first = say(shared_server, 1)
        run(nodes, lambda: all(ids(node) == [first] for node in nodes), "both hear", seconds=8)
        second = say(shared_server, 2, b"# 2", canaries=("web2",), trial=60)
        run(nodes, lambda: all(ids(node) == [first, second] for node in nodes), "both hear")
        publish(shared_server, certificate("web3", 9))
        late = Node("web3", shared_server.address)
        try:
            run([late], lambda: sorted(ids(late)) == sorted([first, second]), "the late one hears")
        finally:
            late.rounds.close()


def test_an_engine_that_forgot_it_is_given_it_again(shared_server: Server) -> None:
    with fleet(shared_server, "web1", "web2") as nodes:
        first = say(shared_server, 1)
        run(nodes, lambda: all(ids(node) == [first] for node in nodes), "both hear")
        prepare(shared_server)
        enrol(shared_server, "web1", "web2", "web3")
        # It is looked for every ten seconds.
        run(nodes, lambda: ask(shared_server, "EXISTS", carrier.NEWEST) == 1, "put back")
        late = Node("web3", shared_server.address)
        try:
            run([*nodes, late], lambda: ids(late) == [first], "the late one hears")
        finally:
            late.rounds.close()


def test_who_may_publish_no_more_is_believed_by_no_shelf_with_the_certificate_before(
    shared_server: Server, tmp_path: Path
) -> None:
    with fleet(shared_server, "web1", "web2") as nodes:
        first = say(shared_server, 1)
        run(nodes, lambda: all(ids(node) == [first] for node in nodes), "both hear")
        (old,) = nodes[1].journal
        kept = shelf(tmp_path)
        assert (kept.put(old), kept.use(first.hex())) == ("", "")
        newest = certificate("web1", 9, May.CLAIM | May.DECIDE)
        publish(shared_server, newest)
        run(nodes, lambda: newest in nodes[1].journal, "the certificate is brought")
        assert kept.revoke(newest) == ""
        assert "not allowed" in kept.put(old)
        assert shelf(tmp_path).current()[0] is None  # as each process that loads it sees it


def test_what_a_member_says_who_may_not_and_what_the_engine_makes_up_is_heard_by_nobody(
    shared_server: Server,
) -> None:
    with fleet(shared_server, "web1", "web2") as nodes:
        publish(shared_server, certificate("web2", 9, May.CLAIM | May.DECIDE))
        settle(nodes)
        say(shared_server, 5, name="web2")
        say(shared_server, 6, name="stranger")
        right = say(shared_server, 4)
        key = carrier.content_key(journal.digest(journal.pack(files(b"# 1"))))
        ask(shared_server, "SET", carrier.NEWEST, b"\0" * 300)
        run(nodes, lambda: all(ids(node) == [right] for node in nodes), "both hear")
        assert ask(shared_server, "SET", key, b"another content") == b"OK"
        publish(shared_server, certificate("web3", 10))
        late = Node("web3", shared_server.address)
        try:
            settle([late], 20)
            assert ids(late) == []
        finally:
            late.rounds.close()


def test_what_is_too_large_or_no_value_at_all_costs_nobody_its_connection(
    shared_server: Server,
) -> None:
    with fleet(shared_server, "web1", "web2") as nodes:
        right = say(shared_server, 4)
        run(nodes, lambda: all(ids(node) == [right] for node in nodes), "both hear")
        key = carrier.content_key(journal.digest(journal.pack(files(b"# 1"))))
        for one in (carrier.NEWEST, key):
            assert ask(shared_server, "SETRANGE", one, 32 << 20, b"x") > 32 << 20
        ask(shared_server, "DEL", carrier.STABLE)
        assert ask(shared_server, "LPUSH", carrier.STABLE, b"x") == 1
        publish(shared_server, certificate("web3", 10))
        late = Node("web3", shared_server.address)
        try:
            # Whose turn it is writes all of it again; the late one has lost no connection over it.
            run(
                [*nodes, late],
                lambda: ask(shared_server, "STRLEN", carrier.NEWEST) < 1000,
                "healed",
            )
            assert late.health.state == "joined"
            assert ask(shared_server, "TYPE", carrier.STABLE) == b"string"
        finally:
            late.rounds.close()


def test_that_a_publisher_is_revoked_is_handed_on(shared_server: Server) -> None:
    with fleet(shared_server, "web1", "web2") as nodes:
        first = say(shared_server, 1)
        run(nodes, lambda: all(ids(node) == [first] for node in nodes), "both hear")
        nodes[1].journal.clear()
        gone = revoked(2000, "web1")
        publish(shared_server, gone)
        run(nodes, lambda: nodes[1].journal == [gone], "the list comes")


def test_a_user_of_one_host_alone_may_do_it(tmp_path: Path) -> None:
    users = subprocess.run(
        [sys.executable, "-m", "tidegate", "fleet", "acl", "web1"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    rights = tmp_path / "users.acl"
    rights.write_text(f"user default off\n{users}")
    password = users.split(" >")[1].split()[0]
    with server(tmp_path, "--aclfile", str(rights)) as made:
        one = made.connect(Login("web1", password))
        with contextlib.closing(one):
            content = journal.pack(files())
            entry = Entry(1, journal.digest(content))
            sealed = journal.publish(entry, "web1", FLEET, now(), Host("web1").seal.sign)
            commands = [
                *carrier.hand_in(entry, content, sealed), stream.tell(sealed),
                (b"GET", carrier.NEWEST), (b"GET", carrier.STABLE),
                (b"GET", carrier.content_key(entry.digest)),
            ]  # fmt: skip
            replies = one.call(commands, 10)
    assert replies[-3:] == [sealed, sealed, content]
