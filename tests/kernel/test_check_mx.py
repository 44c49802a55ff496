"""`tidegate check mx` in a namespace with Debian's exim as primary and as secondaries."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.names import NameServer
from tests.kernel.namespaces import Namespace

from tidegate.source.readings.probes import latency, up

EXIM = "/usr/sbin/exim4"
USER = "Debian-exim"

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not os.access(EXIM, os.X_OK), reason="no exim4"),
]

RECORDS = {
    ("mx1.example.com", "A"): ["127.0.0.2"],
    ("mx2.example.com", "A"): ["127.0.0.3"],
    ("mx3.example.com", "A"): ["127.0.0.4"],
    ("mx4.example.com", "A"): ["127.0.0.5"],
    ("gone.example.com", "A"): ["127.0.0.9"],
    ("good.example", "MX"): ["10 mx1.example.com", "20 mx2.example.com"],
    ("away.example", "MX"): ["10 gone.example.com", "20 mx2.example.com"],
    ("trap.example", "MX"): ["10 mx1.example.com", "20 mx3.example.com"],
    ("late.example", "MX"): ["10 mx1.example.com", "20 mx4.example.com"],
    ("alone.example", "A"): ["127.0.0.2"],
    ("null.example", "MX"): ["0 ."],
    ("odd.example", "MX"): ["10 127.0.0.2"],
}
DOMAINS = sorted({owner for owner, _kind in RECORDS if owner.endswith(".example")})
RULES = {
    "127.0.0.2": "accept domains = " + " : ".join(DOMAINS),  # the primary of all
    "127.0.0.3": "accept domains = good.example : away.example",  # a secondary as it should be
    "127.0.0.4": "deny message = relay not permitted",  # one that nobody has told of the domain
    "127.0.0.5": "defer message = try again in a minute",  # greylisting
}
CONFIGURATION = """
primary_hostname = {name}
spool_directory = {folder}/spool
log_file_path = {folder}/%slog
pid_file_path = {folder}/exim.pid
write_rejectlog = no
local_interfaces = {address}
daemon_smtp_ports = 25
tls_advertise_hosts =
host_lookup =
rfc1413_query_timeout = 0s
acl_smtp_rcpt = recipients
begin acl
recipients:
  {rule}
