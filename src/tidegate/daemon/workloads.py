"""What a host runs that a guard can hold back: web, mail, database and PHP servers, as services.

Touches files below a root folder, only to read: /proc, the folders of units, /etc/init.d.
Limits: what runs now; a server that nothing here could stop (in a container, by hand) is left out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

Kind = Literal["php-fpm", "apache", "nginx", "exim", "postfix", "mysql"]
UNITS = (
    "etc/systemd/system", "run/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"
)  # fmt: skip
WEB = (80, 443)
MAIL = (25, 465, 587)


class Workload(NamedTuple):
    """A server that runs here. `service`: its unit, or where there is none its init script;
    `ports`: those of its ports that something listens on."""

    kind: Kind
    service: str
    because: str
    ports: tuple[int, ...] = ()

    @property
    def unit(self) -> bool:
        """Whether it is a unit of systemd."""
        return self.service.endswith(".service")


class _Known(NamedTuple):
    """A server: how its program is called when it runs, and its service where that stands alone."""

    kind: Kind
    program: re.Pattern[str]
    services: tuple[str, ...]
    ports: tuple[int, ...]


_KNOWN = (
    _Known("php-fpm", re.compile(r"php-fpm(?P<version>[\d.]*)"),
           ("php{version}-fpm", "php-fpm{version}", "php-fpm"), WEB),
    _Known("apache", re.compile(r"apache2|httpd"), ("apache2", "httpd"), WEB),
    _Known("nginx", re.compile(r"nginx"), ("nginx",), WEB),
    _Known("exim", re.compile(r"exim4?"), ("exim4", "exim"), MAIL),
    # Postfix' first process is called master, as many are: its service must be here too.
    _Known("postfix", re.compile(r"master"), ("postfix",), MAIL),
    _Known("mysql", re.compile(r"mariadbd|mysqld"), ("mariadb", "mysql", "mysqld"), ()),
)  # fmt: skip


def workloads(
    running: Collection[str], listening: Collection[int], booted: str, root: str = ""
) -> Iterator[Workload]:
    """The servers among the programs that run, each service once, in the order of `Kind`.

    `running`: names of programs; `listening`: TCP ports; `booted`: what starts services here.
    """
    for known in _KNOWN:
        found: dict[str, str] = {}
        for program in sorted(running):
            if match := known.program.fullmatch(program):
                version = match.groupdict().get("version", "")
                names = [name.format(version=version) for name in known.services]
                service = next(filter(None, (_service(one, booted, root) for one in names)), None)
                if service is not None:
                    found.setdefault(service, program)
        ports = tuple(port for port in known.ports if port in listening)
        for service, program in found.items():
            yield Workload(known.kind, service, f"running: {program}", ports)


def _service(name: str, booted: str, root: str) -> str | None:
    """The unit of that name, or its init script; None where there is neither."""
    place = Path(root or "/")
    if booted == "systemd" and any((place / one / f"{name}.service").exists() for one in UNITS):
        return f"{name}.service"
    return name if (place / "etc/init.d" / name).exists() else None
