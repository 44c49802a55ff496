"""nginx with its access and error log: probing and guessed passwords close the web, reading does not."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC
from functools import partial

import pytest
from tests.daemons.guard import Guard
from tests.daemons.machine import USER, Machine
from tests.daemons.web import BROWSED, FADING, PROBES, WEB, Site, browse, curl, guess, site
from tests.kernel.namespaces import ATTACKERS, ATTACKERS6, HOST6, World

from tidegate.detector.engine import Engine
from tidegate.detector.pack import load_packs
from tidegate.model import Block

pytestmark = pytest.mark.daemons

EVE, MALLORY, ANNA, _BORIS = ATTACKERS
SIX, SIX_NET = ATTACKERS6[2], "2001:db8:2::/64"
CONFIG = """
user www-data;
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/log/error.log;
events {{ }}
http {{
    access_log {folder}/log/access.log;
    client_body_temp_path {folder}/temporary;
    server {{
        listen 80;
        listen [::]:80;
        root {folder}/www;
        location /private/ {{
            auth_basic "members";
            auth_basic_user_file {folder}/users;
        }}
    }}
}}
"""


def events(data: bytes) -> list[tuple[str, str]]:
    """What the shipped packs see in a log."""
    engine = Engine(load_packs(), zone=UTC)
    arrival = time.time_ns() // 1000
    found = engine.detect(Block("error log", data, 0, arrival, 1)).events
    return [(event.kind.name, str(event.subject)) for event in found]


@pytest.fixture
def nginx(machine: Machine) -> Site:
    """A site that nginx serves."""
    made = site(machine)
    config = machine.folder / "nginx.conf"
    config.write_text(CONFIG.format(folder=machine.folder))
    machine.serve("/usr/sbin/nginx", "-e", made.error, "-c", config, port=80)
    return made


def test_probing_and_guessed_passwords_close_the_web(
    nginx: Site, world: World, guarded: Callable[..., Guard]
) -> None:
    guard = guarded(nginx.logs, FADING)
    assert browse(world, ANNA) == BROWSED
    guard.attack(EVE, (partial(curl, world, EVE, path) for path in PROBES))
    guard.wait_ban(EVE, WEB)
    lines = guard.shown(EVE, "web-probing")
    assert any(line.startswith(f"{EVE} - - [") and "GET /.env HTTP/1.1" in line for line in lines)
    # The error log tells of the same requests; the rule counts each once, the detectors see both.
    error = nginx.error.read_text()
    assert f'/www/.env" failed (2: No such file or directory), client: {EVE}, ' in error
    seen = events(error.encode())
    assert seen.count(("nginx.probe", EVE)) >= 5
    guard.check_packets(EVE, 80, ANNA)
    guard.attack(SIX_NET, (partial(curl, world, SIX, path) for path in PROBES))
    guard.wait_ban(SIX_NET, WEB)
    guard.check_packets(SIX, 80, ANNA, host=HOST6)
    guess(world, MALLORY, (USER, "x y", USER, "admin", USER))
    guard.wait_ban(MALLORY, WEB)
    lines = guard.shown(MALLORY, "login-guessing.nginx")
    assert (
        sum(f' user "{USER}": password mismatch, client: {MALLORY}, ' in line for line in lines)
        == 3
    )
    assert sum(f'/users", client: {MALLORY}, ' in line for line in lines) == 2
    guard.check_packets(MALLORY, 80, ANNA)
    assert browse(world, ANNA) == BROWSED
    guard.wait_end(MALLORY, 80)
    assert {row["subject"] for row in guard.history()} == {EVE, MALLORY, SIX_NET}