"""


class Scene:
    """A namespace with a name server and the four exims; `check` runs the verb there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.exims: list[subprocess.Popen[bytes]] = []
        self.names: NameServer | None = None
        (folder / "resolv.conf").write_text("nameserver 127.0.0.1\noptions attempts:1 timeout:2\n")
        self.space = Namespace("mail")
        try:
            with self.space.inside():
                channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            channel.bind(("127.0.0.1", 53))
            self.names = NameServer(channel, RECORDS, "servfail.example")
            for number, (address, rule) in enumerate(RULES.items(), 1):
                self.exims.append(self._exim(f"mx{number}.example.com", address, rule))
            for address in RULES:
                self._wait(address)
        except BaseException:
            self.close()
            raise

    def _exim(self, name: str, address: str, rule: str) -> subprocess.Popen[bytes]:
        folder = self.folder / name
        for path in (folder, folder / "spool"):
            path.mkdir()
            shutil.chown(path, USER, USER)
        configuration = folder / "exim.conf"
        configuration.write_text(
            CONFIGURATION.format(name=name, folder=folder, address=address, rule=rule)
        )
        words = ["ip", "netns", "exec", self.space.name, EXIM, "-C", str(configuration), "-bdf"]
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def _wait(self, address: str) -> None:
        for _time in range(100):
            try:
                client = self.space.connect(address, 25, "127.0.0.1", 5)
            except ConnectionRefusedError:
                time.sleep(0.1)
                continue
            if client:
                client.recv(100)
                client.sendall(b"QUIT\r\n")
                client.close()
            return
        raise AssertionError(f"no exim at {address}")

    def check(self, *words: str) -> subprocess.CompletedProcess[str]:
        script = (
            f"mount --bind {self.folder}/resolv.conf /etc/resolv.conf"
            ' && exec "$0" -m tidegate check mx "$@"'
        )
        inside = ["ip", "netns", "exec", self.space.name, "unshare", "-m", "sh", "-c", script]
        arguments = [sys.executable, "--helo", "client.example.net", *words]
        return subprocess.run([*inside, *arguments], capture_output=True, text=True, timeout=120)

    def close(self) -> None:
        for exim in self.exims:
            exim.terminate()
            exim.wait(10)
        if self.names:
            self.names.close()
        self.space.close()


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    # Not below pytest's own folder: exim's user must be able to enter.
    folder = Path(tempfile.mkdtemp(prefix="tidegate-test-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        made = Scene(folder)
        yield made
        made.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def rows(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_all_is_well(scene: Scene) -> None:
    done = scene.check("good.example")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[1:] == [
        "10\tmx1.example.com\t127.0.0.2\taccepts\t250 Accepted",
        "20\tmx2.example.com\t127.0.0.3\taccepts\t250 Accepted",
        "now mail goes to mx1.example.com",
        "if mx1.example.com is away, mail waits at mx2.example.com",
        "if mx2.example.com is away, mail goes to mx1.example.com",
        "note: mx2.example.com was asked while mx1.example.com is there; a host that asks another for"
        " its recipients may say otherwise when that is away: ask again then",
    ]


def test_a_secondary_that_knows_nothing_of_the_domain(scene: Scene) -> None:
    done = scene.check("trap.example")
    assert done.returncode == 1
    assert (
        "if mx1.example.com is away, mail bounces from mx3.example.com: 550 relay not permitted"
        in done.stdout
    )


def test_the_primary_is_away(scene: Scene) -> None:
    done = scene.check("away.example", "--json")
    assert done.returncode == 1
    found = rows(done)
    assert [(row["host"], row["verdict"]) for row in found if "host" in row] == [
        ("gone.example.com", "away"),
        ("mx2.example.com", "accepts"),
    ]
    assert [row["says"] for row in found if "says" in row][:2] == [
        "now mail waits at mx2.example.com",
        "if gone.example.com is away, mail waits at mx2.example.com",
    ]
    assert found[-1]["ok"] is False
    assert all(row["v"] == 1 for row in found)


def test_one_that_defers(scene: Scene) -> None:
    done = scene.check("late.example")
    assert done.returncode == 1
    assert "if mx1.example.com is away, mail waits with its senders" in done.stdout
    assert "451 try again in a minute" in done.stdout
    assert "greylisting" in done.stdout


def test_a_domain_without_mx(scene: Scene) -> None:
    done = scene.check("alone.example")
    assert done.returncode == 0, done.stdout
    assert "alone.example has no MX record" in done.stdout
    assert "there is no other host" in done.stdout


@pytest.mark.parametrize(
    ("domain", "code", "said"),
    [
        ("null.example", 1, "takes no mail (a null MX)"),
        ("missing.example", 1, "does not exist"),
        ("odd.example", 1, "names no host"),
        ("x.servfail.example", 3, "no name server answered"),
        ("not a domain", 2, "expected a domain"),
    ],
)
def test_odd_domains(scene: Scene, domain: str, code: int, said: str) -> None:
    done = scene.check(domain)
    assert (done.returncode, said in done.stdout + done.stderr) == (code, True), done


def test_no_mail_was_sent(scene: Scene) -> None:
    scene.check("good.example")
    for log in scene.folder.glob("*/mainlog"):
        assert " <= " not in log.read_text()


def test_probes_leave_no_line_in_its_log(scene: Scene) -> None:
    log = scene.folder / "mx1.example.com" / "mainlog"
    before = log.read_text()
    with scene.space.inside():
        assert up("smtp://127.0.0.2", 20.0) == 1.0
        assert 0 < latency("smtp://127.0.0.2", 20.0) < 20.0
        assert up("smtp://127.0.0.9", 20.0) == 0.0
    assert log.read_text() == before
