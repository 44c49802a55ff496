"""A real systemd as PID 1 of namespaces of its own, with a control group of its own (version 2).

Touches processes, a control group and a folder, all ended and removed by `close`; in there the rest
of the host's files can't be written, and none of its units exist, so that none of them (such as the
one that empties /tmp at a boot) can ever run. There is no message bus, so `systemctl freeze` fails
as on old hosts; everything else goes by systemd's own socket.
Limits: Linux with unshare, nsenter and systemd installed.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tidegate.gate.switches.kinds import Ran, Runner, Tools

SYSTEMD = "/lib/systemd/systemd"
UNITS = ("/usr/lib/systemd/system", "/etc/systemd/system")
GENERATORS = ("/usr/lib/systemd/system-generators", "/etc/systemd/system-generators")
SETUP = f"""\
set -e
mount --make-rprivate /
mount --bind "$1" "$1"
mount -o remount,bind,ro /
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
mkdir -p /run/lock /run/systemd
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for folder in {" ".join((*UNITS, *GENERATORS))}; do
  [ ! -d $folder ] || mount -t tmpfs tmpfs $folder
done
[ -z "$(ls {" ".join(UNITS)} | grep -v :)" ]
! touch /etc/tidegate-test 2>/dev/null
for name in mini sysinit basic timers multi-user shutdown; do
  printf '[Unit]\\nDefaultDependencies=no\\nAllowIsolate=yes\\n' > {UNITS[1]}/$name.target
done
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin {SYSTEMD} --system \
  --unit=mini.target --log-target=null --show-status=no
"""


def missing() -> str:
    """Why there can be no systemd here; "" if there can."""
    for tool in (SYSTEMD, "systemctl", "systemd-run", "nsenter", "unshare"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    return "" if _hierarchy() is not None else "no control groups of version 2"


def _hierarchy() -> Path | None:
    for line in Path("/proc/mounts").read_text().splitlines():
        _device, where, kind = line.split()[:3]
        if kind == "cgroup2":
            return Path(where)
    return None


class Systemd:
    """Boots; RuntimeError where it does not within ten seconds. `folder` can be written in there."""

    def __init__(self) -> None:
        root = _hierarchy()
        assert root is not None
        self.group = root / f"tidegate-test-{os.getpid()}-{time.monotonic_ns()}"
        self.group.mkdir()
        self.folder = Path(tempfile.mkdtemp(prefix="tidegate-test-", dir="/tmp"))
        self.folder.chmod(0o755)
        words = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--net", "--uts", "--ipc"]
        enter = f'echo $$ > {self.group}/cgroup.procs; exec "$@"'
        self._outer = subprocess.Popen(
            [
                "sh",
                "-c",
                enter,
                "sh",
                *words,
                "--cgroup",
                "sh",
                "-c",
                SETUP,
                "sh",
                str(self.folder),
            ],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        self.pid = 0
        try:
            self._boot()
        except BaseException:
            self.close()
            raise

    def _boot(self) -> None:
        deadline = time.monotonic() + 10
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children")
        while time.monotonic() < deadline and self._outer.poll() is None:
            found = children.read_text().split()
            self.pid = int(found[0]) if found else 0
            if self.pid and self._comm() == "systemd" and self.run("systemctl", "list-jobs") == 0:
                return
            time.sleep(0.05)
        raise RuntimeError("systemd does not boot in namespaces here")

    def _comm(self) -> str:
        with suppress(OSError):
            return Path(f"/proc/{self.pid}/comm").read_text().strip()
        return ""

    @property
    def words(self) -> list[str]:
        """What a command has to begin with, to be run in there."""
        return ["nsenter", "-t", str(self.pid), "-a", "--"]

    def run(self, *words: str) -> int:
        done = subprocess.run([*self.words, *words], capture_output=True, text=True)
        return done.returncode

    def show(self, unit: str, key: str) -> str:
        words = [*self.words, "systemctl", "show", "--value", f"--property={key}", unit]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()

    def unit(self, name: str, text: str, *, start: bool = True) -> None:
        path = f"{UNITS[0]}/{name}"
        words = [*self.words, "sh", "-c", f"cat > {path} && systemctl daemon-reload"]
        subprocess.run(words, input=text, text=True, check=True)
        if start:
            assert self.run("systemctl", "start", name) == 0

    def tools(self, run: Runner) -> Tools:
        def inside(words: Sequence[str], seconds: float, *, ranked: bool = False) -> Ran:
            return run([*self.words, *words], seconds, ranked=ranked)

        return Tools(inside, systemd=True, groups=self.group)

    def close(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._outer.pid, signal.SIGKILL)
        self._outer.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            (self.group / "cgroup.kill").write_text("1")
        deadline = time.monotonic() + 10
        while self.group.exists() and time.monotonic() < deadline:
            for folder, _names, _files in os.walk(self.group, topdown=False):
                with suppress(OSError):
                    os.rmdir(folder)
            time.sleep(0.02)
