"""Incidents as JSON, for those who may know all and for the public.

Touches nothing. In the public form stand no address, no user, no path, no line and no decision's
id: names are pseudonyms, texts are cleaned. Limits: 50 of those affected and 100 ids, the others
counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tidegate.daemon import incident_words as words
from tidegate.daemon.moves import PREFIX
from tidegate.daemon.redaction import Plain
from tidegate.daemon.whose import owners_of
from tidegate.decision.downtime import Downtime
from tidegate.decision.incidents import QUIET, Closing, Incident
from tidegate.ledger.port import Remark
from tidegate.model import MINUTE, Micros, Subject
from tidegate.policy.outward import Owner
from tidegate.text import time_text, well_formed

AFFECTED = 50
LINKS = 100
LINES = 3
_DOES = {
    "ban": "kept out",
    "quarantine": "cut off",
    "stop": "closed",
    "limit": "slowed",
    "run": "restarted or run",
}


def brief(incident: Incident, now: Micros, names: Plain) -> dict[str, Any]:
    """One line of a list: id, title, state, start, end, how many were affected."""
    end = incident.end
    return {
        "v": 1,
        "id": names.number(incident.id),
        "title": well_formed(words.title(incident, names)),
        "state": "open" if incident.is_open(now) else "over",
        "sort": incident.cause.sort,
        "start": time_text(incident.start),
        "end": None if incident.is_open(now) or end is None else time_text(end),
        "closings": len(incident.closings),
        "subjects": len(incident.subjects),
        "mistakes": len(incident.mishaps),
    }


def whole(
    incident: Incident,
    now: Micros,
    names: Plain,
    *,
    owners: Sequence[Owner] = (),
    remarks: Sequence[Remark] = (),
    reason: str = "",
    opens: str = "",
    lines: Sequence[str] = (),
    beside: Sequence[tuple[str, str]] = (),
) -> dict[str, Any]:
    """All of it. `reason`: why the first was closed; `opens`: when the guard opens; `lines`:
    of its evidence; `beside`: ids and titles of others at the same time."""
    public = names.public
    view = brief(incident, now, names)
    view["public"] = public
    view["updated"] = time_text(_updated(incident, remarks, now))
    if not public:
        view["cause"] = {
            "guard" if incident.cause.sort == "guard" else "rule": well_formed(incident.cause.name)
        }
    view["summary"] = [
        well_formed(one) for one in words.summary(incident, now, names, reason, opens)
    ]
    view["affected"] = _affected(incident, now, names, owners)
    view["done"] = [well_formed(one) for one in words.done(incident, names)]
    view["admitted"] = [
        {"time": time_text(time), "text": well_formed(text)}
        for time, text in words.admitted(incident.mishaps, names)
    ]
    view["updates"] = [
        {
            "time": time_text(one.time),
            "by": well_formed(names.person(one.by)),
            "text": well_formed("\n".join(names.text(line) for line in one.text.splitlines())),
        }
        for one in sorted(remarks)
    ]
    view["beside"] = [{"id": number, "title": well_formed(title)} for number, title in beside]
    if not public:
        view["lines"] = [well_formed(one) for one in lines[-LINES:]]
        view["decisions"] = [one.id for one in incident.closings[:LINKS]]
        view["decisions_left_out"] = max(0, len(incident.closings) - LINKS)
        view["next"] = [
            {"what": well_formed(what), "command": well_formed(command)}
            for what, command in words.commands(incident, now)
        ]
    return view


def minutes(rows: Sequence[Downtime], names: Plain) -> Iterator[dict[str, Any]]:
    """How long what was closed: whole `minutes`, and the exact `microseconds`."""
    for row in rows:
        yield {
            "service": well_formed(names.text(row.service)),
            "what": _DOES[row.what],
            "for": "everybody" if row.what in ("stop", "limit") else "some",
            "minutes": round(row.span / MINUTE, 1),
            "microseconds": row.span,
            "closings": row.closings,
            "subjects": 0 if row.what in ("stop", "limit") else row.subjects,
        }


def _updated(incident: Incident, remarks: Sequence[Remark], now: Micros) -> Micros:
    ends = [one.end for one in incident.closings if one.end is not None and one.end <= now]
    over = incident.cause.sort == "wave" and not incident.is_open(now)
    ends += [incident.last + QUIET] if over else []
    return max(incident.last, *ends, *(one.time for one in remarks), incident.start)


def _affected(
    incident: Incident, now: Micros, names: Plain, owners: Sequence[Owner]
) -> dict[str, Any]:
    whose: dict[Subject, tuple[Owner, ...]] = {
        subject: owners_of(owners, subject) for subject in incident.subjects
    }
    gates = [one for one in incident.subjects if one.startswith(PREFIX)]
    # Who is still closed for first, then the latest: these somebody may have to care about.
    order = sorted(
        incident.closings, key=lambda one: (one.end is not None and one.end <= now, -one.start)
    )
    return {
        "subjects": len(incident.subjects) - len(gates),
        "services": [well_formed(names.text(one)) for one in incident.services],
        "gates": [well_formed(names.text(one.removeprefix(PREFIX))) for one in gates],
        "owners": sorted(
            {well_formed(names.owner(one.name)) for found in whose.values() for one in found}
        ),
        "rows": [_row(one, now, names, whose) for one in order[:AFFECTED]],
        "left_out": max(0, len(order) - AFFECTED),
    }


def _row(
    one: Closing, now: Micros, names: Plain, whose: Mapping[Subject, tuple[Owner, ...]]
) -> dict[str, Any]:
    gate = one.subject.startswith(PREFIX)
    name = one.subject.removeprefix(PREFIX)
    closed = one.end is None or one.end > now
    row: dict[str, Any] = {
        "who": well_formed(names.text(name) if gate else names.subject(one.subject)),
        "what": _DOES[one.what],
        "services": [well_formed(names.text(service)) for service in one.services],
        "from": time_text(one.start),
        "until": None if one.end is None else time_text(one.end),
        "closed": closed,
        "opened_early": one.undone,
        "owners": [well_formed(names.owner(owner.name)) for owner in whose[one.subject]],
    }
    if not names.public:
        row["id"] = one.id
        row["by"] = well_formed(one.by)
    return row
