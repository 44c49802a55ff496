"""Which decisions of others are taken over, and which are refused, by whom, and for how long."""

from __future__ import annotations

from tests.unit.fleet.village import ENGINE, NOW, WHO, village

from tidegate.fleet.decisions import saying
from tidegate.fleet.decisions.accepting import Accepting
from tidegate.fleet.decisions.decisions import Entry, Shift
from tidegate.model import MINUTE, SECOND, Subject


def accepting(**more):
    trust, *_hosts = village("web1", "web2", "mx1", listed=(Subject("192.0.2.200"),))
    return Accepting("web1", trust, lambda _number: None, **more)


def entry(host="web2", subject=WHO, **more):
    one = Entry("", "ban", "", NOW, subject, until=NOW + 30 * MINUTE, rule="guessing")
    return saying.identify(host, one._replace(**more))


def shift(one):
    return Shift(one.subject, one.ports, one)


def take(one, *entries, why="taken back"):
    one.take([shift(each) for each in entries], why, NOW)
    found, one.closings[:] = list(one.closings), []
    return found


def test_a_ban_of_another_host_is_told_once_and_an_own_one_never():
    one = accepting()
    (found,) = take(one, entry(ports=(22,)))
    assert (found.host, found.subject, found.ports, found.hosts) == ("web2", WHO, (22,), 1)
    assert take(one, entry(host="web1", subject=Subject("192.0.2.8"))) == []
    assert len(one) == 1
    one.tick(NOW + 31 * MINUTE)
    assert len(one) == 0


def test_what_nobody_may_close_is_refused_counted_and_shown():
    one = accepting()
    for subject in ("192.0.2.200", ENGINE, "192.0.0.0/16", "127.0.0.1", "2001:db8::/32"):
        assert take(one, entry(subject=Subject(subject))) == []
    assert one.refused.total() == 5
    assert one.refused["web2", "allowlist"] == 1
    assert one.drift == 5
    assert take(one, entry(subject=Subject("198.18.0.0/16"), rule="", by="anna"))
    assert take(one, entry(subject=Subject("0.0.0.0/0"), rule="", by="anna")) == []
    assert take(one, entry(subject=Subject("198.18.5.0/24")))


def test_one_hosts_word_is_not_enough_where_two_are_asked_for_but_a_persons_is():
    one = accepting()
    one.min_hosts = 2
    assert take(one, entry()) == []
    assert one.refused["web2", "min-hosts"] == 1
    assert take(one, entry(rule="", by="anna"))


def test_shares_without_a_proof_are_one_hosts_word():
    one = accepting()
    one.min_hosts = 2
    said = entry(shares=(("mx1", 2), ("web2", 2)), needed=4)
    assert take(one, said) == []
    assert len(one.commands()) == 1  # its proof is looked for
    one.answered([None], NOW)
    assert one.closings == []
    assert one.refused["web2", "min-hosts"] == 1


def test_what_is_pardoned_while_its_proof_is_fetched_is_not_told():
    one = accepting()
    said = entry(shares=(("mx1", 2), ("web2", 2)), needed=4, proof=(bytes(16),))
    assert take(one, said) == []
    assert len(one.commands()) == 1
    one.take([Shift(WHO, (), None)], "taken back", NOW)
    one.answered([[None]], NOW)
    assert one.closings == []
    assert take(one, said) == []  # said again: its proof is fetched again
    assert len(one.commands()) == 1
    one.answered([[None]], NOW)
    assert len(one.closings) == 1


def test_a_host_that_bans_too_much_waits_and_the_others_do_not():
    one = accepting(words=10)
    many = [entry(subject=Subject(f"198.51.100.{number}")) for number in range(30)]
    assert len(take(one, *many)) == 10
    assert len(take(one, entry(host="mx1"))) == 1
    one.tick(NOW + 30 * SECOND)
    assert len(one.closings) == 5
    assert one.refused["web2", "quota"] > 0


def test_what_falls_opens_just_what_it_closed():
    one = accepting()
    first, second = entry(), entry(host="mx1", until=NOW + MINUTE)
    (told,) = take(one, first)
    one.take([shift(second)], "revoked", NOW)
    (opening,), (closing,) = one.openings, one.closings
    assert (opening.id, opening.why, opening.host) == (told.id, "revoked", "web2")
    assert closing.host == "mx1"
    one.openings.clear()
    one.take([Shift(WHO, (), None)], "taken back", NOW)
    assert [each.host for each in one.openings] == ["mx1"]
    one.take([Shift(WHO, (), None)], "taken back", NOW)
    assert len(one.openings) == 1


def test_a_pardon_of_another_host_is_passed_on_and_an_own_one_is_known():
    one = accepting()
    pardon = saying.identify("web2", Entry("", "unban", "", NOW, WHO, by="anna"))
    own = saying.identify("web1", Entry("", "unban", "", NOW, WHO, by="bert"))
    assert one.hear([pardon, own, entry()], NOW) == [pardon]
    assert [(each.why, each.by) for each in one.openings] == [("unban", "anna")]


def test_where_bans_of_others_are_not_wanted_their_pardons_are():
    one = accepting()
    one.bans = False
    assert take(one, entry()) == []
    pardon = saying.identify("web2", Entry("", "unban", "", NOW, WHO, by="anna"))
    assert one.hear([pardon], NOW)
