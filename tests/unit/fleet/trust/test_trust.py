"""Hostile hosts and a hostile engine: what they say convicts nobody, is counted, and the others go on."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.fleet.village import (
    DESK,
    ENGINE,
    FLEET,
    NOW,
    WHO,
    Host,
    Seal,
    claim,
    points,
    revocation,
    rule,
    verify,
    village,
)

from tidegate.fleet import wire
from tidegate.fleet.trust.admission import Guarded, Refusal
from tidegate.fleet.trust.cases import Cases, Conviction, TakeBack
from tidegate.fleet.trust.claims import terms_of
from tidegate.fleet.trust.members import May, Revocation, Roster, revoke
from tidegate.fleet.trust.trust import Quotas, Trust
from tidegate.fleet.wire import Kind
from tidegate.model import HOUR, MINUTE, SECOND, Change, Subject


def hear(trust, *messages, now=NOW, engine=None):
    return [
        found
        for data in messages
        for found in trust.receive(data, now, now if engine is None else engine)
    ]


def reasons(found):
    return [one.reason for one in found if isinstance(one, Refusal)]


def convicted(found):
    return [one.subject for one in found if isinstance(one, Conviction)]


def still_works(trust, *hosts, who="192.0.2.99", now=NOW):
    """What must be true after every attack: honest hosts together convict."""
    found = hear(
        trust, *(one.says(claim(1, 2, subject=who, now=now), sent=now) for one in hosts), now=now
    )
    return convicted(found) == [who]


def test_claims_of_four_hosts_convict_where_no_host_alone_would():
    trust, *hosts = village("a", "b", "c", "d")
    *three, last = hosts
    assert hear(trust, *(host.says(claim(place)) for place, host in enumerate(three))) == []
    (found,) = hear(trust, last.says(claim(9)))
    assert isinstance(found, Conviction)
    assert (found.rule, found.subject, found.time, found.count) == ("guessing", WHO, NOW, 4)
    assert found.shares == (("a", 1), ("b", 1), ("c", 1), ("d", 1))
    assert len(found.proof) == 4
    assert not trust.refused.counts


def test_a_later_claim_replaces_the_earlier_one_of_that_host():
    trust, a, b = village("a", "b")
    assert hear(trust, a.says(claim(1, 2)), a.says(claim(1, 2, 3)), a.says(claim(1, 2, 3))) == []
    assert convicted(hear(trust, b.says(claim(4)))) == [WHO]


def test_a_claim_that_was_overtaken_changes_nothing():
    trust, a, b = village("a", "b")
    early, late = a.says(claim(1)), a.says(claim(1, 2, 3))
    assert hear(trust, late, early) == []
    assert convicted(hear(trust, b.says(claim(4)))) == [WHO]


def test_what_convicted_once_convicts_no_second_time_before_its_end():
    trust, a, b = village("a", "b")
    (found,) = hear(trust, a.says(claim(1, 2)), b.says(claim(3, 4)))
    assert hear(trust, a.says(claim(1, 2)), b.says(claim(3, 4))) == []
    trust.settled(found.id, NOW + 10 * MINUTE)
    later = NOW + 5 * MINUTE
    assert hear(trust, a.says(claim(*range(9), now=later), sent=later), now=later) == []
    later = NOW + 11 * MINUTE
    assert convicted(hear(trust, a.says(claim(0, 1, 2, 3, now=later), sent=later), now=later)) == [
        WHO
    ]


def test_where_nothing_was_done_about_it_new_events_count_at_once():
    trust, a = village("a")
    (found,) = hear(trust, a.says(claim(1, 2, 3, 4)))
    trust.settled(found.id, 0)
    assert hear(trust, a.says(claim(1, 2, 3, 4))) == []
    later = NOW + 10 * SECOND
    new = claim(0, 1, 2, 3, 13, 14, now=later)
    assert convicted(hear(trust, a.says(new, sent=later), now=later)) == [WHO]


def test_more_hosts_can_be_asked_for():
    trust, a, b = village("a", "b", min_hosts=2)
    assert hear(trust, a.says(claim(*range(5)))) == []
    assert convicted(hear(trust, b.says(claim(1)))) == [WHO]


def test_a_signature_of_another_is_forged():
    trust, a, b, c = village("a", "b", "c")
    thief = Host("a", Seal("thief"))
    for attempt in (thief.says(claim(1, 2, 3, 4)), b.says(claim(1, 2, 3, 4), name="a")):
        assert reasons(hear(trust, attempt)) == ["forged"]
    assert trust.refused.counts == {("a", "forged"): 2}
    assert still_works(trust, a, c)


def test_who_is_no_member_says_nothing_and_is_not_remembered():
    trust, a, b = village("a", "b")
    for place in range(1000):
        assert reasons(hear(trust, Host(f"x{place}").says(claim(1, 2, 3, 4)))) == ["unknown"]
    assert trust.refused.counts == {("", "unknown"): 1000}
    assert still_works(trust, a, b)


def test_of_another_fleet_is_forged():
    trust, a, b = village("a", "b")
    assert reasons(hear(trust, a.says(claim(1, 2, 3, 4), fleet=bytes(16)))) == ["forged"]
    assert still_works(trust, a, b)


def test_the_same_message_again_is_a_replay_and_counts_nothing():
    trust, a, b = village("a", "b")
    said = a.says(claim(1, 2))
    assert hear(trust, said) == []
    assert reasons(hear(trust, said, said)) == ["replay", "replay"]
    assert convicted(hear(trust, b.says(claim(3, 4)))) == [WHO]


def test_an_old_message_is_refused_even_where_its_number_was_never_seen():
    trust, a, b = village("a", "b")
    old = a.says(claim(*range(4)))
    later = NOW + 2 * MINUTE
    assert reasons(hear(trust, old, now=later)) == ["skew"]
    assert still_works(trust, a, b, now=later)


def test_claims_beyond_the_quota_are_not_looked_into():
    looked = []

    def looking(*signed):
        looked.append(signed)
        return verify(*signed)

    trust, a, b, c = village("a", "b", "c", verify=looking, quotas=Quotas(claims=4))
    hear(trust, a.says(*(claim(1, subject=f"192.0.2.{n}") for n in range(4))))
    looked.clear()
    for _ in range(100):
        said = hear(trust, a.says(claim(1, 2, 3, 4), claim(1, subject="192.0.2.9")))
        assert reasons(said) == ["quota"]
    assert not looked
    assert still_works(trust, b, c)


def test_what_waited_while_the_engine_was_away_convicts_when_it_would_have_and_only_once():
    trust, a, b = village("a", "b")
    said = hear(trust, a.says(claim(612, 613)), b.says(claim(610, 611)))
    (found,) = [one for one in said if isinstance(one, Conviction)]
    assert (found.time, found.count) == (NOW - 610 * SECOND, 4)
    trust.settled(found.id, 0)  # what it had closed is over
    later = NOW + 4 * MINUTE
    again = (
        a.says(claim(852, 853, now=later), sent=later),
        b.says(claim(850, 851, now=later), sent=later),
    )
    assert hear(trust, *again, now=later) == []


def test_a_clock_ten_minutes_off_is_refused_and_the_others_go_on():
    trust, a, b, c = village("a", "b", "c")
    for off in (10 * MINUTE, -10 * MINUTE):
        assert reasons(hear(trust, a.says(claim(1, 2, 3, 4), sent=NOW + off))) == ["skew"]
    assert still_works(trust, b, c)
    assert reasons(hear(trust, b.says(claim(-600, 1, 2, 3)))) == ["entries"]
    assert reasons(hear(trust, b.says(claim(1210, 1211, 1212, 1213)))) == ["entries"]


def test_where_our_clock_and_the_engines_differ_we_believe_neither():
    trust, a, b = village("a", "b")
    found = hear(trust, a.says(claim(1, 2, 3, 4)), engine=NOW - HOUR)
    assert found == [Refusal("", "clock", "ours is -3600 s behind the engine's")]
    assert still_works(trust, a, b)


def test_after_a_restart_an_engine_that_replays_finds_it_all_remembered():
    trust, a, b = village("a", "b")
    first, second = a.says(claim(1, 2)), b.says(claim(1))
    hear(trust, first, second)
    again = village()[0]
    again.restore(trust.changes())
    assert set(again.roster.members) == {"a", "b"}
    assert reasons(hear(again, first, second)) == ["replay", "replay"]
    assert still_works(again, a, b)
    assert trust.changes() == []


def test_nobodys_the_engines_and_listed_addresses_are_never_convicted():
    trust, a, b = village("a", "b", listed=["203.0.113.0/24", "2001:db8:7::/48"])
    host = Host("c")
    trust.paper(host.certificate(9, addresses=(Subject("198.51.100.3"),)), NOW)
    for who in (
        "203.0.113.5", "2001:db8:7:1::/64", ENGINE, "198.51.100.3", "127.0.0.1", "0.0.0.0", "::1",
        "255.255.255.255", "224.0.0.5", "fe80::/64", "ff02::1", "::/64",
    ):  # fmt: skip
        found = hear(trust, a.says(claim(1, 2, 3, 4, subject=who)))
        assert reasons(found) == ["protected"], who
        assert len(found) == 1
    assert trust.refused.counts["a", "protected"] == 12
    assert still_works(trust, a, b)


def test_a_network_cannot_even_be_claimed():
    trust, a, b = village("a", "b")
    body = wire.encode_claims([claim(1, 2, 3, 4, subject="192.0.2.0")])
    for length in (0, 8, 24, 31):
        wide = body.replace(b"\x04\x20\xc0\x00\x02\x00", bytes((4, length)) + b"\0\0\0\0")
        assert wide != body
        assert reasons(hear(trust, a.says(body=wide))) == ["malformed"]
    assert trust.guarded.why(Subject("0.0.0.0/0")) == "too wide"
    assert trust.guarded.why(Subject("::/0")) == "too wide"
    assert trust.guarded.why(Subject("uid:0")) == "not an address"
    assert still_works(trust, a, b)


def test_a_rule_that_counts_something_else_there_does_not_count_here():
    trust, a, b = village("a", "b")
    for other in (rule(threshold=2), rule("no-such"), rule(distinct="user")):
        assert reasons(hear(trust, a.says(claim(1, 2, 3, 4, of=other)))) == ["other rule"]
    lied = claim(1, 2, 3, 4)._replace(shape=wire.Shape.DISTINCT)
    assert reasons(hear(trust, a.says(lied))) == ["other rule"]
    assert still_works(trust, a, b)


def test_what_a_member_says_malformed_or_of_a_wrong_kind_is_refused():
    trust, a, b = village("a", "b")
    assert reasons(hear(trust, a.says(body=b"nonsense"))) == ["malformed"]
    assert reasons(hear(trust, a.says(kind=Kind.DECISIONS, body=b""))) == ["malformed"]
    assert reasons(hear(trust, a.says(kind=Kind.POLICY, body=b""))) == ["not allowed"]
    assert reasons(hear(trust, a.says(kind=Kind.CERTIFICATE, body=b""))) == ["not allowed"]
    assert still_works(trust, a, b)


def test_one_host_may_claim_so_much_a_minute():
    trust, a, b, c = village("a", "b", "c", quotas=Quotas(claims=100))
    crowd = [claim(1, subject=f"10.0.{n // 250}.{n % 250}") for n in range(60)]
    assert hear(trust, a.says(*crowd)) == []
    assert reasons(hear(trust, a.says(*crowd))) == ["quota"]
    later = NOW + MINUTE
    assert hear(trust, a.says(claim(1, now=later), sent=later), now=later) == []
    assert still_works(trust, b, c, now=later)


def test_one_host_alone_convicts_so_many_a_minute():
    trust, a, b, c = village("a", "b", "c", quotas=Quotas(alone=10))
    liars = [claim(*range(4), subject=f"10.0.0.{n}") for n in range(25)]
    found = hear(trust, a.says(*liars))
    assert len(convicted(found)) == 10
    assert reasons(found) == ["quota"] * 15
    assert len(trust.cases) == 0
    assert still_works(trust, b, c)


def test_forgeries_in_one_name_cost_little_and_silence_no_other():
    looks = []

    def dear(key, signed, signature):
        looks.append(key)
        return verify(key, signed, signature)

    trust, a, b, c = village("a", "b", "c", verify=dear)
    looks.clear()
    thief = Host("a", Seal("thief"))
    found = hear(trust, *(thief.says(claim(1)) for _ in range(5_000)))
    assert len(looks) == 20
    assert reasons(found).count("busy") == 4_980
    assert still_works(trust, b, c)
    later = NOW + MINUTE
    assert still_works(trust, a, c, who="192.0.2.98", now=later)


def test_forgeries_in_every_name_cost_what_was_set_aside_for_them():
    looks = []

    def dear(key, signed, signature):
        looks.append(key)
        return verify(key, signed, signature)

    trust, *hosts = village(*(f"h{n}" for n in range(60)), "good", "too", verify=dear)
    looks.clear()
    thieves = [Host(host.name, Seal("thief")) for host in hosts[:-2]]
    hear(trust, *(thief.says(claim(1)) for _ in range(30) for thief in thieves))
    assert len(looks) == 400
    assert still_works(trust, *hosts[-2:])


def test_a_host_that_claims_of_everybody_pushes_out_only_its_own():
    trust, a, b, c = village("a", "b", "c", cases=Cases(most=50, each=40))
    assert hear(trust, b.says(claim(1, 2))) == []
    crowd = [claim(1, subject=f"10.0.0.{n}") for n in range(200)]
    assert hear(trust, a.says(*crowd)) == []
    assert len(trust.cases) == 41
    others = [claim(1, subject=f"10.0.1.{n}") for n in range(30)]
    assert hear(trust, c.says(*others)) == []
    assert len(trust.cases) == 50
    assert trust.cases.crowded == 160 + 21
    assert convicted(hear(trust, c.says(claim(3, 4)))) == [WHO]


def test_revoking_takes_back_what_needed_that_host_and_nothing_else():
    trust, a, b, bad = village("a", "b", "bad")
    alone, shared, safe = ("192.0.2.1", "192.0.2.2", "192.0.2.3")
    first = hear(
        trust,
        bad.says(
            *(claim(*range(4), subject=alone), claim(1, 2, subject=shared), claim(1, subject=safe))
        ),
        a.says(claim(3, subject=shared)),
        b.says(claim(4, subject=shared), claim(1, 2, 3, 3, subject=safe)),
    )
    ids = {found.subject: found.id for found in first}
    assert set(ids) == {alone, shared, safe}
    assert hear(trust, bad.says(claim(1, 2, 3, subject="192.0.2.4"))) == []
    outputs = trust.paper(revocation(10, bad=3), NOW)
    assert {(one.id, one.subject, one.hosts) for one in outputs if isinstance(one, TakeBack)} == {
        (ids[alone], alone, ("bad",)),
        (ids[shared], shared, ("bad",)),
    }
    assert [one.subject for one in trust.cases.standing()] == [safe]
    assert reasons(hear(trust, bad.says(claim(1, 2, 3, 4)))) == ["revoked"]
    assert hear(trust, a.says(claim(1, subject="192.0.2.4"))) == []
    assert trust.paper(revocation(10, bad=3), NOW) == []
    assert still_works(trust, a, b)


def test_what_was_taken_back_may_be_convicted_anew_by_the_others():
    trust, a, bad = village("a", "bad")
    hear(trust, bad.says(claim(1, 2)), a.says(claim(3, 4)))
    assert len(trust.paper(revocation(10, bad=2), NOW)) == 1
    assert convicted(hear(trust, a.says(claim(1, 2, 3, 4)))) == [WHO]


def test_after_a_restart_a_revocation_still_takes_back():
    trust, a, bad = village("a", "bad")
    (found,) = hear(trust, bad.says(claim(1, 2)), a.says(claim(3, 4)))
    trust.settled(found.id, NOW + HOUR)
    again = village()[0]
    again.restore(trust.changes())
    (back,) = again.paper(revocation(10, bad=2), NOW)
    assert back == TakeBack(found.id, "guessing", WHO, ("bad",))
    assert [change for change in again.changes() if change.part == "fleet stands"] == [
        Change("fleet stands", f"guessing {WHO}", None)
    ]


def test_the_revoked_are_not_admitted_again_by_older_papers():
    trust, a, bad = village("a", "bad")
    old = bad.certificate(2)
    assert hear(trust, bad.says(claim(1))) == []
    trust.paper(revocation(10, bad=2), NOW)
    assert trust.paper(old, NOW) == []
    assert "bad" not in trust.roster.members
    assert trust.paper(revocation(9), NOW) == []
    assert trust.roster.revoked == {"bad": Revocation(2, NOW)}
    thief = Host("evil", Seal("thief"))
    forged = wire.seal(wire.unseal(thief.certificate(99), FLEET).message, FLEET, thief.seal.sign)
    assert reasons(trust.paper(forged, NOW)) == ["forged"]
    assert reasons(trust.paper(a.says(claim(1)), NOW)) == ["forged"]
    assert reasons(trust.paper(b"nonsense", NOW)) == ["malformed"]
    better = Host("bad", Seal("a new key"))
    assert trust.paper(better.certificate(11), NOW) == []
    assert still_works(trust, a, better)
    assert reasons(hear(trust, bad.says(claim(1), sequence=wire.sequence(1, 99)))) == ["forged"]


def test_messages_beyond_the_quota_are_not_verified_and_long_ones_are_worth_several():
    looked = []

    def looking(key, signed, signature):
        looked.append(signed)
        return verify(key, signed, signature)

    trust, a, b = village("a", "b", verify=looking, quotas=Quotas(messages=1, at_once=10))
    short, long = (a.says(kind=Kind.DECISIONS, body=bytes(size)) for size in (30, 4096))
    assert not any(isinstance(trust.admit(long, NOW), Refusal) for _ in range(2))
    looked.clear()
    assert reasons(trust.admit(short, NOW) for _ in range(1_000)) == ["quota"] * 1_000
    assert not looked
    assert not isinstance(trust.admit(b.says(kind=Kind.DECISIONS, body=b"x"), NOW), Refusal)
    later = NOW + 2 * MINUTE
    assert not isinstance(trust.admit(short, later), Refusal)
    assert reasons([trust.admit(long, later)]) == ["quota"]


def test_other_kinds_are_admitted_from_members_who_may_say_them():
    trust, a = village("a", quotas=Quotas(messages=3, at_once=3))
    said = a.says(kind=Kind.DECISIONS, body=b"whatever", sent=NOW - HOUR)
    for _ in range(3):
        sealed = trust.admit(said, NOW)
        assert not isinstance(sealed, Refusal)
        assert (sealed.message.host, sealed.message.body) == ("a", b"whatever")
    assert reasons([trust.admit(said, NOW)]) == ["quota"]
    assert reasons([trust.admit(Host("x").says(claim(1)), NOW)]) == ["unknown"]
    forged = Host("a", Seal("t")).says(claim(1), sent=NOW + MINUTE)
    assert reasons([trust.admit(forged, NOW + MINUTE)]) == ["forged"]
    publisher = Host("p")
    trust.paper(publisher.certificate(5, May.PUBLISH), NOW)
    assert not isinstance(trust.admit(publisher.says(kind=Kind.POLICY, body=b"p"), NOW), Refusal)
    assert reasons([trust.admit(publisher.says(claim(1)), NOW)]) == ["not allowed"]


def test_a_proof_convicts_a_late_joiner_with_the_same_id():
    trust, a, b = village("a", "b")
    said = [a.says(claim(1, 2)), b.says(claim(3, 4))]
    (found,) = hear(trust, *said)
    late, *_ = village("a", "b")
    later = NOW + HOUR
    bundle = wire.encode_bundle(said)
    proven = late.proves(bundle, "guessing", WHO, later)
    assert proven == found
    late.adopt(proven, later)
    assert [one.id for one in late.cases.standing()] == [found.id]
    assert len(late.paper(revocation(10, b=2), NOW)) == 1
    assert reasons([late.proves(bundle, "guessing", WHO, later)]) == ["unproven"]


def test_what_proves_nothing_is_refused():
    trust, a, b = village("a", "b", listed=["192.0.2.9"])
    said = [a.says(claim(1, 2)), b.says(claim(3, 4), claim(1, 2, 3, 4, subject="192.0.2.9"))]
    whole = wire.encode_bundle(said)
    thief = Host("a", Seal("t")).says(claim(1, 2, 3, 4))
    for bundle, name, who, reason in (
        (wire.encode_bundle(said[:1]), "guessing", WHO, "unproven"),
        (wire.encode_bundle([said[0], said[0]]), "guessing", WHO, "unproven"),
        (whole, "guessing", Subject("192.0.2.8"), "unproven"),
        (whole, "guessing", Subject("192.0.2.9"), "protected"),
        (whole, "guessing", Subject("0.0.0.0/0"), "protected"),
        (whole, "points", WHO, "unproven"),
        (whole, "other", WHO, "other rule"),
        (b"nonsense", "guessing", WHO, "malformed"),
        (wire.encode_bundle([thief]), "guessing", WHO, "forged"),
        (wire.encode_bundle([a.says(kind=Kind.REPORT, body=b"")]), "guessing", WHO, "unproven"),
        (wire.encode_bundle([a.says(body=b"?")]), "guessing", WHO, "malformed"),
    ):
        found = trust.proves(bundle, name, who, NOW)
        assert isinstance(found, Refusal)
        assert found.reason == reason


def test_points_of_several_hosts_convict_and_are_taken_back():
    trust, a, b = village("a", "b")
    give = points()
    assert hear(trust, a.says(claim(1, of=give, amounts=(6,)))) == []
    (found,) = hear(trust, b.says(claim(1, of=give, amounts=(6,))))
    assert (found.count, found.over) == (12, True)
    assert len(trust.paper(revocation(10, b=2), NOW)) == 1


def test_old_cases_and_convictions_are_forgotten_and_the_most_fall_first():
    trust, a = village("a", cases=Cases(standing=3))
    found = hear(trust, a.says(*(claim(*range(4), subject=f"10.0.0.{n}") for n in range(5))))
    assert (len(convicted(found)), trust.cases.forgotten) == (5, 2)
    hear(trust, a.says(claim(1)))
    later = NOW + HOUR
    hear(trust, a.says(claim(1, now=later), sent=later), now=later)
    assert len(trust.cases) == 1
    assert list(trust.cases.standing()) == []


def test_what_was_written_down_damaged_is_left_out():
    trust, a, b = village("a", "b")
    trust.restore(
        Change(part, key, value)
        for part in ("fleet seen", "fleet stands", "fleet paper", "other")
        for key in ("a", "")
        for value in (b"", b"no sense at all", b"[]", b"[1,2,3,4,5,6,7]", None)
    )
    assert still_works(trust, a, b)


names = st.sampled_from("abcd")
seconds = st.lists(st.integers(0, 400), min_size=1, max_size=5)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("say"), names, seconds),
        st.tuples(st.just("forge"), names, seconds),
        st.tuples(st.just("again"), names, st.integers(0, 20)),
        st.tuples(st.just("noise"), names, st.binary(max_size=150)),
        st.tuples(st.just("steal"), names, seconds),
        st.tuples(st.just("revoke"), names, st.just(0)),
    ),
    max_size=25,
)


@given(steps, st.integers(1, 3))
@settings(max_examples=150, deadline=None)
def test_nobody_is_convicted_but_by_what_unrevoked_members_said_themselves(steps, min_hosts):
    """Whatever is forged, replayed, stolen or damaged: without it, the outcome is the same."""
    trust, *hosts = village("a", "b", "c", "d", min_hosts=min_hosts)
    twin, *_ = village("a", "b", "c", "d", min_hosts=min_hosts)
    members = {host.name: host for host in hosts}
    said, stands, number = [], {}, 10
    for what, name, detail in steps:
        host = members[name]
        found = []
        if what == "say":
            data = host.says(claim(*detail))
            said.append(data)
            found = hear(trust, data)
            assert [one for one in found if not isinstance(one, Refusal)] == [
                one for one in hear(twin, data) if not isinstance(one, Refusal)
            ]
        elif what == "forge":
            found = hear(trust, Host(name, Seal("thief")).says(claim(*detail)))
            assert not convicted(found)
        elif what == "steal":
            other = members["abcd"["abcd".index(name) - 1]]
            assert not convicted(hear(trust, other.says(claim(*detail), name=name)))
        elif what == "again" and said:
            assert not convicted(hear(trust, said[detail % len(said)]))
        elif what == "noise":
            assert not convicted(hear(trust, detail))
        elif what == "revoke":
            number += 1
            found = trust.paper(revocation(number, **{name: 9}), NOW)
            assert found == twin.paper(revocation(number, **{name: 9}), NOW)
        for one in found:
            if isinstance(one, Conviction):
                assert len(one.shares) >= min_hosts
                assert one.count >= 4
                stands[one.id] = one
            elif isinstance(one, TakeBack):
                del stands[one.id]
        held = {one.id: one for one in trust.cases.standing()}
        assert set(held) == set(stands)
        for one in held.values():
            assert all(host in trust.roster.members for host, _count in one.shares)
            assert sum(count for _host, count in one.shares) >= 4


@given(st.permutations(range(6)), st.lists(seconds, min_size=6, max_size=6))
@settings(max_examples=60, deadline=None)
def test_in_whatever_order_claims_come_somebody_is_convicted_or_nobody(order, spread):
    def outcome(places):
        trust, *hosts = village(*"abcdef")
        messages = [host.says(claim(*ago)) for host, ago in zip(hosts, spread, strict=True)]
        return bool(convicted(hear(trust, *(messages[place] for place in places))))

    assert outcome(order) == outcome(range(6))


def test_a_roster_for_one_desk_only():
    other = Trust(Roster(FLEET, Seal("another desk").public, verify), [terms_of(rule())], Guarded())
    assert reasons(other.paper(Host("a").certificate(1), NOW)) == ["forged"]
    assert DESK.public != Seal("another desk").public


def test_forgeries_in_the_desks_name_cost_what_was_set_aside_for_them():
    looks = []

    def dear(key, signed, signature):
        looks.append(key)
        return verify(key, signed, signature)

    trust, a, _b = village("a", "b", verify=dear)
    looks.clear()
    thief = Seal("thief")
    for number in range(100, 1100):
        message = revoke(dict.fromkeys("ab", Revocation(9, NOW)), number, NOW)
        assert reasons(trust.paper(wire.seal(message, FLEET, thief.sign), NOW))
    assert len(looks) == 200
    assert trust.refused.counts == {("", "forged"): 200, ("", "busy"): 800}
    assert reasons(trust.paper(revocation(50, b=2), NOW)) == ["busy"]
    assert trust.paper(revocation(50, b=2), NOW + SECOND) == []
    assert set(trust.roster.members) == {"a"}
    assert convicted(hear(trust, a.says(claim(1, 2, 3, 4)))) == [WHO]


def test_a_certificate_that_only_gives_other_rights_outlasts_a_restart_too():
    trust, _a = village("a")
    trust.changes()
    trust.paper(Host("a").certificate(5, May.CLAIM | May.DECIDE), NOW)
    again = village()[0]
    again.restore(trust.changes())
    assert again.roster.may("a", May.DECIDE)


def test_thousands_are_enrolled_without_looking_at_all_of_them_each_time(monkeypatch):
    trust, a = village("a")
    looks = []
    monkeypatch.setattr(trust.roster, "addresses", lambda: looks.append(1) or (WHO,))
    trust.look(())
    for number in range(2, 200):
        trust.paper(Host(f"h{number}").certificate(number), NOW)
    assert looks == []
    assert reasons(hear(trust, a.says(claim(1, 2, 3, 4)))) == ["protected"]
    assert looks == [1]


def test_people_speak_for_all_only_where_the_desk_lets_them():
    trust, _a = village("a")
    trust.paper(Host("b").certificate(5, May.CLAIM | May.DECIDE), NOW)
    assert [trust.roster.may(name, May.DECIDE) for name in "abc"] == [False, True, False]


def test_a_conviction_that_the_others_carry_alone_stands_without_the_revoked():
    trust, a, b, bad = village("a", "b", "bad")
    heavy = claim(1, amounts=(9,))
    hear(trust, bad.says(claim(2)), b.says(claim(3)))
    (found,) = hear(trust, a.says(heavy))
    assert found.count == 11
    trust.settled(found.id, NOW + HOUR)
    trust.settled("no such id", NOW + HOUR)
    assert trust.paper(revocation(10, bad=3), NOW) == []
    (left,) = trust.cases.standing()
    assert (left.id, left.count, left.shares) == (found.id, 10, (("a", 9), ("b", 1)))
    (back,) = trust.paper(revocation(11, a=1), NOW)
    assert back == TakeBack(found.id, "guessing", WHO, ("a",))
    trust.settled(found.id, NOW + HOUR)


def test_where_two_hosts_are_asked_for_one_of_them_revoked_takes_it_back():
    trust, a, bad = village("a", "bad", min_hosts=2)
    assert len(convicted(hear(trust, bad.says(claim(2)), a.says(claim(1, amounts=(9,)))))) == 1
    assert len(trust.paper(revocation(10, bad=2), NOW)) == 1


def test_one_proposal_to_one_host_is_enough_for_all_who_counted_to_speak_and_all_to_convict():
    """Four hosts, one event each; the engine proposes to the last only, and is asked no more."""
    names, villages = "abcd", []
    for name in names:
        trust, *hosts = village(*names)
        trust.counted.count(terms_of(rule()), WHO, NOW)
        villages.append((trust, hosts[names.index(name)]))
    villages[3][0].counted.nominated(terms_of(rule()).mark, WHO, NOW)
    outcome = {}
    for expected in (1, 3, 0):
        flush = [(host, list(trust.counted.due(NOW))) for trust, host in villages]
        said = [host.says(*claims) for host, claims in flush if claims]
        assert len(said) == expected
        for trust, host in villages:
            outcome.setdefault(host.name, []).extend(hear(trust, *said))
    assert {name: convicted(found) for name, found in outcome.items()} == {
        name: [WHO] for name in names
    }
    assert len({found.id for (found,) in outcome.values()}) == 1


def test_a_proposal_that_is_passed_on_counts_for_nothing_and_has_those_speak_who_counted():
    trust, a, _b = village("a", "b", min_hosts=2)
    passed = claim(1)._replace(entries=())
    assert hear(trust, a.says(passed)) == []
    assert (len(trust.cases), list(trust.counted.due(NOW))) == (0, [])
    trust.counted.count(terms_of(rule()), WHO, NOW)
    assert hear(trust, a.says(passed)) == []
    assert [one.entries for one in trust.counted.due(NOW)] == [claim(0).entries]
    assert reasons(hear(trust, a.says(passed._replace(subject=ENGINE)))) == ["protected"]


def test_until_it_is_known_what_was_done_about_it_nobody_is_convicted_twice():
    trust, a = village("a")
    assert convicted(hear(trust, a.says(claim(61, 62, 63, 64)))) == [WHO]
    assert hear(trust, a.says(claim(0, 1, 2, 3))) == []


def test_a_list_that_names_nobody_we_know_is_remembered_too():
    trust, a = village("a")
    trust.changes()
    assert trust.paper(revocation(10, later=50), NOW) == []
    again = village()[0]
    again.restore(trust.changes())
    assert again.roster.number == 10
    assert again.paper(Host("later").certificate(20), NOW) == []
    assert reasons(hear(again, Host("later").says(claim(1)))) == ["revoked"]
    assert a.name not in again.roster.members
