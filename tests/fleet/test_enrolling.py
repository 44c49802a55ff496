"""Founding, enrolling and revoking by the commands themselves, over a real engine with the shipped
rights, by Unix socket and by TLS; what the engine does to it changes nothing."""

from __future__ import annotations

import json
import os
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import REPOSITORY
from tests.fleet import servers
from tests.fleet.engines import free_port
from tests.fleet.nodes import GUESSING, Node, run, settle
from tests.fleet.servers import Server, server

from tidegate.fleet.decisions import stream
from tidegate.fleet.engine.connection import MOST, Login, encode
from tidegate.fleet.engine.engine import Engine
from tidegate.fleet.engine.topology import Route
from tidegate.fleet.member import Member, Setting
from tidegate.fleet.rounds import Rounds
from tidegate.fleet.trust import keys
from tidegate.fleet.trust.members import May, Roster
from tidegate.fleet.trust.post import JOINS, WELCOME, join_request
from tidegate.model import Subject
from tidegate.policy.loader import read

pytest.importorskip("cryptography")
pytestmark = [
    pytest.mark.skipif(servers.MISSING, reason="no redis-server is installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="keys are root's"),
]
PATIENCE = 60
TOKEN = "tgf1-" + "a" * 90


class Host:
    """One host's folders and policy; commands are run as on that host."""

    def __init__(self, folder: Path, name: str, options: list[str]) -> None:
        self.name, self.options = name, options
        self.keys = folder / name / "keys"
        self.policy = folder / name / "tidegate.toml"
        self.policy.parent.mkdir(parents=True)
        self.policy.write_text(f'[paths]\nfleet = "{self.keys}"\n')

    def start(self, verb: str, *words: str, options: bool = True) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tidegate", "fleet", verb, *words]
        command += [*(self.options if options else []), "--config", str(self.policy)]
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip

    def run(self, verb: str, *words: str, code: int = 0, options: bool = True) -> tuple[str, str]:
        process = self.start(verb, *words, options=options)
        out, told = process.communicate(timeout=PATIENCE)
        assert process.returncode == code, told
        return out, told


def finish(process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    out, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, (out, told)
    return out, told


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Server]:
    rules = tmp_path / "engine"
    rules.mkdir()
    (rules / "users.acl").write_text((REPOSITORY / "packaging/fleet/tidegate.acl").read_text())
    with server(rules, "--aclfile", str(rules / "users.acl")) as made:
        yield made


@pytest.fixture
def secrets(tmp_path: Path) -> tuple[Path, Path]:
    found = tmp_path / "password", tmp_path / "admin"
    for path, word in zip(found, ("CHANGE-THIS", "CHANGE-THIS-TOO"), strict=True):
        path.write_text(word + "\n")
        path.chmod(0o600)
    return found


@pytest.fixture
def options(engine: Server, secrets: tuple[Path, Path]) -> list[str]:
    return ["--engine", f"unix:{engine.socket}", "--user", "tidegate", "--password-file",
            str(secrets[0])]  # fmt: skip


@pytest.fixture
def admin(secrets: tuple[Path, Path]) -> list[str]:
    return ["--admin-user", "tidegate-admin", "--admin-password-file", str(secrets[1])]


@pytest.fixture
def desk(tmp_path: Path, options: list[str], admin: list[str]) -> Host:
    made = Host(tmp_path, "web1", options)
    made.run("init", "--host", "web1", "--address", "198.51.100.1", *admin)
    return made


def papers(engine: Server, *, login: Login | None = None) -> list[bytes]:
    """What the snapshot holds, as anybody reads it who joins."""
    connection = engine.connect(login or Login("tidegate", "CHANGE-THIS"))
    (reply,) = connection.call([("HSCAN", stream.HELD, 0, "COUNT", 1000)], 10)
    connection.close()
    return stream.page(reply)[1]


def believed(folder: Path, held: list[bytes]) -> Roster:
    """Whom a host with this key folder believes, of what the engine holds."""
    identity = keys.load_identity(folder)
    roster = Roster(identity.fleet, identity.desk, keys.verify)
    for paper in held:
        roster.take(paper)
    return roster


def token_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"enroll (tgf1-\w+) ", line)
    assert found is not None, line
    return found[1]


