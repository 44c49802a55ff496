"""Debian's exim4 as the mail host of a story: its own configuration, spool, log and mailbox.

Touches a folder of the story and the processes it starts in the story's namespace, which it ends;
the host's own exim, its configuration and its spool are left alone. Limits: root; no TLS, no DNS.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tests.story import stage
from tests.story.crowd import EICAR, KNOWN

PROGRAM = "/usr/sbin/exim4"
USER = "Debian-exim"
CONFIGURATION = """
primary_hostname = mail.example.com
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
pid_file_path = {folder}/exim.pid
write_rejectlog = no
local_interfaces = {address}
daemon_smtp_ports = 25
smtp_accept_max = {slots}
smtp_connect_backlog = 128
tls_advertise_hosts =
host_lookup =
rfc1413_query_timeout = 0s
deliver_drop_privilege = yes
message_body_visible = 2000
acl_smtp_rcpt = recipients
acl_smtp_data = contents

begin acl

recipients:
  require verify = recipient
  accept

contents:
  deny condition = ${{if match{{$message_body}}{{{sign}}}}}
       message = This message contains a virus (EICAR)
  accept

begin routers

known:
  driver = accept
  domains = {domain}
  local_parts = {local_part}
  transport = mailbox

begin transports

mailbox:
  driver = appendfile
  directory = {folder}/mail
  maildir_format
"""
ADDRESS = re.compile(rb"\[(\d+\.\d+\.\d+\.\d+)\]")
NAME = re.compile(rb"^Message-ID: <([^@>]+)@", re.MULTILINE | re.IGNORECASE)


class Line(NamedTuple):
    """What a line of the main log says: viruses, bounces, busy, accepted or other, and of whom."""

    what: str
    address: str


def missing() -> str:
    """Why there can be no exim here; "" if there can."""
    return "" if os.access(PROGRAM, os.X_OK) else "no exim4; run: packaging/setup-checkout daemons"


class Exim:
    """One exim in a namespace, with at most so many connections at once."""

    def __init__(
        self, space: str, folder: Path, address: str, slots: int, template: str = CONFIGURATION
    ) -> None:
        self._space, self._folder = space, folder
        self._configuration = folder / "exim.conf"
        local_part, _, domain = KNOWN.partition("@")
        self._configuration.write_text(
            template.format(
                folder=folder, address=address, slots=slots, domain=domain,
                local_part=local_part, sign=re.search("EICAR-[A-Z-]+", EICAR)[0],
            )
        )  # fmt: skip
        for name in ("spool", "log", "mail"):
            (folder / name).mkdir(mode=0o755, exist_ok=True)  # a small spool is mounted already
            shutil.chown(folder / name, USER, USER)
        self.log = folder / "log" / "mainlog"
        self.log.touch(mode=0o644)
        shutil.chown(self.log, USER, USER)
        self._words = [PROGRAM, "-C", str(self._configuration)]
        self._daemon: stage.Background | None = None

    def __enter__(self) -> Exim:
        self._daemon = stage.Background(
            self._space, *self._words, "-bdf", "-q5s", log=self._folder / "exim.out"
        )
        return self

    def queued(self) -> int:
        """How many accepted messages are not yet in the mailbox."""
        return int(subprocess.check_output([*self._words, "-bpc"]))

    def panicked(self) -> str:
        """What exim wrote into its panic log."""
        path = self._folder / "log" / "paniclog"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def mailbox(self) -> Counter[str]:
        """Name of a message → how often it lies in the mailbox."""
        files = (self._folder / "mail" / "new").glob("*")
        return Counter(NAME.search(path.read_bytes())[1].decode() for path in files)

    def lines(self, begin: int = 0, end: int = -1) -> list[Line]:
        """The main log from one offset to another, by default to its end."""
        with self.log.open("rb") as file:
            file.seek(begin)
            text = file.read(max(0, end - begin) if end >= 0 else -1)
        return [read(line) for line in text.splitlines()]

    def size(self) -> int:
        """How far the main log has come."""
        return self.log.stat().st_size

    def __exit__(self, *error: object) -> None:
        assert self._daemon is not None
        self._daemon.__exit__(*error)
        # Those who still talk to somebody, or deliver, are no children of ours.
        words = ["ip", "netns", "pids", self._space]
        pids = subprocess.run(words, capture_output=True, text=True).stdout.split()
        for pid in map(int, pids):
            with suppress(OSError):
                if str(self._configuration) in Path(f"/proc/{pid}/cmdline").read_text():
                    os.kill(pid, signal.SIGTERM)


def read(line: bytes) -> Line:
    """One line of exim's main log."""
    address = ADDRESS.search(line)
    if b" rejected after DATA: This message contains a virus" in line:
        what = "viruses"
    elif b" F=<> rejected RCPT " in line:
        what = "bounces"
    elif b" refused: too many connections" in line:
        what = "busy"
    else:
        what = "accepted" if b" <= " in line else "other"
    return Line(what, address[1].decode() if address else "")
