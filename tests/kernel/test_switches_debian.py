"""Debian's own init script and daemon (nginx), stopped and started in namespaces of their own."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.kernel.switching import gate, keeping, wait_until

from tidegate.gate.switches import keeper
from tidegate.gate.switches.kinds import Tools
from tidegate.policy.guards import Service

SCRIPT = Path("/etc/init.d/nginx")
_CLONE_NEWNS, _CLONE_NEWNET = 0x00020000, 0x40000000
_OWN = ("/run", "/var/log/nginx", "/var/lib/nginx")

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(
        not (SCRIPT.exists() and shutil.which("nginx", path="/usr/sbin")),
        reason="nginx is not installed",
    ),
]


def apart() -> None:
    """This process, and what it starts, has a network and folders of its own."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS | _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    for folder in _OWN:
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def test_nginx_by_its_init_script(public_folder):
    (public_folder / "gates").mkdir(mode=0o700)

    def serve(*words: object, **named: object) -> None:
        apart()
        subprocess.run([SCRIPT, "start"], check=True, capture_output=True)
        keeper.serve(*words, **named)  # type: ignore[arg-type]

    def tools(run: object) -> Tools:
        return Tools(run, systemd=False)  # type: ignore[arg-type]

    host = SimpleNamespace(folder=public_folder, tools=tools)
    with keeping(host, gate("nginx", Service("nginx.service")), serve=serve) as made:  # type: ignore[arg-type]
        made.until("nginx", "open")
        inside = made.pid
        first = running(inside)
        try:
            assert len(first) >= 2 and answers(inside)
            made.want("nginx")
            made.until("nginx", "closed")
            assert running(inside) == [] and not answers(inside)
            made.want()
            made.until("nginx", "open")
            assert running(inside) and running(inside) != first
            wait_until(lambda: answers(inside))
            subprocess.run([*entered(inside), str(SCRIPT), "stop"], check=True, capture_output=True)
            made.want("nginx")
            assert "does not run" in made.until("nginx", "away").detail
            made.want()
            made.until("nginx", "open")
            assert running(inside) == []
        finally:
            for pid in running(inside):
                os.kill(pid, 9)


def entered(pid: int) -> list[str]:
    return ["nsenter", "-t", str(pid), "-m", "-n", "--"]


def running(pid: int) -> list[int]:
    """The nginx of this process's network."""
    space = os.readlink(f"/proc/{pid}/ns/net")
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            state = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[0]
            if (
                Path(f"/proc/{name}/comm").read_text() == "nginx\n"
                and os.readlink(f"/proc/{name}/ns/net") == space
                and state != "Z"
            ):
                found.append(int(name))
        except OSError:
            continue
    return sorted(found)


def answers(pid: int) -> bool:
    text = "import socket; socket.create_connection(('127.0.0.1', 80), 2).close()"
    done = subprocess.run([*entered(pid), "/usr/bin/python3", "-c", text], capture_output=True)
    return done.returncode == 0
