"""The chronicle on the disk: what survives crashes, full disks, damage, age and hostile bytes."""

from __future__ import annotations

import os
import random
import zlib
from collections.abc import Iterable
from pathlib import Path
from struct import Struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.chronicle import store
from tidegate.chronicle.columns import Columns, Damaged, numbers, steps, texts
from tidegate.chronicle.pages import MOST_SUBJECTS, Reader, Writer
from tidegate.chronicle.records import Head, Knock, Noted, Pardon, Record, Tide
from tidegate.chronicle.store import STRETCH, Chronicle, read, stretches
from tidegate.chronicle.stretch import MAGIC, Packer, Stretch, head, other, page
from tidegate.model import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    Batch,
    Change,
    Event,
    Kind,
    Micros,
    Subject,
    Success,
)

NOW: Micros = 1_790_000_000_000_000
FAILED = Kind("sshd.auth_failed", "abuse", 1, "sshd.failed", "sshd")
WEB = Kind("web.not_found", "notice", 0, "web.status", "web")
FIELDS = frozenset({"user", "path"})


def event(second: int, subject: str, kind: Kind = FAILED, **fields: str) -> Event:
    session = str(second % 7)
    return Event(NOW + second * SECOND, kind, Subject(subject), 1, session, second, 0, fields)


def batch(*events: Event, origin: int = 3, **successes: Success) -> Batch:
    return Batch("log", origin, list(events), {Subject(k): v for k, v in successes.items()})


def never(_subject: Subject) -> Micros:
    return 0


def opened(folder: Path, most: int = 64 << 20, now: Micros = NOW, saved: bytes = b"") -> Chronicle:
    found = Chronicle(folder, most, lambda at: Head(at, "abc", fields=FIELDS))
    if saved:
        assert found.restore(Change(store.PART, "written", saved))
    found.begin(now)
    return found


def kept(folder: Path) -> list[Record]:
    return [record for stretch in read(folder) for record in stretch]


