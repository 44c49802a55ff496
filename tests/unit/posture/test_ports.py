from __future__ import annotations

import os
from pathlib import Path

from tidegate.posture.ports import exposed

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def line(address: str, port: int, state: str, inode: int) -> str:
    return f"   0: {address}:{port:04X} 00000000:0000 {state} 0:0 0:0 0 0 0 {inode} 1\n"


def host(folder: Path, **tables: str) -> Path:
    (folder / "net").mkdir()
    for name in ("tcp", "tcp6", "udp", "udp6"):
        (folder / "net" / name).write_text(HEAD + tables.get(name, ""))
    return folder


def owner(folder: Path, pid: int, program: str, inode: int) -> None:
    (folder / str(pid) / "fd").mkdir(parents=True)
    (folder / str(pid) / "exe").symlink_to(program)
    (folder / str(pid) / "fd" / "3").symlink_to(f"socket:[{inode}]")


def test_databases_on_more_than_loopback_are_told(tmp_path: Path) -> None:
    six = "B80D0120000000000000000001000000"
    proc = host(
        tmp_path,
        tcp=line("00000000", 3306, "0A", 1) + line("0100007F", 5432, "0A", 2)
        + line("0A00000A", 6379, "0A", 3) + line("00000000", 22, "0A", 4)
        + line("00000000", 27017, "01", 5),
        tcp6=line("0" * 32, 9200, "0A", 6) + line(six, 7777, "0A", 7)
        + line("0000000000000000FFFF00000100007F", 11211, "0A", 8),
        udp=line("00000000", 11211, "07", 9) + line("00000000", 3306, "07", 10),
    )  # fmt: skip
    owner(tmp_path, 70, "/usr/sbin/mariadbd", 7)
    found = [
        (one.service, one.protocol, one.address, one.port, one.reach, one.pid)
        for one in exposed(proc)
    ]
    assert found == sorted([
        ("mysql", "tcp", "0.0.0.0", 3306, "world", 0),
        ("redis", "tcp", "10.0.0.10", 6379, "network", 0),
        ("elasticsearch", "tcp", "::", 9200, "world", 0),
        ("mysql", "tcp", "2001:db8::1", 7777, "network", 70),
        ("memcached", "udp", "0.0.0.0", 11211, "world", 0),
    ])  # fmt: skip


def test_this_host_can_be_looked_at() -> None:
    assert os.path.exists("/proc/net/tcp")
    exposed(Path("/proc"))
