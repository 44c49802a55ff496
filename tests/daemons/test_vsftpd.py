"""vsftpd with its own log, as Debian sets it up: guessed passwords close the FTP ports, logins do not."""

from __future__ import annotations

import ftplib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.daemons.guard import Guard
from tests.daemons.machine import PASSWORD, USER, Machine
from tests.kernel.namespaces import ATTACKERS, ATTACKERS6, HOST, HOST6, World

pytestmark = pytest.mark.daemons

EVE, MALLORY, ANNA, _BORIS = ATTACKERS
SIX, SIX_NET = ATTACKERS6[2], "2001:db8:2::/64"
# What /etc/vsftpd.conf of Debian says, with paths of our own.
CONFIG = """
listen=NO
listen_ipv6=YES
background=NO
anonymous_enable=NO
local_enable=YES
dirmessage_enable=YES
use_localtime=YES
xferlog_enable=YES
connect_from_port_20=YES
secure_chroot_dir=/run/vsftpd/empty
pam_service_name=vsftpd
ssl_enable=NO
vsftpd_log_file={folder}/log/vsftpd.log
xferlog_file={folder}/log/xferlog
"""


@pytest.fixture
def log(machine: Machine) -> Path:
    """vsftpd's log, with vsftpd running."""
    log = machine.open_log("vsftpd.log")
    config = machine.folder / "vsftpd.conf"
    config.write_text(CONFIG.format(folder=machine.folder))
    machine.serve("/usr/sbin/vsftpd", config, port=21)
    return log


def login(world: World, source: str, user: str, password: str) -> bool:
    """Whether a client of FTP gets in and can list its folder; a ban may cut it off."""
    with world.attacker.inside():
        client = ftplib.FTP(timeout=20, source_address=(source, 0))
        try:
            client.connect(HOST6 if ":" in source else HOST, 21)
            client.login(user, password)
            client.nlst()
        except ftplib.error_perm as error:
            assert str(error).startswith("530"), error
            return False
        except OSError:
            return False
        finally:
            client.close()
        return True


def guess(world: World, *guesses: tuple[str, str]) -> None:
    """A wrong password for each (source, user), all at once; none gets in."""
    with ThreadPoolExecutor(len(guesses)) as pool:
        assert not any(pool.map(lambda one: login(world, *one, "123456"), guesses))


def test_passwords_that_are_guessed_close_the_ftp_ports(
    log: Path, world: World, guarded: Callable[..., Guard]
) -> None:
    guard = guarded({"ftp": [log]})
    assert login(world, ANNA, USER, PASSWORD)
    assert not login(world, ANNA, USER, "correct hose")
    users = [USER, USER, "admin", "anonymous", "www data"]
    guess(world, *((EVE, user) for user in users), *[(SIX, USER)] * 5)
    guard.wait_ban(EVE, [21, 990])
    guard.wait_ban(SIX_NET, [21, 990])
    guard.check_packets(EVE, 21, ANNA, MALLORY)
    guard.check_packets(SIX, 21, ANNA, host=HOST6)
    lines = guard.shown(EVE, "login-guessing.vsftpd")
    assert len(lines) == 5
    assert all(f'FAIL LOGIN: Client "::ffff:{EVE}"' in line for line in lines)
    assert all(
        f'FAIL LOGIN: Client "{SIX}"' in line
        for line in guard.shown(SIX_NET, "login-guessing.vsftpd")
    )
    assert login(world, ANNA, USER, PASSWORD)
    guard.wait_end(EVE, 21)
    assert {row["subject"] for row in guard.history()} == {EVE, SIX_NET}
