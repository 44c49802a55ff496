"""What is published reaches every host by way of an engine that may forget, withhold and lie."""

import pytest
from tests.unit.fleet.press import NOW, Press, judge, revocation, roster
from tests.unit.fleet.village import Seal

from tidegate.fleet.fields import Malformed
from tidegate.fleet.journal import carrier, journal
from tidegate.fleet.journal.carrier import Carrier, hand_in
from tidegate.fleet.trust.members import May
from tidegate.model import MINUTE, SECOND


class Engine:
    """The few commands that carriers use."""

    def __init__(self):
        self.kept, self.got = {}, []

    def __call__(self, *command):
        word, key, *rest = command
        if word == b"FCALL_RO":
            *keys, most = rest[1:]
            self.got += [one for one in keys if one.startswith(carrier.CONTENT)]
            values = (self.kept.get(one) for one in keys)
            return [one if one and len(one) <= int(most) else None for one in values]
        assert word == b"SET"
        if b"NX" not in rest or key not in self.kept:
            self.kept[key] = rest[0]
        return b"OK"

    def exchange(self, one, now):
        return one.take([self(*command) for command in one.commands(now)], now)

    def settle(self, one, now=NOW):
        return [bundle for turn in range(4) for bundle in self.exchange(one, now + turn * SECOND)]

    def publish(self, press, number, *more, **how):
        one = press.one(number, *more, **how)
        for command in hand_in(one.entry, one.content, journal.parts_of(one.bundle)[2]):
            self(*command)
        return one


@pytest.fixture
def engine():
    return Engine()


@pytest.fixture
def press():
    return Press()


def test_what_is_published_arrives_whole_and_once(engine, press):
    one = Carrier("web1", roster(press))
    assert engine.settle(one) == []
    published = engine.publish(press, 1)
    (bundle,) = engine.settle(one, NOW + MINUTE)
    assert judge(bundle) == published
    assert engine.settle(one, NOW + 2 * MINUTE) == []


def test_who_hears_of_it_does_not_wait_for_its_round(engine, press):
    one = Carrier("web1", roster(press))
    engine.settle(one)
    published = engine.publish(press, 1)
    one.heard(journal.parts_of(published.bundle)[2])
    assert engine.exchange(one, NOW + 4 * SECOND) == [published.bundle]


def test_who_comes_late_gets_what_holds_for_all_and_what_is_tried(engine, press):
    engine.publish(press, 1)
    engine.publish(press, 2, b"# 2")
    engine.publish(press, 3, b"# 3", canaries=("web1",), trial=60)
    found = engine.settle(Carrier("web1", roster(press)))
    assert sorted(judge(one).entry.number for one in found) == [2, 3]


def test_nothing_is_fetched_that_nobody_signed_who_may(engine, press):
    thief = Press()
    thief.host.seal = Seal("a thief")
    sealed, content = thief.sealed(9)
    engine(b"SET", carrier.NEWEST, sealed)
    engine(b"SET", carrier.STABLE, b"rubbish")
    engine(b"SET", carrier.content_key(journal.digest(content)), content)
    one = Carrier("web1", roster(press))
    assert engine.settle(one) == []
    assert one.refused
    assert not engine.got


def test_another_content_under_its_name_is_refused_and_the_right_one_found(engine, press):
    published = engine.publish(press, 1)
    key = carrier.content_key(published.entry.digest)
    right, engine.kept[key] = engine.kept[key], b"another"
    one = Carrier("web1", roster(press))
    assert engine.settle(one) == []
    engine.kept[key] = right
    assert engine.settle(one, NOW + MINUTE) == [published.bundle]


def test_what_the_engine_forgot_is_put_back(engine, press):
    published = engine.publish(press, 1)
    one = Carrier("web1", roster(press))
    engine.settle(one)
    engine.kept.clear()
    engine.settle(one, NOW + MINUTE)
    engine.settle(one, NOW + 2 * MINUTE)
    assert engine.settle(Carrier("web2", roster(press))) == [published.bundle]


def test_an_older_one_that_is_put_over_it_gives_way(engine, press):
    old = engine.publish(press, 1)
    new = engine.publish(press, 2, b"# 2")
    one = Carrier("web1", roster(press))
    assert engine.settle(one) == [new.bundle]
    for command in hand_in(old.entry, old.content, journal.parts_of(old.bundle)[2]):
        engine(*command)
    assert engine.settle(one, NOW + MINUTE) == []
    engine.settle(one, NOW + 2 * MINUTE)
    assert engine.settle(Carrier("web2", roster(press))) == [new.bundle]


def test_what_a_host_has_kept_is_not_fetched_again(engine, press):
    published = engine.publish(press, 1)
    one = Carrier("web1", roster(press))
    one.hold([published])
    assert engine.settle(one) == []
    engine.kept.clear()
    engine.settle(one, NOW + MINUTE)
    engine.settle(one, NOW + 2 * MINUTE)
    assert engine.settle(Carrier("web2", roster(press))) == [published.bundle]


def test_a_new_list_of_the_revoked_is_handed_on_and_its_publishers_wanted_no_more(engine, press):
    members = roster(press, Press("depot", number=2))
    one = Carrier("web1", members)
    engine.publish(press, 5)
    assert len(engine.settle(one)) == 1
    gone = revocation(3, office=1)
    members.take(gone)
    assert engine.settle(one, NOW + MINUTE) == [gone]
    engine.kept.clear()
    engine.settle(one, NOW + 90 * SECOND)
    assert engine.kept == {}
    later = engine.publish(Press("depot", number=2), 2, b"# 2")
    assert [judge(each).id for each in engine.settle(one, NOW + 2 * MINUTE)] == [later.id]
    assert engine.settle(one, NOW + 3 * MINUTE) == []


def test_an_engine_that_makes_no_sense_is_left(press):
    one = Carrier("web1", roster(press))
    one.commands(NOW)
    with pytest.raises(Malformed):
        one.take([], NOW)
    one.lost()
    assert one.commands(NOW)
    assert one.take([b"nonsense"], NOW) == []


def test_what_was_found_before_its_publisher_was_known_is_believed_then(engine, press):
    members = roster()
    one = Carrier("web1", members)
    published = engine.publish(press, 1)
    assert engine.settle(one) == []
    members.take(press.certificate)
    assert engine.settle(one, NOW + MINUTE) == [published.bundle]


def test_of_who_may_publish_no_more_the_newest_certificate_is_brought_once():
    engine, press = Engine(), Press()
    engine.publish(press, 1)
    one = Carrier("web1", roster(press))
    (bundle,) = engine.settle(one)
    assert judge(bundle).entry.number == 1
    assert engine.settle(one, NOW + MINUTE) == []
    newest = press.host.certificate(5, May.CLAIM)
    assert one.roster.take(newest)[1] == ""
    assert engine.settle(one, NOW + 2 * MINUTE) == [newest]
    assert engine.settle(one, NOW + 3 * MINUTE) == []
