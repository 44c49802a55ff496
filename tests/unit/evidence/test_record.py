"""The good record: 30 days, independent of where blocks are cut, bounded, saved."""

from __future__ import annotations

import pytest

from tidegate.evidence.record import REMEMBERED, GoodRecord
from tidegate.model import DAY, HOUR, Subject, Success

HOST = Subject("192.0.2.7")
START = 1000 * DAY


def success(time=START, offset=100):
    return {HOST: Success(1, offset, time, time)}


def test_a_success_counts_for_thirty_days():
    record = GoodRecord()
    record.tally(success())
    assert record.good(HOST, START + REMEMBERED, 0, {})
    assert not record.good(HOST, START + REMEMBERED + 1, 0, {})
    assert not record.good(Subject("192.0.2.8"), START, 0, {})


def test_in_the_block_being_read_only_what_stands_before_counts():
    record = GoodRecord()
    assert record.good(HOST, START, 101, success(offset=100))
    assert not record.good(HOST, START, 99, success(offset=100))


def test_an_older_success_does_not_replace_a_newer_one():
    record = GoodRecord()
    record.tally(success(START))
    record.tally(success(START - DAY))
    assert record.good(HOST, START + REMEMBERED, 0, {})


def test_the_coldest_go_first_and_are_counted():
    record = GoodRecord(capacity=100)
    for n in range(101):
        record.tally({Subject(f"10.0.0.{n}"): Success(1, 0, START + n, START + n)})
    assert len(record) <= 100
    assert record.evicted > 0
    assert not record.good(Subject("10.0.0.0"), START, 0, {})
    assert record.good(Subject("10.0.0.100"), START + 100, 0, {})


def test_it_is_saved_at_most_once_an_hour_and_comes_back():
    record = GoodRecord()
    record.tally(success())
    saved = list(record.changes())
    assert [change.key for change in saved] == [HOST]
    record.tally(success(START + HOUR // 2))
    assert list(record.changes()) == []
    record.tally(success(START + 2 * HOUR))
    assert len(list(record.changes())) == 1
    again = GoodRecord()
    assert again.restore(saved[0])
    assert again.good(HOST, START + 1, 0, {})
    assert not again.restore(saved[0]._replace(part="other"))


def test_what_is_over_is_dropped_and_the_ledger_told():
    record = GoodRecord()
    record.tally(success())
    list(record.changes())
    record.expire(START + REMEMBERED + 1)
    assert len(record) == 0
    assert [change.value for change in record.changes()] == [None]


@pytest.mark.parametrize(
    ("who", "network", "good"),
    [
        ("192.0.2.7", "192.0.2.0/24", True),
        ("192.0.20.7", "192.0.2.0/24", False),
        ("192.0.2.7", "2001:db8::/48", False),
        ("2001:db8:7:12::/64", "2001:db8:7::/56", True),
        ("2001:db8:7:112::/64", "2001:db8:7::/56", False),
        ("2001:db8:7:112::/64", "2001:db8:7::/48", True),
        ("mail.example.org", "192.0.2.0/24", False),
        ("192.0.2.7", "mail.example.org", False),
    ],
)
def test_somebody_good_in_a_network(who, network, good):
    record = GoodRecord()
    told = {Subject(who): Success(1, 100, START, START)}
    assert record.good_in(Subject(network), START, 101, told) is good
    assert not record.good_in(Subject(network), START, 99, told)
    record.tally(told)
    assert record.good_in(Subject(network), START, 0, {}) is good
    assert not record.good_in(Subject(network), START + REMEMBERED + 1, 0, {})
