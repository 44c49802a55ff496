"""Quarantine and release, by rule and by hand, through a watcher in memory."""

from __future__ import annotations

import json
import os

import pytest
from tests.unit.daemon.test_watcher import Bench, Plan, watcher_module

from tidegate.control.call import Call
from tidegate.control.peer import Peer
from tidegate.detector.pack import load_packs
from tidegate.errors import GateError
from tidegate.gate.outward.port import Capped, Filtered, OutwardState
from tidegate.gate.port import Refusal
from tidegate.model import DAY, HOUR, MINUTE, SECOND, Confined, Subject
from tidegate.policy.loader import read

ANNA = Peer(1, 1000, 1000, "anna", frozenset())
USER, HOST, CUSTOMER = Subject("uid:33"), Subject("192.0.2.7"), Subject("198.51.100.0/28")
POLICY = """
[allow]
addresses = ["192.0.2.99"]
[outward]
sources = ["uids", "lan0", "192.0.2.0/24", "2001:db8:7::/48"]
customers = ["198.51.100.0/28"]
busy = ["192.0.2.25"]
[rule.worm]
on = ["outward.scan"]
at-least = 1
within = "1m"
quarantine = { ladder = ["10m", "1h", "24h"] }
"""
GONE = POLICY[: POLICY.index("[outward]")]
NOW = 1_755_000_000 * SECOND
PACKS = tuple(pack for pack in load_packs() if pack.name in ("outward", "inward"))


def planned(text: str = POLICY) -> Plan:
    return Plan(read([("policy", text)]), PACKS)


