"""An incident in plain words: its title, what happened, what was done, what we have to admit.

Touches nothing, except that times are shown by the host's zone. Every name goes through `Plain` or
`Pseudonyms`, so that the public form is the same text without anybody in it.
Limits: English; of many mistakes `MOST` of each sort, the others counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from tidegate.daemon.moves import PREFIX
from tidegate.daemon.redaction import Plain
from tidegate.decision.incidents import Closing, Incident, Mishap, Slip
from tidegate.model import DAY, HOUR, MINUTE, SECOND, Micros
from tidegate.text import time_text

MOST = 10


def title(incident: Incident, names: Plain) -> str:
    """One line that says what it was."""
    cause, count = incident.cause, len(incident.subjects)
    services = _services(incident, names)
    match cause.sort:
        case "cut":
            only = names.subject(incident.subjects[0]) if count == 1 else f"{count} sources"
            return f"{only} cut off ({_rule(cause.name, names)})"
        case "wave":
            return f"{count} subjects kept out of {services} ({_rule(cause.name, names)})"
        case _:
            stopped = [one for one in incident.closings if one.what == "stop"]
            what = names.text(_listed(_of(stopped)))
            return f"{what} closed by guard {names.text(cause.name)}"


def summary(
    incident: Incident, now: Micros, names: Plain, reason: str = "", opens: str = ""
) -> list[str]:
    """What happened, in sentences; the first ones matter most. `opens`: when its guard will open.

    Nothing here changes by the mere passing of time, so that a feed stays as it is.
    """
    if incident.cause.sort == "guard":
        said = list(_guard(incident, now, names, opens))
    else:
        told = _cut if incident.cause.sort == "cut" else _wave
        said = list(told(incident, now, names))
    if reason:
        said.append(f"What led to the first: {names.text(reason)}.")
    if incident.mishaps:
        count = len(incident.mishaps)
        said.append(f"{_many(count, 'thing', 'things')} we got wrong, or may have: see below.")
    return said


def done(incident: Incident, names: Plain) -> Iterator[str]:
    """What was done, a line for each kind of closing."""
    for what in ("quarantine", "ban"):
        own = [one for one in incident.closings if one.what == what]
        if own:
            # Of who was opened for early, how long it would have been is not known here.
            spans = [one.end - one.start for one in own if one.end is not None and not one.undone]
            lasting = f", for {_range(min(spans), max(spans))}" if spans else ""
            if what == "ban":
                lasting = f" from {_services(incident, names)}{lasting}"
            yield f"{_many(len(own), what, what + 's')}{lasting}"
    gates = Counter(one.subject for one in incident.closings if one.what in ("stop", "limit"))
    for gate, count in gates.items():
        own = [one for one in incident.closings if one.subject == gate]
        closed = sum((one.end or one.start) - one.start for one in own)
        name = names.text(gate.removeprefix(PREFIX))
        if any(one.end is None for one in own):
            yield f"{name} was closed {_times(count)}, and is closed now"
        else:
            yield f"{name} was closed {_times(count)}, for {span_text(closed)} in all"
    runs = Counter(one.subject for one in incident.closings if one.what == "run")
    for gate, count in runs.items():
        yield f"{names.text(gate.removeprefix(PREFIX))} was run {_times(count)}"


def admitted(mishaps: Sequence[Mishap], names: Plain) -> Iterator[tuple[Micros, str]]:
    """What we have to admit: moment and sentence, the earliest first."""
    counts: Counter[Slip] = Counter()
    rest: dict[Slip, Micros] = {}
    rows = []
    for one in sorted(mishaps):
        counts[one.slip] += 1
        if counts[one.slip] > MOST:
            rest[one.slip] = one.time
            continue
        rows.append((one.time, _slip(one, names)))
    for slip, time in rest.items():
        rows.append((time, f"and {counts[slip] - MOST} more {_MORE[slip]}"))
    yield from sorted(rows)


def commands(incident: Incident, now: Micros) -> Iterator[tuple[str, str]]:
    """What to type next, for those who may: what it does, and the command."""
    standing = [one for one in incident.closings if one.end is None or one.end > now]
    for one in reversed(standing[-3:]):
        name = one.subject.removeprefix(PREFIX)
        verb = {"quarantine": "release", "ban": "unban"}.get(one.what, "open")
        yield (
            f"open {name} now" if verb == "open" else f"let {name} back now",
            (f"tidegate {verb} {name}"),
        )
    latest = incident.closings[-1].subject.removeprefix(PREFIX)
    yield "the very lines or readings", f"tidegate why {latest}"
    yield "say something about it", f'tidegate incident note {incident.id[:8]} "…"'


def moment_text(moment: Micros) -> str:
    """A moment for people, by this host's clock, to the second."""
    return time_text(moment // SECOND * SECOND, None).replace("T", " ", 1)


def span_text(span: Micros) -> str:
    """A span in its two largest units: `1d 3h`, `9m 58s`, `0s`."""
    left, parts = max(0, span) // SECOND * SECOND, []
    for unit, size in (("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", SECOND)):
        number, left = divmod(left, size)
        if number:
            parts.append(f"{number}{unit}")
    return " ".join(parts[:2]) or "0s"


# -- the parts -------------------------------------------------------------------------------------


def _when(incident: Incident, now: Micros) -> str:
    end = incident.end
    since = moment_text(incident.start)
    if incident.is_open(now):
        return f"Since {since}"
    if end is None or end // SECOND == incident.start // SECOND:
        return f"At {since}"
    return f"From {since} to {moment_text(end)}"


def _cut(incident: Incident, now: Micros, names: Plain) -> Iterator[str]:
    subjects = incident.subjects
    who = names.subject(subjects[0]) if len(subjects) == 1 else f"{len(subjects)} sources"
    was = _was(incident, now, len(subjects))
    rule = _rule(incident.cause.name, names)
    yield f"{_when(incident, now)} {who} {was} cut off by Tidegate ({rule})."
    yield (
        "Who is cut off can't begin connections to others; visitors' requests to it are answered"
        " as before."
    )
    counts = Counter(one.subject for one in incident.closings)
    again = sum(1 for count in counts.values() if count > 1)
    if again:
        yield f"{_many(again, 'of them did', 'of them did')} it again after it was let back."
    ends = {one.subject: one.end or 0 for one in incident.closings}
    still = [subject for subject, end in ends.items() if end > now]
    if still and len(subjects) == 1:
        yield f"It is let back by itself at {moment_text(ends[still[0]])}."
    elif still:
        last = max(ends.values())
        yield (
            f"{_many(len(still), 'is', 'are')} still cut off; the last is let back by itself at"
            f" {moment_text(last)}."
        )
    else:
        yield "Nobody is cut off any more." if len(subjects) > 1 else "It has been let back."


def _wave(incident: Incident, now: Micros, names: Plain) -> Iterator[str]:
    subjects = incident.subjects
    were = _was(incident, now, len(subjects))
    yield (
        f"{_when(incident, now)} {len(subjects)} subjects {were} kept out of"
        f" {_services(incident, names)} ({_rule(incident.cause.name, names)});"
        " the service itself stayed open for everybody else."
    )
    if incident.is_open(now):
        yield f"It goes on; the last was banned at {moment_text(incident.last)}."
    still = [one for one in incident.closings if one.end is not None and one.end > now]
    if still:
        last = max(one.end or 0 for one in still)
        yield (
            f"{_many(len(still), 'ban still holds', 'bans still hold')}; the last of them ends by"
            f" itself at {moment_text(last)}."
        )
    else:
        yield "All of these bans have ended."


def _guard(incident: Incident, now: Micros, names: Plain, opens: str) -> Iterator[str]:
    stops = [one for one in incident.closings if one.what == "stop"]
    limits = [one for one in incident.closings if one.what == "limit"]
    name = names.text(incident.cause.name)
    away = names.text(_listed(_of(stops)))
    people = {one.by for one in stops if one.by != "guard"}
    by = f"guard {name}" if not people else f"guard {name} and people"
    if all(one.by != "guard" for one in stops):
        by = "people"
    ends = [one.end for one in stops if one.end is not None and one.end <= now]
    closed = len(ends) < len(stops)
    verb = "has been" if closed and len(stops) == 1 else "was"
    times = f" {_times(len(stops))}" if len(stops) > 1 else ""
    yield f"{_when(incident, now)} {away} {verb} closed for everybody{times}, by {by}."
    if closed:
        when = f"as soon as {names.text(opens)}" if opens else "as soon as its guard says so"
        yield f"It is closed now; it opens by itself {when}."
    else:
        span = sum((one.end or one.start) - one.start for one in stops)
        yield f"It is open again; in all it was closed for {span_text(span)}."
    if limits:
        yield f"Before or beside that it was slowed: {names.text(_listed(_of(limits)))}."


_MORE: dict[Slip, str] = {
    "opened": "were opened by people before their time",
    "good": "with a good record were closed for",
    "spared": "with a good record were spared",
    "refused": "could not be closed for",
}


def _slip(one: Mishap, names: Plain) -> str:
    gate = one.subject.startswith(PREFIX)
    name = names.text(one.subject.removeprefix(PREFIX)) if gate else names.subject(one.subject)
    match one.slip:
        case "opened":
            return (
                f"{names.person(one.by)} opened {name} again after {span_text(one.span)},"
                " before its time"
            )
        case "good":
            return f"{name} was closed for, although it had a good record (of the last 30 days)"
        case "spared":
            return f"{name} has a good record: the breaker kept us from closing for it"
        case _:
            why = f": {names.text(one.detail)}" if one.detail else ""
            return f"{name} could not be closed{'' if gate else ' for'}{why}"


def _services(incident: Incident, names: Plain) -> str:
    return names.text(_listed(incident.services))


def _of(closings: Sequence[Closing]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for one in closings for name in one.services))


def _listed(found: Sequence[str]) -> str:
    shown = list(found[:5])
    if len(found) > 5:
        shown.append(f"{len(found) - 5} more")
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1]))) if shown else "nothing"


def _was(incident: Incident, now: Micros, count: int) -> str:
    if incident.is_open(now):
        return "has been" if count == 1 else "have been"
    return "was" if count == 1 else "were"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _rule(name: str, names: Plain) -> str:
    return f"rule {names.text(name)}" if name else "by hand"


def _range(least: Micros, most: Micros) -> str:
    low, high = span_text(least), span_text(most)
    return low if low == high else f"{low} to {high}"


def _many(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"
