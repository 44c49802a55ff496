"""The promises of the port, each tried on the ledger on disk and on its twin."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tidegate.errors import LedgerError
from tidegate.ledger.port import KEEP, Entry, Ledger
from tidegate.model import (
    DAY,
    MINUTE,
    SECOND,
    Ban,
    Change,
    Confined,
    Decision,
    Evidence,
    Origin,
    Outcome,
    Position,
    Ref,
    Subject,
)

NOW = 1_700_000_000 * SECOND
A = Subject("192.0.2.7")
B = Subject("192.0.2.8")
Decide = Callable[..., Decision]


def applied(*names: str, time: int = NOW) -> list[Outcome]:
    return [Outcome(name, "applied", "", time) for name in names]


# Origins and positions.


def test_a_file_is_numbered_once_and_keeps_its_number_when_it_moves(ledger: Ledger) -> None:
    first = ledger.origin("exim", "/var/log/exim4/mainlog", "12:ab", True)
    assert first == Origin(1, "exim", "/var/log/exim4/mainlog", "12:ab", True)
    assert ledger.origin("exim", "/var/log/exim4/mainlog", "13:cd", True).number == 2
    moved = ledger.origin("exim", "/var/log/exim4/mainlog.1", "12:ab", True)
    assert moved == Origin(1, "exim", "/var/log/exim4/mainlog.1", "12:ab", True)
    assert [origin.number for origin in ledger.origins()] == [1, 2]
    assert ledger.origins()[0].path == "/var/log/exim4/mainlog.1"


def test_two_sources_on_one_file_are_two_origins(ledger: Ledger) -> None:
    numbers = {ledger.origin(name, "/var/log/mail.log", "1:a", True).number for name in "ab"}
    assert numbers == {1, 2}
    assert ledger.origin("stdin", "-", "stdin", False).rereadable is False


def test_the_latest_position_of_a_file_holds_and_stands_last(ledger: Ledger) -> None:
    old = Position("exim", "/m", "1:a", 100)
    ledger.checkpoint([old, Position("exim", "/m", "2:b", 0)], [])
    ledger.checkpoint([old, Position("exim", "/m", "2:b", 10)], [])
    journal = Position("ssh", "", "journal:_COMM=sshd", 0, "s=1;i=2")
    ledger.checkpoint([journal], [])
    assert ledger.positions() == [old, Position("exim", "/m", "2:b", 10), journal]
    ledger.checkpoint([old._replace(offset=120)], [])
    assert ledger.positions()[-1] == old._replace(offset=120)


def test_positions_of_long_rotated_files_are_dropped_the_newest_kept(ledger: Ledger) -> None:
    places = [Position("exim", "/m", f"{n}:x", n) for n in range(20)]
    other = Position("exim", "/other", "1:y", 5)
    ledger.checkpoint([other, *places], [])
    ledger.forget(NOW)
    assert ledger.positions() == [other, *places[-8:]]


def test_origins_of_long_ago_are_dropped_unless_a_position_points_at_them(
    ledger: Ledger,
) -> None:
    for n in range(1005):
        ledger.origin("exim", "/m", f"{n}:x", True)
    ledger.checkpoint([Position("exim", "/m", "2:x", 7)], [])
    ledger.forget(NOW)
    numbers = [origin.number for origin in ledger.origins()]
    assert numbers == [3, *range(6, 1006)]
    assert ledger.origin("exim", "/m", "new", True).number == 1006


# Memory.


def test_memory_comes_back_by_part_and_key(ledger: Ledger) -> None:
    ledger.checkpoint([], [Change("b", "x", b"1"), Change("a", "y", b"2"), Change("a", "x", b"\0")])
    expected = [Change("a", "x", b"\0"), Change("a", "y", b"2"), Change("b", "x", b"1")]
    assert list(ledger.memory()) == expected


def test_the_last_change_of_a_key_holds(ledger: Ledger) -> None:
    ledger.checkpoint([], [Change("a", "x", b"1"), Change("a", "x", None), Change("a", "y", None)])
    assert list(ledger.memory()) == []
    ledger.checkpoint([], [Change("a", "x", None), Change("a", "x", b"2")])
    ledger.checkpoint([], [Change("a", "y", b""), Change("a", "x", b"3")])
    assert list(ledger.memory()) == [Change("a", "x", b"3"), Change("a", "y", b"")]
    ledger.checkpoint([], [])
    assert len(list(ledger.memory())) == 2


def test_memory_of_unknown_parts_is_dropped_only_when_the_parts_are_named(ledger: Ledger) -> None:
    ledger.checkpoint([], [Change("rule:old", "x", b"1"), Change("rule:new", "x", b"2")])
    ledger.forget(NOW)
    assert len(list(ledger.memory())) == 2
    ledger.forget(NOW, parts=["rule:new"])
    assert list(ledger.memory()) == [Change("rule:new", "x", b"2")]


def test_keys_with_any_text_at_all_are_kept(ledger: Ledger) -> None:
    keys = ["\udc80", "\0", "é", "日本", "\U0001f600", "\ue000", "a" * 5000]
    ledger.checkpoint([], [Change("p", key, key.encode("utf-8", "replace")) for key in keys])
    assert [change.key for change in ledger.memory()] == sorted(keys)


# Decisions.


def test_intending_twice_is_harmless(ledger: Ledger, decide: Decide) -> None:
    one, two = decide("1"), decide("2", subject=B)
    assert ledger.intend([one, one]) == [one]
    assert ledger.intend([two, one], durable=True) == [two]
    assert ledger.intend([one, two]) == []
    assert ledger.intend([]) == []
    assert [entry.decision.id for entry in ledger.history(9)] == ["2", "1"]


def test_a_decision_comes_back_as_it_was_put_in(ledger: Ledger, decide: Decide) -> None:
    evidence = (Evidence(NOW - 1, "/var/log/exim4/mainlog", 7, "a \udcff \x1b[31m 'line';--"),)
    whole = decide(
        "1",
        step=2,
        spared="good record",
        by="anna (uid 1000)",
        note="müde",
        evidence=evidence,
        collateral=True,
        mode="observe",
    )
    ledger.intend([whole])
    assert ledger.history(1) == [Entry(whole, "intended", "", None)]
    assert ledger.unsettled() == [whole]


def test_what_is_stored_is_bounded(ledger: Ledger, decide: Decide) -> None:
    evidence = tuple(Evidence(NOW + n, "/m", n, "é" * 2000) for n in range(50))
    ledger.intend(
        [
            decide(
                "1",
                ports=(465, 25, 465),
                evidence=evidence,
                refs=(Ref(NOW, 1, 2),),
                note="ü" * 4000,
                reason="x" * 4000,
                until=1 << 80,
            )
        ]
    )
    ((kept, _state, _detail, _settled),) = ledger.history(1)
    assert kept.refs == ()
    assert [line.offset for line in kept.evidence] == list(range(30, 50))
    assert {line.line for line in kept.evidence} == {"é" * 500}
    assert (kept.note, kept.reason, kept.ports) == ("ü" * 500, "x" * 1000, (25, 465))
    assert kept.until == (1 << 63) - 1


def test_unsettled_are_those_without_outcome_in_their_order(ledger: Ledger, decide: Decide) -> None:
    ledger.intend([decide("b"), decide("a", time=NOW - 5), decide("c")])
    ledger.settle([])
    ledger.settle([*applied("a"), Outcome("nobody", "applied", "", NOW)])
    assert [decision.id for decision in ledger.unsettled()] == ["b", "c"]


def test_the_last_outcome_holds(ledger: Ledger, decide: Decide) -> None:
    one = decide("1")
    ledger.intend([one])
    ledger.settle([Outcome("1", "refused", "element 192.0.2.7: no such set", NOW)])
    (entry,) = ledger.history(1)
    assert entry[1:] == ("refused", "element 192.0.2.7: no such set", NOW)
    ledger.settle(applied("1", time=NOW + 1))
    assert ledger.history(1) == [Entry(one, "applied", "", NOW + 1)]


# What is wanted.


def test_of_several_bans_the_one_that_ends_last_holds(ledger: Ledger, decide: Decide) -> None:
    ledger.intend([decide("1"), decide("2", until=NOW + DAY), decide("3", until=NOW + 5)])
    ledger.intend([decide("4", ports=(80, 443)), decide("5", subject=B, ports=())])
    assert ledger.wanted(NOW) == [
        Ban(A, (25,), NOW + DAY),
        Ban(A, (80, 443), NOW + 10 * MINUTE),
        Ban(B, (), NOW + 10 * MINUTE),
    ]
    assert [entry.decision.id for entry in ledger.standing(NOW)] == ["2", "4", "5"]
    assert [entry.decision.id for entry in ledger.standing(NOW, B)] == ["5"]


def test_what_stands_comes_with_its_outcome_but_without_evidence(
    ledger: Ledger, decide: Decide
) -> None:
    one = decide("1", evidence=(Evidence(NOW, "/m", 0, "line"),))
    wide = decide("2", subject="192.0.2.0/24")
    ledger.intend([one, wide])
    ledger.settle(applied("1"))
    bare = Entry(decide("1"), "applied", "", NOW)
    assert ledger.standing(NOW) == [Entry(wide, "intended", "", None), bare]
    assert ledger.standing(NOW, A) == ledger.standing(NOW)
    assert ledger.standing(NOW, B) == [Entry(wide, "intended", "", None)]
    assert ledger.standing(NOW, Subject("198.51.100.1")) == []


def test_a_ban_is_over_at_its_end(ledger: Ledger, decide: Decide) -> None:
    ledger.intend([decide("1", until=NOW + 5)])
    assert ledger.wanted(NOW + 4) == [Ban(A, (25,), NOW + 5)]
    assert ledger.wanted(NOW + 5) == ledger.standing(NOW + 5) == []


@pytest.mark.parametrize("other", [{"mode": "observe"}, {"spared": "allowlist"}])
def test_observed_and_spared_decisions_neither_close_nor_undo(
    ledger: Ledger, decide: Decide, other: dict[str, str]
) -> None:
    ledger.intend([decide("1", **other), decide("2", subject=B)])
    ledger.intend([decide("3", "unban", B, **other), decide("4", "allow", B, **other)])
    assert ledger.wanted(NOW) == [Ban(B, (25,), NOW + 10 * MINUTE)]
    assert ledger.allowed(NOW) == []


@pytest.mark.parametrize("action", ["unban", "allow"])
def test_an_undoing_undoes_what_was_intended_before_it_and_nothing_after(
    ledger: Ledger, decide: Decide, action: str
) -> None:
    ledger.intend([decide("1"), decide("2", action, time=NOW - DAY), decide("3", subject=B)])
    assert [ban.subject for ban in ledger.wanted(NOW)] == [B]
    ledger.intend([decide("4", time=NOW - 2 * DAY, until=NOW + 9)])
    assert ledger.wanted(NOW)[0] == Ban(A, (25,), NOW + 9)


def test_order_holds_within_one_call_too(ledger: Ledger, decide: Decide) -> None:
    ledger.intend([decide("1", until=NOW + DAY), decide("2", "unban"), decide("3", until=NOW + 9)])
    assert ledger.wanted(NOW) == [Ban(A, (25,), NOW + 9)]


def test_of_bans_that_end_together_the_first_is_the_one_that_stands(
    ledger: Ledger, decide: Decide
) -> None:
    ledger.intend([decide(name, until=NOW + 9, time=NOW - int(name)) for name in "1432"])
    assert [entry.decision.id for entry in ledger.standing(NOW)] == ["1"]


def test_an_undoing_with_ports_undoes_those_alone(ledger: Ledger, decide: Decide) -> None:
    ledger.intend([decide("1"), decide("2", ports=(80, 443)), decide("3", ports=())])
    ledger.intend([decide("4", "unban", ports=(443, 80))])
    assert [ban.ports for ban in ledger.wanted(NOW)] == [(), (25,)]
    ledger.intend([decide("5", "unban")])
    assert ledger.wanted(NOW) == []


def test_an_undoing_that_names_a_rule_undoes_that_rules_alone(
    ledger: Ledger, decide: Decide
) -> None:
    ledger.intend([decide("1", until=NOW + 5), decide("2", rule="slow"), decide("3", ports=())])
    ledger.intend([decide("4", "unban", rule="slow")])
    assert ledger.wanted(NOW) == [Ban(A, (), NOW + 10 * MINUTE), Ban(A, (25,), NOW + 5)]
    ledger.intend([decide("5", "unban", rule="")])
    assert ledger.wanted(NOW) == []


def test_what_a_host_of_the_fleet_takes_back_is_its_own_alone(
    ledger: Ledger, decide: Decide
) -> None:
    ledger.intend([decide("1", until=NOW + 5), decide("2", by="fleet:web1")])
    ledger.intend(
        [decide("3", by="fleet:web2", until=NOW + 9), decide("4", by="fleet:web1", rule="slow")]
    )
    ledger.intend([decide("5", "unban", by="fleet:web1", rule="")])
    assert [one.decision.id for one in ledger.standing(NOW)] == ["3"]
    ledger.intend([decide("6", "unban", by="fleet:web2", ports=(25,))])
    assert [one.decision.id for one in ledger.standing(NOW)] == ["1"]
    ledger.intend([decide("7", "unban", by="anna (uid 1000) at web1", rule="")])
    assert ledger.wanted(NOW) == []


def test_what_is_wanted_for_some_subjects_is_theirs_alone(ledger: Ledger, decide: Decide) -> None:
    ledger.intend([decide("1"), decide("2", subject=B), decide("3", subject="192.0.2.0/24")])
    ledger.intend([decide("4", ports=(), until=NOW + DAY), decide("5", until=NOW + 5)])
    assert ledger.wanted(NOW, [A, A, Subject("192.0.2.99")]) == [
        Ban(A, (), NOW + DAY),
        Ban(A, (25,), NOW + 10 * MINUTE),
    ]
    assert ledger.wanted(NOW, []) == []
    many = [Subject(f"10.0.{n >> 8}.{n & 255}") for n in range(1000)]
    assert ledger.wanted(NOW, [*many, B]) == [Ban(B, (25,), NOW + 10 * MINUTE)]


def test_an_undoing_of_an_address_leaves_the_network_around_it(
    ledger: Ledger, decide: Decide
) -> None:
    ledger.intend([decide("1", subject="192.0.2.0/24"), decide("2", "unban")])
    assert [ban.subject for ban in ledger.wanted(NOW)] == ["192.0.2.0/24"]


def test_a_refused_ban_is_still_wanted(ledger: Ledger, decide: Decide) -> None:
    ledger.intend([decide("1")])
    ledger.settle([Outcome("1", "refused", "kernel", NOW)])
    assert len(ledger.wanted(NOW)) == 1


def test_allows_stand_until_their_end_or_a_disallow(ledger: Ledger, decide: Decide) -> None:
    ledger.intend([decide("1", "allow", until=NOW + DAY), decide("2", "allow", B, until=NOW + 5)])
    ledger.intend([decide("3"), decide("4", "unban")])
    assert ledger.allowed(NOW) == [Ban(A, (), NOW + DAY), Ban(B, (), NOW + 5)]
    assert ledger.allowed(NOW + 5) == [Ban(A, (), NOW + DAY)]
    ledger.intend([decide("5", "disallow")])
    assert ledger.allowed(NOW + 5) == []


# History.


def test_history_is_newest_first_and_pages(ledger: Ledger, decide: Decide) -> None:
    ledger.intend([decide(str(n), time=NOW + n // 2, subject=f"10.0.0.{n}") for n in range(10)])
    names = [entry.decision.id for entry in ledger.history(4)]
    assert names == ["9", "8", "7", "6"]
    assert [e.decision.id for e in ledger.history(3, before=NOW + 3)] == ["5", "4", "3"]
    assert ledger.history(0) == ledger.history(-1) == []


def test_history_of_an_address_shows_the_networks_around_and_inside(
    ledger: Ledger, decide: Decide
) -> None:
    subjects = [
        "192.0.2.7",
        "192.0.2.0/24",
        "192.0.2.0/29",
        "192.0.2.8",
        "192.0.3.0/24",
        "2001:db8:1:2::/64",
        "2001:db8:1:2::5",
        "2001:db8:1:3::/64",
        "host.example.org",
        "0.0.0.0/0",
    ]
    ledger.intend([decide(s, subject=s, time=NOW + n) for n, s in enumerate(subjects)])

    def about(subject: str) -> list[str]:
        return sorted(entry.decision.id for entry in ledger.history(99, Subject(subject)))

    assert about("192.0.2.7") == ["0.0.0.0/0", "192.0.2.0/24", "192.0.2.0/29", "192.0.2.7"]
    assert about("192.0.2.8") == ["0.0.0.0/0", "192.0.2.0/24", "192.0.2.8"]
    inside = ["192.0.2.0/24", "192.0.2.0/29", "192.0.2.7", "192.0.2.8"]
    assert about("192.0.2.0/24") == ["0.0.0.0/0", *inside]
    assert about("2001:db8:1:2::9") == ["2001:db8:1:2::/64"]
    assert about("2001:db8:1:2::/64") == ["2001:db8:1:2::/64", "2001:db8:1:2::5"]
    assert about("host.example.org") == ["host.example.org"]
    assert about("example.org") == []


# Forgetting.


def test_what_is_settled_and_long_over_is_dropped(ledger: Ledger, decide: Decide) -> None:
    ledger.intend([decide("over"), decide("unsettled"), decide("stands", until=NOW + 99 * DAY)])
    ledger.settle(applied("over", "stands"))
    end = NOW + 10 * MINUTE
    assert ledger.forget(end + KEEP - 1) == 0
    assert ledger.forget(end + KEEP) == 1
    assert {e.decision.id for e in ledger.history(9)} == {"unsettled", "stands"}
    assert [ban.until for ban in ledger.wanted(end + KEEP)] == [NOW + 99 * DAY]


def test_an_undone_ban_does_not_come_back_when_its_undoing_is_dropped(
    ledger: Ledger, decide: Decide
) -> None:
    ledger.intend([decide("ban", time=NOW + DAY, until=NOW + 99 * DAY)])
    ledger.intend([decide("undo", "unban", until=NOW)])
    ledger.settle(applied("ban", "undo"))
    assert ledger.forget(NOW + KEEP + MINUTE * 10) == 1
    assert [e.decision.id for e in ledger.history(9)] == ["ban"]
    assert ledger.wanted(NOW + KEEP) == []
    assert ledger.forget(NOW + KEEP + DAY) == 1


def test_a_second_undoing_does_not_keep_the_ban_longer(ledger: Ledger, decide: Decide) -> None:
    ledger.intend([decide("ban", until=NOW + 99 * DAY), decide("1", "unban", until=NOW)])
    ledger.intend([decide("2", "unban", time=NOW + 20 * DAY, until=NOW)])
    ledger.settle(applied("ban", "1", "2"))
    assert ledger.forget(NOW + KEEP + DAY) == 2
    assert [entry.decision.id for entry in ledger.history(9)] == ["2"]


def test_a_dropped_id_is_new_again(ledger: Ledger, decide: Decide) -> None:
    ledger.intend([decide("1", evidence=(Evidence(NOW, "/m", 0, "old"),))])
    ledger.settle(applied("1"))
    ledger.forget(NOW + 99 * DAY)
    again = decide("1", time=NOW + 99 * DAY)
    assert ledger.intend([again]) == [again]
    assert ledger.history(9) == [Entry(again, "intended", "", None)]


# The end.


def test_a_closed_ledger_refuses_in_words(ledger: Ledger, decide: Decide) -> None:
    ledger.intend([decide("1")])
    ledger.close()
    ledger.close()
    for refused in (
        lambda: ledger.intend([decide("2")]),
        lambda: ledger.wanted(NOW),
        lambda: list(ledger.memory()),
        lambda: ledger.forget(NOW),
        lambda: ledger.checkpoint([Position("a", "b", "c", 1)], []),
    ):
        with pytest.raises(LedgerError, match="closed"):
            refused()
    assert ledger.size() >= 0
    assert ledger.notes == []


def test_which_rules_have_a_ban_standing(ledger: Ledger, decide: Decide) -> None:
    ledger.intend([decide("1"), decide("2", subject=B, rule="other", until=NOW + 5)])
    ledger.intend([decide("3", subject="192.0.2.9", rule="", by="anna (uid 1000)")])
    assert ledger.ruling(NOW) == {"virus-senders", "other"}
    assert ledger.ruling(NOW + 5) == {"virus-senders"}
    ledger.intend([decide("4", "unban")])
    assert ledger.ruling(NOW + 5) == set()


# What reports need.


def test_deeds_are_told_lean_and_in_order(ledger: Ledger, decide: Decide) -> None:
    old = decide("old", time=NOW - DAY)
    late = decide("late", time=NOW + MINUTE, subject=B, ports=(), collateral=True, spared="x")
    first = decide("first", evidence=(Evidence(NOW, "/m", 0, "a line"),))
    ledger.intend([old, late, first])
    ledger.settle([Outcome("first", "refused", "the set is full", NOW)])
    ledger.intend([decide("undo", "unban", rule="", time=NOW + SECOND, by="anna")])
    told = list(ledger.deeds(NOW))
    assert [one.id for one in told] == ["first", "undo", "late"]
    assert told[0] == (
        "first", NOW, "ban", A, "virus-senders", "rule", (25,), NOW + 10 * MINUTE, NOW + SECOND,
        16, "enforce", "", False, "refused", "the set is full",
    )  # fmt: skip
    assert (told[1].by, told[1].action, told[1].state) == ("anna", "unban", "intended")
    assert (told[2].subject, told[2].ports, told[2].collateral, told[2].spared) == (
        B, (), True, "x",
    )  # fmt: skip
    assert told[2].undone is None
    assert next(one.id for one in ledger.deeds(0)) == "old"
    assert list(ledger.deeds(NOW + DAY)) == []


# Captures.


def test_what_was_captured_stays_with_its_decision(ledger: Ledger, decide: Decide) -> None:
    ledger.intend([decide("1"), decide("2")])
    assert ledger.captured("1") is None
    ledger.attach("1", NOW, "load 11.2")
    ledger.attach("1", NOW + 1, "load 12.0 \udce4")
    ledger.attach("nobody", NOW, "kept by nobody")
    assert ledger.captured("1") == (NOW + 1, "load 12.0 \\udce4")
    assert ledger.captured("2") is None
    assert ledger.captured("nobody") is None


def test_a_capture_is_bounded_and_goes_with_its_decision(ledger: Ledger, decide: Decide) -> None:
    ledger.intend([decide("1")])
    ledger.attach("1", NOW, "ä" * 100_000)
    found = ledger.captured("1")
    assert found is not None
    assert len(found[1].encode()) <= 64 << 10
    ledger.settle(applied("1"))
    assert ledger.forget(NOW + KEEP + DAY) == 1
    ledger.intend([decide("1", time=NOW + 2 * DAY)])
    assert ledger.captured("1") is None


# Quarantines.


def cut(decide: Decide, name: str, subject: str = A, **other: object) -> Decision:
    """Cut off for ten minutes, then watched for an hour."""
    until = other.pop("until", NOW + 10 * MINUTE)
    watched = other.pop("watched", NOW + 70 * MINUTE)
    return decide(name, "quarantine", subject, until=until, watched=watched, **other)


def test_who_is_cut_off_is_watched_afterwards_and_then_free(ledger: Ledger, decide: Decide) -> None:
    ledger.intend([cut(decide, "1"), cut(decide, "2", "uid:33", until=NOW + DAY, watched=0)])
    first, second = NOW + 10 * MINUTE, NOW + 70 * MINUTE
    user = Confined(Subject("uid:33"), NOW + DAY, NOW + DAY)
    assert ledger.quarantined(NOW) == [Confined(A, first, second), user]
    assert ledger.quarantined(first - 1)[0] == Confined(A, first, second)
    assert ledger.quarantined(first) == [Confined(A, 0, second), user]
    assert ledger.quarantined(second) == [user]
    assert ledger.quarantined(NOW + DAY) == []
    assert ledger.wanted(NOW) == ledger.allowed(NOW) == ledger.standing(NOW) == []


def test_of_several_quarantines_each_end_is_the_latest(ledger: Ledger, decide: Decide) -> None:
    ledger.intend(
        [
            cut(decide, "1", watched=NOW + 3 * DAY),
            cut(decide, "2", until=NOW + DAY, watched=NOW + 2 * DAY),
            cut(decide, "3", until=NOW + 5, watched=NOW + 6),
        ]
    )
    assert ledger.quarantined(NOW) == [Confined(A, NOW + DAY, NOW + 3 * DAY)]
    behind = [entry.decision.id for entry in ledger.standing(NOW, action="quarantine")]
    assert behind == ["2"]
    later = [entry.decision.id for entry in ledger.standing(NOW + DAY, action="quarantine")]
    assert later == ["1"]


def test_a_release_undoes_a_quarantine_and_may_watch_instead(
    ledger: Ledger, decide: Decide
) -> None:
    ledger.intend([cut(decide, "1"), cut(decide, "2", B), decide("3")])
    ledger.intend([decide("4", "release", rule="", until=NOW, watched=NOW + MINUTE)])
    assert ledger.quarantined(NOW)[0] == Confined(A, 0, NOW + MINUTE)
    assert [one.decision.id for one in ledger.standing(NOW, A, "quarantine")] == ["4"]
    assert len(ledger.wanted(NOW)) == 1, "the ban stands"
    ledger.intend([cut(decide, "5", until=NOW + DAY, watched=0)])
    assert ledger.quarantined(NOW)[0] == Confined(A, NOW + DAY, NOW + DAY)
    ledger.intend([decide("6", "release", rule="", until=NOW + DAY)])
    assert ledger.quarantined(NOW) == [Confined(B, NOW + 10 * MINUTE, NOW + 70 * MINUTE)]
    assert [deed.undone for deed in ledger.deeds(NOW)] == [NOW, None, None, NOW, NOW, None]


def test_a_release_that_names_a_rule_undoes_that_rules_alone(
    ledger: Ledger, decide: Decide
) -> None:
    ledger.intend([cut(decide, "1", rule="scan"), cut(decide, "2", rule="flood", until=NOW + DAY)])
    ledger.intend([decide("3", "release", rule="flood", until=NOW)])
    assert ledger.quarantined(NOW) == [Confined(A, NOW + 10 * MINUTE, NOW + 70 * MINUTE)]


@pytest.mark.parametrize("action", ["unban", "allow", "disallow"])
def test_what_opens_a_ban_leaves_a_quarantine(ledger: Ledger, decide: Decide, action: str) -> None:
    ledger.intend([cut(decide, "1"), decide("2", action)])
    assert len(ledger.quarantined(NOW)) == 1


@pytest.mark.parametrize("other", [{"mode": "observe"}, {"spared": "busy"}])
def test_observed_and_spared_quarantines_cut_nobody_off(
    ledger: Ledger, decide: Decide, other: dict[str, str]
) -> None:
    ledger.intend([cut(decide, "1", **other), cut(decide, "2", B)])
    ledger.intend([decide("3", "release", B, watched=NOW + DAY, **other)])
    assert [one.subject for one in ledger.quarantined(NOW)] == [B]
    assert ledger.standing(NOW, A, "quarantine") == []


def test_quarantines_are_in_the_history_and_kept_until_probation_is_over(
    ledger: Ledger, decide: Decide
) -> None:
    one = cut(decide, "1", evidence=(Evidence(NOW, "outward", 0, "scan"),))
    ledger.intend([one])
    assert ledger.history(1, A) == [Entry(one, "intended", "", None)]
    assert ledger.unsettled() == [one]
    ledger.settle(applied("1"))
    bare = Entry(cut(decide, "1"), "applied", "", NOW)
    assert ledger.standing(NOW, Subject("192.0.2.0/24"), "quarantine") == [bare]
    assert ledger.forget(NOW + KEEP + 11 * MINUTE) == 0
    assert ledger.forget(NOW + KEEP + 70 * MINUTE) == 1
