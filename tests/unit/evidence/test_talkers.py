from __future__ import annotations

import random
from collections.abc import Mapping
from ipaddress import ip_address

from tidegate.evidence.path import NOBODY, Path, Who
from tidegate.evidence.talkers import KNOWN, Talker, Talkers

HOST, PEER = "192.0.2.1", "198.51.100.7"
BOT = Who(1000, "/var/tmp/bot (pid 7)")


def packed(text: str) -> bytes:
    return ip_address(text).packed


def out(to: str = PEER, port: int = 1434, own: int = 5000, **more: object) -> Path:
    values = {"way": "out", "here": True, "forged": False, "interface": 2, "protocol": 17} | {
        "source": packed(HOST), "destination": packed(to), "source_port": own, "port": port,
    }  # fmt: skip
    return Path(**(values | more))  # type: ignore[arg-type]


def back(path: Path) -> Path:
    return path._replace(
        way="in" if path.way == "out" else "out",
        source=path.destination, destination=path.source,
        source_port=path.port, port=path.source_port,
    )  # fmt: skip


def rows(
    talkers: Talkers, seconds: float = 1.0, who: Mapping[Path, Who] | None = None
) -> list[Talker]:
    return talkers.rows(seconds, who or {})


def test_packets_bytes_and_new_destinations_of_a_second() -> None:
    talkers = Talkers()
    for n in range(200):
        talkers.add(out(f"198.51.100.{n}"), 404, begins=True)
    (row,) = rows(talkers, 2.0, {out("198.51.100.0"): BOT})
    assert (row.way, row.source, row.port, row.answers) == ("out", packed(HOST), 1434, False)
    assert (row.packets, row.volume, row.new) == (100, 40400, 100)
    assert row.who == BOT
    assert row.looks == "scan, UDP flood"
    assert len(row.destinations) == 3
    assert rows(talkers) == []


def test_what_is_known_is_not_new_again() -> None:
    talkers = Talkers()
    talkers.add(out(), 60, begins=True)
    assert rows(talkers)[0].new == 1
    talkers.add(out(own=5001), 60, begins=True)
    assert rows(talkers)[0].new == 0


def test_what_is_known_is_bounded() -> None:
    talkers = Talkers()
    base = out()
    first, *_others, last = paths = [
        base._replace(destination=n.to_bytes(4)) for n in range(2 * KNOWN + 1)
    ]
    for path in paths:
        talkers.add(path, 60, begins=True)
    rows(talkers)
    talkers.add(first, 60, begins=True)
    talkers.add(last, 60, begins=True)
    assert rows(talkers)[0].new == 1


def test_one_that_stands_for_many() -> None:
    talkers = Talkers()
    for n in range(100):
        talkers.add(out(f"198.51.100.{n}"), 100, begins=True, weight=16)
    for _n in range(10):
        talkers.add(out("198.51.100.200"), 100, begins=True, weight=16)
    (row,) = talkers.rows(1.0, {}, scale=2.0)
    assert row.looked == 110
    assert row.packets == 2 * 16 * 110
    # A hundred were seen once, and each stands for sixteen; one was seen ten times, and is one.
    assert row.new == 2 * (100 * 16 + 1)


def test_what_was_seen_more_than_once_stands_for_few_unseen() -> None:
    """Of 20,000 destinations each had 107 packets, of which one in 32 was looked at."""
    talkers, chance = Talkers(), random.Random(1)
    base = out()
    for n in range(20_000):
        path = base._replace(destination=n.to_bytes(4))
        for _n in range(sum(chance.random() < 1 / 32 for _n in range(107))):
            talkers.add(path, 100, begins=True, weight=32)
    (row,) = rows(talkers)
    assert abs(row.new - 20_000) < 200


def test_the_worst_first_by_packets_then_by_new_destinations() -> None:
    talkers = Talkers()
    for n in range(4):
        talkers.add(out(PEER, 53), 60, begins=True)
        talkers.add(out(f"198.51.100.{n}", 80, protocol=6), 60, begins=True)
        talkers.add(out(PEER, 0, 0, protocol=1), 60, begins=False)
    talkers.add(out(PEER, 0, 0, protocol=1), 60, begins=False)
    assert [(row.protocol, row.packets, row.new) for row in rows(talkers)] == [
        (1, 5, 0), (6, 4, 4), (17, 4, 1),
    ]  # fmt: skip


def test_each_program_has_a_row_of_its_own() -> None:
    talkers = Talkers()
    resolver = Who(53, "/usr/sbin/named (pid 2)")
    who = {out(own=5001): BOT, out(port=53, own=5002): resolver}
    for path in who:
        talkers.add(path, 60, begins=True)
    assert {row.who: row.port for row in rows(talkers, who=who)} == {BOT: 1434, resolver: 53}


