"""`fleet status` for people: worst first, the rest counted, within 100 columns for 3 and for 300."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tidegate.cli import fleet_view as view

NOW = datetime(2026, 11, 22, 17, 0, tzinfo=UTC)


def host(name, ago=4, **more):
    return {
        "host": name, "member": True, "sent": (NOW - timedelta(seconds=ago)).isoformat(),
        "version": "0.1.0", "policy": 12, "policy_hash": "3f9ac21bd0aa", "skew": 3_000,
        "lag": 210_000, "spool": 0, "drift": 0, "bans": 412, "digest": "a", "trouble": "", "more": {},
        **more,
    }  # fmt: skip


def answer(*hosts, answered=True, **more):
    fleet = {
        "state": "joined", "detail": "", "host": "web1", "engine": "rediss://db1:6380", "members": 3,
        "skew": 12_000, "lag": 180_000, "spool": 0, "dropped": 0, "refused": {}, "digest": "a",
        "said": 120, "heard": 88_120, "standing": 412, "cost": 0.0, "troubles": [], "rules": [],
        **more,
    }  # fmt: skip
    return {"v": 1, "fleet": fleet, "answered": answered, "hosts": list(hosts)}


def told(found, most=20):
    rows = view.rows(found, NOW)
    return [*view.head(found, rows), *view.body(rows, most), *view.refused(found)]


def test_three_that_are_well():
    assert told(answer(*map(host, ("web2", "web1", "mx1")))) == [
        "fleet    web1, joined; engine rediss://db1:6380",
        "here     clock +12 ms against the engine's, lag 180 ms, spool 0, 0 dropped, said 120,"
        " heard 88120; 412 bans stand",
        "hosts    3: 3 well",
        "version  0.1.0 on 3",
        "policy   12 on 3",
        "HOST  SEEN  VERSION  POLICY     LAG  CLOCK  BANS",
        "mx1   4s    0.1.0    12      210 ms  +3 ms   412",
        "web1  4s    0.1.0    12      210 ms  +3 ms   412",
        "web2  4s    0.1.0    12      210 ms  +3 ms   412",
    ]


def sick():
    return (
        host("drifts", drift=3), host("slow", lag=4_200_000), host("gone", ago=700),
        host("never", sent=None, version="", policy=0, policy_hash=""),
        host("late", skew=-602_000_000, ago=606), host("old", version="0.0.9", policy=11),
        host("held", spool=90_000, drift=2), host("revoked", member=False),
        host("ill", trouble="the journal can't be read:\x1b[31m no space left on the device"),
        host("a-name-that-is-as-long-as-names-may-be-in-a-fleet-63-characters"),
    )  # fmt: skip


def test_the_worst_of_three_hundred_come_first_and_fit_a_hundred_columns():
    refused = {"web7 forged": 120_000, "web7 other rule": 3, " unknown": 7}
    found = answer(*map(host, (f"web{n}" for n in range(290))), *sick(), refused=refused)
    rows = view.rows(found, NOW)
    assert [(one.host, one.wrong) for one in rows[:10]] == [
        ("revoked", ("no member",)),
        ("gone", ("silent",)),
        ("never", ("silent",)),
        ("ill", ("trouble",)),
        ("late", ("clock",)),
        ("held", ("drift", "spool")),
        ("drifts", ("drift",)),
        ("old", ("other",)),
        ("slow", ("slow",)),
        ("web7", ("refused",)),
    ]
    assert [one.ill for one in rows[8:11]] == [True, False, False]
    lines = told(found)
    assert max(map(len, lines[5:])) <= 100
    assert (
        "hosts    300: 290 well, 1 no member, 2 silent, 1 in trouble, 1 clock off, 2 drifting,"
        in (lines[2])
    )
    assert lines[3:5] == [
        "version  0.1.0 on 298, 0.0.9 on 1",
        "policy   12 on 298, 11 on 1",
    ]
    assert "    the journal can't be read:\\x1b[31m no space left on the device" in lines
    assert lines[-3:] == [
        "and 280 more, all well: tidegate fleet status --all",
        "refused  web7: forged 120000, other rule 3",
        "refused  nobody we know: unknown 7",
    ]
    assert "and 295 more, 4 of them not well: tidegate fleet status --all" in told(found, 5)
    everything = told(found, 0)
    assert len(everything) == 5 + 1 + 300 + 2 + 2  # one has a trouble, one a long name
    assert [line.split()[0] for line in everything[6:9]] == ["revoked", "gone", "never"]
    (held,) = [line for line in lines if line.startswith("held")]
    assert held.endswith("412  drift 2, spool 90000")
    assert not any("more" in line for line in everything[-3:])


def test_what_finds_no_room_behind_a_host_stands_below_it():
    found = answer(
        host("web1"), host("web3"),
        host("everything-is-wrong-here", 700, member=False, skew=90_000_000, drift=3, spool=12_345,
             version="0.0.9", policy=11),
    )  # fmt: skip
    lines = view.body(view.rows(found, NOW), 0)
    assert max(map(len, lines)) <= 100
    assert (
        lines[2] == "    no member, silent, clock, drift 3, spool 12345, other version and policy"
    )


def test_a_clock_that_is_off_makes_nobody_silent():
    """`late` is ten minutes behind and has just reported; our own clock is a minute ahead."""
    found = answer(host("late", skew=-600_000_000, ago=600 + 60 + 4), skew=60_000_000)
    (row,) = view.rows(found, NOW)
    assert row.cells[1] == "4s"
    assert row.wrong == ("clock",)
    assert row.cells[5] == "-10m"


def test_each_host_has_a_policy_of_its_own_and_who_tries_a_new_one_is_seen():
    found = answer(
        host("web1", policy_hash="1"), host("web2", policy_hash="2"),
        host("web3", policy=13, more={"trial": True}), host("web4", policy=0, sent=None, version=""),
    )  # fmt: skip
    rows = {one.host: one for one in view.rows(found, NOW)}
    assert [one.ill for one in (rows["web1"], rows["web2"], rows["web3"])] == [False, False, True]
    assert (rows["web3"].cells[3], rows["web3"].what) == ("13, on trial", "other policy")
    assert view.head(found, list(rows.values()))[-1] == "policy   12 on 2, 13, on trial on 1"
    alone = answer(host("web1", policy=0), host("web2", policy=0, policy_hash="3"))
    assert view.head(alone, view.rows(alone, NOW))[-1] == "policy   own on 2"


def test_where_the_engine_does_not_answer_no_host_is_said_to_be_gone():
    found = answer(
        answered=False, state="away", detail="no route to host", troubles=["a spool is full"]
    )
    lines = view.head(found, [])
    assert lines[0] == "fleet    web1, away: no route to host; engine rediss://db1:6380"
    assert lines[2:] == [
        "WARNING  a spool is full",
        "hosts    not known just now: the engine has not answered",
    ]


def test_many_who_are_refused_are_counted():
    found = answer(refused={f"web{n} forged": n for n in range(1, 9)})
    assert view.refused(found)[-2:] == ["refused  web4: forged 4", "refused  6 of 3 other hosts"]


def test_short_times_read_well():
    assert [view.span(n) for n in (0, 999_999, 3_440_000, 602_000_000)] == [
        "0 ms", "999 ms", "3.4 s", "10m 2s",
    ]  # fmt: skip
    assert [view.clock(n) for n in (999, -2_000, 61_000_000)] == ["0 ms", "-2 ms", "+1m 1s"]
