"""What the tests of nginx and Apache share: pages, a password, their logs, and `curl` as the client.

Touches the machine's folder and the attacker's namespace. Limits: plain HTTP.
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.daemons.machine import PASSWORD, USER, Machine
from tests.kernel.namespaces import HOST, HOST6, World

WEB = [80, 443]
PROBES = ("/.env", "/wp-login.php", "/.git/config", "/phpmyadmin/", "/backup.sql", "/shell.php")
# A score has no ladder: it fades so fast that the ban is over when the test has looked at it.
FADING = """
[rule.web-probing]
decay = "2/1s"
[rule.comment-spam]
decay = "2/1s"
"""


@dataclass(frozen=True)
class Site:
    """A folder with pages, one part of it with a password, and the logs of who serves it."""

    machine: Machine
    access: Path
    error: Path

    @property
    def logs(self) -> dict[str, list[Path]]:
        """The logs, by the shipped sources that follow such logs."""
        return {"web": [self.access], "web-errors": [self.error]}


def site(machine: Machine) -> Site:
    """Pages for everybody, and a place for USER alone."""
    for name in ("www/index.html", "www/private/index.html"):
        page = machine.folder / name
        page.parent.mkdir(exist_ok=True)
        page.write_text(f"<title>{name}</title>\n")
    digest = base64.b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()
    (machine.folder / "users").write_text(f"{USER}:{{SHA}}{digest}\n")
    return Site(machine, machine.open_log("access.log"), machine.open_log("error.log"))


def curl(world: World, source: str, path: str, *options: str) -> int:
    """The status of one request; 0 if there was no answer."""
    host = f"[{HOST6}]" if ":" in source else HOST
    words = ["curl", "--silent", "--globoff", "--path-as-is", "--output", "/dev/null"]
    words += ["--write-out", "%{http_code}", "--interface", source, "--max-time", "4"]
    words += ["--header", "Host: www.example.org"]
    with world.attacker.inside():
        client = subprocess.Popen(
            [*words, *options, f"http://{host}{path}"], stdout=subprocess.PIPE
        )
    return int(client.communicate(timeout=30)[0])


def guess(world: World, source: str, users: Sequence[str]) -> None:
    """Wrong passwords, one after the other; the last may be closed for before it is answered."""
    said = [curl(world, source, "/private/", "--user", f"{user}:1") for user in users]
    assert said[:-1] == [401] * (len(users) - 1)
    assert said[-1] in (401, 0)


def browse(world: World, source: str) -> list[int]:
    """What a reader does: two pages, an icon that is not there, the members' page."""
    return [
        curl(world, source, "/"),
        curl(world, source, "/index.html"),
        curl(world, source, "/favicon.ico"),
        curl(world, source, "/private/"),  # a browser asks for the password when it is told to
        curl(world, source, "/private/", "--user", f"{USER}:{PASSWORD}"),
    ]


BROWSED = [200, 200, 404, 401, 200]