def test_those_alike_are_taken_for_the_same_ones() -> None:
    """A scanner opens more sockets than can be looked up."""
    talkers = Talkers()
    for n in range(100):
        talkers.add(out(f"198.51.100.{n}", own=1000 + n), 60, begins=True)
    (row,) = rows(talkers, who={out(f"198.51.100.{n}", own=1000 + n): BOT for n in range(5)})
    assert row.who == BOT


def test_where_two_do_alike_nobody_is_blamed_for_the_other() -> None:
    talkers = Talkers()
    other = Who(33, "/usr/bin/dig (pid 9)")
    for n in range(100):
        talkers.add(out(f"198.51.100.{n}", own=1000 + n), 60, begins=True)
    who = {out(f"198.51.100.{n}", own=1000 + n): (BOT, other)[n % 2] for n in range(6)}
    found = {row.who: row.packets for row in rows(talkers, who=who)}
    assert found == {BOT: 3, other: 3, NOBODY: 94}


def test_a_server_that_answers_looks_like_nothing() -> None:
    """A resolver's answers to thousands: others asked."""
    talkers = Talkers()
    for n in range(1000):
        question = back(out(str(ip_address("198.51.100.0") + n), own=53, port=2000 + n))
        talkers.add(question, 60, begins=True)
        talkers.add(back(question), 400, begins=True)
    (answers,) = (row for row in rows(talkers) if row.way == "out")
    assert (answers.port, answers.answers, answers.new, answers.looks) == (53, True, 0, "")


def test_a_busy_client_that_is_answered_is_no_scan() -> None:
    talkers = Talkers()
    for n in range(100):
        path = out(f"198.51.100.{n}", port=53)
        talkers.add(path, 60, begins=True)
        talkers.add(back(path), 120, begins=True)
    (asked,) = (row for row in rows(talkers) if row.way == "out")
    assert (asked.new, asked.looks) == (100, "")


def test_a_flood_of_syn() -> None:
    talkers = Talkers()
    for n in range(60):
        talkers.add(out(PEER, 80, own=n + 1, protocol=6), 40, begins=True)
    (row,) = rows(talkers)
    assert (row.port, row.new, row.looks) == (80, 1, "SYN flood")


def test_a_download_is_no_flood() -> None:
    talkers = Talkers()
    for _n in range(5000):
        talkers.add(out(PEER, 40000, own=443, protocol=6), 1500, begins=False)
    (row,) = rows(talkers)
    assert (row.port, row.answers, row.looks) == (443, True, "")


def test_forged_addresses_are_one_row() -> None:
    talkers = Talkers()
    for n in range(50):
        path = out(PEER, 80, own=n, protocol=6, forged=True, source=packed(f"203.0.113.{n}"))
        talkers.add(path, 40, begins=True)
    (row,) = rows(talkers)
    assert (row.source, row.forged, row.packets, row.looks) == (b"", True, 50, "SYN flood")
    assert row.new == 1


def test_a_connection_back_is_a_contact_of_its_own() -> None:
    talkers = Talkers()
    path = out(port=25, protocol=6)
    talkers.add(path, 60, begins=True)
    rows(talkers)
    talkers.add(back(path)._replace(port=113), 60, begins=True)
    assert rows(talkers)[0].new == 1


def test_many_small_sources_with_one_aim_are_one_row() -> None:
    talkers = Talkers()
    for n in range(500):
        one = back(out(str(ip_address("203.0.113.0") + n), own=80, protocol=6))
        talkers.add(one, 40, begins=True)
    for _n in range(100):
        talkers.add(back(out(PEER, own=80, protocol=6)), 1500, begins=False)
    many, single = rows(talkers)
    assert (many.sources, many.source, many.port, many.looks) == (500, b"", 80, "SYN flood")
    assert (single.sources, single.source) == (1, packed(PEER))


def test_of_ipv6_a_network_is_one_source_but_not_this_host() -> None:
    talkers = Talkers()
    for n in range(3):
        address = packed(f"2001:db8:7::{n + 1}")
        talkers.add(
            back(out("2001:db8:7::1", own=25, protocol=6))._replace(source=address), 40, True
        )
        talkers.add(out(own=n)._replace(source=packed("2001:db8::1")), 40, begins=True)
        local = packed(f"fe80::{n + 1}")
        talkers.add(back(out(own=0, protocol=58))._replace(source=local), 40, begins=False)
    found = [(row.way, row.source) for row in rows(talkers)]
    assert ("out", packed("2001:db8::1")) in found
    assert ("in", packed("2001:db8:7::")[:8]) in found
    assert len(found) == 5
