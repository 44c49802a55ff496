"""What guards need beside themselves: readings of one's own, pools, and where notices go.

Touches nothing. Every fault is collected with its key. Limits: whether a peer answers, a command
works or an address takes mail is seen when it is used.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tidegate.policy import guardvalues as read
from tidegate.policy import values
from tidegate.policy.durations import parse_duration
from tidegate.policy.guards import NoticeSpec, Pool, ReadingSpec
from tidegate.policy.readings import ALIASES, CATALOGUE, OWN_NAME, WORDS, parse_reading
from tidegate.policy.sections import Read, Sections

POOL: dict[str, Read] = {
    "peers": values.texts,
    "min-healthy": values.whole(1, 64),
    "fleet": values.boolean,
}
READING: dict[str, Read] = {
    "command": read.words,
    "file": values.path,
    "every": parse_duration,
    "timeout": parse_duration,
}
NOTICE: dict[str, Read] = {
    "mail": read.mail,
    "from": read.mail,
    "webhook": read.webhook,
    "command": read.words,
    "at-most": read.rate,
}


class BelongingsReader:
    """Reads them one by one; `own`: the names of the administrator's own readings."""

    def __init__(self, sections: Sections, own: Collection[str]) -> None:
        self._sections = sections
        self._own = own

    def reading(self, name: str) -> ReadingSpec:
        """`[reading.NAME]`."""
        path = f"reading.{name}"
        data = self._sections.section(path, self._table("reading", name), READING)
        if not OWN_NAME.fullmatch(name):
            self._sections.fault(path, "expected a name of small letters, digits, dots, - and _")
        if name in CATALOGUE or name in ALIASES or name in WORDS:
            self._sections.fault(path, f"{name} is known already; expected a name of its own")
        if len({"command", "file"} & data.keys()) != 1 and not self._faulty(path):
            self._sections.fault(path, 'expected one of "command" and "file"')
        return ReadingSpec(name, **data)

    def pool(self, name: str) -> Pool:
        """`[pool.NAME]`."""
        path = f"pool.{name}"
        data = self._sections.section(path, self._table("pool", name), POOL)
        if "peers" not in data and not self._faulty(path):
            said = '"peers" is missing, such as peers = ["up(smtp://192.0.2.2:25)"]'
            self._sections.fault(path, said)
        peers = []
        for peer in data.get("peers", ()):
            try:
                peers.append(parse_reading(peer, self._own))
            except ValueError as error:
                self._sections.fault(f"{path}.peers", str(error))
        least = data.get("min-healthy", 1)
        if peers and least > len(peers):
            said = f"with {least} of {len(peers) + 1} always in service nothing could ever be"
            self._sections.fault(
                f"{path}.min-healthy", f"{said} closed; expected at most {len(peers)}"
            )
        return Pool(name, tuple(peers), least, data.get("fleet", True))

    def notice(self, name: str) -> NoticeSpec:
        """`[notify.NAME]`."""
        path = f"notify.{name}"
        data = self._sections.section(path, self._table("notify", name), NOTICE)
        ways = [key for key in ("mail", "webhook", "command") if key in data]
        if len(ways) != 1 and not self._faulty(path):
            self._sections.fault(path, 'expected one of "mail", "webhook" and "command"')
        if "from" in data and "mail" not in data:
            self._sections.fault(f"{path}.from", "from goes with mail")
        most = dict(zip(("most", "within"), data.pop("at-most", ()), strict=False))
        sender = {"sender": data.pop("from")} if "from" in data else {}
        return NoticeSpec(name, **data, **sender, **most)

    def _table(self, section: str, name: str) -> Mapping[str, Any]:
        return self._sections.table(f"{section}.{name}", self._sections.data[section][name])

    def _faulty(self, path: str) -> bool:
        """Whether something is wrong there already, so that nothing seems to be missing."""
        return any(key.startswith(path) for key, _said in self._sections.faults)
