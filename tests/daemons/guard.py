"""`tidegate run` on a machine, under the shipped policy with the test's own logs and short bans.

Touches the machine's folder: the shipped policy as `tidegate.toml`, what differs in `policy.d`.
Limits: shipped sources that a test does not name are off, since their logs are the host's.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from tests.daemons.machine import Machine
from tests.kernel.daemon import PATHS, Daemon, until
from tests.kernel.namespaces import HOST, World

SHIPPED = resources.files("tidegate.policy").joinpath("shipped.toml").read_text("utf-8")
BAN = "9s"
_SHOWN = re.compile(r"^  \S+:\d+: (.*)$", re.MULTILINE)
OTHER_PORT = 2525
"""Nobody's service: alive for whoever has only a service's own ports closed."""


def overlay(logs: Mapping[str, Sequence[Path]], rules: str, folder: Path) -> str:
    """What differs from the shipped policy: where the logs are, and how long bans last.

    `logs`: the shipped sources to follow, with their files; none leaves a source as it is.
    """
    shipped = tomllib.loads(SHIPPED)
    parts = [PATHS.replace("{folder}", str(folder)), rules]
    for name in shipped["source"]:
        parts.append(f"[source.{name}]\nenabled = {json.dumps(name in logs)}\n")
        if files := logs.get(name):
            parts.append(f"file = {json.dumps([str(file) for file in files])}\n")
    for name, rule in shipped["rule"].items():
        if "ladder" in rule.get("ban", {}):
            parts.append(f'[rule.{name}.ban]\nladder = ["{BAN}"]\n')
    assert logs.keys() <= shipped["source"].keys()
    return "".join(parts)


class Guard(Daemon):
    """A daemon on a machine; its policy is the shipped one and an overlay."""

    def __init__(
        self, machine: Machine, world: World, logs: Mapping[str, Sequence[Path]], rules: str = ""
    ) -> None:
        self.machine, self.world, self.logs = machine, world, logs
        super().__init__(machine.folder, world.host, rules)

    def write_policy(self, rules: str, source: str = "") -> None:
        """`tidegate.toml` as it is shipped, and the overlay beside it."""
        self.policy.write_text(SHIPPED)
        beside = self.folder / "policy.d" / "50-here.toml"
        beside.parent.mkdir(exist_ok=True)
        beside.write_text(overlay(self.logs, rules, self.folder))

    def popen(self, words: list[str], **options: Any) -> Any:
        """Any process on the machine."""
        return self.machine.popen(words, **options)

    def ports_of(self, subject: str) -> tuple[int, ...]:
        """The ports that are closed for the subject, in the kernel; () if none."""
        assert self.process is not None
        assert self.process.poll() is None, self.said()
        found = [ports for one, ports in self.closed() if one == subject]
        assert len(found) < 2, found
        return found[0] if found else ()

    def wait_ban(self, subject: str, ports: Iterable[int]) -> None:
        """Wait until exactly these ports are closed for the subject."""
        assert until(f"the ban of {subject}", lambda: self.ports_of(subject)) == tuple(ports)

    def attack(self, subject: str, tries: Iterable[Callable[[], object]]) -> None:
        """Try one after the other, as long as the subject is not banned."""
        for one in tries:
            if self.ports_of(subject):
                return
            one()

    def shown(self, subject: str, rule: str) -> list[str]:
        """The lines that `why` shows of a subject banned by that rule; all of them are the daemon's."""
        text = self.verb("why", subject).stdout
        assert " closed until " in text, text
        assert f"  Rule {rule}: " in text, text
        lines = [found[1] for found in _SHOWN.finditer(text)]
        written = self._written()
        assert lines, text
        assert all(line in written for line in lines), (lines, written)
        return lines

    def _written(self) -> str:
        files = [file for several in self.logs.values() for file in several]
        return "".join(file.read_text("utf-8", "replace") for file in files) + (
            self.machine.journal() if "sshd" in self.logs else ""
        )

    def check_packets(self, attacker: str, port: int, *others: str, host: str = HOST) -> None:
        """The port is dead for the attacker alone, and nothing else is dead for the attacker."""
        assert self.world.attacker.cut_off(host, port, attacker)
        with self.world.host.listen(OTHER_PORT):
            assert self.world.attacker.reaches(host, OTHER_PORT, attacker)
        for other in others:
            assert self.world.attacker.reaches(HOST, port, other)

    def wait_end(self, attacker: str, port: int, host: str = HOST) -> None:
        """Wait until nothing is closed any more: in the kernel, in the list, for packets."""
        until("the end of the bans", lambda: not self.closed())
        until("an empty list", lambda: not self.rows("/list"))
        assert self.verb("list").stdout == "Nothing is closed.\n"
        assert self.world.attacker.reaches(host, port, attacker)