class Scene(Bench):
    """A watcher with sources that leave."""

    def __init__(self) -> None:
        super().__init__(planned(), "outward")

    def scan(self, subject: str = HOST, after: float = 1) -> None:
        """A finding about somebody, so many seconds from now."""
        moment = watcher_module.now_micros() + int(after * SECOND)
        self.turn(line(subject, moment), seconds=after)

    def confined(self) -> dict[str, tuple[int, int]]:
        """Who is cut off or watched in the gate: for how many more seconds each."""
        return {
            one.subject: tuple(max(0, end - self.now) // SECOND for end in one[1:])
            for one in self.gate.outward_state(self.now).confined
        }

    def ask(self, method: str, path: str, **words: object):
        query, body = (words, {}) if method == "GET" else ({}, words)
        call = Call(method, path, query, body, ANNA)
        self.watcher.answerer.answer(call, self.now)
        answer = call.wait(0)
        value = answer.value if answer.lines is None else list(answer.lines)
        json.dumps(value)
        return answer.status, value

    def post(self, path: str, **words: object) -> list[tuple[str, str, str]]:
        status, value = self.ask("POST", path, **words)
        assert status == 200, value
        return [(one["action"], one["subject"], one["state"]) for one in value["results"]]

    def states(self) -> list[tuple[str, str, str]]:
        """The history, the oldest first."""
        entries = self.ledger.history(99)[::-1]
        return [(e.decision.action, e.decision.subject, e.state) for e in entries]


def line(subject: str, moment: int) -> bytes:
    from tidegate.text import time_text

    return (
        f"{time_text(moment).replace('+00:00', 'Z')} tidegate outward: scan {subject}: 14 new"
        " destinations in 0.2s, none answered: 203.0.113.4:1434/udp\n"
    ).encode()


@pytest.fixture
def scene(monkeypatch):
    made = Scene()
    monkeypatch.setattr(watcher_module, "now_micros", lambda: made.now)
    made.watcher._restore()
    made.watcher._look()
    yield made
    os.close(made.wake)
    os.close(made._write)


# -- by rule -----------------------------------------------------------------------------------


@pytest.mark.parametrize("subject", [HOST, USER, CUSTOMER, "interface:lan0", "2001:db8:7:1::/64"])
def test_a_finding_cuts_its_source_off_and_says_why(scene, subject):
    scene.scan(subject)
    assert scene.confined() == {subject: (600, 4200)}
    (entry,) = scene.ledger.history(9)
    assert (entry.decision.action, entry.state, entry.decision.rule) == (
        "quarantine", "applied", "worm",
    )  # fmt: skip
    assert "14 new destinations" in entry.decision.evidence[0].line
    assert scene.closed() == []


@pytest.mark.parametrize(
    ("subject", "why"),
    [
        ("uid:0", "root"),
        ("192.0.2.25", "busy"),
        ("192.0.2.99", "allowlist"),
        ("203.0.113.7", "no source of [outward]"),
        ("interface:eth9", "no source of [outward]"),
        ("127.0.0.0/30", "loopback"),
    ],
)
def test_who_is_spared_is_told_why(scene, subject, why):
    scene.scan(subject)
    assert scene.confined() == {}
    (entry,) = scene.ledger.history(9)
    assert (entry.state, entry.decision.spared, entry.decision.watched) == ("spared", why, 0)


def test_on_probation_one_offence_cuts_off_for_the_next_step(scene):
    scene.scan()
    scene.turn(seconds=700)
    assert scene.confined() == {HOST: (0, 3500)}
    scene.scan()
    assert scene.confined()[HOST] == (3600, 3600 + 86400)
    last = scene.ledger.history(1)[0].decision
    assert (last.step, last.duration) == (1, HOUR)
    assert last.reason.startswith("one more on probation")
    scene.turn(seconds=3601 + 86400)
    assert scene.confined() == {}


def test_networks_are_never_cut_off_for_what_is_inside_them(scene):
    near = '[escalation.near]\nnetwork = "ipv4/24"\nchildren = 3\nwithin = "1h"\nfor = "1h"\n'
    scene.watcher.pipeline = planned(POLICY + near).pipeline()
    for n in range(41, 49):
        scene.scan(f"192.0.2.{n}")
    assert set(scene.confined()) == {f"192.0.2.{n}" for n in range(41, 49)}


def test_a_refusal_of_the_gate_is_told(scene):
    def confine(confined, _now):
        return [Refusal(0, "it would hit the gateway")]

    scene.gate.confine = confine
    scene.scan()
    (entry,) = scene.ledger.history(9)
    assert (entry.state, entry.detail) == ("refused", "it would hit the gateway")
    assert scene.ask("GET", "/status")[1]["outward"]["refused"] == {
        HOST: "it would hit the gateway"
    }
    assert scene.watcher.actor.confining.out_of_step == ""


def test_a_lost_gate_is_made_good_when_it_is_back(scene):
    real = scene.gate.confine

    def gone(_confined, _now):
        raise GateError("the keeper is gone")

    scene.gate.confine = gone
    scene.scan()
    assert scene.states() == [("quarantine", HOST, "intended")]
    assert scene.ask("GET", "/status")[1]["outward"]["state"] == "the keeper is gone"
    assert scene.watcher.actor.out_of_step == "", "bans go on"
    scene.gate.confine = real
    scene.turn(seconds=1)
    assert scene.confined() == {HOST: (599, 4199)}
    assert scene.states() == [("quarantine", HOST, "applied")]


def test_the_gate_is_told_again_at_drift_at_resync_and_now_and_then(scene):
    scene.scan()
    scene.gate.disturb()
    scene.turn(seconds=1)
    assert scene.confined() == {HOST: (599, 4199)}
    scene.gate.confined = ()
    scene.turn(seconds=20)
    assert scene.confined() == {}
    scene.turn(seconds=11)
    assert HOST in scene.confined()
    scene.gate.confined = ()
    scene.gate.said = ("resync",)
    scene.watcher._heed()
    assert HOST in scene.confined()


def test_a_full_disk_holds_up_no_quarantine_and_no_release(scene):
    scene.ledger.full = True
    scene.scan()
    scene.scan(USER)
    assert set(scene.confined()) == {HOST, USER}
    scene.watcher.actor.confining.reconcile(scene.now)
    assert set(scene.confined()) == {HOST, USER}
    scene.ledger.full = False
    scene.turn(seconds=3)
    assert {one[2] for one in scene.states()} == {"applied"}
    assert set(scene.confined()) == {HOST, USER}


def test_where_policy_only_observes_nobody_is_cut_off(scene):
    scene.wiring.next = planned(POLICY.replace("busy =", 'mode = "observe"\nbusy ='))
    scene.scan()
    scene.post("/quarantine", subject=USER)
    assert scene.watcher.reload(scene.now) == []
    assert scene.confined() == {}, "whom it, or a person, cut off before is let back"
    status, value = scene.ask("POST", "/quarantine", subject=USER)
    assert (status, "the policy only observes" in value["error"]) == (400, True)
    scene.watcher.pipeline.windows.forget(USER)
    scene.scan(USER)
    assert scene.states()[-1] == ("quarantine", USER, "observed")
    assert scene.confined() == {}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (GONE, "no [outward] in the policy"),
        (POLICY.replace('"192.0.2.0/24", ', ""), "no source of [outward]"),
        (POLICY.replace("192.0.2.25", "192.0.2.7"), "busy"),
        (POLICY.replace("192.0.2.99", "192.0.2.7"), "allowlist"),
        (POLICY.replace("rule.worm", "rule.other"), "its rule is gone"),
    ],
)
def test_a_reload_lets_back_whom_the_policy_would_not_cut_off_any_more(scene, text, reason):
    scene.scan()
    scene.wiring.next = planned(text)
    assert scene.watcher.reload(scene.now) == []
    assert scene.confined() == {}
    last = scene.ledger.history(1)[0].decision
    assert (last.action, last.by, last.reason) == ("release", "reload", reason)
    scene.wiring.next = planned()
    scene.watcher.reload(scene.now)
    scene.scan()
    assert HOST in scene.confined(), "looked at anew, once the policy is as it was"


