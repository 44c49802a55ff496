"""Incidents asked for over the socket: whole, for the public, as a feed, minutes; and notes."""

from __future__ import annotations

import json
import re

import pytest
from tests.unit.daemon.test_answer import ask, post  # noqa: F401  (a fixture)
from tests.unit.daemon.test_watcher import NOW, OTHER, bench, planned  # noqa: F401  (a fixture)

from tidegate.daemon import incidents as module
from tidegate.daemon.incidents import Incidents
from tidegate.daemon.redaction import public_number
from tidegate.daemon.watcher import Watcher
from tidegate.ledger.rows import MAX_REMARK
from tidegate.model import DAY, HOUR, MINUTE, SECOND, Decision, Evidence, Outcome, Subject

SECRET = "/var/tmp/.x (pid 4711)"
OWNED = """
[outward]
sources = ["uids", "198.51.100.0/24"]
[owner.customer-7]
addresses = ["198.51.100.0/28"]
uids = ["uid:4242"]
notify = ["noc"]
[notify.noc]
mail = "noc@example.org"
"""


def decided(ask, name, subject, ago=0, action="quarantine", state="applied", **more):  # noqa: F811
    time = ask.bench.now - ago
    values = {
        "id": name, "time": time, "action": action, "subject": Subject(subject),
        "rule": "outward-scan", "ports": (), "until": time + 10 * MINUTE,
        "duration": 10 * MINUTE, "count": 1, "step": 0, "mode": "enforce",
        "reason": "at least 1 in 1m: outward.scan",
        "evidence": (Evidence(time, "/var/log/x", 0, f"scan by {SECRET}"),),
    }  # fmt: skip
    one = Decision(**values | more)
    ask.bench.ledger.intend([one])
    ask.bench.ledger.settle([Outcome(name, state, "", time)])
    return one


def bans(ask, count, ago=0, **more):  # noqa: F811
    for n in range(count):
        decided(ask, f"b{n:03x}0000{ago:08x}"[:16], f"192.0.2.{n}", ago - n * SECOND, "ban",
                rule="virus-senders", ports=(25,), **more)  # fmt: skip


def get(ask, path, **words):  # noqa: F811
    status, value = ask("GET", path, **words)
    assert status == 200, value
    return value


def test_of_a_quiet_host(ask):  # noqa: F811
    assert get(ask, "/incidents") == []
    assert get(ask, "/status")["incidents"] == []
    assert get(ask, "/report")["incidents"] == []
    assert get(ask, "/feed")["incidents"] == []
    assert get(ask, "/minutes")["rows"] == []


def test_a_quarantine_whole(ask):  # noqa: F811
    ask.bench.watcher.wiring.pipeline.policy = planned(POLICY_OWNED).loaded.policy
    decided(ask, "abcd000000000001", "198.51.100.4", 5 * MINUTE)
    decided(ask, "abcd000000000002", "198.51.100.5", 4 * MINUTE)
    (row,) = get(ask, "/incidents")
    assert (row["id"], row["state"], row["subjects"], row["end"]) == (
        "abcd000000000001", "open", 2, None,
    )  # fmt: skip
    assert row["title"] == "2 sources cut off (rule outward-scan)"
    view = get(ask, "/incident", id="abcd")
    assert view["decisions"] == ["abcd000000000001", "abcd000000000002"]
    assert view["affected"]["owners"] == ["customer-7"]
    assert [one["who"] for one in view["affected"]["rows"]] == ["198.51.100.5", "198.51.100.4"]
    assert view["lines"] == [f"scan by {SECRET}"]
    assert "2 are still cut off" in " ".join(view["summary"])
    assert "at least 1 in 1m: outward.scan" in " ".join(view["summary"])
    assert [one["command"] for one in view["next"]] == [
        "tidegate release 198.51.100.5", "tidegate release 198.51.100.4",
        "tidegate why 198.51.100.5", 'tidegate incident note abcd0000 "…"',
    ]  # fmt: skip
    assert get(ask, "/status")["incidents"][0]["title"] == row["title"]
    assert get(ask, "/report")["incidents"][0]["id"] == row["id"]
    ask.bench.now += HOUR
    assert get(ask, "/incidents")[0]["state"] == "over"
    assert get(ask, "/status")["incidents"] == []


POLICY_OWNED = OTHER + OWNED


@pytest.mark.parametrize("spelled", ["", "abc", "dddd", "abcd00000000000g"])
def test_unknown_ids(ask, spelled):  # noqa: F811
    decided(ask, "abcd000000000001", "198.51.100.4")
    status, value = ask("GET", "/incident", id=spelled)
    assert (status, "tidegate incident list" in value["error"]) == (400, True)


def test_an_id_that_several_begin_with(ask):  # noqa: F811
    decided(ask, "abcd000000000001", "198.51.100.4", 2 * HOUR)
    decided(ask, "abcd000000000002", "198.51.100.4")
    status, value = ask("GET", "/incident", id="abcd")
    assert status == 400
    assert "abcd000000000002, abcd000000000001" in value["error"]
    assert get(ask, "/incident", id="abcd000000000002")["start"] == "2025-08-12T12:00:00+00:00"


