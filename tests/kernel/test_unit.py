"""The daemon lives with what the systemd unit leaves it: few capabilities, no writable code."""

from __future__ import annotations

import contextlib
import ctypes
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kernel.namespaces import Namespace

REPOSITORY = Path(__file__).resolve().parents[2]
UNIT = REPOSITORY / "packaging" / "systemd" / "tidegate.service"
PR_SET_MDWE, MDWE_REFUSE_EXEC_GAIN = 65, 1

pytestmark = pytest.mark.kernel

POLICY = """
[source.exim]
file = "{folder}/mainlog"

[rule.virus-senders]
on = ["exim.malware"]
more-than = 0
within = "5m"
ban = {{ ports = [25] }}

[paths]
state = "{folder}/state"
run = "{folder}/run"
off = "{folder}/off"
detectors = "{folder}/detectors"
"""
LINE = (
    "{stamp} 1tAbCd-000000001x-2Bcd H=(x) [198.51.100.7] F=<a@example.com> "
    "rejected after DATA: This message contains a virus (Sobig.F)\n"
)


def capabilities() -> list[str]:
    stated = re.findall(r"^CapabilityBoundingSet=(.*)$", UNIT.read_text(), re.MULTILINE)
    return [name.removeprefix("CAP_").lower() for line in stated for name in line.split()]


def write_or_execute() -> None:
    """As MemoryDenyWriteExecute=yes; kernels before 6.3 don't know it."""
    ctypes.CDLL(None).prctl(PR_SET_MDWE, MDWE_REFUSE_EXEC_GAIN, 0, 0, 0)


@contextlib.contextmanager
def daemon(space: Namespace, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    policy = folder / "tidegate.toml"
    policy.write_text(POLICY.format(folder=folder))
    (folder / "mainlog").touch()
    allowed = ",".join(["-all", *(f"+{name}" for name in capabilities())])
    said = folder / "daemon.log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told, said.open("wb") as output:
        told.bind(str(folder / "notify"))
        told.settimeout(30)
        with space.inside():
            process = subprocess.Popen(
                [
                    *("setpriv", "--bounding-set", allowed, "--inh-caps=-all", "--no-new-privs"),
                    *(sys.executable, "-m", "tidegate", "run", "--config", policy),
                ],
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "NOTIFY_SOCKET": told.getsockname()},
                stdout=output,
                stderr=output,
                preexec_fn=write_or_execute,  # noqa: PLW1509 - no threads here
            )
        try:
            while b"READY=1" not in told.recv(4096):
                pass
            yield process
        except TimeoutError:
            pytest.fail(said.read_text())
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def children(pid: int) -> list[int]:
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_it_starts_bans_and_stops_within_the_sandbox(alone: Namespace, public_folder: Path) -> None:
    with daemon(alone, public_folder) as process:
        with (public_folder / "mainlog").open("a") as log:
            log.write(LINE.format(stamp=time.strftime("%Y-%m-%d %H:%M:%S")))
        deadline = time.monotonic() + 10
        while "198.51.100.7" not in alone.run("nft", "list", "table", "inet", "tidegate"):
            assert time.monotonic() < deadline, (public_folder / "daemon.log").read_text()
            time.sleep(0.02)
        found = [status(pid) for pid in children(process.pid)]
        held = sorted((int(one["CapEff"], 16), int(one["CapBnd"], 16)) for one in found)
        assert held == [(0, 0), (1 << 12, 1 << 12)]  # the watcher, the keeper
        assert {one["NoNewPrivs"] for one in found} == {"1"}
        assert len({one["Uid"] for one in found}) == 2
    # Stopped in order: both children are gone, and nobody had to be killed.
    assert process.returncode == 0, (public_folder / "daemon.log").read_text()


def test_it_starts_again_on_what_it_left(alone: Namespace, public_folder: Path) -> None:
    """The state folder is the watcher's by then; the master still prepares it."""
    for _ in range(2):
        with daemon(alone, public_folder) as process:
            assert process.poll() is None
        (public_folder / "notify").unlink()