# -- by hand -----------------------------------------------------------------------------------


def test_a_person_cuts_off_and_the_next_offence_takes_the_next_step(scene):
    assert scene.post("/quarantine", subject="www-data", user="uid:33", note="bot") == [
        ("quarantine", USER, "applied")
    ]
    assert scene.confined() == {USER: (3600, 7200)}
    (entry,) = scene.ledger.history(9)
    assert (entry.decision.by, entry.decision.note) == ("anna (uid 1000)", "bot")
    scene.turn(seconds=3700)
    scene.scan(USER)
    assert scene.ledger.history(1)[0].decision.duration == HOUR
    assert scene.confined()[USER][0] == 3600


def test_probation_beyond_the_longest_that_the_keeper_takes_moves_along(scene):
    scene.post("/quarantine", subject=HOST, **{"for": "20d"})
    days = 86400
    assert scene.confined() == {HOST: (20 * days, 30 * days)}
    scene.turn(seconds=5 * days)
    assert scene.confined() == {HOST: (15 * days, 30 * days)}
    scene.turn(seconds=20 * days)
    assert scene.confined() == {HOST: (0, 15 * days)}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({}, "expected an address, a network, a user or an interface"),
        ({"subject": "nobody-is-called-so"}, "expected an address, a network, a user"),
        ({"subject": "x", "user": "uid:x"}, "expected an address, a network, a user"),
        ({"subject": "uid:0"}, "uid:0 can't be cut off: the host itself would be"),
        ({"subject": "192.0.2.25"}, "policy leaves it alone (outward.busy)"),
        ({"subject": "203.0.113.5"}, "none of the sources that [outward] names"),
        ({"subject": HOST, "for": "31d"}, "for: at most 30d (limits.longest-ban)"),
        ({"subject": HOST, "for": "soon"}, "for: expected a duration"),
    ],
)
def test_wrong_quarantines(scene, words, said):
    status, value = scene.ask("POST", "/quarantine", **words)
    assert (status, said in value["error"]) == (400, True), value
    assert scene.ledger.history(9) == []