def seconds(records: Iterable[Record]) -> list[int]:
    """Which events are there, by their seconds."""
    batches = [one.batch for one in records if isinstance(one, Noted)]
    return [(each.time - NOW) // SECOND for one in batches for each in one.events]


def saved(chronicle: Chronicle) -> bytes:
    """What a ledger would have after a checkpoint; b"": nothing new."""
    changes = list(chronicle.changes())
    return changes[-1].value or b"" if changes else b""


def test_what_was_noted_is_read_again_as_it_was(tmp_path: Path) -> None:
    chronicle = opened(tmp_path)
    first = batch(event(1, "192.0.2.1", user="a\0b\udc80ü"), event(0, "2001:db8::/64", WEB))
    second = Batch("other", 9, [event(5, "192.0.2.1")], {
        Subject("192.0.2.7"): Success(3, 17, NOW, NOW + 1), Subject("192.0.2.1"): Success(1, 2, 3, 4),
    })  # fmt: skip
    chronicle.note(first, lambda one: NOW - DAY if one == "192.0.2.1" else 0)
    chronicle.note(second, never)
    chronicle.also(Knock(NOW, Subject("192.0.2.1"), 22))
    chronicle.also(Pardon(NOW, Subject("192.0.2.1"), SECOND))
    chronicle.also(Tide("high"))
    saved(chronicle)
    found = kept(tmp_path)
    assert found[0] == Head(NOW, "abc", fields=FIELDS)
    one, two = [each for each in found if isinstance(each, Noted)]
    assert [each._replace(kind=FAILED, length=0) for each in one.batch.events] == [
        each._replace(kind=FAILED) for each in first.events
    ]
    assert [each.kind.name for each in one.batch.events] == ["sshd.auth_failed", "web.not_found"]
    assert one.known == {"192.0.2.1": NOW - DAY}
    assert (two.batch.source, two.batch.origin, two.known) == ("other", 9, {})
    assert two.batch.successes == {
        "192.0.2.7": Success(1, 17, NOW, NOW + 1), "192.0.2.1": Success(1, 2, 3, 4),
    }  # fmt: skip
    assert found[-3:] == [
        Knock(NOW, Subject("192.0.2.1"), 22), Pardon(NOW, Subject("192.0.2.1"), SECOND), Tide("high"),
    ]  # fmt: skip


def test_only_fields_that_somebody_asks_for_are_kept_and_long_ones_stay_different(
    tmp_path: Path,
) -> None:
    chronicle = opened(tmp_path)
    long = ["x" * 5000 + tail for tail in "ab"]
    events = [event(at, "192.0.2.1", user=value, agent="no") for at, value in enumerate(long)]
    chronicle.note(batch(*events), never)
    saved(chronicle)
    noted = kept(tmp_path)[-1]
    assert isinstance(noted, Noted)
    values = [one.fields["user"] for one in noted.batch.events]
    assert [set(one.fields) for one in noted.batch.events] == [{"user"}, {"user"}]
    assert values[0] != values[1] and all(len(one) < 520 for one in values)


def test_what_the_ledger_does_not_know_of_is_seen_again_not_twice(tmp_path: Path) -> None:
    chronicle = opened(tmp_path)
    chronicle.note(batch(event(1, "192.0.2.1")), never)
    told = saved(chronicle)
    chronicle.note(batch(event(2, "192.0.2.2")), never)
    saved(chronicle)  # the ledger was killed before it had this
    assert seconds(kept(tmp_path)) == [1, 2]
    again = opened(tmp_path, saved=told)
    assert seconds(kept(tmp_path)) == [1]
    again.note(batch(event(2, "192.0.2.2")), never)
    saved(again)
    assert seconds(kept(tmp_path)) == [1, 2]


def test_who_died_before_the_first_checkpoint_with_events_begins_anew(tmp_path: Path) -> None:
    told = saved(opened(tmp_path))  # the first checkpoint, before any line
    chronicle = opened(tmp_path, saved=told)
    chronicle.note(batch(event(1, "192.0.2.1")), never)
    saved(chronicle)  # the ledger was killed before it had this
    opened(tmp_path, saved=told)
    assert kept(tmp_path) == []


def test_with_a_new_ledger_all_that_is_there_stays(tmp_path: Path) -> None:
    chronicle = opened(tmp_path)
    chronicle.note(batch(event(1, "192.0.2.1")), never)
    told = saved(chronicle)
    again = opened(tmp_path)
    assert saved(again) == told
    again.note(batch(event(2, "192.0.2.1")), never)
    saved(again)
    assert seconds(kept(tmp_path)) == [1, 2]


def test_a_stretch_the_ledger_does_not_know_of_is_dropped(tmp_path: Path) -> None:
    chronicle = opened(tmp_path)
    chronicle.note(batch(event(1, "192.0.2.1")), never)
    told = saved(chronicle)
    chronicle.tick(NOW + 2 * HOUR)
    chronicle.note(batch(event(2, "192.0.2.1")), never)
    saved(chronicle)
    assert len(stretches(tmp_path)) == 2
    opened(tmp_path, saved=told)
    assert seconds(kept(tmp_path)) == [1]


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(1, 400), flip=st.booleans(), bit=st.integers(0, 7))
def test_a_torn_or_damaged_end_is_left_out_and_said(
    cut: int, flip: bool, bit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("events")
    chronicle = opened(folder)
    sizes = []
    for number in range(8):
        chronicle.note(batch(*(event(number, f"192.0.2.{at}") for at in range(3))), never)
        saved(chronicle)
        sizes.append(stretches(folder)[0][0].stat().st_size)
    ((path, _number),) = stretches(folder)
    data = bytearray(path.read_bytes())
    at = max(len(MAGIC), len(data) - cut)
    if flip:
        data[at] ^= 1 << bit
    else:
        del data[at:]
    stretch = Stretch(bytes(data))
    found = seconds(stretch)
    whole = sum(size <= at for size in sizes)
    assert found == [number for number in range(whole) for _ in range(3)]
    assert bool(stretch.left_out) == (whole < 8 and (flip or at not in sizes))


def test_the_oldest_goes_when_there_is_too_much(tmp_path: Path) -> None:
    most = 8 * STRETCH
    chronicle = opened(tmp_path, most)
    chance = random.Random(1)
    for number in range(60):
        events = [
            event(number, f"10.{chance.randrange(256)}.{chance.randrange(256)}.{at % 256}",
                  user=chance.randbytes(12).hex())
            for at in range(4000)
        ]  # fmt: skip
        chronicle.note(batch(*events), never)
        saved(chronicle)
        size = sum(path.stat().st_size for path, _ in stretches(tmp_path))
        assert size <= most
    found = sorted(set(seconds(kept(tmp_path))))
    assert found[0] > 0 and found == [*range(found[0], 60)]
    assert size > most // 2


def test_what_is_older_than_a_day_goes(tmp_path: Path) -> None:
    chronicle = opened(tmp_path)
    chronicle.note(batch(event(1, "192.0.2.1")), never)
    saved(chronicle)
    ((path, _number),) = stretches(tmp_path)
    os.utime(path, ns=(NOW * 1000, NOW * 1000))
    chronicle.tick(NOW + 23 * HOUR)
    assert stretches(tmp_path)
    chronicle.tick(NOW + 26 * HOUR)
    assert not stretches(tmp_path)


def test_many_subjects_begin_another_stretch(tmp_path: Path) -> None:
    chronicle = opened(tmp_path)
    for number in range(3):
        events = [
            event(number, f"10.{number}.{at >> 8}.{at & 255}") for at in range(MOST_SUBJECTS // 2)
        ]
        chronicle.note(batch(*events), never)
    saved(chronicle)
    assert len(stretches(tmp_path)) == 2
    assert len(seconds(kept(tmp_path))) == 3 * (MOST_SUBJECTS // 2)


def test_a_full_disk_stops_nothing_and_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chronicle = opened(tmp_path)
    chronicle.note(batch(event(1, "192.0.2.1")), never)
    saved(chronicle)
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:10]))
    chronicle.note(batch(event(2, "192.0.2.1")), never)
    saved(chronicle)
    assert "No space left" in chronicle.trouble
    assert chronicle.lost == 1
    chronicle.note(batch(event(3, "192.0.2.1")), never)  # not tried again at once
    assert chronicle.lost == 2
    monkeypatch.undo()
    chronicle.tick(NOW + 2 * MINUTE)
    chronicle.note(batch(event(4, "192.0.2.1")), never)
    saved(chronicle)
    assert chronicle.trouble == ""
    assert seconds(kept(tmp_path)) == [1, 4]


