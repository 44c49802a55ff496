"""Made-up hosts for the tests of the survey: a root folder with what a distribution puts there.

Touches the folder it is given. Limits: only what the survey looks at.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

NOW = 1_787_400_000_000_000  # 2026-08-22T12:00:00Z
_UTMP = struct.Struct("=hxxi32s4s32s256shhiii16s20x")


class Host:
    """A root folder; each method adds something and returns the host."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("proc/net", "etc", "run", "usr/sbin", "var/log"):
            (root / folder).mkdir(parents=True)
        self.file("etc/group", "root:x:0:\nadm:x:4:\nsystemd-journal:x:101:\n")

    def file(self, name: str, text: str | bytes = "", age: int = 0, mode: int = 0o644) -> Host:
        """A file; `age`: seconds before NOW that it was written."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        path.chmod(mode)
        moment = NOW // 1_000_000 - age
        os.utime(path, (moment, moment))
        return self

    def program(self, *names: str) -> Host:
        for name in names:
            self.file(f"usr/sbin/{name}", "", mode=0o755)
        return self

    def unit(self, *names: str) -> Host:
        for name in names:
            self.file(f"usr/lib/systemd/system/{name}")
        return self

    def process(
        self, pid: int, name: str, called: str = "", parent: int = 1, **environ: str
    ) -> Host:
        self.file(f"proc/{pid}/comm", f"{name}\n")
        self.file(f"proc/{pid}/cmdline", (called or name).replace(" ", "\0") + "\0")
        self.file(f"proc/{pid}/status", f"Name:\t{name}\nPid:\t{pid}\nPPid:\t{parent}\n")
        text = "".join(f"{key}={value}\0" for key, value in environ.items())
        return self.file(f"proc/{pid}/environ", text)

    def journald(self) -> Host:
        return self.file("run/systemd/journal/socket")

    def systemd(self) -> Host:
        (self.root / "run/systemd/system").mkdir(parents=True, exist_ok=True)
        return self

    def listens(self, *ports: int) -> Host:
        head = "  sl  local_address rem_address   st\n"
        rows = "".join(f"   0: 00000000:{port:04X} 00000000:0000 0A 0\n" for port in ports)
        return self.file("proc/net/tcp", head + rows)

    def routes(self, *rows: tuple[str, str, str, str]) -> Host:
        """(interface, destination, gateway, mask) in dotted form."""
        text = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n"
        for interface, *columns in rows:
            packed = [struct.unpack("=I", bytes(map(int, c.split("."))))[0] for c in columns]
            destination, gateway, mask = (f"{one:08X}" for one in packed)
            flags = "0003" if packed[1] else "0001"
            text += f"{interface}\t{destination}\t{gateway}\t{flags}\t0\t0\t0\t{mask}\n"
        return self.file("proc/net/route", text)

    def logged_in(self, *people: tuple[str, bytes]) -> Host:
        """utmp entries: user, packed address (4 or 16 bytes)."""
        data = b"".join(
            _UTMP.pack(
                7, 99, b"pts/0", b"", user.encode(), b"", 0, 0, 0, 0, 0, packed.ljust(16, b"\0")
            )
            for user, packed in people
        )
        return self.file("run/utmp", data)


def debian12(root: Path) -> Host:
    """sshd, exim and nginx; journald, but no syslog daemon."""
    host = Host(root).journald().systemd()
    host.program("sshd", "exim4", "exim", "sendmail", "nginx").unit("ssh.service", "nginx.service")
    host.process(700, "sshd", "sshd: /usr/sbin/sshd -D").process(
        701, "exim4", "/usr/sbin/exim4 -bd"
    )
    host.listens(22, 25, 80)
    host.file("var/log/exim4/mainlog", "x\n", mode=0o640)
    host.file("var/log/nginx/access.log", "x\n").file("var/log/nginx/error.log", "x\n")
    return host
