"""A source of a router: its flow records become contacts, these findings, and each a line of ours.

Touches the UDP port it listens on. The lines go through the ordinary pipeline, like those of the
source `outward`. Limits: not re-readable (the last 16 MiB are kept); what a router tells comes when
a flow is over, seconds after the kernel of a Linux router would have told.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence

from tidegate.daemon.writing import Writing
from tidegate.errors import SourceError
from tidegate.evidence.contacts import Contacts
from tidegate.evidence.conversations import Conversations
from tidegate.evidence.finding import Finding
from tidegate.evidence.guessing import Guessing
from tidegate.model import MINUTE, SECOND, Block, Micros
from tidegate.policy.flow import FlowPort
from tidegate.policy.outward import OutwardSpec
from tidegate.source.flow.listener import Listener
from tidegate.source.port import Health, Register
from tidegate.traffic import Flow

AGAIN = 10 * SECOND
"""A port that can't be had is asked for again so often."""
ODD_FOR = 10 * MINUTE
"""What is odd is said until so long after it last happened."""


class FlowStage:
    """Flows in, findings out: pure, and the same for a router's datagrams and for a capture."""

    def __init__(self, spec: OutwardSpec | None) -> None:
        self.conversations = Conversations(spec)
        self.contacts = Contacts(spec or OutwardSpec())
        self.guessing = Guessing(self.conversations.governs, self.conversations.subject)

    def feed(self, flows: Sequence[Flow], now: Micros) -> list[Finding]:
        """Take these in."""
        found = self.guessing.feed(flows, now)
        contacts = self.conversations.feed(flows, now)
        return sorted([*found, *self.contacts.feed(contacts, (), now)])


class FlowSource(Writing):
    """What routers tell, as lines."""

    def __init__(
        self,
        name: str,
        where: FlowPort,
        spec: OutwardSpec | None,
        *,
        register: Register | None = None,
    ) -> None:
        super().__init__(name, "netflow", register)
        self._where = where
        self._stage = FlowStage(spec)
        self._listener: Listener | None = None
        self._odd = _Odd()
        self._trouble = ""
        self._asked: Micros | None = None
        self._read: Micros = 0

    @property
    def more(self) -> bool:
        """Whether datagrams are waiting."""
        return self._listener is not None and self._listener.more

    @property
    def port(self) -> int:
        """The port that is listened on; 0 while it can't be had."""
        return 0 if self._listener is None else self._listener.port

    def fds(self) -> Sequence[int]:
        """The port's, while we have it."""
        return () if self._listener is None else (self._listener.fileno(),)

    def read(self, now: Micros) -> list[Block]:
        """The lines of what was found in the datagrams that came since."""
        self._open(now)
        flows: tuple[Flow, ...] = ()
        if self._listener is not None:
            taken = self._listener.take()
            self._odd.look(self._listener, now)
            flows = taken.flows
            for exporter, every in taken.sampled:
                self._stage.conversations.sampled(exporter, every)
            if flows:
                self._read = now
        found = self._stage.feed(flows, now)
        return self.written(found, now)

    def _open(self, now: Micros) -> None:
        due = self._asked is None or not 0 <= now - self._asked < AGAIN
        if self._listener is not None or not due:
            return
        self._asked = now
        try:
            self._listener = opened(self._where)
            self._trouble = ""
        except SourceError as error:
            self._trouble = str(error)

    def health(self) -> Health:
        """Degraded without the port, and while something is passed over."""
        listener = self._listener
        if listener is None:
            return Health("degraded", self._trouble or "not opened yet", 0, self._read)
        if self._odd.text:
            return Health("degraded", self._odd.text, 0, self._read)
        untold = _untold(listener, self._stage.conversations)
        return Health("ok", untold, 0, self._read) if self._read else Health("waiting", "", 0, 0)

    def view(self) -> dict[str, object]:
        """How the listening is, for `status`."""
        listener = self._listener
        remembered = self._stage.contacts.counts | {"waiting": len(self._stage.conversations)}
        counted = {} if listener is None else {
            "datagrams": listener.datagrams,
            "flows": listener.flows,
            "malformed": listener.malformed,
            "foreign": listener.foreign,
            "untold": listener.waiting,
            "lost": listener.lost,
            "templates": listener.templates,
        }  # fmt: skip
        return {**counted, "findings": self.findings, "remembered": remembered}

    def close(self) -> None:
        """Give the port back."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None


def opened(where: FlowPort) -> Listener:
    """The port. Raises SourceError."""
    return Listener(where.host, where.port, where.exporters)


def listen_trouble(where: FlowPort) -> list[str]:
    """Why the port can't be had now; nothing where it can, or where the daemon itself has it."""
    try:
        opened(where).close()
    except SourceError as error:
        taken = getattr(error.__cause__, "errno", 0) == errno.EADDRINUSE
        return [] if taken else [str(error)]
    return []


class _Odd:
    """What was passed over lately, each reason in the words of its first time, so that it is said
    once however often it happens; counts are in `view`."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._said: dict[str, tuple[Micros, str]] = {}

    def look(self, listener: Listener, now: Micros) -> None:
        """Compare with what was counted before."""
        for what, count, text in (
            ("malformed", listener.malformed, f"malformed datagrams, as {listener.last_malformed}"),
            ("foreign", listener.foreign, f"{listener.last_foreign} is none of the exporters"),
            ("lost", listener.lost, "more datagrams at once than can be taken: some are lost"),
        ):
            if count != self._seen.get(what, 0):
                self._seen[what] = count
                self._said[what] = now, self._said.get(what, (now, text))[1]
        old = [what for what, (last, _text) in self._said.items() if now - last > ODD_FOR]
        for what in old:
            del self._said[what]

    @property
    def text(self) -> str:
        """All of them; "" where there is nothing."""
        return "; ".join(text for _last, text in self._said.values())


def _untold(listener: Listener, conversations: Conversations) -> str:
    """What can't be judged, and need not alarm anybody."""
    said = []
    if listener.waiting:
        said.append("some records came before their templates")
    doubted = conversations.doubted_exporters
    if doubted and conversations.doubted:
        said.append(
            f"{', '.join(doubted[:3])}: sampled, or seen one way only, or too little seen yet: what"
            " was not answered proves nothing there"
        )
    return "; ".join(said)
