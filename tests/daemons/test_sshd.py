"""OpenSSH's server, read from the journal as it is on Debian: guessing closes port 22, logins do not."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.daemons.guard import Guard
from tests.daemons.machine import PASSWORD, UID, USER, Machine
from tests.kernel.namespaces import ATTACKERS, HOST, World

pytestmark = pytest.mark.daemons

EVE, MALLORY, ANNA, BORIS = ATTACKERS
CONFIG = """
Port 22
ListenAddress 0.0.0.0
HostKey {folder}/ssh/host
PidFile none
UsePAM yes
KbdInteractiveAuthentication no
PrintMotd no
MaxStartups 50
"""


class Ssh:
    """sshd on the machine, and clients of it on the other side."""

    def __init__(self, machine: Machine, world: World) -> None:
        self.machine, self.world = machine, world
        self.folder = machine.folder / "ssh"
        self.folder.mkdir()
        for name in ("host", "anna"):
            words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)]
            subprocess.run(words, check=True)
        self._authorize()
        config = self.folder / "sshd_config"
        config.write_text(CONFIG.format(folder=machine.folder))
        machine.serve("/usr/sbin/sshd", "-D", "-f", config, port=22)

    def _authorize(self) -> None:
        place = self.machine.home / ".ssh"
        place.mkdir(mode=0o700)
        keys = place / "authorized_keys"
        keys.write_text((self.folder / "anna.pub").read_text())
        for path in (place, keys):
            os.chown(path, UID, UID)

    def login(self, source: str, user: str, *, password: str = "", key: Path | None = None) -> bool:
        """Whether `ssh` gets in, with one password or one key."""
        answer = self.folder / "answer"
        answer.write_text('#!/bin/sh\necho "$TG_ANSWER"\n')
        answer.chmod(0o755)
        offered = ["publickey", "-i", str(key)] if key else ["password"]
        words = [
            *("ssh", "-F", "none", "-b", source, "-o", f"PreferredAuthentications={offered[0]}"),
            *offered[1:],
            *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
            *("-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "LogLevel=ERROR"),
            *("-o", "NumberOfPasswordPrompts=1", "-o", "ConnectTimeout=10", "-n"),
            *("-l", user, HOST, "true"),
        ]
        asked = {"SSH_ASKPASS": str(answer), "SSH_ASKPASS_REQUIRE": "force", "TG_ANSWER": password}
        with self.world.attacker.inside():
            client = subprocess.Popen(
                words, env=os.environ | asked, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
        self.said = client.communicate(timeout=30)[0].decode()
        return client.returncode == 0

    @property
    def key(self) -> Path:
        return self.folder / "anna"

    def guess(self, *guesses: tuple[str, str]) -> None:
        """A connection with a wrong password for each (source, user), all at once; none gets in."""
        with ThreadPoolExecutor(len(guesses)) as pool:
            done = pool.map(lambda one: self.login(*one, password="123456"), guesses)
            assert not any(done)


@pytest.fixture
def ssh(machine: Machine, world: World) -> Ssh:
    return Ssh(machine, world)


def test_names_and_passwords_that_are_guessed_close_port_22(
    ssh: Ssh, guarded: Callable[..., Guard]
) -> None:
    guard = guarded({"sshd": []})
    assert ssh.login(ANNA, USER, key=ssh.key), ssh.said
    names = ["admin", "oracle", "test", "x y", "x from 192.0.2.9 port 22"]
    known = [USER, USER, USER, "root", "root"]
    ssh.guess(*((EVE, name) for name in names), *((MALLORY, name) for name in known))
    for attacker in (EVE, MALLORY):
        guard.wait_ban(attacker, [22])
        guard.check_packets(attacker, 22, ANNA, BORIS)
    lines = guard.shown(EVE, "ssh-guessing")
    assert len(lines) == 5
    assert any(line.startswith(f"Invalid user admin from {EVE} port ") for line in lines)
    lines = guard.shown(MALLORY, "ssh-guessing")
    assert sum(line.startswith(f"Failed password for {USER} from {MALLORY}") for line in lines) == 3
    assert sum(line.startswith(f"Failed password for root from {MALLORY}") for line in lines) == 2
    assert ssh.login(ANNA, USER, password=PASSWORD), ssh.said
    guard.wait_end(MALLORY, 22)
    assert {row["subject"] for row in guard.history()} == {EVE, MALLORY}


def test_a_user_with_wrong_keys_and_a_few_wrong_passwords_stays(
    ssh: Ssh, guarded: Callable[..., Guard]
) -> None:
    """A client offers keys that the server does not know, and fingers slip: no attack."""
    guard = guarded({"sshd": []})
    for _ in range(2):
        assert not ssh.login(ANNA, USER, key=ssh.folder / "host")
    ssh.guess(*[(ANNA, USER)] * 4)
    assert ssh.login(ANNA, USER, password=PASSWORD), ssh.said
    ssh.guess(*[(ANNA, USER)] * 4)
    assert ssh.login(ANNA, USER, key=ssh.key), ssh.said
    logins = ssh.machine.journal().count(f"Accepted publickey for {USER} from {ANNA}")
    assert logins == 1
    assert guard.history() == []