def joined(desk: Host, host: Host, *words: str) -> tuple[str, str]:
    """Both sides at the same time, as people do it."""
    waiting = desk.start("enroll", host.name, *words)
    try:
        out, told = host.run("enroll", token_of(waiting), "--address", "198.51.100.2")
        assert f"{host.name}: has joined, from 198.51.100.2" in finish(waiting)[0]
    finally:
        waiting.kill()
        waiting.wait()
    return out, told


def test_a_fleet_is_founded_and_a_host_joins_it(
    tmp_path: Path, engine: Server, options: list[str], admin: list[str]
) -> None:
    desk, host = Host(tmp_path, "web1", options), Host(tmp_path, "web2", options)
    out, told = desk.run("init", "--host", "web1", "--address", "198.51.100.1", *admin)
    assert "web1 has founded fleet" in told
    spec = read([("printed", out)]).policy.fleet
    assert spec is not None
    assert (spec.engines, spec.user) == ((f"unix:{engine.socket}",), "tidegate")
    out, told = joined(desk, host)
    assert "web2 is a member now" in told
    assert read([("printed", out)]).policy.fleet == spec
    roster = believed(host.keys, papers(engine))
    found = {
        name: (one.certificate.may, one.certificate.addresses)
        for name, one in roster.members.items()
    }
    assert found == {
        "web1": (May(7), ("198.51.100.1",)),
        "web2": (May.CLAIM | May.DECIDE, ("198.51.100.2",)),
    }
    assert roster.members["web2"].certificate.key == keys.load(host.keys).public
    assert keys.next_epoch(host.keys) == 1
    assert not (host.keys / "desk.key").exists()
    _out, told = host.run("enroll", "web3", code=2)
    assert "not the desk of a fleet" in told


def test_one_word_at_the_desk_revokes_and_a_new_key_makes_good(
    tmp_path: Path, engine: Server, desk: Host, options: list[str]
) -> None:
    bad = Host(tmp_path, "web2", options)
    joined(desk, bad)
    _out, told = desk.run("revoke", "web22", code=2)
    assert "did you mean web2?" in told
    assert "the desk itself" in desk.run("revoke", "web1", code=2)[1]
    before = time.time()
    out, told = desk.run("revoke", "web2")
    assert out.startswith("web2: revoked; what it caused until ")
    assert "engine's password" in told
    held = papers(engine)
    assert len(held) == 2  # the desk's certificate and the list; web2's is gone
    roster = believed(desk.keys, held)
    assert set(roster.members) == {"web1"}
    assert before - 1 <= roster.revoked["web2"].time / 1e6 <= time.time() + 1
    assert "already; to join anew, move" in bad.run("enroll", TOKEN, code=2)[1]
    bad.keys.rename(tmp_path / "old")
    joined(desk, bad, "--no-people", "--may-publish")
    roster = believed(bad.keys, papers(engine))
    assert roster.members["web2"].certificate.may == May.CLAIM | May.PUBLISH
    assert "member already" in desk.run("enroll", "web2", code=2)[1]
    assert desk.run("enroll", "web2", "--same-key")[0] == "web2: may claim, decide\n"
    assert "web9: no member" in desk.run("enroll", "web9", "--same-key", code=2)[1]
    roster = believed(bad.keys, papers(engine))
    assert roster.members["web2"].certificate.may == May.CLAIM | May.DECIDE
    assert len(papers(engine)) == 3


