from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tidegate.errors import GateError
from tidegate.gate.switches.record import LARGEST, Record, Records, decode, encode
from tidegate.policy.guards import Command, Properties, Service, Throttle

TERMS = (
    Service("web"),
    Command(("/bin/a", "b"), ("/bin/c",)),
    Properties("web", (("CPUWeight", "20"), ("MemoryHigh", "1G"))),
    Throttle((25, 80)),
)


def record(gate: str = "web", **changes: object) -> Record:
    values = {"terms": TERMS[0], "before": {"main": [1, 2]}, "stage": "closed", "since": 1}
    return Record(gate, **{**values, "deadline": 2, **changes})  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "gates"


@pytest.mark.parametrize("terms", TERMS, ids=lambda terms: type(terms).__name__)
def test_a_record_comes_back_as_it_was(terms):
    made = record(terms=terms)
    assert decode(encode(made)) == made


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "null", "\x00" * 100, '{"version": 2}', '{"version": 1, "terms": 3}'],
)
def test_what_is_no_record_is_a_value_error(text):
    with pytest.raises(ValueError):
        decode(text.encode())


def test_every_cut_and_changed_record_is_read_or_refused():
    data = encode(record())
    for place in range(len(data)):
        for damaged in (data[:place], data[:place] + b"\xff" + data[place + 1 :]):
            try:
                decode(damaged)
            except ValueError:
                continue


def test_is_on_disk_for_root_alone_and_gone_when_removed(folder):
    records = Records(folder)
    records.write(record())
    assert (folder / "web.json").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    assert Records(folder).read() == [record()]
    records.write(record(stage="opening"))
    assert [one.stage for one in records.read()] == ["opening"]
    records.remove("web")
    records.remove("web")
    assert records.read() == []
    assert not [one for one in folder.iterdir() if one.suffix == ".new"]


def test_one_that_cannot_be_read_is_set_aside_and_told(folder):
    told: list[str] = []
    records = Records(folder, told.append)
    records.write(record("good"))
    (folder / "bad.json").write_text("{")
    assert [one.gate for one in records.read()] == ["good"]
    assert len(told) == 1 and "bad.json" in told[0] and "open it by hand" in told[0]
    assert (folder / "bad.unreadable").exists()
    assert records.read() == [record("good")] and len(told) == 1


def test_a_full_disk_does_not_keep_it_from_being_written(folder, monkeypatch):
    records = Records(folder)
    records.reserve(["web"])
    size = (folder / "web.spare").stat()
    assert size.st_size == LARGEST and size.st_blocks * 512 >= LARGEST

    def full(*_words: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(records, "_put", full)
    records.write(record())
    assert records.read() == [record()]
    with pytest.raises(GateError, match="No space left"):
        records.write(record("other"))


def test_a_folder_that_others_can_write_is_refused(folder):
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(GateError, match="chmod 0700"):
        Records(folder)


def test_two_never_work_with_one_folder(folder):
    first, second = Records(folder), Records(folder)
    assert first.lock("service keeper")
    assert first.lock()
    assert not second.lock()
    assert second.worker() == "service keeper"
    first.unlock()
    assert second.lock("dead man")
    second.unlock()


def test_what_is_too_large_is_refused(folder):
    with pytest.raises(GateError, match="bytes"):
        Records(folder).write(record(before={"x": "y" * LARGEST}))


def test_firings_are_remembered(folder):
    records = Records(folder)
    assert records.fired("zope") == []
    records.note_fired("zope", [1, 2])
    assert Records(folder).fired("zope") == [1, 2]
    (folder / "zope.fired").write_text('{"a"')
    assert Records(folder).fired("zope") == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_made_is_said():
    with pytest.raises(GateError, match="can't be recorded"):
        Records(Path("/proc/gates"))


def test_a_folder_that_others_can_exchange_is_refused(tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs").chmod(0o777)
    with pytest.raises(GateError, match="others than root may write"):
        Records(tmp_path / "theirs" / "gates")
