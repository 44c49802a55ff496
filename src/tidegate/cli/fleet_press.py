"""Publishes a policy in the name of this host, and watches what the others make of it.

Touches the work tree and this host's policy, only to read; the engine; the daemon's socket, which
tells how other hosts are. As root, for this host's key signs. Limits: at most MOST_CANARIES hosts
try first; a host that is silent takes it when it is back.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from tidegate.cli import fleet_access as access
from tidegate.cli.common import client, emit, paths, say
from tidegate.errors import ControlError, FleetError, OperatorError

if TYPE_CHECKING:
    from tidegate.daemon.published import Anchor
    from tidegate.fleet.journal.journal import Published

_LOOK = 1.0
_AT_ONCE = 8
_SILENT = 60.0
"""Seconds after which a host counts as silent: it takes what holds when it is back."""


class Host(NamedTuple):
    """A host as it reports: which published policy holds there (its id), what it did not take."""

    name: str
    holds: str
    refused: dict[str, str]
    waits: str


class Press:
    """Publishes in the name of this host, and watches what comes of it."""

    def __init__(self, policy: Path | None, socket: str | None, as_json: bool) -> None:
        from tidegate.daemon.published import anchor

        self._policy, self._paths, self._json = policy, paths(policy), as_json
        self._client = client(socket)
        found = anchor(self._paths.fleet, True)
        if found is None:
            raise OperatorError(
                f"{self._paths.fleet}: this host is of no fleet; see: tidegate fleet init"
            )
        self._anchor: Anchor = found
        self._last = 0
        self._seen: list[Host] = []

    def prepared(self, folder: Path) -> tuple[bytes, str]:
        """The content of a work tree that may be published, and its commit."""
        from tidegate.cli.fleet_tree import read_tree
        from tidegate.daemon.publishing import checked
        from tidegate.fleet.journal import journal

        tree = read_tree(folder)
        found = checked(self._next(), tree.files, self._policy)
        for note in found.notes:
            say(f"note: {note}")
        if tree.left:
            some = ", ".join(tree.left[:_AT_ONCE])
            say(f"note: not published: {some}{' ...' if len(tree.left) > _AT_ONCE else ''}")
        if found.leave:
            say("note: hosts take it only where their own policy has [fleet] accept = { commands ="
                f" true }}, because of {'; '.join(found.leave[:_AT_ONCE])}")  # fmt: skip
        try:
            return journal.pack(tree.files), tree.commit
        except ValueError as error:
            raise OperatorError(f"{folder}: {error}") from error

    def before(self) -> bytes:
        """The content that held for all hosts before the one that does now."""
        stable = [one for one in self._known() if not one.entry.canaries]
        if len(stable) < 2:
            raise OperatorError(
                "nothing was published before what holds now: nothing to go back to"
            )
        return stable[1].content

    def all(self, content: bytes, note: str, wait: int, *, back: bool = False) -> int:
        """Publish it for all hosts, and wait for them."""
        id_, number = self._publish(content, note, back=back)
        return self._wait(id_, number, None, wait)

    def tried(self, content: bytes, note: str, share: float, trial: int, wait: int) -> int:
        """Have a few try it, then all; or all go back."""
        from tidegate.fleet.journal import journal

        turn = journal.digest(content) + self._next().to_bytes(8)
        chosen = journal.canaries([one.name for one in self._hosts()], turn, share)
        if not chosen:
            raise FleetError("no host reports: see tidegate fleet status")
        id_, number = self._publish(content, note, canaries=chosen, trial=trial)
        names = frozenset(chosen)
        self._say({"canaries": list(chosen)}, f"canaries: {', '.join(chosen)}")
        try:
            code = self._wait(id_, number, names, wait) or self._watch(id_, names, trial)
        except KeyboardInterrupt:
            say("stopped: canaries go back by themselves when the trial and half of it is over")
            raise
        if code == 0:
            self._say({"confirmed": number}, "the trial is over and nothing went wrong")
            return self.all(content, note, wait)
        self._withdraw(number, wait)
        return 1

    def _withdraw(self, number: int, wait: int) -> None:
        """What held for all is published again, so that no canary goes on."""
        stable = [one for one in self._known() if not one.entry.canaries]
        if not stable:
            say("canaries go back to their own policy when the trial and half of it is over")
            return
        self._say({"withdrawn": number}, f"number {number} is withdrawn")
        self.all(stable[0].content, "withdrawn", wait, back=True)

    # -- saying it --------------------------------------------------------------------------------

    def _known(self) -> list[Published]:
        return self._anchor.shelf(self._paths).policies()

    def _next(self) -> int:
        known = max((one.entry.number for one in self._known()), default=0)
        return max(known, self._last) + 1

    def _publish(
        self, content: bytes, note: str, *, canaries: tuple[str, ...] = (), trial: int = 0,
        back: bool = False,
    ) -> tuple[str, int]:  # fmt: skip
        from tidegate.daemon.clock import now_micros
        from tidegate.fleet import wire
        from tidegate.fleet.decisions import stream
        from tidegate.fleet.engine.access import engine_of
        from tidegate.fleet.journal import carrier, journal
        from tidegate.fleet.trust import keys

        reach = access.Reach((), "single", "", "", "", "")
        spec = access.spec(self._policy, reach)
        number, who = self._next(), self._anchor
        entry = journal.Entry(number, journal.digest(content), canaries, trial, back, note)
        signer = keys.load(Path(self._paths.fleet))
        sealed = journal.publish(entry, who.host, who.fleet, now_micros(), signer.sign)
        with closing(engine_of(spec, access.TIMEOUT)) as engine:
            for key, commands in (
                (carrier.NEWEST.decode(), carrier.hand_in(entry, content, sealed)),
                (stream.STREAM.decode(), [stream.tell(sealed)]),
            ):
                for reply in engine.call(key, commands):
                    if isinstance(reply, Exception):
                        raise FleetError(f"the engine does not take it: {reply}")
        self._last = number
        short = entry.digest.hex()[:12]
        self._say(
            {"number": number, "hash": short, "note": note, "for": list(canaries) or "all"},
            f"published: number {number} ({short}, {note})",
        )
        return wire.unseal(sealed, who.fleet).id.hex(), number

    # -- watching ---------------------------------------------------------------------------------

    def _hosts(self) -> list[Host]:
        """The members that take what is published, and have reported lately; as last seen, while
        this host is loading."""
        try:
            rows = self._client.get("/fleet")["hosts"]
        except ControlError:
            if not self._last:
                raise
            return self._seen
        found = []
        for row in rows:
            if not row["member"] or not _is_recent(row["sent"]):
                continue
            more = row.get("more") or {}
            if "published" not in more:  # it takes none: [fleet] accept = { policy = false }
                continue
            pairs = (str(one).partition(" ") for one in more.get("not_taken") or ())
            refused = {one: why for one, _space, why in pairs}
            found.append(
                Host(row["host"], more.get("published", ""), refused, more.get("waits", ""))
            )
        self._seen = found
        return found

    def _wait(self, id_: str, number: int, names: frozenset[str] | None, wait: int) -> int:
        """Until these hosts (all) have it, or say why not, or do not in time."""
        deadline = time.monotonic() + wait
        while True:
            hosts = [one for one in self._hosts() if names is None or one.name in names]
            have = [one for one in hosts if one.holds == id_]
            refused = [one for one in hosts if id_ in one.refused]
            if len(have) + len(refused) == len(hosts) > 0 or time.monotonic() > deadline:
                break
            time.sleep(_LOOK)
        for line in _lines(hosts, id_):
            say(line)
        good = bool(hosts) and len(have) == len(hosts)
        self._say(
            {"number": number, "hosts": len(hosts), "have": len(have), "refused": len(refused)},
            f"number {number}: {len(have)} of {len(hosts)} hosts have it",
        )
        if not have and not refused:
            say(self._why_nobody(id_, number))
        return 0 if good else 1

    def _why_nobody(self, id_: str, number: int) -> str:
        newest = next(iter(self._known()), None)
        if newest is not None and newest.entry.number >= number and newest.id.hex() != id_:
            return (
                f"{newest.host} published number {newest.entry.number} meanwhile, which holds;"
                " look at it, then publish again"
            )
        return (
            "no host took it: may this one publish? At the desk:"
            f" tidegate fleet enroll {self._anchor.host} --same-key --may-publish"
        )

    def _watch(self, id_: str, names: frozenset[str], trial: int) -> int:
        """While they try: 0 when it is over, 1 as soon as one goes back."""
        deadline = time.monotonic() + trial
        while time.monotonic() < deadline:
            time.sleep(min(_LOOK, max(0.0, deadline - time.monotonic())))
            hosts = [one for one in self._hosts() if one.name in names]
            if any(id_ in one.refused for one in hosts):
                for line in _lines(hosts, id_):
                    say(line)
                return 1
        return 0

    def _say(self, row: dict[str, Any], text: str) -> None:
        if self._json:
            emit({"v": 1, **row})
        else:
            click.echo(text)


def _is_recent(sent: str | None) -> bool:
    return sent is not None and time.time() - datetime.fromisoformat(sent).timestamp() < _SILENT


def _lines(hosts: list[Host], id_: str) -> Iterator[str]:
    """Who has not taken it, and why, the first of them."""
    lacking = [one for one in hosts if one.holds != id_]
    for one in lacking[:_AT_ONCE]:
        why = one.refused.get(id_) or one.waits or "has not taken it yet"
        yield f"{one.name}: {why}"
    if len(lacking) > _AT_ONCE:
        yield f"and {len(lacking) - _AT_ONCE} more; see: tidegate fleet status"