def test_the_engine_that_lost_all_is_given_all_again(
    engine: Server, desk: Host, admin: list[str]
) -> None:
    held = papers(engine)
    connection = engine.connect(Login("tidegate-admin", "CHANGE-THIS-TOO"))
    connection.call([("DEL", stream.HELD, stream.ENDS, stream.STREAM)], 10)
    connection.call([("FUNCTION", "DELETE", "tidegate1")], 10)
    connection.close()
    assert papers(engine) == []
    _out, told = desk.run("init", *admin)
    assert "the engine lacked 1 of its papers" in told
    assert papers(engine) == held


def test_without_an_engine_a_revocation_is_kept_and_said_later(
    tmp_path: Path, engine: Server, desk: Host, options: list[str]
) -> None:
    joined(desk, Host(tmp_path, "web2", options))
    engine.kill()
    _out, told = desk.run("revoke", "web2", code=3)
    assert "revoked in the desk's papers" in told
    assert "run the same again" in told
    engine.start()
    desk.run("revoke", "web2")
    roster = believed(desk.keys, papers(engine))
    assert set(roster.members) == {"web1"}
    assert "web2" in roster.revoked


def test_tokens_for_many_are_used_by_whoever_waits_later(
    tmp_path: Path, desk: Host, options: list[str]
) -> None:
    out, _told = desk.run("enroll", "web2", "web3", "--no-wait", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["host"] for row in rows] == ["web2", "web3"]
    hosts = [Host(tmp_path, row["host"], options) for row in rows]
    asking = [
        host.start("enroll", row["token"], "--json") for host, row in zip(hosts, rows, strict=True)
    ]
    try:
        served = desk.start("enroll", "--json")
        answers = [json.loads(line) for line in finish(served)[0].splitlines()]
        assert sorted(row["host"] for row in answers if row["joined"]) == ["web2", "web3"]
        for process in asking:
            assert json.loads(finish(process)[0])["desk"] is False
    finally:
        for process in (*asking, served):
            process.kill()
            process.wait()
    assert "No token waits" in desk.run("enroll")[1]


def test_who_does_not_come_is_named_and_the_engine_may_be_away_meanwhile(
    tmp_path: Path, engine: Server, desk: Host, options: list[str]
) -> None:
    out, _told = desk.run("enroll", "web2", "web3", "--no-wait", "--json")
    tokens = {row["host"]: row["token"] for row in map(json.loads, out.splitlines())}
    path = desk.keys / "tokens"
    rows = json.loads(path.read_text())
    soon = time.time_ns() // 1000 + 20_000_000
    rows = {key: [host, soon if host == "web3" else until] for key, (host, until) in rows.items()}
    path.write_text(json.dumps(rows))
    before = looked(engine)
    waiting = desk.start("enroll")
    try:
        deadline = time.monotonic() + PATIENCE
        while looked(engine) < before + 6:  # it asks for requests again and again
            assert time.monotonic() < deadline
            time.sleep(0.1)
        engine.kill()
        engine.start()
        host = Host(tmp_path, "web2", options)
        host.run("enroll", tokens["web2"])
        out, told = finish(waiting, code=1)
        assert out.startswith("web2: has joined")
        assert "web3: has not come" in told
    finally:
        waiting.kill()
        waiting.wait()
    # The engine forgot all; the desk has said its papers again by itself with the next command.
    desk.run("enroll", "web3", "--no-wait")
    assert set(believed(host.keys, papers(engine)).members) == {"web1", "web2"}


def looked(engine: Server) -> int:
    """How often somebody has asked how long something in a hash is."""
    connection = engine.connect(Login("tidegate", "CHANGE-THIS"))
    (reply,) = connection.call([("INFO", "commandstats")], 10)
    connection.close()
    found = re.search(rb"cmdstat_hstrlen:calls=(\d+)", reply if isinstance(reply, bytes) else b"")
    return int(found[1]) if found else 0


