"""Probes of Debian's dovecot and nginx: they see who is well, and nobody takes them for abuse."""

from __future__ import annotations

import time
from datetime import UTC
from pathlib import Path

import pytest
from tests.daemons.machine import Machine
from tests.daemons.test_dovecot import CONFIG as DOVECOT
from tests.kernel.namespaces import HOST, HOST6, World

from tidegate.detector.engine import Engine
from tidegate.detector.pack import load_packs
from tidegate.model import Block
from tidegate.source.readings.probes import latency, up

pytestmark = pytest.mark.daemons

PATIENCE = 20.0
NGINX = """
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
        location / {{ return 404; }}
        location /well {{ return 200; }}
        location /busy {{ return 503; }}
    }}
}}
"""


def abuse(log: Path) -> list[str]:
    """What the shipped packs count as abuse in a log."""
    data = log.read_bytes()
    engine = Engine(load_packs(), zone=UTC)
    found = engine.detect(Block("log", data, 0, time.time_ns() // 1000, 1)).events
    return [one.kind.name for one in found if one.kind.klass == "abuse" and one.kind.weight]


def test_dovecot(world: World, machine: Machine) -> None:
    log = machine.open_log("mail.log")
    config = machine.folder / "dovecot.conf"
    config.write_text(DOVECOT.format(folder=machine.folder))
    machine.serve("/usr/sbin/dovecot", "-F", "-c", config, port=143)
    with world.attacker.inside():
        for host in (HOST, f"[{HOST6}]"):
            for scheme in ("imap", "pop3"):
                assert up(f"{scheme}://{host}", PATIENCE) == 1.0
                assert 0 < latency(f"{scheme}://{host}", PATIENCE) < PATIENCE
        # The wrong door.
        assert up(f"smtp://{HOST}:143", PATIENCE) == 0.0
        assert up(f"imap://{HOST}:110", PATIENCE) == 0.0
        assert up(f"imap://{HOST}:144", PATIENCE) == 0.0
    assert abuse(log) == []


def test_nginx(world: World, machine: Machine) -> None:
    log = machine.open_log("access.log")
    machine.open_log("error.log")
    (machine.folder / "temporary").mkdir()
    config = machine.folder / "nginx.conf"
    config.write_text(NGINX.format(folder=machine.folder))
    machine.serve("/usr/sbin/nginx", "-c", config, port=80)
    with world.attacker.inside():
        for host in (HOST, f"[{HOST6}]"):
            assert up(f"http://{host}/well", PATIENCE) == 1.0
            assert up(f"http://{host}/", PATIENCE) == 1.0
            assert up(f"http://{host}/busy", PATIENCE) == 0.0
            assert up(f"tcp://{host}:80", PATIENCE) == 1.0
    for _time in range(100):
        if log.read_text().count("\n") >= 6:
            break
        time.sleep(0.05)
    assert log.read_text().count('"tidegate"') == 6
    assert abuse(log) == []