def test_a_folder_that_cant_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    chronicle = opened(tmp_path / "file" / "events")
    assert "Not a directory" in chronicle.trouble
    chronicle.note(batch(event(1, "192.0.2.1")), never)
    assert saved(chronicle) == b"0:0"
    assert saved(chronicle) == b""


def test_nothing_is_kept_where_nothing_is_wanted(tmp_path: Path) -> None:
    chronicle = opened(tmp_path)
    chronicle.note(batch(event(1, "192.0.2.1")), never)
    saved(chronicle)
    chronicle.reload(0, NOW)
    chronicle.note(batch(event(2, "192.0.2.1")), never)
    assert saved(chronicle) == b""
    opened(tmp_path, most=0)
    assert not stretches(tmp_path)


def test_the_tide_is_told_again_in_each_stretch(tmp_path: Path) -> None:
    chronicle = opened(tmp_path)
    chronicle.also(Tide("high"))
    chronicle.note(batch(event(1, "192.0.2.1")), never)
    chronicle.also(Tide("flood"))
    chronicle.also(Tide("flood"))
    saved(chronicle)
    chronicle.tick(NOW + 2 * HOUR)
    chronicle.note(batch(event(1, "192.0.2.1")), never)
    saved(chronicle)
    assert [one for one in kept(tmp_path) if isinstance(one, Tide)] == [
        Tide("high"), Tide("flood"), Tide("flood"),
    ]  # fmt: skip