def test_the_public_form_names_nobody(ask):  # noqa: F811
    ask.bench.watcher.wiring.pipeline.policy = planned(POLICY_OWNED).loaded.policy
    decided(ask, "abcd000000000001", "198.51.100.4", 5 * MINUTE, collateral=True,
            reason=f"seen: {SECRET} by 198.51.100.4")  # fmt: skip
    decided(ask, "abcd000000000002", "uid:4242", 4 * MINUTE)
    decided(ask, "abcd000000000003", "2001:db8:7::/64", 4 * MINUTE, state="refused")
    ask(
        "POST",
        "/note",
        incident="abcd",
        text="198.51.100.4 (uid 4242) ran /var/tmp/.x for customer-7",
    )
    ask("POST", "/release", subject="198.51.100.4")
    bans(ask, 12, 5 * MINUTE)
    for path, words in (
        ("/incidents", {}),
        ("/incident", {"id": "abcd"}),
        ("/feed", {}),
        ("/minutes", {}),
    ):
        whole = json.dumps(get(ask, path, public="1", **words))
        for hidden in ("198.51.100", "4242", "/var/", ".x", "4711", "abcd0000", "2001:db8", "anna",
                       "1000", "192.0.2"):  # fmt: skip
            assert hidden not in whole, (path, hidden)
        if path in ("/incident", "/incidents"):
            assert "customer-7" not in whole.replace("for customer-7", "")
    view = get(ask, "/incident", id="abcd", public="1")
    assert "decisions" not in view
    assert "next" not in view
    assert view["updates"][0]["by"] == "the operators"
    names = {one["who"] for one in view["affected"]["rows"]}
    assert all(re.fullmatch(r"(address|source)-[0-9a-f]{10}", name) for name in names)
    assert view["updates"][0]["text"].split(" ")[0] in names
    assert get(ask, "/incident", id=view["id"])["id"] == "abcd000000000001"
    assert get(ask, "/incident", id=view["id"], public="1") == view


def test_notes_are_signed_kept_and_bounded(ask, monkeypatch):  # noqa: F811
    decided(ask, "abcd000000000001", "198.51.100.4")
    status, value = ask("POST", "/note", incident="abcd", text="  the customer\ncleans it ")
    assert status == 200
    assert value["updates"] == [
        {
            "time": "2025-08-12T12:00:00+00:00",
            "by": "anna (uid 1000)",
            "text": "the customer\ncleans it",
        }
    ]
    for wrong, said in (
        ({"text": " "}, "found nothing"),
        ({"text": 7}, "found nothing"),
        ({"text": "ü" * MAX_REMARK}, f"at most {MAX_REMARK} bytes"),
        ({"text": "x", "incident": "dddd"}, "tidegate incident list"),
        ({"text": "x", "incident": 7}, "tidegate incident list"),
    ):
        status, value = ask("POST", "/note", **({"incident": "abcd"} | wrong))
        assert (status, said in value["error"]) == (400, True), value
    monkeypatch.setattr("tidegate.daemon.incidentwork.MOST_REMARKS", 1)
    status, value = ask("POST", "/note", incident="abcd", text="more")
    assert (status, "takes no more" in value["error"]) == (400, True)


def test_a_note_stays_when_earlier_decisions_come_in_or_the_first_are_dropped(ask):  # noqa: F811
    decided(ask, "abcd000000000002", "198.51.100.4")
    ask("POST", "/note", incident="abcd000000000002", text="known")
    decided(ask, "abcd000000000001", "198.51.100.5", 5 * MINUTE)  # of a log that was read late
    view = get(ask, "/incident", id="abcd000000000002")
    assert view["id"] == "abcd000000000001"
    assert [one["text"] for one in view["updates"]] == ["known"]


def test_what_we_got_wrong_is_admitted(ask):  # noqa: F811
    ask.bench.watcher.wiring.pipeline.policy = planned(POLICY_OWNED).loaded.policy
    bans(ask, 12, 5 * MINUTE)
    decided(ask, "good", "192.0.2.200", 2 * MINUTE, "ban", rule="virus-senders", ports=(25,),
            collateral=True)  # fmt: skip
    for n in range(15):
        decided(ask, f"spared{n}", f"192.0.2.{100 + n}", MINUTE, "ban", rule="virus-senders",
                ports=(25,), spared="good record", state="spared")  # fmt: skip
    post(ask, "/unban", subject="192.0.2.3")
    view = get(ask, "/incident", id=get(ask, "/incidents")[0]["id"])
    told = [one["text"] for one in view["admitted"]]
    assert "anna (uid 1000) opened 192.0.2.3 again after 4m 57s, before its time" in told
    assert any("192.0.2.200 was closed for, although it had a good record" in one for one in told)
    assert "and 5 more with a good record were spared" in told
    assert view["mistakes"] == 17


