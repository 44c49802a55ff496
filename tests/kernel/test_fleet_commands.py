"""A fleet as people make one: commands alone, the shipped rights, whole daemons, a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.conftest import REPOSITORY
from tests.fleet import servers
from tests.kernel.company import RULES, attempts, banned, joined
from tests.kernel.daemon import PATIENCE, TIDEGATE, Daemon, until
from tests.kernel.namespaces import Namespace

pytestmark = [pytest.mark.kernel, pytest.mark.daemons]

A, B = "192.0.2.7", "192.0.2.8"


@pytest.fixture
def hosts(public_folder: Path) -> Iterator[tuple[list[Daemon], list[str]]]:
    """Three hosts that know nothing of each other, and how each reaches the engine."""
    with ExitStack() as stack:
        place = public_folder / "engine"
        place.mkdir()
        rights = place / "users.acl"
        rights.write_text((REPOSITORY / "packaging/fleet/tidegate.acl").read_text())
        options = ("--unixsocketperm", "777", "--aclfile", str(rights))
        server = stack.enter_context(servers.server(place, *options))
        for name, word in (("hosts", "CHANGE-THIS"), ("admin", "CHANGE-THIS-TOO")):
            (public_folder / name).write_text(word)
            (public_folder / name).chmod(0o600)
        made = []
        for name in ("web1", "web2", "web3"):
            space = Namespace(name)
            stack.callback(space.close)
            folder = public_folder / name
            folder.mkdir()
            daemon = Daemon(folder, space, RULES.format(count="fleet"))
            stack.callback(daemon.close)
            made.append(daemon)
        yield made, ["--engine", f"unix:{server.socket}", "--user", "tidegate",
                     "--password-file", str(public_folder / "hosts")]  # fmt: skip


def fleet(host: Daemon, verb: str, *words: str) -> subprocess.CompletedProcess[str]:
    return host.verb("fleet", verb, *words, "--config", str(host.policy))


def adopt(host: Daemon, section: str) -> None:
    """Put what was printed into the policy, and start."""
    host.write_policy(RULES.format(count="fleet") + section)
    host.start()


def on_terminal(host: Daemon, *words: str) -> list[str]:
    """What a person sees on a terminal of 100 columns."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"COLUMNS": "100", "TERM": "dumb", "TIDEGATE_SOCKET": host.socket}
    process = host.popen([*TIDEGATE, *words], stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    found = b""
    while select.select([ours], [], [], PATIENCE)[0]:
        try:
            data = os.read(ours, 1 << 16)
        except OSError:
            break
        if not data:
            break
        found += data
    os.close(ours)
    process.wait(PATIENCE)
    return found.decode().splitlines()


def test_a_fleet_is_made_watched_and_rid_of_a_host_by_commands(
    hosts: tuple[list[Daemon], list[str]],
) -> None:
    (desk, other, bad), reach = hosts
    folder = desk.folder.parent
    done = fleet(
        desk, "init", "--host", "web1", *reach, "--admin-user", "tidegate-admin",
        "--admin-password-file", str(folder / "admin"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    adopt(desk, done.stdout)
    # From here on the policy says where the engine is.
    rows = fleet(desk, "enroll", "web2", "web3", "--no-wait", "--json").stdout.splitlines()
    tokens = {row["host"]: row["token"] for row in map(json.loads, rows)}
    waiting = desk.popen(
        [*TIDEGATE, "fleet", "enroll", "--config", str(desk.policy)], stdout=subprocess.PIPE
    )
    try:
        for host in (other, bad):
            done = fleet(host, "enroll", tokens[host.folder.name], *reach)
            assert done.returncode == 0, done.stderr
            adopt(host, done.stdout)
        assert waiting.wait(PATIENCE) == 0
    finally:
        waiting.kill()
        waiting.communicate()
    joined(desk, other, bad, members=3)
    until("all have reported", lambda: fleet_status(other).returncode == 0)
    titles, *rows = [
        line.split("\t") for line in fleet_status(other).stdout.splitlines() if "\t" in line
    ]
    assert titles[:4] == ["HOST", "SEEN", "VERSION", "POLICY"]
    assert [row[0] for row in rows] == ["web1", "web2", "web3"]
    lines = on_terminal(other, "fleet", "status")
    assert max(map(len, lines)) <= 100
    assert re.search(r"^hosts +3: 3 well$", "\n".join(lines), re.MULTILINE), lines
    assert [line.split()[0] for line in lines[-3:]] == ["web1", "web2", "web3"]
    attempts(bad, A, 4)
    attempts(other, B, 4)
    until("all close", lambda: banned(desk, other, bad) == [{A, B}] * 3)
    done = fleet(desk, "revoke", "web3")
    assert done.returncode == 0, done.stderr
    until("the others open", lambda: banned(desk, other) == [{B}] * 2)
    hosts_left = json.loads(fleet_status(desk, "--json").stdout)["hosts"]
    assert {one["host"] for one in hosts_left} == {"web1", "web2"}
    until("it is alone", lambda: bad.ask("/fleet")["fleet"]["state"] == "alone")
    done = fleet_status(bad)
    assert done.returncode == 1
    assert "alone" in done.stdout.splitlines()[0]


def fleet_status(host: Daemon, *words: str) -> subprocess.CompletedProcess[str]:
    return host.verb("fleet", "status", *words)


def test_a_host_of_no_fleet_says_so(hosts: tuple[list[Daemon], list[str]]) -> None:
    (alone, *_), _reach = hosts
    alone.start()
    done = fleet_status(alone)
    assert done.returncode == 2
    assert "its policy has no [fleet]" in done.stderr
