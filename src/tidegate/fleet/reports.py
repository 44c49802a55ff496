"""How every host is, as the others see it: each says so in a hash of the engine, now and then.

Touches nothing: gives commands for the engine, takes replies. Limits: what a host says of itself is
its own word, signed; of `MOST` hosts at the most; who is silent stands there with its last word.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tidegate.fleet.counting.functions import Command
from tidegate.fleet.decisions.stream import STREAM, Reply, page
from tidegate.fleet.fields import Malformed
from tidegate.fleet.port import Health, Report, Row, Told
from tidegate.fleet.trust.admission import Refusal
from tidegate.fleet.trust.trust import Trust
from tidegate.fleet.wire import Kind
from tidegate.model import SECOND, Micros
from tidegate.text import printable

HOSTS = b"{tg:decisions}:hosts"
EVERY: Micros = 10 * SECOND
MOST = 20_000
_PAGE = b"200"
_LARGEST = 8_192
_AT_ONCE = ("policy", "published", "not_taken", "waits")
_NUMBERS = ("policy", "skew", "lag", "spool", "drift", "bans")
_TEXTS = ("version", "policy_hash", "digest", "trouble")

Seal = Callable[[Kind, bytes, Micros], bytes]


class Reports:
    """The own report out, all others in when somebody asks. `told` as in `Quotes`."""

    part = "reports"
    key = STREAM.decode()

    def __init__(
        self, host: str, trust: Trust, seal: Seal, health: Callable[[Micros], Health]
    ) -> None:
        self.host = host
        self.told: list[Told] = []
        self._trust, self._seal, self._health = trust, seal, health
        self._more: dict[str, Any] = {}
        self._written: Micros | None = None
        self._asked: list[int] = []
        self._asking: list[int] = []
        self._cursor = b"0"
        self._rows: dict[str, Report] = {}
        self._sent: list[str] = []

    def report(self, more: Mapping[str, Any]) -> None:
        """What the watcher says of this host; what it says of its policy is not kept waiting."""
        if any(more.get(name) != self._more.get(name) for name in _AT_ONCE):
            self._written = None
        self._more = dict(more)

    def ask(self, number: int) -> None:
        """How are the others."""
        self._asked.append(number)

    @property
    def urgent(self) -> bool:
        """Whether more is asked than one page answers."""
        return bool(self._asking)

    def commands(self, now: Micros) -> Sequence[Command]:
        """The own report when it is time; a page of all when somebody asks."""
        found: list[Command] = []
        self._sent = []
        due = self._written is None or not 0 <= now - self._written < EVERY
        if due and self.host in self._trust.roster.members:
            body = self._seal(Kind.REPORT, self._body(now), now)
            found.append((b"HSET", HOSTS, self.host.encode(), body))
            self._sent.append("write")
            self._written = now
        if not self._asking and self._asked:
            self._asking, self._asked = self._asked, []
            self._cursor, self._rows = b"0", {}
        if self._asking:
            found.append((b"HSCAN", HOSTS, self._cursor, b"COUNT", _PAGE))
            self._sent.append("page")
        return found

    def _body(self, now: Micros) -> bytes:
        health = self._health(now)
        said = {
            "skew": health.skew, "lag": health.lag, "spool": health.spool,
            "digest": health.digest, "drift": health.drift, **self._more, "what": "report",
        }  # fmt: skip
        body = json.dumps(said).encode()
        if len(body) > _LARGEST:
            body = json.dumps({"what": "report", "trouble": "its report is too long"}).encode()
        return body

    def take(self, replies: Sequence[Reply], now: Micros) -> None:
        """What came of it."""
        if len(replies) != len(self._sent):
            raise Malformed(f"{len(replies)} replies about reports")
        for name, reply in zip(self._sent, replies, strict=True):
            if name == "page":
                self._page(reply, now)
        self._sent = []

    def _page(self, reply: Reply, now: Micros) -> None:
        if isinstance(reply, Exception):
            self._tell()
            return
        self._cursor, bodies = page(reply)
        for body in bodies:
            found = self._read(body, now)
            if found is not None:
                known = self._rows.get(found.host)
                if known is None or found.sent >= known.sent:
                    self._rows[found.host] = found
        if self._cursor == b"0" or len(self._rows) >= MOST:
            self._tell()

    def _tell(self) -> None:
        rows: list[Row] = [self._rows[host] for host in sorted(self._rows)]
        silent = sorted(self._trust.roster.members.keys() - self._rows.keys())
        rows += (Report(host, trouble="it has never reported") for host in silent)
        self.told += [(number, tuple(rows)) for number in self._asking]
        self._asking, self._rows = [], {}

    def lost(self) -> None:
        """Who asks gets an answer all the same."""
        self.told += [(number, ()) for number in (*self._asking, *self._asked)]
        self._asking, self._asked, self._sent = [], [], []
        self._written = None

    def _read(self, body: bytes, now: Micros) -> Report | None:
        sealed = self._trust.admit(body, now)
        if isinstance(sealed, Refusal) or sealed.message.kind is not Kind.REPORT:
            return None
        try:
            said = json.loads(sealed.message.body)
            if said.pop("what") != "report":
                return None
            found: dict[str, Any] = {}
            for name in _NUMBERS:
                value = said.pop(name, 0)
                found[name] = value if isinstance(value, int) and abs(value) < 1 << 62 else 0
            for name in _TEXTS:
                found[name] = printable(str(said.pop(name, ""))[:200])
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None
        more = {printable(str(name)[:64]): value for name, value in list(said.items())[:32]}
        return Report(sealed.message.host, sealed.message.sent, **found, more=more)