def test_waves_and_what_went_on_beside(ask):  # noqa: F811
    bans(ask, 12, 5 * MINUTE)
    decided(ask, "abcd000000000001", "198.51.100.4", 5 * MINUTE)
    wave = next(one for one in get(ask, "/incidents") if one["sort"] == "wave")
    assert wave["title"] == "12 subjects kept out of port 25 (rule virus-senders)"
    view = get(ask, "/incident", id=wave["id"])
    assert view["beside"] == [
        {"id": "abcd000000000001", "title": "198.51.100.4 cut off (rule outward-scan)"}
    ]
    assert "It goes on" in " ".join(view["summary"])
    ask.bench.now += HOUR
    view = get(ask, "/incident", id=wave["id"])
    assert (view["state"], "All of these bans have ended." in view["summary"]) == ("over", True)


def test_minutes_of_a_month(ask, monkeypatch):  # noqa: F811
    monkeypatch.setenv("TZ", "UTC")
    bans(ask, 2, 5 * MINUTE)
    decided(ask, "abcd000000000001", "198.51.100.4", 3 * MINUTE)
    answer = get(ask, "/minutes")
    assert answer["month"] == "2025-08"
    assert [(row["service"], row["what"], row["minutes"]) for row in answer["rows"]] == [
        ("outward", "cut off", 3.0), ("port 25", "kept out", 5.0),
    ]  # fmt: skip
    assert answer["kept_since"] == "2025-07-13T12:00:00+00:00" or answer["kept_since"] is None
    assert get(ask, "/minutes", month="2025-07")["rows"] == []
    assert get(ask, "/minutes", month="2024-01")["kept_since"] is not None
    assert get(ask, "/minutes", month="2025-12")["rows"] == []
    for wrong in ("2025", "2025-13", "x", "2025-1", "0000-01", "2025-08-01", "9999-12"):
        assert ask("GET", "/minutes", month=wrong)[0] == 400


def test_a_feeds_ids_and_the_pseudonyms_stay_over_a_restart(ask):  # noqa: F811
    ask.bench.watcher.wiring.pipeline.policy = planned(POLICY_OWNED).loaded.policy
    decided(ask, "abcd000000000001", "198.51.100.4", rule="", by="anna (uid 1000)")
    before = get(ask, "/feed", public="1")
    assert before["id"].startswith("urn:uuid:")
    assert before["id"] != get(ask, "/feed", public="0")["id"]
    ask.bench.watcher.checkpoint(ask.bench.now)
    again = Watcher(ask.bench.wiring, lambda _word: None)
    again._restore()
    ask.bench.watcher = again
    again.answerer._watcher = again
    from tidegate.daemon import incidentwork

    assert incidentwork.feed(again, type("Call", (), {"query": {"public": "1"}})(), NOW) == (
        200,
        before,
    )


def test_status_looks_only_as_far_back_as_it_must_and_not_at_every_question(ask, monkeypatch):  # noqa: F811
    looked = []
    deeds = ask.bench.ledger.deeds
    monkeypatch.setattr(
        ask.bench.ledger, "deeds", lambda since: looked.append(since) or deeds(since)
    )
    decided(ask, "abcd000000000000", "198.51.100.9", 20 * DAY)
    decided(ask, "abcd000000000001", "198.51.100.4", DAY, until=ask.bench.now + DAY)
    for _time in range(3):
        assert [one["id"] for one in get(ask, "/status")["incidents"]] == ["abcd000000000001"]
    assert len(looked) == 1
    ask.bench.now += MINUTE
    assert [one["id"] for one in get(ask, "/status")["incidents"]] == ["abcd000000000001"]
    assert looked == [NOW - 2 * DAY, NOW - DAY - 1]


def test_wherever_status_begins_it_finds_what_all_decisions_say(ask):  # noqa: F811
    """After each look the next begins later; it still finds the same as from the beginning."""
    watcher, ledger = ask.bench.watcher, ask.bench.ledger
    policy = watcher.pipeline.policy
    step = 7 * MINUTE
    for n in range(120):
        ask.bench.now += step
        if n % 17 < 2:
            decided(
                ask, f"{n:016x}", f"198.51.100.{n % 3}", until=ask.bench.now + (n % 5) * 9 * MINUTE
            )
        if n % 23 < 5:
            for k in range(6):
                decided(ask, f"b{n:07x}{k:08x}", f"192.0.2.{k}", k * SECOND, "ban",
                        rule="virus-senders", ports=(25,))  # fmt: skip
        watcher.incidents._looked = 0
        quick = watcher.incidents.open_now(ledger, policy, (), ask.bench.now)
        slow = [one for one in Incidents().all(ledger, policy, (), ask.bench.now)
                if one.is_open(ask.bench.now)]  # fmt: skip
        assert [one.id for one in quick] == [one.id for one in slow]
        assert [one.closings for one in quick] == [one.closings for one in slow]
    assert watcher.incidents._since > NOW


def test_a_million_bans_are_bounded(ask, monkeypatch):  # noqa: F811
    monkeypatch.setattr(module, "MOST_CLOSINGS", 20)
    bans(ask, 60, 5 * MINUTE)
    (row,) = get(ask, "/incidents")
    assert row["closings"] == 20


def test_public_numbers_say_nothing():
    assert public_number(b"k" * 32, "abcd") != public_number(b"l" * 32, "abcd")
