"""The client and a real server: Unix socket, TLS, users with few rights, a cluster's slots."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

import pytest
from tests.conftest import REPOSITORY
from tests.fleet.servers import Server, server

from tidegate.errors import FleetError
from tidegate.fleet.counting import functions
from tidegate.fleet.counting.functions import Form, Hit, Status, Sum, Terms
from tidegate.fleet.engine.connection import Address, Connection, Login, Refused, connect
from tidegate.model import MINUTE, Subject

TERMS = Terms(Form.WINDOW, b"just one", 1, MINUTE)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def engine_time(connection: Connection) -> int:
    (reply,) = connection.call([("TIME",)], 10)
    assert isinstance(reply, list)
    return int(reply[0]) * 1_000_000 + int(reply[1])


def count(
    connection: Connection, host: str, now: int, subject: str = "192.0.2.7", shards: int = 1
) -> object:
    found = Subject(subject)
    shard = functions.shard_of(found, shards)
    hit = Hit(now, functions.place_of(host, 1))
    command = functions.count_command(host, shard, (1, 1), 0, now, [Sum(TERMS, found, (hit,))])
    return connection.call([command], 10)[0]


def test_replies_come_in_their_order_without_waiting_in_between(shared_server: Server) -> None:
    connection = shared_server.connect()
    connection.send([("FLUSHALL",), ("SET", "a", b"\xff\0\r\n"), ("GET", "a")])
    connection.send([("NOSUCH",), ("INCR", "a"), ("LPUSH", "b", 1, 2)])
    groups: list[list[object]] = []
    while connection.owed:
        groups += connection.receive()
    assert groups[0] == [b"OK", b"OK", b"\xff\0\r\n"]
    unknown, wrong, pushed = groups[1]
    assert isinstance(unknown, Refused)
    assert (unknown.code, pushed) == ("ERR", 2)
    assert isinstance(wrong, Refused)
    connection.close()


def test_the_functions_are_missing_until_they_are_loaded(shared_server: Server) -> None:
    connection = shared_server.connect()
    now = engine_time(connection)
    connection.call([("FLUSHALL",), ("FUNCTION", "FLUSH")], 10)
    refused = count(connection, "web1", now)
    assert isinstance(refused, Refused)
    assert "Function not found" in str(refused)
    assert connection.call([functions.load_command()] * 2, 10) == [b"tidegate1"] * 2
    answer = functions.read_answer(count(connection, "web1", now))
    assert answer.status is Status.COUNTED
    assert len(answer.crossings) == 1
    assert 0 <= answer.now - now < MINUTE
    connection.close()


def test_by_tls_only_whom_our_authority_vouches_for(tmp_path: Path) -> None:
    port = free_port()
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    options = ("--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file",
               str(key), "--tls-ca-cert-file", str(certificate), "--bind", "127.0.0.1")  # fmt: skip
    with server(tmp_path, *options, "--tls-auth-clients", "yes"):
        where = Address(host="127.0.0.1", port=port, tls=True)
        ours = Login(cafile=str(certificate), certfile=str(certificate), keyfile=str(key))
        connection = connect(where, ours, 20)
        long = bytes(1 << 20)
        assert connection.call([("SET", "a", long), ("GET", "a")], 30) == [b"OK", long]
        connection.close()
        with pytest.raises(FleetError, match="certificate verify failed"):
            connect(where, Login(), 20)
        with pytest.raises(FleetError):  # without a certificate of ours
            connect(where, Login(cafile=str(certificate)), 20).call([("PING",)], 20)


@pytest.fixture
def rights(tmp_path: Path) -> Path:
    shipped = (REPOSITORY / "packaging/fleet/tidegate.acl").read_text()
    found = tmp_path / "users.acl"
    own = shipped.splitlines()[2].replace("user tidegate on", "user web1 on")
    own = own.replace("~{tg:*", "~{tg:*}h:web1 ~{tg:*}[pwdsa]*")
    found.write_text(shipped + own + "\n")
    return found


def test_the_shipped_users_can_do_their_work_and_nothing_else(tmp_path: Path, rights: Path) -> None:
    with server(tmp_path, "--aclfile", str(rights)) as made:
        admin = made.connect(Login("tidegate-admin", "CHANGE-THIS-TOO"))
        assert admin.call([functions.load_command()], 10) == [b"tidegate1"]
        agent = made.connect(Login("tidegate", "CHANGE-THIS"))
        now = engine_time(agent)
        answer = functions.read_answer(count(agent, "web2", now))
        (crossing,) = answer.crossings
        assert functions.read_due(agent.call([functions.due_command([0])], 10)[0])[1] == ()
        assert agent.call([functions.confirm_command(0, [crossing.token])], 10) == [1]
        for forbidden in (
            ("FUNCTION", "FLUSH"), functions.load_command(), ("FLUSHALL",), ("KEYS", "*"),
            ("GET", "other"), ("CONFIG", "GET", "*"), ("EVAL", "return 1", 0), ("DEL", "{tg:00}p"),
            ("ACL", "LIST"), ("SHUTDOWN",), ("REPLICAOF", "NO", "ONE"),
            ("PUBLISH", "a", "b"), ("FLUSHDB",), ("SELECT", "1"),
        ):  # fmt: skip
            (reply,) = agent.call([forbidden], 10)
            assert isinstance(reply, Refused), forbidden
            assert reply.code == "NOPERM", forbidden
        own = made.connect(Login("web1", "CHANGE-THIS"))
        assert functions.read_answer(count(own, "web1", now)).status is Status.COUNTED
        assert "permission" in str(count(own, "web2", now)).lower()  # in another's name
        with pytest.raises(FleetError, match="refuses user 'tidegate': WRONGPASS"):
            made.connect(Login("tidegate", "wrong"))
        (reply,) = made.connect().call([("PING",)], 10)
        assert isinstance(reply, Refused)
        assert reply.code == "NOAUTH"


def test_a_call_stays_in_one_slot_of_a_cluster(tmp_path: Path) -> None:
    with server(tmp_path, "--cluster-enabled", "yes") as made:
        connection = made.connect()
        assert connection.call([("CLUSTER", "ADDSLOTSRANGE", 0, 16383)], 10) == [b"OK"]
        while b"cluster_state:ok" not in connection.call([("CLUSTER", "INFO")], 10)[0]:  # type: ignore[operator]
            time.sleep(0.1)
        connection.call([functions.load_command()], 10)
        now = engine_time(connection)
        for last in range(8):
            reply = count(connection, f"web{last}", now, f"192.0.2.{last}", functions.SHARDS)
            (crossing,) = functions.read_answer(reply).crossings
            shard = functions.shard_of(crossing.subject, functions.SHARDS)
            found, confirmed = connection.call(
                [
                    functions.due_command([shard]),
                    functions.confirm_command(shard, [crossing.token]),
                ],
                10,
            )
            assert functions.read_due(found)[1] == ()
            assert confirmed == 1
        (across,) = connection.call([functions.due_command([1, 2])], 10)
        assert isinstance(across, Refused)
        assert across.code == "CROSSSLOT"
