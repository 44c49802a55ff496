"""One host to attack: a network namespace with its own /run, /dev/log, users and journal.

Touches mounts that only its own processes see, a folder, and the processes it starts, which it ends
by their ids. Limits: root; the host's /etc but for users, and its PAM stacks, are used as they are.
"""

from __future__ import annotations

import os
import signal
import subprocess
import textwrap
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.kernel.daemon import is_running, until
from tests.kernel.namespaces import Namespace

JOURNALD = "/lib/systemd/systemd-journald"
USER, PASSWORD = "tg-anna", "correct horse"
UID = 54321
_HASH = "$6$tidegate$7KUsCXQenmFfAKxtzhnXD.cd7uFkhGvnmWitxEpOA3y/QmsxRWwTTez09rWCx.YSRBM9lZAmFlsWkCiSlhSgM."
_JOURNAL = (
    "[Journal]\nAudit=no\nReadKMsg=no\nRateLimitIntervalSec=0\nForwardToSyslog=no\n"
    "ForwardToWall=no\nSystemMaxUse=64M\nRuntimeMaxUse=64M\n"
)
_MOUNTS = """
    set -e
    mount -t tmpfs -o mode=755 none {folder}/dev
    for node in null zero full random urandom tty ptmx fd stdin stdout stderr; do
        cp -a /dev/$node {folder}/dev/
    done
    mkdir -m 1777 {folder}/dev/shm
    mkdir {folder}/dev/pts
    mount --rbind /dev/pts {folder}/dev/pts
    ln -s /run/systemd/journal/dev-log {folder}/dev/log
    mount --rbind {folder}/dev /dev
    mount -t tmpfs -o mode=755 none /run
    mkdir -p /run/systemd/journal /run/lock /run/sshd /run/vsftpd/empty /run/log/journal
    chgrp systemd-journal /run/log/journal
    chmod 2755 /run/log/journal
    if [ -d /var/log/journal ]; then mount -t tmpfs none /var/log/journal; fi
    for name in passwd shadow group; do mount --bind {folder}/etc/$name /etc/$name; done
    mount --bind {folder}/etc/journald.conf /etc/systemd/journald.conf
    exec {journald}
"""


class Machine:
    """Processes started here see the namespace's network, the user USER, and a journal of their own."""

    def __init__(self, folder: Path, space: Namespace) -> None:
        self.folder, self.space = folder, space
        self.log = folder / "log"
        self.home = folder / "home"
        for name in ("dev", "etc", "log", "home"):
            (folder / name).mkdir(exist_ok=True)
        os.chown(self.home, UID, UID)
        self._users()
        script = textwrap.dedent(_MOUNTS).format(folder=folder, journald=JOURNALD)
        with (folder / "journald.said").open("wb") as said, space.inside():
            self._journald = subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", script], stdout=said, stderr=said
            )
        self._mounts = ""
        try:
            until("the journal", self._journal_answers)
            self._mounts = _mounts(self._journald.pid)
        except BaseException:
            self.close()
            raise

    def _users(self) -> None:
        etc = self.folder / "etc"
        (etc / "journald.conf").write_text(_JOURNAL)
        for name, line in (
            ("passwd", f"{USER}:x:{UID}:{UID}:Anna:{self.home}:/bin/sh"),
            ("shadow", f"{USER}:{_HASH}:19000:0:99999:7:::"),
            ("group", f"{USER}:x:{UID}:"),
        ):
            there = Path("/etc", name).read_text()
            (etc / name).write_text(there + line + "\n")
            os.chmod(etc / name, 0o640 if name == "shadow" else 0o644)

    def _journal_answers(self) -> bool:
        said = (self.folder / "journald.said").read_text()
        assert self._journald.poll() is None, f"no journald: {said}"
        test = ["test", "-S", "/run/systemd/journal/dev-log"]
        return subprocess.run([*self._enter, *test], capture_output=True).returncode == 0

    @property
    def _enter(self) -> list[str]:
        return ["nsenter", f"--mount=/proc/{self._journald.pid}/ns/mnt"]

    def popen(self, words: list[str], **options: Any) -> subprocess.Popen[bytes]:
        """Start a process on this machine."""
        with self.space.inside():
            return subprocess.Popen([*self._enter, *words], **options)

    def serve(self, *words: str | Path, port: int) -> subprocess.Popen[bytes]:
        """Start a daemon in the foreground, and wait until it listens."""
        said = self.folder / f"{Path(words[0]).name}.said"
        with said.open("wb") as output:
            process = self.popen(
                [str(word) for word in words],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip

        def listens() -> bool:
            assert process.poll() is None, f"{words[0]} ended:\n{said.read_text()}"
            return f":{port} " in self.space.run("ss", "-Hltn")

        until(f"{words[0]} on port {port}", listens)
        return process

    def open_log(self, name: str) -> Path:
        """An empty log that the group adm may read, as Debian's logs are."""
        path = self.log / name
        path.touch()
        os.chown(path, 0, 4)
        path.chmod(0o640)
        return path

    def journal(self) -> str:
        """Every message of the journal so far, one a line."""
        words = [*self._enter, "journalctl", "--quiet", "--output=cat", "--no-pager"]
        return subprocess.run(words, capture_output=True, text=True, check=False).stdout

    def close(self) -> None:
        """End every process that sees these mounts, and nothing else."""
        if self._mounts and self._mounts != _mounts(os.getpid()):
            for sign in (signal.SIGTERM, signal.SIGKILL):
                _end(_inhabitants(self._mounts), sign)
        self._journald.kill()
        self._journald.wait(20)


def _mounts(pid: int) -> str:
    with suppress(OSError):
        return os.readlink(f"/proc/{pid}/ns/mnt")
    return ""


def _inhabitants(mounts: str) -> list[int]:
    pids = (int(one.name) for one in Path("/proc").iterdir() if one.name.isdigit())
    return [pid for pid in pids if _mounts(pid) == mounts]


def _end(pids: list[int], sign: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, sign)
    deadline = time.monotonic() + 10
    while any(map(is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
