"""What a fleet has published is believed only where a publisher signed it, whoever brings it."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.fleet.press import FLEET, NOW, Press, files, judge, revocation
from tests.unit.fleet.village import Seal

from tidegate.fleet.fields import Malformed
from tidegate.fleet.journal import journal
from tidegate.fleet.journal.journal import Entry
from tidegate.fleet.trust.members import May
from tidegate.model import SECOND


@pytest.mark.parametrize("back", [False, True])
def test_an_entry_is_read_as_it_was_written(back):
    entry = Entry(7, bytes(32), ("db1", "web1"), 600, back, "häufiger")
    assert journal.decode(journal.encode(entry)) == entry


@given(st.binary(max_size=200))
def test_bytes_that_are_no_entry_are_malformed_and_nothing_else(data):
    for read in (journal.decode, journal.unpack, judge):
        with pytest.raises(Malformed):
            read(data)


@pytest.mark.parametrize(
    "path",
    ["../etc/passwd", "/tidegate.toml", "policy.d/../x.toml", "README.md", "policy.d/.x.toml",
     "detectors/a/b.toml", "sysfence/", "policy.d/x.toml\n", "tidegate.toml/x"],
)  # fmt: skip
def test_nothing_of_another_name_is_published_or_taken(path):
    with pytest.raises(ValueError, match="nothing of this name"):
        journal.pack({path: b""})
    part = bytes((len(path),)) + path.encode() + bytes(4)
    with pytest.raises(Malformed):
        journal.unpack(zlib.compress(b"\0\1" + part, 9))


def test_the_same_files_make_the_same_content():
    found = {"tidegate.toml": b"x", "detectors/a.toml": b"y", "sysfence/web": b"z"}
    content = journal.pack(found)
    assert journal.pack(dict(reversed(found.items()))) == content
    assert journal.unpack(content) == found


def test_a_content_that_swells_is_refused():
    bomb = zlib.compress(bytes(journal.MOST_PLAIN + 1), 9)
    with pytest.raises(Malformed):
        journal.unpack(bomb)
    with pytest.raises(ValueError, match="bytes"):
        journal.pack({"tidegate.toml": bytes(journal.MOST_PLAIN)})


def test_a_content_has_one_spelling():
    part = b"\x0dtidegate.toml" + bytes(4)
    twice = zlib.compress(b"\0\2" + part + part, 9)
    whole = journal.pack(files())
    for wrong in (twice, whole[:-1], whole + b"x"):
        with pytest.raises(Malformed):
            journal.unpack(wrong)


def test_what_a_publisher_signed_proves_itself():
    one = judge(Press().bundle(7, canaries=("web1",), trial=600))
    assert (one.entry.number, one.host, one.sent) == (7, "office", NOW)
    assert journal.unpack(one.content) == files()
    assert one.until == NOW + 900 * SECOND
    assert judge(one.bundle) == one


def test_who_may_not_publish_publishes_nothing():
    for may in (May.CLAIM, May.CLAIM | May.DECIDE):
        with pytest.raises(Malformed, match="not allowed"):
            judge(Press(may=may).bundle(7))


def test_a_publisher_who_is_revoked_is_worth_nothing_whichever_list_says_so():
    gone = revocation(2, office=1)
    with pytest.raises(Malformed, match="revoked"):
        judge(Press().bundle(7, revocations=gone))
    with pytest.raises(Malformed, match="revoked"):
        judge(Press().bundle(7), [gone])
    assert judge(Press(number=2).bundle(7), [gone]).host == "office"


def test_another_content_another_key_another_desk_or_another_fleet_prove_nothing():
    press = Press()
    sealed, _content = press.sealed(7)
    other = journal.pack(files(b"mode = 'observe'\n"))
    with pytest.raises(Malformed, match="content"):
        judge(journal.encode_bundle(b"", press.certificate, sealed, other))
    press.host.seal = Seal("somebody else")
    with pytest.raises(Malformed, match="not signed"):
        judge(press.bundle(7))
    with pytest.raises(Malformed, match="desk"):
        judge(Press().bundle(7), desk=Seal("another desk").public)
    with pytest.raises(Malformed, match="forged"):
        judge(Press().bundle(7), fleet=bytes(16))
    assert bytes(16) != FLEET


def test_no_bit_of_a_bundle_can_be_turned():
    bundle = Press().bundle(7)
    for place in range(len(bundle)):
        turned = bundle[:place] + bytes((bundle[place] ^ 1,)) + bundle[place + 1 :]
        with pytest.raises(Malformed):
            judge(turned)


def test_one_host_in_a_hundred_tries_it_first_and_each_time_others():
    names = [f"web{number}" for number in range(300)]
    chosen = [journal.canaries(names, bytes((turn,)), 1) for turn in range(3)]
    assert [len(found) for found in chosen] == [3, 3, 3]
    assert len(set(chosen)) == 3
    assert len(journal.canaries(names[:3], b"", 1)) == 1
    assert len(journal.canaries(names, b"", 100)) == 300


def test_some_of_many_put_back_what_the_engine_forgot():
    names = [f"web{number}" for number in range(300)]
    assert sum(journal.is_turn(one, names, b"", 8) for one in names) == 8
    assert journal.is_turn("web1", ["web1"], b"", 8)
