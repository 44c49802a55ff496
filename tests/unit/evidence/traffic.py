"""Traffic for tests: what ordinary heavy users and worms look like to the stage, from fixed seeds.

Each yields contacts with how they went, in no particular order; `play` hands them over as the meter
would, some milliseconds at a time, with the time moving on between.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence

from tidegate.evidence.contacts import Contacts
from tidegate.evidence.finding import Finding
from tidegate.model import MINUTE, SECOND, Micros, Subject
from tidegate.traffic import Contact, Cut

START = 1_800_000_000 * SECOND
MILLI = SECOND // 1000
STEP = 50 * MILLI


def address(random_: random.Random) -> str:
    return f"198.{random_.randrange(18, 20)}.{random_.randrange(256)}.{random_.randrange(256)}"


def contact(
    time: Micros, source: str, destination: str, outcome: str, *, port: int = 80, protocol: int = 6
) -> Contact:
    return Contact(time, Subject(source), destination, protocol, port, outcome)  # type: ignore[arg-type]


def attempt(
    time: Micros, source: str, destination: str, outcome: str, after: Micros, **kinds: int
) -> Iterator[Contact]:
    """A try, and what came of it."""
    yield contact(time, source, destination, "tried", **kinds)
    yield contact(time + after, source, destination, outcome, **kinds)


def user(
    source: str,
    *,
    rate: float,
    hosts: int,
    dead: float,
    seed: int,
    span: Micros = 10 * MINUTE,
    again: bool = True,
    refuse: float = 0.3,
    round_trip: Micros = 40 * MILLI,
    give_up: Micros = 30 * SECOND,
    **kinds: int,
) -> Iterator[Contact]:
    """Contacts with `hosts` hosts, of which a part is dead, `rate` of them a second.

    `again`: in any order, again and again; else each once, then from the start."""
    chance = random.Random(seed)
    names = list(dict.fromkeys(address(chance) for _ in range(hosts * 2)))[:hosts]
    gone = {name for name in names if chance.random() < dead}
    refusing = {name for name in gone if chance.random() < refuse}
    at, turn = float(START), 0
    while at < START + span:
        name = chance.choice(names) if again else names[turn % len(names)]
        time = int(at)
        if name in refusing:
            yield from attempt(time, source, name, "refused", round_trip, **kinds)
        elif name in gone:
            yield from attempt(time, source, name, "unanswered", give_up, **kinds)
        else:
            after = int(round_trip * chance.uniform(0.2, 3))
            yield from attempt(time, source, name, "answered", after, **kinds)
        at += chance.expovariate(rate) * SECOND
        turn += 1


def scanner(
    source: str,
    *,
    rate: float,
    seed: int = 1,
    alive: float = 0.0,
    span: Micros = 10 * MINUTE,
    slots: int | None = 10,
    remember: Micros = 10 * SECOND,
    port: int = 445,
    protocol: int = 6,
) -> tuple[list[Contact], list[Cut]]:
    """Random destinations, as the kernel lets them out (`slots` None: no caps): contacts and cuts."""
    chance = random.Random(seed)
    contacts, cuts = [], []
    taken: list[Micros] = []
    at, kept, kept_since = float(START), 0, START
    where: list[str] = []
    while at < START + span:
        time, name = int(at), address(chance)
        if slots is not None:
            taken = [one for one in taken if time - one < remember]
        if slots is None or len(taken) < slots:
            if slots is not None:
                taken.append(time)
            answered = chance.random() < alive
            outcome, after = ("answered", 40 * MILLI) if answered else ("unanswered", 30 * SECOND)
            contacts += attempt(time, source, name, outcome, after, port=port, protocol=protocol)
        else:
            kept += 1
            where = [*where[-2:], f"{name}:{port}/udp"]
        if kept and time - kept_since >= STEP:
            cuts.append(
                Cut(time, Subject(source), "destinations", kept, time - kept_since, tuple(where))
            )
            kept, kept_since = 0, time
        at += chance.expovariate(rate) * SECOND
    return contacts, cuts


def play(
    stage: Contacts,
    contacts: Iterable[Contact],
    cuts: Sequence[Cut] = (),
    *,
    until: Micros = 0,
    stop: bool = False,
) -> list[Finding]:
    """Everything in steps of 50 ms, with ticks; `stop`: at the first finding that convicts."""
    waiting: list[Contact | Cut] = sorted([*contacts, *cuts], key=lambda one: one.time)
    found: list[Finding] = []
    at, now = 0, START
    end = until or (waiting[-1].time if waiting else START) + 5 * SECOND
    while now < end:
        if at < len(waiting) and waiting[at].time > now + STEP:
            now = min(now + SECOND, waiting[at].time)
        now += STEP
        upto = at
        while upto < len(waiting) and waiting[upto].time <= now:
            upto += 1
        batch = waiting[at:upto]
        at = upto
        found += stage.feed(
            [one for one in batch if isinstance(one, Contact)],
            [one for one in batch if isinstance(one, Cut)],
            now,
        )
        if stop and convicting(found):
            break
    return found


def convicting(found: Iterable[Finding]) -> list[Finding]:
    return [
        one
        for one in found
        if one.kind not in ("outward.capped", "outward.irc", "inward.syn_flood")
    ]
