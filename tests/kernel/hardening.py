"""A host's mounts in a mount namespace of their own: /etc, /tmp, /var, /run and /dev/shm pretended.

Touches one process that holds the namespace, ended by `close`; nothing of the host's own mounts or
fstab. As a program (inside such a namespace) it plays deaths: see `main`. Limits: root, unshare.
"""

from __future__ import annotations

import itertools
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
FSTAB = b"""\
# /etc/fstab: static file system information.
UUID=0a3407de-014b-458b-b5c1-848e92a327a3 /      ext4\terrors=remount-ro 0       1
# caf\xe9, not UTF-8
tmpfs\t/tmp   tmpfs   size=1g,exec 0\t0
/swap none swap sw 0 0"""
"""Odd blanks, a byte that is no UTF-8, and no line end at the end: all to be kept."""

_MAKE = """\
set -e
! mountpoint -q /run/netns || umount -R -l /run/netns  # which others change meanwhile
cp -a /etc/passwd /etc/group /etc/nsswitch.conf /etc/ld.so.cache "$1"/
mount -t tmpfs etc /etc; cp -a "$1"/* /etc/; chmod 0755 /etc
mount -t tmpfs var /var; mkdir -p /var/tmp /var/lib; chmod 1777 /var/tmp
mount -t tmpfs run /run; mkdir -p /run/lock; chmod 1777 /run/lock
mount -t tmpfs -o mode=1777,noatime tmp /tmp
mount -t tmpfs -o mode=1777,nosuid,nodev,strictatime shm /dev/shm
echo ready
exec sleep 1000000
"""


class Hardened:
    """The pretended host. /tmp is a tmpfs that fstab has a line for, /dev/shm one that it has not;
    /var/tmp and /run/lock are plain folders."""

    def __init__(self, folder: Path, fstab: bytes | None = FSTAB) -> None:
        source = folder / "etc"
        source.mkdir()
        if fstab is not None:
            (source / "fstab").write_bytes(fstab)
            (source / "fstab").chmod(0o640)
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", _MAKE, "sh", source],
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        ready, _, _ = select.select([self._holder.stdout], [], [], 20)
        if not ready or self._holder.stdout.readline() != b"ready\n":
            self.close()
            raise RuntimeError("no mount namespace to be had")

    @property
    def holder(self) -> int:
        """A process that lives in it."""
        return self._holder.pid

    @property
    def root(self) -> Path:
        """Its file system, as seen from here."""
        return Path(f"/proc/{self._holder.pid}/root")

    def run(
        self, *words: str | Path, uid: int = 0, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """A command in it, to its end."""
        done = subprocess.run(
            self._words(*words, uid=uid), capture_output=True, text=True, check=False, cwd="/",
            env={**os.environ, "PYTHONPATH": f"{REPOSITORY}/src:{REPOSITORY}"}, timeout=120,
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(f"{words}: {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def start(self, *words: str | Path, uid: int = 0) -> subprocess.Popen[bytes]:
        """A command in it, that goes on; the caller ends it."""
        return subprocess.Popen(self._words(*words, uid=uid), cwd="/")

    def harden(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "tidegate", "harden", *words, check=check)

    def state(self) -> tuple[Any, ...]:
        """What an undo has to bring back: fstab with its mode, everything in /etc, the mounts."""
        return state(self.root, self._holder.pid)

    def state_of_mounts(self) -> list[str]:
        """The mounts alone, without what a test spoils before."""
        lines = Path(f"/proc/{self._holder.pid}/mountinfo").read_text().splitlines()
        return [line for line in lines if " /etc " not in line and " /var " not in line]

    def drop(self, path: str, uid: int, source: str = "/bin/sleep") -> None:
        """A program put there by that user, ready to be run."""
        self.run("cp", source, path, uid=uid)
        self.run("chmod", "0755", path, uid=uid)

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()
        if self._holder.stdout is not None:
            self._holder.stdout.close()

    def _words(self, *words: str | Path, uid: int) -> list[str]:
        enter = ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", "--"]
        if uid:
            enter += ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
        return [*enter, *map(str, words)]


def state(root: Path, pid: int) -> tuple[Any, ...]:
    fstab = root / "etc/fstab"
    there = (fstab.read_bytes(), fstab.stat().st_mode) if fstab.exists() else None
    names = sorted(str(one.relative_to(root / "etc")) for one in (root / "etc").rglob("*"))
    lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    return there, names, lines


# -- deaths, played inside -----------------------------------------------------------------------


def main(what: str) -> int:
    """`apply` or `undo` (`-old`: by a kernel before 5.12): killed before and after each of its effects in turn; after each death an
    undo (after every second one: an apply and an undo) has to leave everything as it was."""
    from tidegate.posture import kernel
    from tidegate.posture.apply import apply
    from tidegate.posture.host import Host
    from tidegate.posture.record import Records
    from tidegate.posture.undo import undo

    if what.endswith("-old"):
        kernel._bind_whole = lambda *_words: False  # type: ignore[assignment]
        what = what.removesuffix("-old")
    host, records = Host(units=()), Records(Path("/var/lib/tidegate-gates/posture"))
    quiet: Callable[[str], None] = lambda _line: None  # noqa: E731
    before = state(Path("/"), os.getpid())

    def doing() -> None:
        if what == "apply":
            apply(host, records, quiet)
        else:
            undo(host, records, quiet)

    for number in itertools.count(1):
        if what == "undo":
            apply(host, records, quiet)
        died = _killed_at(number, doing)
        if died and what == "apply" and number % 2:
            apply(host, records, quiet)
        undo(host, records, quiet)
        now = state(Path("/"), os.getpid())
        if now != before:
            print(f"after death {number}: {now}\ninstead of {before}")
            return 1
        left = sorted(one.name for one in records.folder.iterdir())
        if left != ["lock"]:
            print(f"after death {number}: {left}")
            return 1
        if not died:
            print(number - 1)
            return 0
    return 1


def _killed_at(number: int, doing: Callable[[], None]) -> bool:
    """Whether it was killed; False where it came to its end before that effect."""
    child = os.fork()
    if child == 0:
        _arm(number)
        doing()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def _arm(number: int) -> None:
    from tidegate.posture import kernel

    count = itertools.count(1)

    def wrapped(effect: Callable[..., Any]) -> Callable[..., Any]:
        def played(*words: Any, **options: Any) -> Any:
            if next(count) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            result = effect(*words, **options)
            if next(count) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return played

    for name in ("open", "replace", "fsync", "unlink", "fchmod", "fchown", "mkdir", "rmdir"):
        setattr(os, name, wrapped(getattr(os, name)))
    for name in ("bind", "_mount", "set_options", "detach"):
        setattr(kernel, name, wrapped(getattr(kernel, name)))


if __name__ == "__main__":
    assert shutil.which("mount")
    sys.exit(main(sys.argv[1]))
