"""Answers about incidents, and takes in what people say of one: lists, pages, feeds, minutes.

Touches the watcher that it is handed: its ledger, and the key of its pseudonyms.
Limits: each answer reads every decision that is kept, some µs each, in the loop; a feed has 50.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tidegate.control.call import Call
from tidegate.daemon import asked, incident_view
from tidegate.daemon.incidents import FIRST_LOOK, MOST_REMARKS
from tidegate.daemon.redaction import Plain, Pseudonyms, public_number
from tidegate.decision.incidents import Incident
from tidegate.ledger.rows import MAX_REMARK
from tidegate.model import SECOND, Micros
from tidegate.policy.models import Policy
from tidegate.text import time_text

if TYPE_CHECKING:
    from tidegate.daemon.answer import Daemon

MOST = 1000
IN_A_FEED = 50
BESIDE = 5


def listed(watcher: Daemon, call: Call, now: Micros) -> tuple[int, Iterator[object]]:
    """The incidents, the newest first: a row each."""
    limit = asked.number(call.query.get("limit", "100"), MOST)
    public = _public(call.query)
    names = watcher.incidents.names
    return 200, iter(
        [incident_view.brief(one, now, names(one, public)) for one in _all(watcher, now)[:limit]]
    )


def shown(watcher: Daemon, call: Call, now: Micros) -> tuple[int, dict[str, Any]]:
    """One incident, whole."""
    known = _all(watcher, now)
    one = _one(watcher, call.query.get("id", ""), known)
    return 200, _whole(watcher, one, known, now, _public(call.query))


def feed(watcher: Daemon, call: Call, now: Micros) -> tuple[int, dict[str, Any]]:
    """The latest incidents, whole, with ids that stay the same for ever."""
    public = _public(call.query)
    known = _all(watcher, now)
    rows = []
    for one in known[:IN_A_FEED]:
        row = _whole(watcher, one, known, now, public)
        rows.append(row | {"urn": _urn(watcher, f"{public} {one.id}")})
    updated = max((row["updated"] for row in rows), default=time_text(watcher.started))
    return 200, {"v": 1, "id": _urn(watcher, f"{public} feed"), "updated": updated,
                 "public": public, "incidents": rows}  # fmt: skip


def minutes(watcher: Daemon, call: Call, now: Micros) -> tuple[int, dict[str, Any]]:
    """How long what was closed in one month, by this host's clock."""
    month, first, last = _month(call.query.get("month", ""), now)
    ledger, policy = watcher.wiring.ledger, watcher.pipeline.policy
    shut = watcher.guarding.closed(now)
    rows = watcher.incidents.downtime(ledger, policy, shut, now, first, last)
    kept = now - policy.limits.keep
    names = Pseudonyms(watcher.incidents.key, f"month {month}") if _public(call.query) else Plain()
    return 200, {
        "v": 1,
        "month": month,
        "from": time_text(first, None),
        "to": time_text(min(last, now) if first <= now else first, None),
        # What ended before that is dropped, so that minutes may be missing.
        "kept_since": time_text(kept, None) if first < kept else None,
        "rows": list(incident_view.minutes(rows, names)),
    }


def note(watcher: Daemon, call: Call, now: Micros) -> tuple[int, dict[str, Any]]:
    """Keep what a person says of an incident, signed by whom the kernel says they are."""
    text = call.body.get("text")
    if not isinstance(text, str) or not text.strip():
        raise asked.WrongError("text: expected what there is to say, found nothing")
    size = len(text.encode("utf-8", "replace"))
    if size > MAX_REMARK:
        raise asked.WrongError(f"text: at most {MAX_REMARK} bytes, found {size}; say it in two")
    known = _all(watcher, now)
    given = call.body.get("incident")
    one = _one(watcher, given if isinstance(given, str) else "", known)
    ledger = watcher.wiring.ledger
    if len(watcher.incidents.remarks(ledger, one)) >= MOST_REMARKS:
        raise asked.WrongError(f"{one.id[:8]} has {MOST_REMARKS} notes already, and takes no more")
    if not watcher.incidents.remark(ledger, one, now, call.peer.label, text.strip()):
        raise asked.WrongError(f"{one.id[:8]} has just been dropped: decisions are kept no longer")
    return 200, _whole(watcher, one, known, now, public=False)