def test_without_the_extra_one_line_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "hiredis.py").write_text("raise ImportError('none here')")
    host = Host(tmp_path, "web1", ["--engine", "unix:/nowhere"])
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    for verb in ("init", "revoke", "enroll"):
        done = subprocess.run(
            [sys.executable, "-m", "tidegate", "fleet", verb, *(["web2"] if verb != "init" else []),
             "--engine", "unix:/nowhere", "--config", str(host.policy)],
            capture_output=True, text=True, env=environment, check=False,
        )  # fmt: skip
        assert done.returncode == 2, done.stderr
        assert "pip install 'tidegate[fleet]'" in done.stderr
        assert "Traceback" not in done.stderr


def test_whoever_writes_into_the_engine_gets_nobody_in_and_keeps_nobody_out(
    tmp_path: Path, engine: Server, desk: Host, options: list[str]
) -> None:
    """A thief in the engine: requests of its own, welcomes of its own, rubbish of any size."""
    thief = engine.connect(Login("tidegate", "CHANGE-THIS"))
    host = Host(tmp_path, "web2", options)
    waiting = desk.start("enroll", "web2")
    try:
        token = keys.read_token(token_of(waiting))
        own = keys.make(tmp_path / "thief")
        stolen = token._replace(secret=bytes(16))
        for data in (b"?", bytes(5000), join_request(stolen, own, (), 1)):
            thief.call([("HSET", JOINS, "web2", data), ("HSET", WELCOME, "web2", data)], 10)
        assert waiting.stderr is not None
        assert select.select([waiting.stderr], [], [], PATIENCE)[0]
        told = waiting.stderr.readline()
        assert "asked in its name in vain: it does not hold the token" in told
        huge = bytes(MOST + (1 << 20))  # more than anybody may be made to read at once
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(str(engine.socket))
            raw.sendall(
                encode([("AUTH", "tidegate", "CHANGE-THIS"), ("HSET", WELCOME, "web2", huge)])
            )
            while b":0" not in raw.recv(100):  # it was there already
                pass
        host.run("enroll", keys.token_text(token))
        finish(waiting)
        roster = believed(host.keys, papers(engine))
        assert roster.members["web2"].certificate.key == keys.load(host.keys).public
    finally:
        waiting.kill()
        waiting.wait()
        thief.close()


def test_by_tls(tmp_path: Path, secrets: tuple[Path, Path], admin: list[str]) -> None:
    port, folder = free_port(), tmp_path / "engine"
    folder.mkdir()
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    (folder / "users.acl").write_text((REPOSITORY / "packaging/fleet/tidegate.acl").read_text())
    said = ("--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file",
            str(key), "--tls-auth-clients", "no", "--bind", "127.0.0.1",
            "--aclfile", str(folder / "users.acl"))  # fmt: skip
    with server(folder, *said):
        plain = ["--engine", f"rediss://localhost:{port}", "--user", "tidegate",
                 "--password-file", str(secrets[0])]  # fmt: skip
        desk = Host(tmp_path, "web1", [*plain, "--ca", str(certificate)])
        assert "certificate verify failed" in Host(tmp_path, "x", plain).run("init", code=3)[1]
        out, told = desk.run("init", *admin)
        assert "whoever reaches the engine" not in told
        spec = read([("printed", out)]).policy.fleet
        assert spec is not None
        assert spec.ca == str(certificate)
        joined(desk, Host(tmp_path, "web2", desk.options))


def test_what_is_wrong_is_said_before_anything_is_made(
    tmp_path: Path, engine: Server, secrets: tuple[Path, Path], options: list[str]
) -> None:
    host = Host(tmp_path, "web1", options)
    _out, told = host.run("init", code=3)
    assert "--admin-user tidegate-admin" in told
    assert not host.keys.exists() or not (host.keys / "fleet").exists()
    host.options = ["--engine", f"unix:{engine.socket}"]
    _out, told = host.run("init", code=3)
    assert "NOAUTH" in told
    host.options = [*options[:4], "--password-file", str(secrets[1])]
    _out, told = host.run("init", code=3)
    assert "WRONGPASS" in told
    host.options = ["--engine", f"unix:{tmp_path}/nobody"]
    assert "cannot be reached" in host.run("init", code=3)[1]
    host.options = ["--engine", "http://db1"]
    assert "fleet.engine" in host.run("init", code=2)[1]
    assert "no engine" in host.run("init", code=2, options=False)[1]
    host.options = options
    assert "not the desk" in host.run("revoke", "web2", code=2)[1]
    assert "no token" in host.run("enroll", TOKEN, code=2)[1]
    assert "expected one TOKEN" in host.run("enroll", "web2", TOKEN, code=2)[1]
    assert not (host.keys / "fleet").exists()


