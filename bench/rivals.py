"""The programs we measure beside: fail2ban's server, sshguard's pipe and ripgrep, Debian's builds.

Touches build/rivals, where Debian's packages are unpacked without being installed, and a private
folder for each run. Limits: Debian; fail2ban reads files only, not an exported journal.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from bench import measure

ROOT = Path(__file__).resolve().parent.parent / "build" / "rivals"
PACKAGES = ("fail2ban", "sshguard", "ripgrep")

FIRST, LAST = "203.0.113.250", "203.0.113.251"
"""Who fails in a line before and in a line behind the measured ones: so far the log was read."""

JAIL = """\
[DEFAULT]
backend = polling
findtime = 10m
maxretry = 5
bantime = 10m
action = nothing

[{kind}]
enabled = true
filter = {kind}
logpath = {log}
"""


def unpack() -> dict[str, str]:
    """Fetch and unpack what is missing; the versions. Nothing is installed or started."""
    ROOT.mkdir(parents=True, exist_ok=True)
    versions = {}
    for name in PACKAGES:
        if not list(ROOT.glob(f"{name}_*.deb")):
            subprocess.run(["apt-get", "download", "-qq", name], cwd=ROOT, check=True)
        package = next(ROOT.glob(f"{name}_*.deb"))
        if not (ROOT / f".{name}").exists():
            subprocess.run(["dpkg-deb", "-x", package, ROOT], check=True)
            (ROOT / f".{name}").touch()
        versions[name] = package.name.split("_")[1]
    return versions


def ripgrep(patterns: Sequence[str], log: Path, folder: Path) -> tuple[float, int]:
    """`rg -c` with all patterns at once: CPU seconds, lines matched."""
    file = folder / "patterns"
    file.write_text("".join(f"{pattern}\n" for pattern in patterns), encoding="utf-8")
    binary = str(ROOT / "usr/bin/rg")
    run = measure.command(
        [binary, "--no-config", "--no-unicode", "-a", "-c", "-f", str(file), str(log)]
    )
    if run.code > 1:
        raise RuntimeError("ripgrep refused the patterns")
    return run.cpu, int(run.out or b"0")


def sshguard_parser(log: Path) -> float:
    """CPU seconds of sshguard's parser alone: detection without counting."""
    return measure.command([str(ROOT / "usr/libexec/sshguard/sshg-parser")], stdin=log).cpu


def sshguard(log: Path) -> float:
    """CPU seconds of sshguard's whole pipe with Debian's settings and its own null firewall."""
    libexec = ROOT / "usr/libexec/sshguard"
    pipe = (
        f"{libexec}/sshg-parser | {libexec}/sshg-blocker -a 30 -p 120 -s 1800 2>/dev/null"
        f" | sh {libexec}/sshg-fw-null >/dev/null"
    )
    return measure.command(["sh", "-c", pipe], stdin=log).cpu


class Fail2ban:
    """fail2ban's server in the foreground, with one jail, following a log that is empty at first.

    Stock filter, thresholds and log level; its database is on; an action that does nothing.
    """

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.folder = kind, folder
        self.log = folder / "watched.log"
        self.own = folder / "fail2ban.log"
        self.log.touch()
        shutil.copytree(ROOT / "etc/fail2ban", folder / "etc", dirs_exist_ok=True)
        for stray in ("jail.d", "jail.local"):
            shutil.rmtree(folder / "etc" / stray, ignore_errors=True)
        (folder / "etc/jail.conf").write_text(JAIL.format(kind=kind, log=self.log))
        (folder / "etc/action.d/nothing.conf").write_text("[Definition]\nactionban =\n")
        # fmt: off
        self.process = subprocess.Popen(
            ["/usr/bin/python3", ROOT / "usr/bin/fail2ban-server", "-f",
             "-c", folder / "etc", "-s", folder / "socket", "-p", folder / "pid",
             "--logtarget", self.own, "--pname", "fail2ban-measured", "start"],
            env={**os.environ, "PYTHONPATH": str(ROOT / "usr/lib/python3/dist-packages")},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        # fmt: on

    def ready(self) -> None:
        """Wait until it has found a first failure and is idle again.

        Until it has once reached the end of a log it skips what is older than `findtime`.
        """
        measure.wait_until(lambda: self._says("Jail '"), 30, "fail2ban did not start")
        with self.log.open("ab") as file:
            file.write(self._failure(FIRST))
        measure.wait_until(lambda: self._says(f"Found {FIRST}"), 30, "fail2ban found nothing")
        measure.wait_idle(self.process.pid)

    def _failure(self, address: str) -> bytes:
        if self.kind == "exim":
            stamp = time.strftime("%Y-%m-%d %H:%M:%S")
            text = (
                f"login authenticator failed for (x) [{address}]: 535 Incorrect authentication data"
            )
        else:
            stamp = time.strftime("%b %e %H:%M:%S mail sshd[1]:")
            text = f"Failed password for root from {address} port 22 ssh2"
        return f"{stamp} {text}\n".encode()

    def feed(self, log: Path) -> tuple[float, int]:
        """Append a whole log; CPU seconds until all of it is worked off, failures found in it."""
        before, found = measure.tree_cpu(self.process.pid), self._count()
        with self.log.open("ab") as file:
            file.write(log.read_bytes() + self._failure(LAST))
        measure.wait_until(lambda: self._says(f"Found {LAST}"), 900, "fail2ban did not finish")
        after = measure.wait_idle(self.process.pid)
        return after - before, self._count() - found - 1

    def _says(self, text: str) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"fail2ban's server ended with {self.process.returncode}")
        if not self.own.exists():
            return False
        with self.own.open("rb") as file:
            file.seek(max(0, self.own.stat().st_size - 100_000))
            return text.encode() in file.read()

    def _count(self) -> int:
        with self.own.open("rb") as file:
            return sum(b"] Found " in line for line in file)

    def stop(self) -> None:
        """End it, the hard way if it does not go."""
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        self.process.kill()
        self.process.wait()


def fail2ban(kind: str, log: Path, folder: Path) -> tuple[float, int]:
    """CPU seconds of fail2ban's server for one log, failures it found; start-up not counted."""
    private = folder / f"fail2ban-{log.name}"
    private.mkdir()
    server = Fail2ban(kind, private)
    try:
        server.ready()
        return server.feed(log)
    finally:
        server.stop()
        shutil.rmtree(private)
