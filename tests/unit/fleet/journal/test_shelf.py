"""The shelf keeps what was rightly signed, and goes back by one at the most."""

import pytest
from tests.unit.fleet.press import NOW, Press, revocation, shelf
from tests.unit.fleet.village import Seal

from tidegate.fleet.journal.librarian import answer
from tidegate.fleet.trust.members import May


@pytest.fixture
def press():
    return Press()


def numbers(shelf):
    return [one.entry.number for one in shelf.policies()]


def id_of(shelf, number):
    return next(one.id.hex() for one in shelf.policies() if one.entry.number == number)


def test_an_empty_shelf_has_nothing_in_use(tmp_path):
    assert shelf(tmp_path).current() == (None, "")
    assert shelf(tmp_path / "missing").policies() == []


def test_what_is_put_there_is_used_when_it_is_chosen(tmp_path, press):
    one = shelf(tmp_path)
    assert one.put(press.bundle(1)) == ""
    assert one.current() == (None, "")
    assert one.use(id_of(one, 1)) == ""
    found, said = shelf(tmp_path).current()
    assert (found.entry.number, said) == (1, "")


def test_what_nobody_signed_who_may_is_not_kept(tmp_path, press):
    one = shelf(tmp_path)
    assert "not allowed" in one.put(Press("web1", May.CLAIM).bundle(1))
    press.host.seal = Seal("a thief")
    assert "not signed" in one.put(press.bundle(1))
    assert one.put(b"rubbish") != ""
    assert list(tmp_path.iterdir()) == []


def test_there_is_no_way_back_by_more_than_one(tmp_path, press):
    one = shelf(tmp_path)
    bundles = {number: press.bundle(number, b"# %d" % number) for number in range(1, 5)}
    for number in (1, 2, 4, 3):
        assert one.put(bundles[number]) == ""
    assert numbers(one) == [4, 3]
    assert "older" in one.put(bundles[2])
    assert one.use(id_of(one, 3)) == "" == one.use(id_of(one, 4))
    assert one.use("") != "" != one.use("0" * 32)


def test_a_first_policy_can_be_left_and_a_canary_does_not_push_out_what_holds(tmp_path, press):
    one = shelf(tmp_path)
    one.put(press.bundle(1))
    one.use(id_of(one, 1))
    assert one.use("") == ""
    one.put(press.bundle(2, b"# 2"))
    one.put(press.bundle(3, b"# 3", canaries=("web1",), trial=60))
    one.put(press.bundle(4, b"# 4", canaries=("web1",), trial=60))
    assert numbers(one) == [4, 2, 1]


def test_what_is_in_use_stays_while_others_come(tmp_path, press):
    one = shelf(tmp_path)
    for number in range(1, 5):
        one.put(press.bundle(number, b"# %d" % number))
        if number == 1:
            one.use(id_of(one, 1))
    assert numbers(one) == [4, 3, 1]


def test_a_revoked_publisher_is_taken_off_also_where_it_is_in_use(tmp_path, press):
    one = shelf(tmp_path)
    other = Press("depot", number=2)
    one.put(other.bundle(1))
    one.put(press.bundle(2, b"# 2"))
    one.use(id_of(one, 2))
    assert one.revoke(revocation(3, office=1)) == ""
    found, said = one.current()
    assert found.host == "depot"
    assert "revoked" in said
    assert "revoked" in one.put(press.bundle(3))
    assert one.revoke(revocation(2)) == ""  # an older list changes nothing
    assert one.current()[0].host == "depot"
    assert one.revoke(b"rubbish") != ""
    assert one.revoke(other.certificate) == ""
    assert one.current()[0].host == "depot"


def test_who_may_publish_no_more_is_taken_off_whatever_certificate_a_policy_has(tmp_path, press):
    one = shelf(tmp_path)
    other = Press("depot", number=2)
    old = press.bundle(3, b"# 3")
    for bundle in (other.bundle(1), press.bundle(2, b"# 2")):
        assert one.put(bundle) == ""
    one.use(id_of(one, 2))
    assert one.revoke(press.host.certificate(5, May.CLAIM)) == ""
    found, said = shelf(tmp_path).current()  # as each process that loads it sees it
    assert found.host == "depot"
    assert "revoked" in said
    assert "not allowed" in one.put(old)
    assert one.revoke(press.certificate) == ""  # an older one changes nothing
    assert "not allowed" in one.put(old)
    assert one.revoke(Press("web1", May.CLAIM, 6).certificate) == ""  # of nobody who published
    assert one.revoke(press.host.certificate(7, May.CLAIM | May.PUBLISH)) == ""
    assert one.put(old) == ""
    (tmp_path / "certificates").write_bytes(b"rubbish")
    assert one.current()[0] is not None


def test_a_list_comes_also_with_a_policy(tmp_path, press):
    one = shelf(tmp_path)
    one.put(press.bundle(1))
    other = Press("depot", number=2)
    assert one.put(other.bundle(2, revocations=revocation(3, office=1))) == ""
    assert [each.host for each in one.policies()] == ["depot"]


def test_what_somebody_writes_into_the_folder_is_believed_by_nobody(tmp_path, press):
    one = shelf(tmp_path)
    one.put(press.bundle(1))
    one.use(id_of(one, 1))
    place = next(tmp_path.glob("*.policy"))
    thief = Press("office")
    thief.host.seal = Seal("a thief")
    place.write_bytes(thief.bundle(1))
    found, said = one.current()
    assert found is None
    assert "lost" in said
    (tmp_path / "revoked").write_bytes(b"rubbish")
    place.write_bytes(press.bundle(2, b"# another, under the name of the first"))
    assert one.policies() == []
    place.write_bytes(press.bundle(1))
    assert one.current()[0].entry.number == 1
    place.unlink()
    place.symlink_to("/dev/zero")
    assert one.current()[0] is None


def test_the_librarian_answers_whatever_it_is_told(tmp_path, press):
    one = shelf(tmp_path)
    for frame in ({"type": "put"}, {"type": "put", "bundle": "\u00fc"}, {"type": "use"},
                  {"type": "use", "id": 3}, {"type": "revoke", "paper": "AA"}, {"type": "x"}):  # fmt: skip
        told = answer(frame, one, "web1")
        assert (told["books"], told["current"]) == ([], "")
        assert told["why"] or frame == {"type": "revoke", "paper": "AA"}
    (tmp_path / "file").write_text("")
    broken = answer({"type": "shelf"}, shelf(tmp_path / "file"), "web1")
    assert broken["why"]
    assert NOW
