"""What the survey sees on made-up hosts, and what it does not take for something else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.unit.daemon.hosts import NOW, Host, debian12

from tidegate.daemon.survey import Service, Survey, booted, ssh_ports, survey
from tidegate.detector.definition import Pack
from tidegate.detector.pack import load_packs
from tidegate.policy.loader import load
from tidegate.policy.models import Policy


@pytest.fixture(scope="module")
def packs() -> tuple[Pack, ...]:
    return load_packs()


@pytest.fixture(scope="module")
def shipped() -> Policy:
    return load(Path(__file__).parents[3] / "src/tidegate/policy/shipped.toml").policy


@pytest.fixture
def look(packs: tuple[Pack, ...], shipped: Policy):
    def look(host: Host) -> Survey:
        return survey(packs, shipped, NOW, root=str(host.root), environ={}, pid=1)

    return look


def named(found: Survey, pack: str) -> Service:
    return next(one for one in found.services if one.pack == pack)


def test_a_debian_12(look, tmp_path: Path) -> None:
    found = look(debian12(tmp_path))
    here = {one.pack for one in found.services}
    assert {"sshd", "exim", "nginx", "web", "modsecurity"} <= here
    # Neither what every mail server brings, nor what reads the same logs, nor all that is near.
    assert not here & {"sendmail", "apache", "postfix", "dovecot", "login", "cyrus", "zoneminder"}
    sshd = named(found, "sshd")
    assert (sshd.running, sshd.ports, sshd.logs) == (True, (22,), ())
    assert sshd.because[0] == "running: sshd"
    assert found.journal
    assert found.booted == "systemd"


def test_an_empty_host_has_nothing(look, tmp_path: Path) -> None:
    found = look(Host(tmp_path))
    assert found == Survey()


def test_a_log_shows_a_service_only_if_it_is_its_own(look, tmp_path: Path) -> None:
    host = Host(tmp_path).file("var/log/mail.log", "x\n").file("var/log/auth.log", "x\n")
    assert look(host).services == ()
    host.file("var/log/asterisk/messages", "x\n")
    assert [one.pack for one in look(host).services] == ["asterisk"]


def test_a_log_of_another_service_shows_nothing(look, tmp_path: Path) -> None:
    """Of those that read Apache's log only those that the shipped policy lets read it as well."""
    host = Host(tmp_path).file("var/log/apache2/error.log", "x\n")
    assert [one.pack for one in look(host).services] == ["apache", "modsecurity"]


@pytest.mark.parametrize(
    ("mode", "group", "folder", "readable"),
    [
        (0o644, 0, 0o755, True),
        (0o640, 4, 0o755, True),
        (0o640, 0, 0o755, False),
        (0o600, 4, 0o755, False),
        (0o644, 0, 0o700, False),
        (0o644, 4, 0o750, False),
    ],
)
@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to groups")
def test_what_the_watcher_may_read(
    look, tmp_path: Path, mode: int, group: int, folder: int, readable: bool
) -> None:
    host = Host(tmp_path).file("var/log/exim4/mainlog", "x\n", mode=mode)
    os.chown(tmp_path / "var/log/exim4/mainlog", 0, group)
    (tmp_path / "var/log/exim4").chmod(folder)
    (log,) = named(look(host), "exim").logs
    assert log.readable == readable


def test_logs_that_nobody_writes_to_are_stale(look, tmp_path: Path) -> None:
    host = Host(tmp_path).program("postfix").file("var/log/mail.log", "x\n", age=8 * 86_400)
    host.file("var/log/maillog", "")
    logs = named(look(host), "postfix").logs
    assert [(log.path, log.fresh, log.shared) for log in logs] == [
        ("/var/log/mail.log", False, True),
        ("/var/log/maillog", False, True),
    ]


def test_what_starts_services(tmp_path: Path) -> None:
    host = Host(tmp_path)
    assert booted(str(tmp_path)) == ""
    host.file("etc/init.d/x").file("etc/rc2.d/S01x")
    assert booted(str(tmp_path)) == "sysv"
    host.file("sbin/openrc-run")
    assert booted(str(tmp_path)) == "openrc"
    host.systemd()
    assert booted(str(tmp_path)) == "systemd"


def test_the_ports_of_sshd(tmp_path: Path) -> None:
    host = Host(tmp_path)
    assert ssh_ports(str(tmp_path)) == ()
    host.file("etc/ssh/sshd_config", "#Port 23\nPort 22\n port=2222 \nPort 70000\n")
    host.file("etc/ssh/sshd_config.d/more.conf", "Port 2022\n")
    assert ssh_ports(str(tmp_path)) == (22, 2222, 2022)


def test_journals_that_were_written(look, tmp_path: Path) -> None:
    host = Host(tmp_path)
    (tmp_path / "var/log/journal").mkdir()
    assert not look(host).journal
    host.file("var/log/journal/0123/system.journal")
    assert look(host).journal


def test_this_very_host(packs: tuple[Pack, ...], shipped: Policy) -> None:
    found = survey(packs, shipped, NOW)
    assert ("127.0.0.1", "own address") in found.protected
    assert found.booted == booted()
