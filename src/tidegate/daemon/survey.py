"""The survey: which services are on this host, where their logs are, who is around.

Touches files below a root folder (`/`, or a made-up one), only to read: /proc, /etc, /run, the
folders of programs and units, and what packs name as logs. The result is a plain value.
Limits: what packs know; a service inside a container shows only where its log stands here.
"""

from __future__ import annotations

import glob
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tidegate.daemon import host
from tidegate.daemon.neighbourhood import Neighbour, administrators, networks
from tidegate.daemon.senders import Sender, busy, forwards, tracks
from tidegate.daemon.workloads import Workload, workloads
from tidegate.detector.definition import Pack
from tidegate.model import DAY, Micros, Subject
from tidegate.policy.models import Policy

_PROGRAMS = ("usr/sbin", "usr/bin", "sbin", "bin", "usr/local/sbin", "usr/local/bin")
_UNITS = ("etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")
_READERS = ("adm", "systemd-journal", "tidegate-watch")
_STALE = 7 * DAY

SYSLOG = frozenset(
    f"/var/log/{name}"
    for name in ("syslog", "messages", "auth.log", "secure", "mail.log", "maillog", "daemon.log",
                 "kern.log", "security", "audit.log", "system.log", "access.log")
)  # fmt: skip
"""Logs that many programs share: that one is there says nothing of who writes to it."""

_EVERYWHERE = frozenset(("login", "kernel", "java", "server", "proxy", "admin", "http", "https",
                         "remote", "system", "security", "su", "sendmail"))  # fmt: skip
"""Programs that are on any host (each mail server brings a `sendmail`), or names of no use."""


@dataclass(frozen=True, slots=True)
class Log:
    """A path or glob that a pack or the shipped policy names, and that is there.

    `source`: the shipped policy's source that names it ("": only the pack does); `fresh`: written
    to within a week; `readable`: the watcher may read it.
    """

    path: str
    source: str
    fresh: bool
    readable: bool

    @property
    def shared(self) -> bool:
        """Whether many programs write to it."""
        return self.path in SYSLOG


@dataclass(frozen=True, slots=True)
class Service:
    """A pack whose service is here. `because`: what showed it; `logs`: its own and shared ones,
    `looked`: where they were looked for; `journal`: the pack says what of the journal is its."""

    pack: str
    because: tuple[str, ...]
    running: bool
    logs: tuple[Log, ...]
    journal: bool
    ports: tuple[int, ...] = ()
    looked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Survey:
    """What this host looks like. `journal`: journald runs, or has written; `booted`: what starts
    services here (systemd, openrc, sysv or ""); `ssh_ports`: where its configuration puts sshd;
    `workloads`: what runs and could be held back when the load is high; `busy`: who sends much for
    good reasons; `forwards`: packets of others pass through; `tracks`: connections are tracked."""

    services: tuple[Service, ...] = ()
    journal: bool = False
    booted: str = ""
    protected: tuple[tuple[Subject, str], ...] = ()
    networks: tuple[Neighbour, ...] = ()
    people: tuple[Neighbour, ...] = ()
    ssh_ports: tuple[int, ...] = ()
    workloads: tuple[Workload, ...] = ()
    busy: tuple[Sender, ...] = ()
    forwards: bool = False
    tracks: bool = False


def survey(
    packs: Sequence[Pack],
    shipped: Policy,
    now: Micros,
    *,
    root: str = "",
    environ: Mapping[str, str] | None = None,
    pid: int | None = None,
) -> Survey:
    """Look at the host below `root`. `shipped`: the shipped policy, whose sources name logs too."""
    look = _Look(root, now, packs, shipped)
    found = tuple(service for pack in packs if (service := look.service(pack)))
    return Survey(
        services=found,
        journal=look.journal,
        booted=booted(root),
        protected=host.protected(root),
        networks=networks(root),
        people=administrators(root, environ, pid),
        ssh_ports=ssh_ports(root),
        workloads=tuple(workloads(look.running, look.listening, booted(root), root)),
        busy=busy(look.running, root),
        forwards=forwards(root),
        tracks=tracks(root),
    )


def booted(root: str = "") -> str:
    """What starts services here: systemd where it runs (sd_booted(3)), else what there is."""
    if Path(root or "/", "run/systemd/system").is_dir():
        return "systemd"
    if Path(root or "/", "run/openrc").is_dir() or Path(root or "/", "sbin/openrc-run").exists():
        return "openrc"
    there = [Path(root or "/", place).exists() for place in ("etc/init.d", "etc/rc2.d")]
    return "sysv" if all(there) else ""


def ssh_ports(root: str = "") -> tuple[int, ...]:
    """The ports that sshd's configuration states; () where it states none."""
    found: dict[int, None] = {}
    folder = Path(root or "/", "etc/ssh")
    for path in (folder / "sshd_config", *sorted(folder.glob("sshd_config.d/*.conf"))):
        for port in re.findall(r"^\s*Port[\s=]+(\d{1,5})\s*$", _text(path), re.I | re.M):
            if 1 <= int(port) <= 65535:
                found[int(port)] = None
    return tuple(found)


