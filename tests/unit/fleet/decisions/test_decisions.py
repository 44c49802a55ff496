"""Whatever the order, however often, whoever was asleep: all hosts want the same closed."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.fleet.decisions.decisions import AHEAD, SKEW, Decisions, Entry, Limits, Shift
from tidegate.model import DAY, HOUR, MINUTE, SECOND, Subject

NOW = 1_755_000_000 * SECOND
HOSTS = ("web1", "web2", "mx1")
ADDRESS = Subject("192.0.2.7")
SMALL = Limits(matter=2, host=4, total=6, longest=40 * MINUTE)
WIDE = Limits(longest=40 * MINUTE)


def ban(number="b1", time=0, until=30, subject=ADDRESS, **more):
    host = more.pop("host", "web1")
    return Entry(number, "ban", host, NOW + time * MINUTE, subject,
                 until=NOW + until * MINUTE, rule=more.pop("rule", "ssh"), **more)  # fmt: skip


def unban(number="u1", time=0, subject=ADDRESS, **more):
    host = more.pop("host", "web1")
    return Entry(number, "unban", host, NOW + time * MINUTE, subject, by="anna", **more)


def closed(state, now=NOW):
    return [(one.subject, one.ports, one.until, one.id) for one in state.standing(now)]


# -- one after another -------------------------------------------------------------------------


def test_a_ban_is_wanted_until_its_end_and_not_a_moment_longer():
    state, one = Decisions(), ban()
    assert state.hear([one], NOW) == [Shift(ADDRESS, (), one)]
    assert state.standing(one.until - 1) == [one]
    assert state.standing(one.until) == []
    assert state.forget(one.until) == 1
    assert state.kept() == []


def test_heard_again_nothing_changes():
    state = Decisions()
    assert state.hear([ban(), ban()], NOW) == [Shift(ADDRESS, (), ban())]
    assert state.hear([ban()], NOW) == []
    assert state.counts == Counter(repeated=2)


def test_of_two_bans_the_later_end_holds():
    state = Decisions()
    long, short = ban("long", 0, 30), ban("short", 5, 20, host="mx1")
    state.hear([long], NOW)
    assert state.hear([short], NOW) == []
    assert state.standing(NOW) == [long]


def test_an_unban_opens_older_bans_also_those_heard_later_and_no_newer_ones():
    state = Decisions()
    state.hear([ban("old", 0), ban("other", 0, subject=Subject("192.0.2.8"))], NOW)
    assert state.hear([unban(time=5)], NOW) == [Shift(ADDRESS, (), None)]
    assert state.hear([ban("late", 5, 35)], NOW) == []
    newer = ban("newer", 6, 20)
    assert state.hear([newer], NOW) == [Shift(ADDRESS, (), newer)]


def test_an_unban_of_ports_or_of_a_rule_leaves_the_rest():
    state = Decisions()
    state.hear([ban("ssh", ports=(22,)), ban("all"), ban("web", ports=(80,), rule="web")], NOW)
    state.hear([unban("u1", 1, ports=(22,)), unban("u2", 1, rule="web")], NOW)
    assert [one.id for one in state.standing(NOW)] == ["all"]
    state.hear([unban("u3", 1)], NOW)
    assert state.standing(NOW) == []


def test_a_person_has_the_last_word_though_another_clock_is_ahead():
    state = Decisions()
    state.hear([ban("ahead", 1)], NOW)
    time = state.outranking(ADDRESS, NOW)
    state.hear([unban()._replace(time=time)], NOW)
    assert state.standing(NOW) == []
    assert state.outranking(ADDRESS, NOW) == time  # an unban that is ahead, whoever said it, is not
    assert state.outranking(Subject("192.0.2.99"), NOW) == NOW


def test_a_ban_longer_than_any_may_be_is_refused():
    state = Decisions(Limits(longest=DAY))
    assert state.hear([ban(until=24 * 60 + 1)], NOW) == []
    assert state.counts == Counter({"too-long": 1})


def test_a_decision_whose_own_shares_do_not_convict_is_refused():
    state = Decisions()
    assert state.hear([ban(shares=(("web1", 3), ("mx1", 2)), needed=6)], NOW) == []
    assert state.counts == Counter(unproven=1)


def test_revoking_takes_back_what_the_host_said_and_what_would_not_be_without_it():
    state = Decisions()
    names = [Subject(f"192.0.2.{number}") for number in range(1, 5)]
    word = ban("word", subject=names[0], host="mx1")
    alone = ban("alone", subject=names[1], shares=(("mx1", 5), ("web2", 3)), needed=6)
    anyway = ban("anyway", subject=names[2], shares=(("mx1", 5), ("web2", 6)), needed=6)
    later = ban("later", 5, subject=names[3], host="mx1")
    state.hear([word, alone, anyway, later], NOW)
    assert state.revoke("mx1", NOW, NOW) == [Shift(one, (), None) for one in names[:2]]
    assert state.standing(NOW) == [anyway, later]
    assert state.revoke("mx1", NOW - SECOND, NOW) == []
    assert state.hear([word._replace(id="w2", time=NOW + SKEW)], NOW) == []


def test_what_a_revoked_host_opened_is_closed_again():
    state = Decisions()
    one = ban("b", host="web1")
    state.hear([one, unban(host="mx1")], NOW)
    assert state.revoke("mx1", NOW, NOW) == [Shift(ADDRESS, (), one)]


def test_a_revocation_is_kept_as_long_as_anything_of_the_host_could_last():
    state = Decisions(WIDE)
    state.revoke("mx1", NOW, NOW)
    last = unban("last", 4, host="mx1")
    end = NOW + AHEAD["unban"] + WIDE.longest
    assert state.forget(end - 1) == 0
    assert state.hear([last], end - 1) == []
    assert state.standing(end - 1) == []
    assert state.forget(end) == 2


def test_one_host_with_a_million_proposals_crowds_out_only_itself():
    state = Decisions(Limits(matter=8, host=50, total=200))
    honest = [ban(f"h{n}", subject=Subject(f"198.51.100.{n}")) for n in range(40)]
    state.hear(honest, NOW)
    for number in range(5_000):
        one = ban(f"x{number}", until=31 + number % 90, host="mx1",
                  subject=Subject(f"10.0.{number >> 8}.{number & 255}"))  # fmt: skip
        state.hear([one], NOW)
    assert state.counts["crowded"] == 5_000 - 50
    assert [one for one in state.kept() if one.host == "web1"] == sorted(honest, key=lambda e: e.id)
    assert len(state.standing(NOW)) == 90
    assert len(state._bans._ranks) <= 2 * len(state._bans.entries) + 64
    assert len(state._bans._hosts["mx1"]) <= 2 * 50 + 64


def test_what_is_crowded_out_is_said_to_be_open():
    state = Decisions(Limits(total=1))
    first, second = ban("a"), ban("b", until=40, subject=Subject("192.0.2.8"))
    state.hear([first], NOW)
    assert state.hear([second], NOW) == [
        Shift(ADDRESS, (), None), Shift(Subject("192.0.2.8"), (), second),
    ]  # fmt: skip
    assert state.hear([first], NOW) == []


def test_the_digest_tells_states_apart_and_not_the_ways_to_them():
    one, other = Decisions(), Decisions()
    one.hear([ban("a"), ban("b", subject=Subject("192.0.2.8"))], NOW)
    other.hear([ban("b", subject=Subject("192.0.2.8")), ban("a")], NOW)
    assert one.digest(NOW) == other.digest(NOW)
    other.hear([unban(time=1)], NOW)
    assert one.digest(NOW) != other.digest(NOW)
    assert Decisions().digest(NOW) == "0" * 16


# -- every order -------------------------------------------------------------------------------

SUBJECT = st.sampled_from([ADDRESS, Subject("192.0.2.0/24"), Subject("2001:db8::/64")])
SHARES = st.dictionaries(st.sampled_from(HOSTS), st.integers(1, 6), max_size=3)


@st.composite
def entries(draw, count=14):
    found = []
    for number in range(draw(st.integers(0, count))):
        values = {
            "host": draw(st.sampled_from(HOSTS)),
            "ports": draw(st.sampled_from([(), (22,)])),
            "rule": draw(st.sampled_from(["", "ssh"])),
        }
        time, subject = draw(st.integers(0, 20)), draw(SUBJECT)
        if draw(st.integers(0, 3)):
            shares = tuple(sorted(draw(SHARES).items()))
            until = draw(st.integers(time + 1, 45))
            values |= {"shares": shares, "needed": 6}
            found.append(ban(f"{number:02}", time, until, subject, **values))
        else:
            found.append(unban(f"{number:02}", time, subject, **values))
    return found


REVOKED = st.dictionaries(st.sampled_from(HOSTS), st.integers(0, 20), max_size=2)


def plain(said, revoked, limits, now):
    """What stands, worked out from everything at once, the highest rank first."""

    def end(one):
        return one.until if one.verb == "ban" else one.time + limits.longest

    kept, sizes = [], Counter()
    for one in sorted(said, key=lambda e: (end(e), e.time, e.id), reverse=True):
        if one.until > one.time + limits.longest:
            continue
        if one.shares and sum(count for _host, count in one.shares) < one.needed:
            continue
        most = limits.matter if one.verb == "ban" else 1
        matter = (one.verb, one.subject, one.ports, one.rule, one.host)
        places = ((matter, most), ((one.verb, one.host), limits.host), (one.verb, limits.total))
        if all(sizes[place] < room for place, room in places):
            sizes.update(place for place, _room in places)
            kept.append(one)

    def falls(host, one):
        return host in revoked and one.time <= NOW + revoked[host] * MINUTE + AHEAD[one.verb]

    def believed(one):
        left = sum(n for host, n in one.shares if not falls(host, one))
        return not falls(one.host, one) and (not one.shares or left >= one.needed)

    best = {}
    for one in kept:
        opened = any(
            u.verb == "unban" and u.subject == one.subject and believed(u) and u.time >= one.time
            and u.ports in ((), one.ports) and u.rule in ("", one.rule)
            for u in kept
        )  # fmt: skip
        if one.verb == "ban" and not opened and believed(one) and one.until > now:
            best.setdefault((one.subject, one.ports), one)  # the first has the highest rank
    return sorted((key, one.until) for key, one in best.items())


def wanted(state, now):
    return sorted(((one.subject, one.ports), one.until) for one in state.standing(now))


LIMITS = st.sampled_from([SMALL, WIDE])


@settings(max_examples=150, deadline=None)
@given(entries(), REVOKED, LIMITS, st.integers(0, 46), st.randoms(use_true_random=False))
def test_any_order_duplicates_and_forgetting_between_give_what_all_at_once_gives(
    said, revoked, limits, minute, random
):
    now = NOW + minute * MINUTE
    steps = [("hear", one) for one in said] + [("hear", one) for one in said if random.random() < 0.3]  # fmt: skip
    steps += [("revoke", one) for one in revoked.items()]
    steps += [("forget", random.randint(0, minute)) for _ in range(3)]
    random.shuffle(steps)
    state, clock = Decisions(limits), NOW
    for what, value in steps:
        if what == "forget":
            clock = max(clock, NOW + value * MINUTE)
            state.forget(clock)
        elif what == "revoke":
            state.revoke(value[0], NOW + value[1] * MINUTE, clock)
        else:
            state.hear([value], clock)
    assert wanted(state, now) == plain(said, revoked, limits, now)


@settings(max_examples=100, deadline=None)
@given(entries(), LIMITS, st.sets(st.integers(0, 13)), st.randoms(use_true_random=False))
def test_who_lost_some_and_reads_a_snapshot_wants_what_the_others_want(said, limits, lost, random):
    awake, sleeper = Decisions(limits), Decisions(limits)
    awake.hear(said, NOW)
    heard = [one for number, one in enumerate(said) if number not in lost]
    random.shuffle(heard)
    sleeper.hear(heard, NOW)
    sleeper.hear(awake.kept(), NOW)
    assert sleeper.kept() == awake.kept()
    assert sleeper.digest(NOW) == awake.digest(NOW)


@settings(max_examples=100, deadline=None)
@given(entries(), REVOKED, LIMITS, st.randoms(use_true_random=False))
def test_the_shifts_lead_from_nothing_to_what_stands(said, revoked, limits, random):
    state, door = Decisions(limits), {}
    steps = [("hear", one) for one in said] + [("revoke", one) for one in revoked.items()]
    random.shuffle(steps)
    for what, value in steps:
        if what == "hear":
            shifts = state.hear([value], NOW)
        else:
            shifts = state.revoke(value[0], NOW + value[1] * MINUTE, NOW)
        for one in shifts:
            door[one.subject, one.ports] = one.until
    assert sorted(item for item in door.items() if item[1]) == wanted(state, NOW)


@settings(max_examples=60, deadline=None)
@given(entries(), REVOKED, LIMITS)
def test_nothing_lasts_for_ever(said, revoked, limits):
    state = Decisions(limits)
    state.hear(said, NOW)
    for host, time in revoked.items():
        state.revoke(host, NOW + time * MINUTE, NOW)
    assert state.standing(NOW + HOUR) == []
    state.forget(NOW + 20 * MINUTE + AHEAD["unban"] + limits.longest)
    assert state.kept() == []
    assert (state._revoked, state._bans._ranks, state._unbans._ranks) == ({}, [], [])
    assert (dict(state._bans._hosts), dict(state._bans.of)) == ({}, {})
