"""Who is a member: certificates, revocations and requests to join, honest, old and forged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.fleet.village import DESK, FLEET, NOW, Host, Seal, claim, revocation, verify

from tidegate.fleet import wire
from tidegate.fleet.trust import members as module
from tidegate.fleet.trust.members import (
    Certificate,
    Join,
    May,
    Revocation,
    Roster,
    decode_certificate,
    decode_join,
    decode_revocations,
    encode_certificate,
    encode_join,
    encode_revocations,
    join_proof,
    judge_join,
)
from tidegate.fleet.wire import Kind, Malformed, Message
from tidegate.model import SECOND, Subject

ADDRESSES = (Subject("198.51.100.1"), Subject("2001:db8::/64"))


def roster():
    return Roster(FLEET, DESK.public, verify)


def test_papers_come_back():
    found = Certificate("a", bytes(32), May.CLAIM | May.DECIDE, ADDRESSES)
    assert decode_certificate(encode_certificate(found)) == found
    revoked = {"a": Revocation(5, NOW), "b": Revocation(7, NOW + SECOND)}
    assert decode_revocations(encode_revocations(revoked)) == revoked
    join = Join(bytes(32), bytes(32), ADDRESSES)
    assert decode_join(encode_join(join)) == join


@given(st.binary(max_size=120))
def test_hostile_papers_are_malformed_at_worst(noise):
    for decode in (decode_certificate, decode_revocations, decode_join):
        try:
            decode(noise)
        except Malformed:
            continue
    gone, why = roster().take(noise)
    assert not gone
    assert why


@given(st.sampled_from([Kind.CERTIFICATE, Kind.REVOCATIONS]), st.binary(max_size=60))
def test_not_even_the_desk_can_break_it(kind, noise):
    ours = roster()
    ours.take(wire.seal(Message(kind, "desk", 1, NOW, noise), FLEET, DESK.sign))
    assert len(ours.members) <= 1


def test_what_cannot_be_said_is_not_encoded():
    for wrong in (Certificate("A", bytes(32), May.CLAIM), Certificate("a", bytes(31), May.CLAIM)):
        with pytest.raises(ValueError, match=r"."):
            encode_certificate(wrong)
    with pytest.raises(ValueError, match="addresses"):
        encode_certificate(Certificate("a", bytes(32), May.CLAIM, ADDRESSES * 9))
    with pytest.raises(ValueError, match="too many"):
        encode_revocations({f"{n:060}": Revocation(1, NOW) for n in range(16_000)})
    revoked = {f"{n:040}": Revocation(1, NOW) for n in range(15_000)}
    assert decode_revocations(encode_revocations(revoked)) == revoked


def test_one_list_of_the_revoked_has_one_spelling():
    a, b = (encode_revocations({name: Revocation(5, NOW)})[4:] for name in "ab")
    size = (2).to_bytes(4)
    assert set(decode_revocations(size + a + b)) == {"a", "b"}
    for wrong in (b + a, a + a):
        with pytest.raises(Malformed, match="order"):
            decode_revocations(size + wrong)


def test_a_newer_certificate_replaces_an_older_one_and_never_the_other_way():
    ours, old, new = roster(), Host("a", Seal("old")), Host("a", Seal("new"))
    assert ours.take(new.certificate(2, addresses=ADDRESSES)) == (frozenset(), "")
    assert ours.take(old.certificate(1)) == (frozenset(), "")
    assert ours.members["a"].certificate.key == new.seal.public
    assert ours.addresses() == ADDRESSES


def test_the_list_of_the_revoked_only_grows():
    ours = roster()
    for place, name in enumerate("abc", 1):
        ours.take(Host(name).certificate(place))
    assert ours.take(revocation(5, a=9)) == ({"a"}, "")
    assert ours.take(revocation(6, b=9)) == ({"b"}, "")
    assert ours.take(revocation(5)) == (frozenset(), "")
    assert ours.revoked == {"a": Revocation(9, NOW), "b": Revocation(9, NOW)}
    ours.take(revocation(7, NOW - SECOND, a=10))
    ours.take(revocation(8, NOW + SECOND, b=8))
    assert ours.revoked == {"a": Revocation(10, NOW), "b": Revocation(9, NOW + SECOND)}
    assert set(ours.papers) == {"c", ""}
    assert ours.refusal(Message(Kind.CLAIMS, "a", 1, NOW, b"")) == "revoked"
    assert ours.refusal(Message(Kind.CLAIMS, "z", 1, NOW, b"")) == "unknown"
    assert ours.refusal(Message(Kind.JOIN, "c", 1, NOW, b"")) == "not allowed"
    assert ours.refusal(Message(Kind.CLAIMS, "c", 1, NOW, b"")) == ""


def test_nobody_is_enrolled_as_the_desk_and_there_is_an_end_of_members(monkeypatch):
    ours = roster()
    assert ours.take(Host("desk").certificate(1)) == (frozenset(), "a host with the desk's name")
    monkeypatch.setattr(module, "MAX_MEMBERS", 1)
    ours.take(Host("a").certificate(2))
    assert "more than" in ours.take(Host("b").certificate(3))[1]
    assert ours.take(Host("a").certificate(4)) == (frozenset(), "")


def test_only_the_desk_enrols():
    ours, a = roster(), Host("a")
    assert ours.take(a.says(claim(1)))[1] == "not of the desk"
    message = wire.unseal(a.certificate(1), FLEET).message
    assert ours.take(wire.seal(message, FLEET, a.seal.sign))[1] == "forged"
    assert ours.take(wire.seal(message, bytes(16), DESK.sign))[1] == "forged"
    assert not ours.members


def test_who_holds_token_and_key_may_join_and_nobody_else():
    secret, a = b"secret of one use", Host("a")

    def asks(proof, seal=a.seal, name="a"):
        body = encode_join(Join(a.seal.public, proof))
        return wire.unseal(
            wire.seal(Message(Kind.JOIN, name, 1, NOW, body), FLEET, seal.sign), FLEET
        )

    right = join_proof(secret, FLEET, "a", a.seal.public)
    found, why = judge_join(asks(right), FLEET, secret, verify)
    assert (found, why) == (Join(a.seal.public, right), "")
    for wrong in (
        asks(join_proof(b"another secret", FLEET, "a", a.seal.public)),
        asks(join_proof(secret, bytes(16), "a", a.seal.public)),
        asks(right, name="b"),
    ):
        assert judge_join(wrong, FLEET, secret, verify) == (None, "it does not hold the token")
    assert judge_join(asks(right, Seal("thief")), FLEET, secret, verify) == (
        None,
        "it does not hold the key it names",
    )
    noise = asks(right)._replace(message=Message(Kind.JOIN, "a", 1, NOW, b"?"))
    assert "malformed" in judge_join(noise, FLEET, secret, verify)[1]
