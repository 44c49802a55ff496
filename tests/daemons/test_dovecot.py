"""Dovecot with IMAP and POP3: guessed passwords close the ports of mail, reading mail does not."""

from __future__ import annotations

import imaplib
import poplib
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from tests.daemons.guard import Guard
from tests.daemons.machine import PASSWORD, USER, Machine
from tests.kernel.namespaces import ATTACKERS, ATTACKERS6, HOST, HOST6, World

pytestmark = pytest.mark.daemons

EVE, MALLORY, ANNA, _BORIS = ATTACKERS
SIX, SIX_NET = ATTACKERS6[2], "2001:db8:2::/64"
MAIL = [25, 110, 143, 465, 587, 993, 995, 4190]
# As Debian sets it up (PAM, a log that says nothing of passwords), but for paths and for the
# time that Dovecot lets who was wrong wait.
CONFIG = """
base_dir = /run/dovecot
state_dir = /run/dovecot-state
log_path = {folder}/log/mail.log
protocols = imap pop3
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain
mail_location = maildir:~/Maildir
auth_failure_delay = 0 secs
passdb {{
  driver = pam
}}
userdb {{
  driver = passwd
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
"""


@pytest.fixture
def log(machine: Machine) -> Path:
    """Dovecot's log, with Dovecot running."""
    log = machine.open_log("mail.log")
    config = machine.folder / "dovecot.conf"
    config.write_text(CONFIG.format(folder=machine.folder))
    machine.serve("/usr/sbin/dovecot", "-F", "-c", config, port=143)
    return log


class Imap(imaplib.IMAP4):
    """A client of IMAP with an address of its own."""

    def __init__(self, source: str) -> None:
        self._from = (source, 0)
        super().__init__(HOST6 if ":" in source else HOST, timeout=20)

    def _create_socket(self, timeout: float | None) -> socket.socket:
        return socket.create_connection((self.host, self.port), timeout, self._from)


class Pop(poplib.POP3):
    """A client of POP3 with an address of its own."""

    def __init__(self, source: str) -> None:
        self._from = (source, 0)
        super().__init__(HOST6 if ":" in source else HOST, timeout=20)

    def _create_socket(self, timeout: float) -> socket.socket:
        return socket.create_connection((self.host, self.port), timeout, self._from)


def imap(world: World, source: str, user: str, *passwords: str) -> bool:
    """Whether one of the passwords, tried in one connection, opens the mailbox."""
    with world.attacker.inside():
        try:
            client = Imap(source)
        except OSError:
            return False
    for password in passwords:
        try:
            client.login(user, password)
        except imaplib.IMAP4.abort:
            return False
        except (imaplib.IMAP4.error, OSError):
            continue
        client.select()
        client.logout()
        return True
    client.shutdown()
    return False


def pop(world: World, source: str, user: str, password: str) -> bool:
    """Whether the password opens the mailbox."""
    with world.attacker.inside():
        try:
            client = Pop(source)
            client.user(user)
            client.pass_(password)
            client.stat()
            client.quit()
        except (poplib.error_proto, OSError):
            return False
        return True


def guesses(world: World, source: str) -> list[Callable[[], bool]]:
    """Five wrong passwords in four connections."""
    return [
        partial(imap, world, source, USER, "123456", "password"),
        *(
            partial(pop, world, source, user, "123456")
            for user in (USER, "info", "x, rip=192.0.2.9")
        ),
    ]


def test_passwords_that_are_guessed_close_the_ports_of_mail(
    log: Path, world: World, guarded: Callable[..., Guard]
) -> None:
    guard = guarded({"mail": [log]})
    assert pop(world, ANNA, USER, PASSWORD)
    with ThreadPoolExecutor() as pool:
        anna = pool.submit(imap, world, ANNA, USER, "correct hose", PASSWORD)
        attacks = [pool.submit(one) for one in guesses(world, EVE) + guesses(world, SIX)]
        assert anna.result()
        assert not any(one.result() for one in attacks)
    guard.wait_ban(EVE, MAIL)
    guard.wait_ban(SIX_NET, MAIL)
    lines = guard.shown(EVE, "mail-guessing")
    assert any("imap-login: " in line and "auth failed, 2 attempts" in line for line in lines)
    assert sum("pop3-login: " in line and "auth failed, 1 attempts" in line for line in lines) == 3
    assert all(f", rip={EVE}, " in line for line in lines)
    guard.check_packets(EVE, 143, ANNA, MALLORY)
    guard.check_packets(SIX, 110, ANNA, host=HOST6)
    assert imap(world, ANNA, USER, PASSWORD)
    assert pop(world, ANNA, USER, PASSWORD)
    guard.wait_end(EVE, 110)
    assert {row["subject"] for row in guard.history()} == {EVE, SIX_NET}
