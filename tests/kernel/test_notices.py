"""Notices by mail through Debian's exim, as the watcher sends them: without privilege to gain."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kernel.namespaces import Namespace

EXIM = "/usr/sbin/exim4"
USER = "Debian-exim"
CONFIGURATION = """
primary_hostname = mail.example.com
spool_directory = {folder}/spool
log_file_path = {folder}/log-%slog
pid_file_path = {folder}/exim.pid
local_interfaces = 127.0.0.1
domainlist local_domains = @ : localhost
tls_advertise_hosts =
host_lookup =
rfc1413_query_timeout = 0s
deliver_drop_privilege = yes
acl_smtp_rcpt = recipients
begin acl
recipients:
  accept domains = +local_domains
         verify = recipient
begin routers
admin:
  driver = accept
  local_parts = root
  transport = mailbox
begin transports
mailbox:
  driver = appendfile
  directory = {folder}/mail
  maildir_format
"""
SEND = """
import sys
from tidegate.daemon.notices import Notices
from tidegate.policy.guards import NoticeSpec
notices = Notices([NoticeSpec("admins", mail="root")])
now = 1_800_000_000_000_000
notices.tell(["admins"], now, "apache2 is stopped", "Why: la1 11.2\\n.\\nBcc: somebody")
notices.close(now, 20)
notices.tick(now)
print(notices.failures(), notices.waiting())
"""

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not os.access(EXIM, os.X_OK), reason="no exim4"),
]


@pytest.fixture
def folder(public_folder: Path) -> Path:
    for name in ("spool", "mail"):
        (public_folder / name).mkdir()
        shutil.chown(public_folder / name, USER, USER)
    shutil.chown(public_folder, USER, USER)
    (public_folder / "exim.conf").write_text(CONFIGURATION.format(folder=public_folder))
    return public_folder


@pytest.fixture
def space() -> Iterator[Namespace]:
    made = Namespace("notices")
    yield made
    made.close()


def send(space: Namespace) -> str:
    return space.run(
        *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"),
        *(sys.executable, "-c", SEND),
    )


def test_mail_arrives(space: Namespace, folder: Path) -> None:
    words = ["ip", "netns", "exec", space.name, EXIM, "-C", str(folder / "exim.conf")]
    exim = subprocess.Popen([*words, "-bdf"], stdin=subprocess.DEVNULL)
    try:
        for _time in range(100):
            if subprocess.run(
                ["ip", "netns", "exec", space.name, "ss", "-Hltn", "sport = :25"],
                capture_output=True,
            ).stdout:
                break
            time.sleep(0.1)
        assert send(space) == "{} {'admins': 0}\n"
        # What exim has accepted it delivers by a process of its own.
        for _time in range(100):
            if arrived := list((folder / "mail").glob("new/*")):
                break
            time.sleep(0.1)
        (path,) = arrived
        text = path.read_text()
        assert "] apache2 is stopped\n" in text
        assert text.endswith("Why: la1 11.2\n.\nBcc: somebody\n")
        assert "\nTo: root@localhost\n" in text
        assert "\nBcc:" not in text.partition("\n\n")[0]
    finally:
        exim.terminate()
        exim.wait(10)


def test_without_a_mail_server_the_trouble_is_told(space: Namespace) -> None:
    said = send(space)
    assert "SMTP to localhost" in said
    assert "refused" in said.lower()
    assert said.endswith("{'admins': 1}\n")
