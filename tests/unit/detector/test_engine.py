"""The engine: blocks in, batches out; the same whatever the blocks, the scanner and the way."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC
from typing import NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.detector.making import (
    ARRIVAL,
    DOOR,
    GATE,
    bare_pack,
    block,
    engine,
    events,
    journal,
    moment,
    packs,
)

from tidegate.detector.budget import CpuBudget
from tidegate.detector.engine import LONGEST, Engine
from tidegate.detector.matcher import Matcher
from tidegate.errors import PackError
from tidegate.model import Batch, Block, Event, Success

BSD = "Aug 21 14:03:22 mx doord[12]: "
KNOCK = BSD + "knock at 192.0.2.7\n"
NAMES = ("vectorscan", "re")


def test_a_block() -> None:
    text = (
        KNOCK
        + "Aug 21 14:03:23 mx doord[12]: nothing to see\n"
        + "Aug 21 14:03:24 mx doord[13]: wrong key for bob from 2001:db8::7\n"
        + "Aug 21 14:03:25 mx doord[14]: opened for 192.0.2.8\n"
        + "Aug 21 14:03:26 mx otherd[15]: knock at 192.0.2.9\n"
        + "jammed\n"
    )
    batch = engine().detect(block(text, offset=500))
    assert events(batch) == [
        ("door.knock", "192.0.2.7", 1),
        ("door.wrong_key", "2001:db8::/64", 1),
        ("door.jammed", "", 1),
    ]
    lines = text.splitlines(keepends=True)
    assert [event.offset for event in batch.events] == [
        500,
        500 + len("".join(lines[:2])),
        500 + len("".join(lines[:5])),
    ]
    assert [event.length for event in batch.events] == [len(lines[n]) - 1 for n in (0, 2, 5)]
    assert [event.session for event in batch.events] == ["12", "13", ""]
    at = moment("2026-08-21T14:03:25Z")
    offset = 500 + len("".join(lines[:3]))
    assert batch.successes == {"192.0.2.8": Success(1, offset, at, at)}
    assert (batch.lines, batch.hits, batch.cut, batch.clamped) == (6, 5, 0, 0)
    assert (batch.source, batch.origin) == ("test", 1)


def test_kinds_are_shared_objects() -> None:
    each = engine()
    first, second = (each.detect(block(KNOCK)).events[0] for _ in range(2))
    assert first.kind is second.kind
    assert isinstance(first, Event)


def test_a_last_line_without_newline_is_read() -> None:
    assert events(engine().detect(block(KNOCK.strip()))) == [("door.knock", "192.0.2.7", 1)]
    assert engine().detect(block("")).events == []


def test_lines_from_windows() -> None:
    batch = engine().detect(block(KNOCK.replace("\n", "\r\n") * 40))
    assert events(batch) == [("door.knock", "192.0.2.7", 1)] * 40


def test_fields_make_events_of_successes_too() -> None:
    batch = engine().detect(block(BSD + "visit a1: opened for ::ffff:192.0.2.8\n"), fields=True)
    (event,) = batch.events
    assert event.fields == {"session": "a1", "addr": "::ffff:192.0.2.8"}
    assert event.subject == "192.0.2.8"
    assert len(batch.successes) == 1


def test_only_the_named_detectors() -> None:
    text = KNOCK + BSD + "wrong key for bob from 192.0.2.7\n" + "rattled by 192.0.2.7\n"
    chosen = engine(DOOR, GATE, detectors=["door.knock", "gate"])
    assert [kind for kind, *_ in events(chosen.detect(block(text)))] == [
        "door.knock",
        "gate.rattled",
    ]
    with pytest.raises(PackError, match=r"door\.knok: unknown detector; did you mean door\.knock"):
        engine(DOOR, detectors=["door.knok"])


def test_no_detectors_at_all() -> None:
    assert engine(DOOR, detectors=[]).detect(block(KNOCK)).events == []


def test_an_ahead_line_is_clamped_on_the_short_way_too() -> None:
    text = "Aug 22 12:01:01 mx doord[1]: knock at 192.0.2.7\n" * 40
    batch = engine().detect(block(text))
    assert batch.clamped == 40
    assert {event.time for event in batch.events} == {ARRIVAL}


def test_sums_count_on_the_short_way_too() -> None:
    text = BSD + "wrong key for bob from 192.0.2.7 (try 3)\n"
    assert {event.count for event in engine().detect(block(text * 40)).events} == {3}


def test_one_detector_of_a_pack_wins_on_the_short_way_too() -> None:
    text = BSD + "wrong key for bob from 192.0.2.7\n"
    batch = engine().detect(block(text * 40))
    assert events(batch) == [("door.wrong_key", "192.0.2.7", 1)] * 40


def test_all_literals_of_a_line_count() -> None:
    text = "Aug 21 14:03:22 jammed doord[1]: knock at 192.0.2.7\n"
    assert events(engine().detect(block(text * 40))) == [("door.knock", "192.0.2.7", 1)] * 40


def test_repeated_lines_never_take_the_short_way() -> None:
    loose = DOOR.replace(
        "pattern = '''(?:visit (?P<session>\\w+): )?knock at", "pattern = '''.*knock at"
    )
    loose = loose.replace("knock at <addr>", "knock at <addr>\\]?")
    assert loose != DOOR
    each = engine(loose)
    each.detect(block(KNOCK * 40))
    repeated = BSD + "message repeated 3 times: [ knock at 192.0.2.7]\n"
    assert events(each.detect(block(repeated))) == [("door.knock", "192.0.2.7", 3)]


def test_successes_on_the_short_way() -> None:
    each = engine()
    each.detect(block(BSD + "opened for 192.0.2.8\n" + (BSD + "opened for 192.0.2.9\n") * 40))
    text = "".join(
        f"Aug 21 14:03:{second} mx doord[1]: opened for {address}\n"
        for second, address in (
            *((20, "192.0.2.8"), (10, "192.0.2.9"), (30, "192.0.2.8")),
            *((15, "192.0.2.8"), (40, "x")),
        )
    )
    batch = each.detect(block(text, offset=7)._replace(origin=2))
    first, second, third = (moment(f"2026-08-21T14:03:{n}Z") for n in (15, 10, 30))
    length = len(text.splitlines()[0]) + 1
    assert batch.successes == {
        "192.0.2.8": Success(3, 7, first, third),
        "192.0.2.9": Success(1, 7 + length, second, second),
    }
    assert batch.events == []


def test_what_is_no_address_is_refused_on_the_short_way_too() -> None:
    text = BSD + "wrong key for bob from 192.0.2.7\n"
    each = engine()
    each.detect(block(text * 40))
    refused = each.detect(block(text.replace("192.0.2.7", "999.0.2.7")))
    assert refused.events == []


def test_an_impossible_stamp_goes_the_long_way() -> None:
    each = engine()
    each.detect(block("2026-08-21 14:03:22 knock at 192.0.2.7\n" * 40))
    batch = each.detect(block("2026-08-21 14:99:22 knock at 192.0.2.7\n"))
    assert [(event.subject, event.time) for event in batch.events] == [("192.0.2.7", ARRIVAL)]


# Lines over 32 KiB.


@pytest.mark.parametrize("name", NAMES)
def test_long_lines_are_cut_still_matched_and_counted(name: str) -> None:
    start = BSD + "odd key "
    long = start + "x" * LONGEST + " from 192.0.2.7\n"
    fits = start + "x" * (LONGEST - len(start) - 15) + " from 192.0.2.7\n"
    assert len(fits) == LONGEST + 1
    open_ended = DOOR.replace("(?:wrong|odd) key .* from <host>", "odd key (?:.* from <host>|x*)")
    each = engine(open_ended.replace('class = "abuse"', ""), scanner=name)  # type: ignore[arg-type]
    batch = each.detect(block(KNOCK + long + fits + KNOCK))
    assert events(batch) == [
        ("door.knock", "192.0.2.7", 1),
        ("door.any_key", "192.0.2.7", 1),
        ("door.knock", "192.0.2.7", 1),
    ]
    assert batch.cut == 1


def test_what_stands_behind_the_cut_does_not_match() -> None:
    line = "x" * LONGEST + " knock at 192.0.2.7\n"
    batch = engine().detect(block(line + KNOCK))
    assert (len(batch.events), batch.cut) == (1, 1)


@pytest.mark.parametrize("size", [LONGEST - 1, LONGEST, LONGEST + 1, 3 * LONGEST])
def test_cut_lines_are_counted_wherever_they_stand(size: int) -> None:
    for lines in ([size], [1, size], [size, 1], [5, size, 7, size], [LONGEST // 2, size, 3]):
        data = b"".join(b"y" * each + b"\n" for each in lines)
        assert engine().detect(block(data)).cut == sum(each > LONGEST for each in lines)


# Nothing depends on blocks, scanner, or the way a line is read.

STAMPS = [
    "",
    "Aug 21 14:03:22 ",
    "Aug 22 12:01:01 ",
    "2026-08-21 14:03:22 ",
    "2026-08-21 14:03:22.5 +0200 ",
    "2026-08-21T14:03:22.123456+02:00 ",
    "2026-08-21T14:03:22Z ",
    "2026-08-21T99:03:22Z ",
    "1692626602 ",
    "<38>1 2026-08-21T14:03:22Z mx doord 7 - - ",
]
TAGS = [
    "",
    "mx doord[12]: ",
    "doord[12]: ",
    "mx doord: ",
    "mx other[1]: ",
    "mx door/x[9] ",
    "mx gated: ",
]
MESSAGES = [
    "knock at 192.0.2.7",
    "visit a1: knock at 2001:db8::1",
    "knock at 999.1.1.1",
    "opened for 192.0.2.8",
    "wrong key for bob from 192.0.2.7 (try 12)",
    "wrong key for bob from mx.example.org",
    "odd key wrong key from ::1 wrong key jammed from 192.0.2.9",
    "message repeated 3 times: [ knock at 192.0.2.7]",
    "message repeated 3 times: [ jammed by 192.0.2.7",
    "jammed",
    "knock at opened for wrong key jammed rattled",
    "[ID 7 auth.info] knock at 192.0.2.7",
    "2026-08-20 11:00:00 knock at 192.0.2.7",
    "kernel: [    1.000000] jammed",
    "rattled by 192.0.2.7 knock at 192.0.2.7",
    "nothing",
]
ENDS = ["", "", "", "\r", " ", "\x00", "\udcff"]
LINE = st.tuples(*(st.sampled_from(each) for each in (STAMPS, TAGS, MESSAGES, ENDS))).map("".join)
RAW = LINE.map(lambda line: line.encode("utf-8", "surrogateescape")) | st.binary(max_size=50).map(
    lambda raw: raw.replace(b"\n", b"")
)


def cut_up(lines: list[bytes], sizes: Iterator[int]) -> Iterator[Block]:
    offset = 0
    while lines:
        size = next(sizes)
        part, lines = lines[:size], lines[size:]
        data = b"".join(line + b"\n" for line in part)
        yield block(data, offset=offset)
        offset += len(data)


def together(batches: Iterable[Batch]) -> tuple[object, ...]:
    found: list[Event] = []
    successes: dict[str, list[object]] = {}
    numbers = [0, 0, 0, 0]
    for batch in batches:
        assert batch.quarantined == []
        found += batch.events
        for who, each in batch.successes.items():
            known = successes.setdefault(
                who, [0, each.first_offset, each.first_time, each.last_time]
            )
            known[0] = int(str(known[0])) + each.count
            known[2] = min(int(str(known[2])), each.first_time)
            known[3] = max(int(str(known[3])), each.last_time)
        for index, number in enumerate((batch.lines, batch.hits, batch.clamped, batch.cut)):
            numbers[index] += number
    return found, successes, numbers


@settings(max_examples=60, deadline=None)
@given(
    st.lists(RAW, max_size=12),
    st.integers(1, 40),
    st.lists(st.integers(1, 9), min_size=1, max_size=8),
)
def test_blocks_and_scanners_make_no_difference(
    lines: list[bytes], times: int, sizes: list[int]
) -> None:
    many = lines * times
    made = packs(DOOR, GATE)

    def run(sizes: Iterator[int], scanner: str) -> tuple[object, ...]:
        each = Engine(made, zone=UTC, engine=scanner)  # type: ignore[arg-type]
        return together(each.detect(part) for part in cut_up(many, sizes))

    whole = run(iter([len(many)] * 2), "vectorscan")
    assert run((sizes[n % len(sizes)] for n in range(len(many) + 1)), "vectorscan") == whole
    assert run((sizes[-n % len(sizes)] for n in range(len(many) + 1)), "re") == whole
    assert run(iter([1] * (len(many) + 1)), "vectorscan") == whole


@settings(max_examples=60, deadline=None)
@given(st.lists(RAW, min_size=1, max_size=6))
def test_the_short_way_says_what_the_long_way_says(lines: list[bytes]) -> None:
    data = b"".join(line + b"\n" for line in lines) * 40
    plain = engine(DOOR, GATE).detect(block(data), fields=True)
    short = engine(DOOR, GATE).detect(block(data))
    abuse = [event._replace(fields={}) for event in plain.events if event.kind.klass != "success"]
    assert [event._replace(fields={}) for event in short.events] == abuse
    assert (short.successes, short.clamped) == (plain.successes, plain.clamped)


@settings(deadline=None)
@given(st.binary(max_size=400), st.sampled_from(["lines", "journal"]))
def test_rubbish_never_raises(data: bytes, framing: str) -> None:
    for text in (b"knock at ", b"MESSAGE=wrong key", b"jammed\n", b"\n\n"):
        dirty = block(data[:200] + text + data[200:])._replace(framing=framing)  # type: ignore[arg-type]
        for name in NAMES:
            batch = engine(DOOR, GATE, scanner=name).detect(dirty, fields=True)  # type: ignore[arg-type]
            assert batch.quarantined == []


@pytest.mark.parametrize(
    "line", [b"\x00" * 3_000_000, b"knock at " * 200_000, b"wrong key from " * 9000]
)
def test_huge_lines(line: bytes) -> None:
    batch = engine().detect(block(line + b"\n" + KNOCK.encode()))
    assert events(batch) == [("door.knock", "192.0.2.7", 1)]
    assert batch.cut == 1


# The journal.

ENTRY = """__CURSOR=s=1
__REALTIME_TIMESTAMP={time}
_CMDLINE=knock at 192.0.2.66
SYSLOG_IDENTIFIER={program}
MESSAGE={message}
_PID={pid}

