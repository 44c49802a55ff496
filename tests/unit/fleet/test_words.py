"""What one member can say in its own name, or in that of its people, and what comes of it."""

from __future__ import annotations

from tests.unit.fleet.village import NOW, WHO, claim, revocation, rule, village

from tidegate.fleet import wire
from tidegate.fleet.decisions import saying
from tidegate.fleet.decisions.accepting import PEOPLE, Accepting
from tidegate.fleet.decisions.assembly import Assembly
from tidegate.fleet.decisions.decisions import SKEW, Entry, Shift
from tidegate.fleet.trust.cases import Conviction
from tidegate.fleet.trust.claims import terms_of
from tidegate.fleet.trust.members import May
from tidegate.model import HOUR, MINUTE, SECOND, Subject

MOST = PEOPLE // 10  # pardons


class Hearer:
    """A host that hears; `people` are the members whose people may decide."""

    def __init__(self, *names, people=()):
        self.trust, *hosts = village("web1", *names)
        self.hosts = {host.name: host for host in hosts}
        for number, host in enumerate(people, 90):
            paper = self.hosts[host].certificate(number, May.CLAIM | May.DECIDE)
            assert self.trust.paper(paper, NOW) == []
        self.assembly = Assembly(
            "web1", self.trust.admit, lambda *_: b"",
            lambda host: self.trust.roster.may(host, May.DECIDE),
        )  # fmt: skip
        self.accepting = Accepting("web1", self.trust, lambda _number: None)

    def hear(self, host, *entries, sent=NOW, now=NOW):
        said = [saying.identify(host, one) for one in entries]
        for body in saying.bodies(said):
            message = self.hosts[host].says(kind=wire.Kind.DECISIONS, body=body, sent=sent)
            found = self.assembly._judge(message, now)
            self.accepting.take(self.assembly.decisions.hear(found, now), "taken back", now)
            self.accepting.hear(found, now)

    @property
    def closed(self):
        return [str(one.subject) for one in self.assembly.decisions.standing(NOW)]


def ban(subject=WHO, **more):
    return Entry("", "ban", "", NOW, Subject(subject), until=NOW + HOUR, rule="guessing")._replace(
        **more
    )


def test_who_may_not_decide_for_people_calls_nobody_a_person():
    one = Hearer("web2")
    one.hear("web2", ban(by="anna"), ban("192.0.2.8", rule=""), ban("192.0.2.9", rule="", by="a"))
    assert one.closed == []
    assert one.assembly.refused["web2", "malformed"] == 2
    assert one.assembly.refused["web2", "not allowed"] == 1


def test_what_was_dated_ahead_falls_with_its_host():
    one = Hearer("web2", people=("web2",))
    for seconds in range(0, 200, 10):
        time = NOW + SKEW + seconds * SECOND
        subject = f"192.0.2.{seconds}"
        one.hear("web2", ban(subject, time=time, until=time + HOUR), sent=NOW + SKEW)
    assert one.closed
    one.trust.paper(revocation(100, time=NOW, web2=99), NOW)
    one.assembly.follow(one.trust.roster.revoked, NOW)
    assert one.closed == []


def test_a_ban_dated_ahead_can_be_opened_by_a_person_on_any_host():
    one = Hearer("web2", "mx1", people=("web2", "mx1"))
    ahead = [NOW + SKEW + seconds * SECOND for seconds in range(0, 200, 10)]
    one.hear("web2", *(ban(time=time, until=time + HOUR) for time in ahead), sent=NOW + SKEW)
    assert one.closed
    time = one.assembly.decisions.outranking(WHO, NOW)
    one.hear("mx1", Entry("", "unban", "", time, WHO, by="anna"))
    assert one.closed == []
    # And whose people dates an unban ahead does not keep others' from being heard.
    one.hear("web2", Entry("", "unban", "", NOW + 4 * SKEW, WHO, by="x"), sent=NOW + SKEW)
    assert one.assembly.decisions.outranking(WHO, NOW) == time


def test_people_of_one_host_do_not_close_for_everybody():
    one = Hearer("web2", people=("web2",))
    eighths = [f"{number}.0.0.0/8" for number in range(1, 224)]
    one.hear("web2", *(ban(each, rule="", by="anna") for each in eighths))
    assert one.accepting.closings == []
    assert one.accepting.refused["web2", "too wide"] > 200
    sixteenths = [f"20.{number}.0.0/16" for number in range(200)]
    one.hear("web2", *(ban(each, rule="", by="anna") for each in sixteenths))
    assert len(one.accepting.closings) == 60


def test_what_people_say_too_much_of_waits_also_pardons():
    one = Hearer("web2", "mx1", people=("web2", "mx1"))
    many = [Subject(f"198.18.{number >> 8}.{number & 255}") for number in range(MOST + 100)]
    one.hear("web2", *(Entry("", "unban", "", NOW, each, by="x") for each in many))
    assert len(one.accepting.openings) == MOST
    one.hear("web2", Entry("", "unban", "", NOW, Subject("20.0.0.0/8"), by="x"))
    one.hear("mx1", Entry("", "unban", "", NOW, WHO, by="anna"))
    assert len(one.accepting.openings) == MOST + 1
    assert len(one.accepting.tick(NOW + MINUTE)) == 100


def test_claims_of_its_own_do_not_make_one_hosts_word_more_than_that():
    one = Hearer("web2")
    proof = (bytes(16),)
    shares = (("web2", 4),)
    many = [ban(f"198.18.0.{number}", proof=proof, shares=shares, needed=4) for number in range(20)]
    one.accepting = Accepting("web1", one.trust, lambda _number: b"x", words=10)
    one.trust.proves = lambda _bundle, rule, subject, _now: convicted(rule, subject)
    one.hear("web2", *many)
    while one.accepting.commands():
        one.accepting.answered([[]] * 16, NOW)
    assert len(one.accepting.closings) == 10


def convicted(rule, subject):
    return Conviction(str(subject), rule, subject, NOW, 4, (("web2", 4),), 4, False, 1, ())


def test_what_waits_for_a_quota_is_looked_at_in_turn():
    one = Hearer("web2", "mx1")
    late = [saying.identify("web2", ban(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}"))
            for n in range(5_000)]  # fmt: skip
    one.accepting.take([Shift(each.subject, (), each) for each in late], "taken back", NOW)
    looked = []
    one.accepting._consider = lambda entry, _now: looked.append(entry)
    one.accepting.tick(NOW + SECOND)
    assert 0 < len(looked) < 1_000


def test_claims_of_much_cost_more_than_claims_of_little():
    """To go through a thousand entries takes milliseconds, and nothing may ever come of them."""
    of = rule("names", threshold=1000, within=HOUR, distinct="user")
    trust, _web1, web2 = village("web1", "web2", rules=(of,))
    terms = terms_of(of)
    entries = tuple(wire.Entry(NOW - (999 - number) * 1000, 7) for number in range(999))
    many = [
        wire.Claim(terms.rule, terms.mark, Subject(f"192.0.2.{number}"), terms.shape, entries)
        for number in range(4)
    ]
    refused = 0
    for _ in range(400):
        found = trust.receive(web2.says(*many), NOW, NOW)
        refused += any(getattr(one, "reason", "") == "quota" for one in found)
        if refused:
            break
    assert refused
    assert len(trust.cases) == 4
    little = web2.says(claim(1, of=of, subject="192.0.2.9", amounts=(1,)))
    assert trust.receive(little, NOW + SECOND, NOW + SECOND) == []