class Real(Node):
    """A node with the keys that the commands made, logged in with the shipped rights."""

    def __init__(self, host: Host, engine: Server) -> None:
        identity = keys.load_identity(host.keys)
        epoch = keys.next_epoch(host.keys)
        setting = Setting(identity, keys.load(host.keys).sign, epoch, keys.verify)
        self.name, self.ahead, self.line = identity.host, 0, 0
        self.member = Member(setting, (GUESSING,))
        login = Login("tidegate", "CHANGE-THIS")
        self.engine = Engine(Route("single", (engine.address,)), login, 5.0)
        self.rounds = Rounds(self.member, self.engine, self.now, period=0.02)
        self.convictions, self.closings, self.openings = [], [], []
        self.journal, self.changes, self.told = [], [], {}


def test_revoking_takes_back_on_all_hosts_what_that_host_caused_and_nothing_else(
    tmp_path: Path, engine: Server, desk: Host, options: list[str]
) -> None:
    """web3 closes for one by its own word, and helps to convict another; others saw a third."""
    hosts = [desk, *(Host(tmp_path, name, options) for name in ("web2", "web3", "late"))]
    for host in hosts[1:3]:
        joined(desk, host)
    nodes = [Real(host, engine) for host in hosts[:3]]
    one, two, bad = nodes
    alone, shared, safe = (Subject(f"203.0.113.{n}") for n in (1, 2, 3))
    try:
        run(nodes, lambda: all(node.health.state == "joined" for node in nodes), "joined")
        bad.decide(subject=alone)
        for node, number in ((one, 1), (two, 1), (bad, 2)):
            node.hits(number, shared)
        one.hits(2, safe)
        two.hits(2, safe)
        run(nodes, lambda: all(len(n.convictions) == 2 for n in nodes), "convicted")
        run(nodes, lambda: one.closings and two.closings, "closed")
        for node in nodes:
            node.settle()
        settle(nodes)
        revoking = desk.start("revoke", "web3")
        try:
            run((one, two), lambda: revoking.poll() is not None, "revoked")
            finish(revoking)
        finally:
            revoking.kill()
            revoking.wait()
        for node in (one, two):
            run((one, two), lambda node=node: len(subjects(node)) == 2, "taken back")
            settle((one, two))
            assert subjects(node) == {alone, shared}
            assert {opening.why for opening in node.openings} == {"revoked"}
        heard = len(one.closings)
        bad.decide(subject=Subject("203.0.113.4"))
        joined(desk, hosts[3])
        late = Real(hosts[3], engine)
        nodes.append(late)
        run(nodes, lambda: late.health.state == "joined", "joined late")
        settle(nodes)
        still = {closing.subject for closing in late.closings} - subjects(late)
        assert still == {safe}
        assert len(one.closings) == heard
        assert set(late.member.trust.roster.members) == {"web1", "web2", "late"}
        # Once it is clean it gets another key, and is believed from then on.
        hosts[2].keys.rename(tmp_path / "web3-before")
        joined(desk, hosts[2])
        nodes.append(Real(hosts[2], engine))
        run(nodes, lambda: nodes[-1].health.state == "joined", "joined anew")
    finally:
        for node in nodes:
            node.rounds.close()


def subjects(node: Node) -> set[Subject]:
    return {opening.subject for opening in node.openings}