def test_released_is_let_back_on_probation_and_a_relapse_is_cut_without_anybody(scene):
    scene.scan()
    scene.turn(seconds=60)
    assert scene.post("/release", subject=HOST, note="patched, they say") == [
        ("release", HOST, "applied")
    ]
    assert scene.confined() == {HOST: (0, 3600)}
    scene.scan()
    assert scene.confined()[HOST][0] == 3600
    assert scene.ledger.history(1)[0].decision.step == 1


def test_a_trusted_one_is_free_and_its_offences_forgotten(scene):
    scene.scan()
    assert scene.post("/release", subject=HOST, trust=True) == [("release", HOST, "applied")]
    assert scene.confined() == {}
    scene.scan(after=10)
    assert scene.confined()[HOST][0] == 600, "the first step again"


def test_a_release_of_who_is_not_cut_off_says_how_it_stands(scene):
    def note(**words: object) -> str:
        scene.turn(seconds=1)
        status, value = scene.ask("POST", "/release", **words)
        assert (status, value["results"]) == (200, [])
        return value["notes"][0]

    assert note(subject=HOST) == f"{HOST} is neither cut off nor on probation"
    scene.scan(CUSTOMER)
    assert note(subject="198.51.100.3").endswith(f"; {CUSTOMER} is: tidegate release {CUSTOMER}")
    scene.post("/release", subject=CUSTOMER)
    assert "--trust" in note(subject=CUSTOMER)
    scene.turn(seconds=1)
    assert scene.post("/release", subject=CUSTOMER, trust=True)
    assert scene.confined() == {}


def test_release_all_lets_everybody_back_on_probation(scene):
    for subject in (HOST, USER, CUSTOMER):
        scene.scan(subject)
    assert {one[1] for one in scene.post("/release", all=True)} == {HOST, USER, CUSTOMER}
    assert {until for until, _watched in scene.confined().values()} == {0}
    scene.turn(seconds=1)
    assert scene.post("/release", all=True) == []
    assert len(scene.post("/release", all=True, trust=True)) == 3
    assert scene.confined() == {}