def open_now(watcher: Daemon, now: Micros) -> list[dict[str, Any]]:
    """What goes on, for `status`."""
    ledger, policy = watcher.wiring.ledger, watcher.pipeline.policy
    shut = watcher.guarding.closed(now)
    found = watcher.incidents.open_now(ledger, policy, shut, now)
    return [incident_view.brief(one, now, Plain()) for one in found[:20]]


def reported(watcher: Daemon, since: Micros, now: Micros) -> list[dict[str, Any]]:
    """The incidents of a time, for `report`."""
    found = [
        one
        for one in _all(watcher, now, max(0, since - FIRST_LOOK))
        if one.is_open(now) or max(one.last, one.end or 0) >= since
    ]
    return [incident_view.brief(one, now, Plain()) for one in found[:20]]


# -- the parts -------------------------------------------------------------------------------------


def _all(watcher: Daemon, now: Micros, since: Micros = 0) -> list[Incident]:
    ledger, policy = watcher.wiring.ledger, watcher.pipeline.policy
    return watcher.incidents.all(ledger, policy, watcher.guarding.closed(now), now, since)


def _one(watcher: Daemon, spelled: str, known: list[Incident]) -> Incident:
    found = watcher.incidents.find(spelled, known)
    if len(found) == 1:
        return found[0]
    if found:
        which = ", ".join(one.id for one in found[:5])
        raise asked.WrongError(f"{spelled!r} begins the id of several incidents: {which}")
    raise asked.WrongError(
        f"{spelled!r}: expected the id of an incident, or at least its first four digits; see:"
        " tidegate incident list"
    )


def _whole(
    watcher: Daemon, one: Incident, known: list[Incident], now: Micros, public: bool
) -> dict[str, Any]:
    ledger = watcher.wiring.ledger
    names = watcher.incidents.names(one, public)
    first = next(iter(ledger.entries([one.id])), None)
    reason = first.decision.reason if first else ""
    beside = [
        incident_view.brief(other, now, watcher.incidents.names(other, public))
        for other in known
        if other is not one and _meets(one, other, now)
    ][:BESIDE]
    return incident_view.whole(
        one, now, names,
        owners=watcher.pipeline.policy.owners,
        remarks=watcher.incidents.remarks(ledger, one),
        lines=[line.line for line in first.decision.evidence] if first else (),
        opens=_opens(watcher.pipeline.policy, one),
        reason="" if reason == "by hand" else reason,
        beside=[(other["id"], other["title"]) for other in beside],
    )  # fmt: skip


def _opens(policy: Policy, one: Incident) -> str:
    """When the guard opens what it has closed, in the words of the policy."""
    if one.cause.sort != "guard":
        return ""
    found = next((guard for guard in policy.guards if guard.name == one.cause.name), None)
    return found.stated_open if found else ""


def _meets(one: Incident, other: Incident, now: Micros) -> bool:
    """Whether both went on at the same time."""
    ends = [now if each.is_open(now) else max(each.end or 0, each.last) for each in (one, other)]
    return one.start <= ends[1] and other.start <= ends[0]


def _public(query: Mapping[str, str]) -> bool:
    return asked.choice("public", query.get("public", "0"), ("0", "1")) == "1"


def _urn(watcher: Daemon, what: str) -> str:
    told = public_number(watcher.incidents.key, what)
    return uuid.uuid5(uuid.UUID(int=0), told).urn


def _month(given: str, now: Micros) -> tuple[str, Micros, Micros]:
    """A month by this host's clock: its name, first moment, and the first after it."""
    if given:
        try:
            begin = datetime.strptime(given, "%Y-%m").astimezone()
        except (ValueError, OverflowError):
            begin = None
        if begin is None or not 1970 < begin.year < 9999 or len(given) != 7:
            raise asked.WrongError(f"month: expected one such as 2026-11, found {given!r}")
    else:
        begin = datetime.fromtimestamp(now // SECOND).astimezone()
    begin = datetime(begin.year, begin.month, 1).astimezone()
    after = datetime(begin.year + begin.month // 12, begin.month % 12 + 1, 1).astimezone()
    return f"{begin:%Y-%m}", _micros(begin), _micros(after)


def _micros(moment: datetime) -> Micros:
    return int(moment.timestamp()) * SECOND