"""


def test_journal_entries() -> None:
    at = ARRIVAL - 7
    text = (
        ENTRY.format(time=at, program="doord", message="knock at 192.0.2.7", pid=12)
        + ENTRY.format(time=at + 1, program="otherd", message="knock at 192.0.2.7", pid=13)
        + ENTRY.format(time=at + 2, program="doord", message="opened for 192.0.2.8", pid=14)
        + ENTRY.format(time=at + 3, program="doord", message="nothing", pid=15)
        + "MESSAGE=knock at 192.0.2.9\n\n"
    )
    batch = engine().detect(journal(text.encode()))
    assert events(batch) == [("door.knock", "192.0.2.7", 1), ("door.knock", "192.0.2.9", 1)]
    first, second = batch.events
    assert (first.time, first.session, second.time, second.session) == (at, "12", ARRIVAL, "")
    assert (first.offset, first.length) == (
        text.index("MESSAGE="),
        len("MESSAGE=knock at 192.0.2.7"),
    )
    assert batch.successes["192.0.2.8"].first_time == at + 2


def test_a_journal_message_is_no_syslog_line() -> None:
    forged = "mx doord[1]: knock at 192.0.2.7"
    text = ENTRY.format(time=ARRIVAL, program="doord", message=forged, pid=1)
    assert engine().detect(journal(text.encode())).events == []


def test_journal_times_ahead_are_clamped() -> None:
    text = ENTRY.format(time=ARRIVAL * 2, program="doord", message="knock at 192.0.2.7", pid=1)
    batch = engine().detect(journal(text.encode()))
    assert (batch.events[0].time, batch.clamped) == (ARRIVAL, 1)


# No line is poison.

POISON = bare_pack("mad", [("loop", "aaaaa", r"(?P<addr>x)?(?:a|a)*b")])
CALM = bare_pack("calm", [("fine", "fine text", r"fine text (?P<addr>[0-9.]+)")])


@pytest.fixture
def budget() -> Iterator[CpuBudget]:
    made = CpuBudget(0.05)
    yield made
    made.close()


def minutes(*times: int, text: str = "aaaaa" * 9) -> list[str]:
    return [f"2026-08-21 14:{time:02d}:00 {text}\n" for time in times]


def test_a_match_that_runs_away_is_quarantined_and_the_rest_goes_on(budget: CpuBudget) -> None:
    each = Engine([POISON, CALM], zone=UTC, budget=budget)
    fine = "2026-08-21 14:00:00 fine text 192.0.2.7\n"
    data = fine + minutes(1)[0] + fine
    batch = each.detect(block(data, offset=70))
    assert [event.offset for event in batch.events] == [70, 70 + len(data) - len(fine)]
    (bad,) = batch.quarantined
    assert (bad.offset, bad.detector) == (70 + len(fine), "mad.loop")
    assert bad.line == minutes(1)[0].strip().encode()
    assert "RanAway: matching took more than 0.05 s" in bad.reason
    assert (batch.disabled, each.disabled) == ([], ())


def test_three_in_ten_minutes_switch_the_detector_off(budget: CpuBudget) -> None:
    each = Engine([POISON, CALM], zone=UTC, budget=budget)
    fine = "2026-08-21 14:00:00 fine text 192.0.2.7\n"
    batch = each.detect(block("".join(minutes(1, 5, 9, 10)) + fine))
    assert len(batch.quarantined) == 3
    assert (batch.disabled, each.disabled) == (["mad.loop"], ("mad.loop",))
    assert len(batch.events) == 1
    later = each.detect(block("".join(minutes(11, 12)) + fine))
    assert (later.quarantined, later.disabled, len(later.events)) == ([], [], 1)
    assert each.disabled == ("mad.loop",)


def test_three_in_more_than_ten_minutes_do_not(budget: CpuBudget) -> None:
    each = Engine([POISON], zone=UTC, budget=budget)
    batch = each.detect(block("".join(minutes(1, 6, 11, 16))))
    assert (len(batch.quarantined), each.disabled) == (4, ())


class Broken:
    """A message pattern that raises where the real one would match."""

    def __init__(self, real: object, word: bytes) -> None:
        self.real, self.word = real, word

    def __call__(self, data: bytes, start: int, stop: int) -> object:
        if self.word in data[start:stop]:
            self.fail()
        return self.real(data, start, stop)  # type: ignore[operator]

    def fail(self) -> NoReturn:
        raise ZeroDivisionError("broken")


def broken(monkeypatch: pytest.MonkeyPatch, detector: str, word: bytes) -> None:
    made = Matcher.__init__

    def init(self: Matcher, *args: object, **terms: bool) -> None:
        made(self, *args, **terms)  # type: ignore[arg-type]
        if self.detector.name == detector:
            self.message = Broken(self.message, word)  # type: ignore[assignment]

    def ready(self: Matcher, form: int, shape: object) -> object:
        found = compiled(self, form, shape)  # type: ignore[arg-type]
        hurt = self.detector.name == detector
        return found._replace(match=Broken(found.match, word)) if hurt else found  # type: ignore[arg-type]

    compiled = Matcher.with_header
    monkeypatch.setattr(Matcher, "__init__", init)
    monkeypatch.setattr(Matcher, "with_header", ready)


@pytest.mark.parametrize("often", [0, 40])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_detector_that_raises(monkeypatch: pytest.MonkeyPatch, often: int, place: int) -> None:
    broken(monkeypatch, "door.knock", b"192.0.2.66")
    each = engine()
    each.detect(block(KNOCK * often))
    lines = [KNOCK, BSD + "wrong key for x from 192.0.2.9\n"]
    lines.insert(place, BSD + "visit a: knock at 192.0.2.66\n")
    batch = each.detect(block("".join(lines)))
    assert [event.subject for event in batch.events] == ["192.0.2.7", "192.0.2.9"]
    (bad,) = batch.quarantined
    assert bad.offset == len("".join(lines[:place]))
    assert (bad.detector, bad.reason) == ("door.knock", "ZeroDivisionError: broken")


def test_quarantine_shows_at_most_200_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch, "door.any-key", b"BAD")
    batch = engine().detect(block(BSD + "odd key BAD" + "x" * 40_000 + "\n" + KNOCK))
    assert [len(bad.line) for bad in batch.quarantined] == [200]
    assert len(batch.events) == 1


def test_a_journal_entry_is_quarantined_too(monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch, "door.knock", b"192.0.2.66")
    text = "".join(
        ENTRY.format(
            time=ARRIVAL + n, program="doord", message=f"knock at 192.0.2.{66 + n % 2}", pid=1
        )
        for n in range(8)
    )
    each = engine()
    batch = each.detect(journal(text.encode()))
    assert len(batch.quarantined) == 3
    assert batch.disabled == ["door.knock"]
    assert len(batch.events) == 2, "those before it was switched off"


def test_a_failure_of_nobody_s_is_quarantined_without_a_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    each = engine()
    calls: list[int] = []

    def fail(*_args: object, **_named: object) -> NoReturn:
        calls.append(1)
        raise KeyError("lost")

    monkeypatch.setattr(each._steps, "read", fail)
    batch = each.detect(block(KNOCK + KNOCK))
    assert [bad.detector for bad in batch.quarantined] == ["", ""]
    assert each.disabled == ()


def test_interrupts_pass_through(monkeypatch: pytest.MonkeyPatch) -> None:
    each = engine()

    def interrupt(*_args: object, **_named: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(each._steps, "read", interrupt)
    with pytest.raises(KeyboardInterrupt):
        each.detect(block(KNOCK))


def test_the_engine_names_its_scanner() -> None:
    assert (engine(scanner="re").engine, engine(scanner="vectorscan").engine) == (
        "re",
        "vectorscan",
    )
    assert re.fullmatch("re|vectorscan", engine().engine)


def test_kinds_that_are_asked_for_come_with_their_fields_and_successes_as_events() -> None:
    made = packs(DOOR)
    each = Engine(made, zone=UTC, fields_of=["door.wrong_key"], told=["door.opened"])
    lines = (
        BSD + "wrong key for bob from 192.0.2.7\n",
        BSD + "visit a1: opened for 192.0.2.8\n",
        BSD + "knock at 192.0.2.7\n",
    )
    for _ in range(2):  # the long way, then the short one
        batch = each.detect(block("".join(lines) * 40))
        assert [event.kind.name for event in batch.events[:3]] == [
            "door.wrong_key",
            "door.opened",
            "door.knock",
        ]
        named = {event.kind.name: dict(event.fields) for event in batch.events}
        assert named["door.wrong_key"] == {"user": "bob", "addr": "192.0.2.7"}
        assert named["door.knock"] == {}
        assert batch.successes["192.0.2.8"].count == 40
        assert batch.successes["192.0.2.8"].first_offset == len(lines[0])


def test_told_successes_of_the_journal_are_tallied_too() -> None:
    each = Engine(packs(DOOR), zone=UTC, told=["door.opened"])
    entry = ENTRY.format(time=ARRIVAL, program="doord", message="opened for 192.0.2.8", pid=1)
    batch = each.detect(journal(entry.encode() * 3))
    assert len(batch.events) == 3
    assert batch.successes["192.0.2.8"].count == 3


def test_after_a_flood_of_odd_lines_the_next_block_is_read_as_quickly_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tidegate.detector.matcher._MERGED", 2)
    each = engine(DOOR, GATE)
    words = ("wrong key", "odd key", "opened for", "knock at", "jammed", "rattled")
    odd = "".join(
        f"{BSD}{' '.join(word for n, word in enumerate(words) if choice >> n & 1)}\n"
        for choice in range(1 << len(words))
    )
    good = BSD + "knock at 192.0.2.7 rattled\n" + BSD + "knock at 192.0.2.7\n"
    plain = events(engine(DOOR, GATE).detect(block(good * 40)))
    assert plain
    for _ in range(3):
        each.detect(block(odd))
        assert each._literals.full
        assert events(each.detect(block(good * 40))) == plain
        assert not each._literals.full