def test_a_reload_begins_a_stretch_with_what_is_seen_from_then_on(tmp_path: Path) -> None:
    fields = [frozenset({"user"})]
    chronicle = Chronicle(tmp_path, 64 << 20, lambda at: Head(at, "abc", fields=fields[0]))
    chronicle.begin(NOW)
    chronicle.note(batch(event(1, "192.0.2.1", user="a", path="/")), never)
    fields[0] = frozenset({"path"})
    chronicle.reload(64 << 20, NOW + SECOND)
    chronicle.note(batch(event(2, "192.0.2.1", user="a", path="/")), never)
    saved(chronicle)
    noted = [one for one in kept(tmp_path) if isinstance(one, Noted)]
    assert [dict(one.batch.events[0].fields) for one in noted] == [{"user": "a"}, {"path": "/"}]


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=200))
def test_any_bytes_raise_nothing(data: bytes) -> None:
    deflated = zlib.compressobj(1, zlib.DEFLATED, -15)
    packed = deflated.compress(data) + deflated.flush(zlib.Z_SYNC_FLUSH)
    sealed = Struct(">II").pack(len(packed), zlib.crc32(packed)) + packed
    for one in (data, MAGIC + data, MAGIC + sealed, MAGIC + Packer().block(page(data))):
        list(Stretch(one))


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 1 << 32), changes=st.integers(1, 4))
def test_a_page_that_somebody_altered_is_damaged_or_a_page(seed: int, changes: int) -> None:
    chance = random.Random(seed)
    writer = Writer(FIELDS)
    writer.note(batch(*(event(at, f"192.0.2.{at}", user="u", path="/") for at in range(5))), never)
    data = bytearray(writer.page())
    for _ in range(changes):
        data[chance.randrange(len(data))] = chance.randrange(256)
    try:
        found = list(Reader().read(bytes(data)))
    except Damaged:
        return
    assert sum(len(one.batch.events) for one in found) == 5


def test_few_bytes_do_not_become_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate.chronicle.stretch.MOST_PLAIN", 1 << 20)
    stretch = Stretch(MAGIC + Packer().block(page(bytes(2 << 20))))
    assert list(stretch) == []
    assert "too large" in stretch.left_out


@given(values=st.lists(st.integers(-(1 << 62), 1 << 62)))
def test_columns_come_back(values: list[int]) -> None:
    words = [str(one) for one in values]
    columns = Columns(numbers(values) + steps(values) + texts(words))
    assert columns.numbers() == values
    assert columns.steps(len(values)) == values
    assert columns.texts(len(values)) == words
    columns.end()


@pytest.mark.parametrize(
    "record",
    [
        b'["x"]',
        b"[1,2,3]",
        b"{}",
        b'[1,"a",70000.5]',
        b"[",
        b'[1,"' + b"a" * 400 + b'",1]',
        b"[true]",
    ],
)
def test_other_records_are_what_they_should_be(record: bytes) -> None:
    for kind in b"KPTXH":
        body = Struct(">cI").pack(bytes((kind,)), len(record)) + record
        stretch = Stretch(MAGIC + Packer().block(head(Head(NOW, "")) + body))
        assert len(list(stretch)) == 1
        assert stretch.left_out


def test_the_head_can_be_asked_for_alone() -> None:
    told = Head(NOW, "abc", frozenset({"a"}), FIELDS, frozenset({"b"}))
    data = MAGIC + Packer().block(head(told) + other(Tide("low")))
    assert Stretch(data).head() == told
    assert Stretch(b"").head() is None