class _Look:
    """One look at a host: what is running and installed, read once."""

    def __init__(self, root: str, now: Micros, packs: Sequence[Pack], shipped: Policy) -> None:
        self._root = root
        self._now = now
        self.running = dict(_running(root))
        self.listening = frozenset(_listening(root))
        self._readers = frozenset(_groups(root))
        self._named = Counter(path for pack in packs for path in set(pack.files))
        self._first = Counter(pack.programs[0] for pack in packs if pack.programs)
        self._sources = shipped.sources
        journals = ("var/log/journal/*/*.journal", "run/log/journal/*/*.journal")
        self.journal = Path(root or "/", "run/systemd/journal/socket").exists() or any(
            glob.glob(os.path.join(root or "/", place)) for place in journals
        )

    def service(self, pack: Pack) -> Service | None:
        """The pack's service, if anything shows that it is here."""
        because = dict.fromkeys(self._shown(pack))
        if not because:
            return None
        patterns = self._stated(pack) | dict.fromkeys(pack.files, "") | self._stated(pack)
        logs = tuple(log for path, name in patterns.items() if (log := self._log(path, name)))
        running = any(one.startswith("running") for one in because)
        ports = tuple(port for port in pack.ports if port in self.listening)
        return Service(pack.name, tuple(because), running, logs, bool(pack.journal), ports,
                       tuple(patterns))  # fmt: skip

    def _stated(self, pack: Pack) -> dict[str, str]:
        """The pack's logs that the shipped policy names, each with its source."""
        folders = {os.path.dirname(path) for path in pack.files} - {"/var/log"}
        return {
            path: source.name
            for source in self._sources
            for path in source.files
            if pack.name in source.detectors
            and (path in pack.files or pack.name in path or os.path.dirname(path) in folders)
        }

    def _shown(self, pack: Pack) -> Iterator[str]:
        names = self._names(pack)
        for name in names:
            if name in self.running:
                yield f"running: {self.running[name]}"
        for name in names:
            for folder in _PROGRAMS:
                if Path(self._root or "/", folder, name).is_file():
                    yield f"installed: /{folder}/{name}"
                    break
        for match in (match for group in pack.journal for match in group):
            field, _, value = match.partition("=")
            if field == "_SYSTEMD_UNIT" and self._has_unit(value):
                yield f"unit {value}"
        stated = self._stated(pack)
        for path in (*stated, *pack.files):
            own = self._named[path] == 1 or pack.name in path or path in stated
            if own and path not in SYSLOG and self._paths(path):
                yield f"log {path}"

    def _names(self, pack: Pack) -> list[str]:
        """The programs that are this pack's without doubt."""
        stated = [m.partition("=") for group in pack.journal for m in group]
        trusted = {os.path.basename(value) for field, _, value in stated
                   if field in ("_COMM", "_EXE")}  # fmt: skip
        names = [pack.name]
        for name in pack.programs:
            first = name == pack.programs[0] and self._first[name] == 1
            if "*" not in name and (first or name in trusted or name.startswith(pack.name)):
                names.append(name)
        return [name for name in dict.fromkeys((*names, *sorted(trusted)))
                if name not in _EVERYWHERE and "/" not in name]  # fmt: skip

    def _has_unit(self, unit: str) -> bool:
        template = re.sub(r"@.*\.", "@.", unit)
        return any(Path(self._root or "/", folder, name).exists()
                   for folder in _UNITS for name in (unit, template))  # fmt: skip

    def _paths(self, pattern: str) -> list[str]:
        """The regular files that a path or glob stands for, below the root."""
        found = (
            glob.glob(self._root + pattern) if glob.has_magic(pattern) else [self._root + pattern]
        )
        return [path for path in found if os.path.isfile(path)]

    def _log(self, pattern: str, source: str) -> Log | None:
        paths = self._paths(pattern)
        if not paths:
            return None
        newest = max(_status(path).st_mtime_ns // 1000 for path in paths)
        filled = any(_status(path).st_size for path in paths)
        return Log(
            pattern,
            source,
            fresh=filled and newest > self._now - _STALE,
            readable=any(self._may_read(path) for path in paths),
        )

    def _may_read(self, path: str) -> bool:
        """Whether the watcher, by its groups, may enter every folder and read the file."""
        last = Path(path)
        if not self._lets(last, stat.S_IROTH, stat.S_IRGRP):
            return False
        # What is around a made-up root does not count.
        inside = [one for one in last.parents if len(str(one)) > len(self._root)]
        return all(self._lets(folder, stat.S_IXOTH, stat.S_IXGRP) for folder in inside)

    def _lets(self, place: Path, others: int, group: int) -> bool:
        status = _status(str(place))
        ours = status.st_mode & group and status.st_gid in self._readers
        return bool(status.st_mode & others or ours)


def _running(root: str) -> Iterator[tuple[str, str]]:
    """Each program that runs: by its name (as the kernel has it, and as it was called)."""
    for folder in sorted(glob.glob(f"{root}/proc/[0-9]*")):
        called = _text(Path(folder, "cmdline")).partition("\0")[0].partition(" ")[0].rstrip(":")
        kernel = _text(Path(folder, "comm")).strip()
        for name in (kernel, os.path.basename(called)):
            if name:
                yield name, name


def _listening(root: str) -> Iterator[int]:
    """The TCP ports that something listens on."""
    for name in ("tcp", "tcp6"):
        for line in _text(Path(root or "/", "proc/net", name)).splitlines()[1:]:
            columns = line.split()
            if len(columns) > 3 and columns[3] == "0A":
                yield int(columns[1].rpartition(":")[2], 16)


def _groups(root: str) -> Iterator[int]:
    """The numbers of the groups that the watcher is in."""
    for line in _text(Path(root or "/", "etc/group")).splitlines():
        parts = line.split(":")
        if len(parts) > 2 and parts[0] in _READERS and parts[2].isdigit():
            yield int(parts[2])


def _status(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except OSError:  # gone since we looked
        return os.stat_result((0,) * 10)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
