"""The engine as docs/fleet.md sets it up, command for command, and a fleet of two on it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.conftest import REPOSITORY
from tests.docs import examples
from tests.fleet import servers
from tests.fleet.engines import free_port
from tests.fleet.servers import server
from tests.fleet.test_enrolling import Host, joined

from tidegate.errors import FleetError
from tidegate.fleet.engine.connection import Address, Connection, Login, Refused, connect
from tidegate.fleet.engine.engine import Engine
from tidegate.fleet.engine.topology import Route

pytest.importorskip("cryptography")
pytestmark = [
    pytest.mark.skipif(servers.MISSING, reason="no redis-server is installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="keys are root's"),
]
PAGE = REPOSITORY / "docs" / "fleet.md"


def test_the_page_leads_to_a_fleet(tmp_path: Path) -> None:
    port = free_port()
    there = {"/etc/redis": str(tmp_path), "db1.example.org": "localhost", "6380": str(port)}

    def here(text: str) -> str:
        for old, new in there.items():
            text = text.replace(old, new)
        return text

    blocks = list(examples.blocks(PAGE))
    (shell,) = [one for one in blocks if "openssl req" in one.text]
    tool = tmp_path / "bin" / "tidegate"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\nexec {sys.executable} -m tidegate "$@"\n')
    tool.chmod(0o755)
    path = {**os.environ, "PATH": f"{tool.parent}:{os.environ['PATH']}"}
    added = "tidegate fleet acl web2 >> /etc/redis/tidegate.acl"
    for line in here(shell.text + added).splitlines():
        if not line.startswith(("systemctl", "chown")):
            subprocess.run(["bash", "-euc", line], check=True, env=path, capture_output=True)
    (settings,) = [one for one in blocks if one.file == "tidegate-engine.conf"]
    (tmp_path / "tidegate.conf").write_text(here(settings.text).replace("* -::*", "127.0.0.1"))
    users = (tmp_path / "tidegate.acl").read_text()
    words = [line.split(">")[1].split()[0] for line in users.splitlines() if ">" in line]
    assert len(set(words)) == 3
    assert not any(word.startswith("CHANGE") for word in words)
    for name, word in zip(("admin", "hosts", "own"), words, strict=True):
        (tmp_path / name).write_text(word)
        (tmp_path / name).chmod(0o600)
    where = Address(host="localhost", port=port, tls=True)
    with server(tmp_path, str(tmp_path / "tidegate.conf"), plain=True):
        wait(where, Login("tidegate", words[1], str(tmp_path / "fleet.pem")))
        reach = ["--engine", f"rediss://localhost:{port}", "--ca", str(tmp_path / "fleet.pem")]
        hosts = [*reach, "--user", "tidegate", "--password-file", str(tmp_path / "hosts")]
        desk = Host(tmp_path, "web1", hosts)
        admin = ["--admin-user", "tidegate-admin", "--admin-password-file", str(tmp_path / "admin")]
        _out, told = desk.run("init", "--host", "web1", *admin)
        assert "NOTE" not in told
        mine = [*reach, "--user", "web2", "--password-file", str(tmp_path / "own")]
        joined(desk, Host(tmp_path, "web2", mine))
        _out, told = desk.run("init", "--new-key", *admin)
        assert "It has a new key" in told
        login = Login("web2", words[2], str(tmp_path / "fleet.pem"))
        connection = connect(where, login, 20)
        replies = connection.call(
            [("SET", "{tg:00}h:web1", "x"), ("SET", "{tg:00}h:web2", "x")], 20
        )
        assert isinstance(replies[0], Refused)
        assert replies[1] == b"OK"
        for key in ("{tg:00}h:web1", "{tg:00}h:web22", "other"):
            (refused,) = connection.call([("SET", key, "x")], 20)
            assert isinstance(refused, Refused)
        connection.close()


def test_hosts_may_do_all_that_the_code_asks_of_the_engine() -> None:
    """Every command that stands in the code; also for members that have a user of their own."""
    text = (REPOSITORY / "packaging/fleet/tidegate.acl").read_text()
    (shared,) = [line for line in text.splitlines() if line.startswith("user tidegate on")]
    may = {word[1:].partition("|")[0] for word in shared.split() if word[0] == "+"}
    source = "".join(one.read_text() for one in (REPOSITORY / "src/tidegate/fleet").rglob("*.py"))
    asked = set(re.findall(r"""\(b?"([A-Z][A-Z_]+)"[,)]""", source))
    assert {"FCALL", "XADD", "HGET", "HSET"} <= asked
    others = {"auth", "sentinel", "function"}  # before login, of sentinels, by tidegate-admin
    others |= {"moved", "noperm"}  # how refusals begin
    assert {one.lower() for one in asked} - may - others == set()


def wait(where: Address, login: Login) -> None:
    """Until it answers."""
    deadline = time.monotonic() + 60
    while True:
        engine = Engine(Route("single", (where,)), login, 5)
        try:
            assert engine.call("a", [("PING",)]) == [b"PONG"]
        except FleetError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return
        finally:
            engine.close()


def test_on_a_cluster_every_server_gets_the_functions(tmp_path: Path) -> None:
    """With the shipped rights, which have to let the one who loads find all of them."""
    shipped = (REPOSITORY / "packaging/fleet/tidegate.acl").read_text()
    rights = tmp_path / "users.acl"
    rights.write_text(f"user root on >root ~* &* +@all\n{shipped}")
    for name, word in (("admin", "CHANGE-THIS-TOO"), ("hosts", "CHANGE-THIS")):
        (tmp_path / name).write_text(word)
        (tmp_path / name).chmod(0o600)
    ports = [free_port(), free_port()]
    with contextlib.ExitStack() as stack:
        root = []
        for port in ports:
            place = tmp_path / str(port)
            place.mkdir()
            options = ("--bind", "127.0.0.1", "--port", str(port), "--cluster-enabled", "yes",
                       "--cluster-port", str(free_port()), "--aclfile", str(rights))  # fmt: skip
            made = stack.enter_context(server(place, *options))
            root.append(
                stack.enter_context(contextlib.closing(made.connect(Login("root", "root"))))
            )
        for one, slots in zip(root, ((0, 8191), (8192, 16383)), strict=True):
            one.call([("CLUSTER", "ADDSLOTSRANGE", *slots)], 20)
        (told,) = root[1].call([("CONFIG", "GET", "cluster-port")], 20)
        assert isinstance(told, list)
        root[0].call([("CLUSTER", "MEET", "127.0.0.1", ports[1], int(told[1]))], 20)
        whole(root)
        reach = [word for port in ports for word in ("--engine", f"redis://127.0.0.1:{port}")]
        reach += ["--kind", "cluster", "--user", "tidegate", "--password-file"]
        desk = Host(tmp_path, "web1", [*reach, str(tmp_path / "hosts")])
        admin = ["--admin-user", "tidegate-admin", "--admin-password-file", str(tmp_path / "admin")]
        out, _told = desk.run("init", "--host", "web1", "--json", *admin)
        assert json.loads(out)["servers"] == 2
        for one in root:
            (libraries,) = one.call([("FUNCTION", "LIST")], 20)
            assert b"tidegate1" in str(libraries).encode()
        joined(desk, Host(tmp_path, "web2", desk.options))
        assert "web2: revoked" in desk.run("revoke", "web2")[0]


def whole(links: Sequence[Connection]) -> None:
    """Until the cluster is."""
    deadline = time.monotonic() + 60
    while not all("cluster_state:ok" in str(one.call([("CLUSTER", "INFO")], 20)) for one in links):
        assert time.monotonic() < deadline
        time.sleep(0.1)