@pytest.mark.parametrize(("path", "span"), [("/unban", HOUR), ("/allow", DAY)])
def test_unban_and_allow_free_a_source_and_leave_it_alone(scene, path, span):
    scene.scan()
    scene.scan("192.0.2.8")
    scene.post(path, subject=HOST)
    assert set(scene.confined()) == {"192.0.2.8"}
    scene.scan(after=60)
    assert scene.ledger.history(1)[0].decision.spared == "exempt"
    scene.turn(seconds=span // SECOND)
    scene.scan()
    assert HOST in scene.confined()


def test_a_user_is_allowed_and_unbanned_too(scene):
    scene.scan(USER)
    assert scene.post("/allow", subject="www-data", user="uid:33", **{"for": "2h"}) == [
        ("release", USER, "applied")
    ]
    assert scene.ledger.history(1)[0].decision.reason == "by hand; left alone for 2h"
    scene.scan(USER, after=60)
    assert scene.confined() == {}
    scene.post("/quarantine", subject=USER)
    assert USER in scene.confined(), "the last word of a person holds"
    assert scene.post("/unban", subject=USER) == [("release", USER, "applied")]
    assert scene.confined() == {}


def test_an_allow_of_a_network_frees_who_is_inside(scene):
    scene.scan()
    scene.scan(USER)
    scene.post("/allow", subject="192.0.2.0/28")
    assert set(scene.confined()) == {USER}


def test_an_unban_inside_a_customer_that_is_cut_off_says_so(scene):
    scene.scan(CUSTOMER)
    status, value = scene.ask("POST", "/unban", subject="198.51.100.3")
    assert (status, value["still"]) == (200, [CUSTOMER])
    assert set(scene.confined()) == {CUSTOMER}


def test_a_quarantine_of_somebody_allowed_ends_the_allow(scene):
    scene.post("/allow", subject=HOST)
    assert scene.post("/quarantine", subject=HOST) == [
        ("disallow", HOST, "applied"),
        ("quarantine", HOST, "applied"),
    ]


def test_nobody_is_cut_off_by_a_daemon_that_only_observes(scene):
    scene.wiring.observe = True
    status, value = scene.ask("POST", "/quarantine", subject=HOST)
    assert (status, "only observes" in value["error"]) == (400, True)


# -- what people read --------------------------------------------------------------------------


def test_list_why_and_status_tell_of_it(scene):
    scene.scan()
    scene.post("/quarantine", subject="uid:33")
    scene.post("/release", subject="uid:33")
    rows = scene.ask("GET", "/list")[1]
    assert [(row["subject"], row["confined"], row["left"]) for row in rows] == [
        (HOST, "cut off", 600),
        (USER, "on probation", 3600),
    ]
    why = scene.ask("GET", "/why", address=HOST)[1]
    assert (why["banned"], why["earlier"]) == ([], [])
    (row,) = why["quarantined"]
    assert (row["confined"], row["next"]) == ("cut off", "1h")
    assert "14 new destinations" in row["evidence"][0]["line"]
    why = scene.ask("GET", "/why", address="www-data", user="uid:33")[1]
    assert (why["subject"], why["spared_outward"]) == (USER, "")
    assert [row["action"] for row in why["quarantined"]] == ["release"]
    assert [row["action"] for row in why["earlier"]] == ["quarantine"]
    outward = scene.ask("GET", "/status")[1]["outward"]
    assert (outward["state"], outward["cut_off"], outward["on_probation"]) == ("ok", 1, 1)
    assert len(scene.ask("GET", "/history", subject="www-data", user="uid:33")[1]) == 2


def test_status_counts_whom_the_caps_kept_back_and_what_filters_dropped(scene):
    capped = (Capped(HOST, "destinations", 7, 700), Capped(HOST, "udp", 9, 900))
    state = OutwardState("", capped, (Filtered("slammer", 5, 2020),))
    scene.gate.outward_state = lambda _now: state
    outward = scene.ask("GET", "/status")[1]["outward"]
    assert (outward["capped"], outward["most_capped"][0]["what"]) == (1, "udp")
    assert outward["filters"] == [{"name": "slammer", "packets": 5, "bytes": 2020}]


def test_sources_are_listed_by_what_the_caps_kept_back(scene):
    scene.scan()
    capped = (Capped(USER, "destinations", 7, 700), Capped(USER, "udp", 9, 900))
    real = scene.gate.outward_state
    scene.gate.outward_state = lambda now: real(now)._replace(capped=capped)
    user, host = scene.ask("GET", "/sources")[1]
    assert (user["subject"], user["packets"], user["confined"]) == (USER, 16, None)
    assert [one["what"] for one in user["capped"]] == ["destinations", "udp"]
    assert (host["subject"], host["packets"], host["confined"]) == (HOST, 0, "cut off")
    assert (host["by"], host["until"][:4]) == ("worm", "2025")
    assert len(scene.ask("GET", "/sources", limit="1")[1]) == 1
    assert scene.ask("GET", "/sources", limit="0")[0] == 400


def test_without_outward_there_is_nothing_to_tell(scene):
    scene.wiring.next = planned(GONE)
    scene.watcher.reload(scene.now)
    assert scene.ask("GET", "/status")[1]["outward"] is None
    assert scene.ask("GET", "/sources")[1] == []
    _status, value = scene.ask("POST", "/quarantine", subject=HOST)
    assert value["error"].endswith("there is no [outward] in the policy; see docs/outward.md")


# -- a start after a crash ---------------------------------------------------------------------


def test_what_was_intended_before_a_crash_is_done_and_settled_after_it(scene):
    scene.scan()
    cut = scene.ledger.history(1)[0].decision
    scene.ledger._rows[cut.id].outcome = None
    scene.gate.confined = ()
    scene.watcher.actor.resume(scene.watcher.pipeline.policy, scene.now)
    assert scene.confined() == {HOST: (600, 4200)}
    assert scene.states() == [("quarantine", HOST, "applied")]
    assert Confined(HOST, cut.until, cut.watched) in scene.gate.confined
    assert cut.until - cut.time == 10 * MINUTE
