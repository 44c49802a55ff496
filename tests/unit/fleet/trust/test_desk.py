"""The desk on paper: it founds, enrols with tokens, revokes, and forgets nothing of it."""

from __future__ import annotations

import pytest
from tests.unit.fleet.village import NOW

from tidegate.errors import OperatorError
from tidegate.fleet import wire
from tidegate.fleet.trust import desk as module
from tidegate.fleet.trust import keys, members
from tidegate.fleet.trust.desk import Refused, Written, checked_addresses, found, open_desk
from tidegate.fleet.trust.members import Certificate, May, Roster
from tidegate.fleet.trust.post import join_request, read_request, read_welcome
from tidegate.model import HOUR, MINUTE, SECOND, Subject

pytest.importorskip("cryptography")
HERE = (Subject("198.51.100.1"), Subject("2001:db8::1"))
THERE = (Subject("198.51.100.2"),)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "fleet"


@pytest.fixture
def desk(folder):
    return found(folder, "web1", HERE, NOW)


def believed(desk, *papers):
    """What a host makes of the desk's papers, with signatures verified."""
    roster = Roster(desk.identity.fleet, desk.identity.desk, keys.verify)
    for paper in papers or desk.papers():
        _gone, why = roster.take(paper)
        assert why == ""
    return roster


def ask(desk, tmp_path, host, *, token=None, addresses=THERE, name=""):
    token = token or desk.give(host, NOW)
    signer = module.key_of(tmp_path / f"of-{host}")
    data = join_request(token, signer, addresses, NOW)
    sealed = read_request(data, desk.identity.fleet, name or host)
    return sealed, token, signer


def test_who_founds_a_fleet_is_its_desk_and_its_first_member(folder, desk):
    assert keys.load_identity(folder) == desk.identity
    roster = believed(desk)
    certificate = roster.members["web1"].certificate
    assert certificate == Certificate("web1", keys.load(folder).public, May(7), HERE)
    again = open_desk(folder)
    assert again.identity == desk.identity
    assert again.papers() == desk.papers()
    assert keys.next_epoch(folder) == 1
    with pytest.raises(OperatorError, match=r"web1 of fleet .* already"):
        found(folder, "web2", (), NOW)
    assert {one.name: one.stat().st_mode & 0o777 for one in folder.iterdir()} == {
        "desk.key": 0o600, "host.key": 0o600, "fleet": 0o600, "epoch": 0o600, "papers": 0o700,
    }  # fmt: skip


def test_what_a_crash_left_of_a_founding_is_taken_up(folder):
    signers = [module.key_of(folder, "desk"), module.key_of(folder)]
    made = found(folder, "web1", (), NOW)
    assert made.identity.desk == signers[0].public
    assert made.roster.members["web1"].certificate.key == signers[1].public


def test_another_member_is_the_desk_once_it_has_its_key_and_papers(desk, folder, tmp_path):
    sealed, _token, signer = ask(desk, tmp_path, "web2")
    desk.admit(sealed, May.CLAIM, NOW)
    other = tmp_path / "of-web2"
    keys.save_identity(other, desk.identity._replace(host="web2"))
    (folder / "papers").rename(other / "papers")
    (folder / "desk.key").rename(other / "desk.key")
    moved = open_desk(other)
    assert set(moved.roster.members) == {"web1", "web2"}
    moved.revoke(["web1"], NOW, NOW)
    roster = believed(moved)
    assert set(roster.members) == {"web2"}
    assert roster.members["web2"].certificate.key == signer.public
    with pytest.raises(OperatorError, match="not the desk"):
        open_desk(folder)
    keys.make(folder, "desk")
    with pytest.raises(OperatorError, match="of another fleet"):
        open_desk(folder)


def test_a_member_gets_other_rights_with_the_key_it_has(desk, tmp_path):
    old = desk.admit(ask(desk, tmp_path, "web2")[0], May.CLAIM, NOW).paper
    written = desk.entitle("web2", May.CLAIM | May.PUBLISH, NOW)
    assert written.instead == (old,)
    before, after = (
        believed(desk, *some).members["web2"].certificate for some in ((old,), (old, written.paper))
    )
    assert after == before._replace(may=May.CLAIM | May.PUBLISH)
    with pytest.raises(OperatorError, match="web3: no member"):
        desk.entitle("web3", May.CLAIM, NOW)


def test_out_of_a_copy_the_desk_gets_a_new_key_of_its_own(desk, folder):
    old = desk.papers()
    written = desk.renew(NOW)
    assert written.instead == tuple(old)
    certificate = believed(desk, *old, written.paper).members["web1"].certificate
    assert certificate == Certificate("web1", keys.load(folder).public, May(7), HERE)
    assert not (folder / "old-host.key").exists()


def test_only_the_desk_is_a_desk(folder, tmp_path):
    with pytest.raises(OperatorError, match="not the desk"):
        open_desk(folder)


@pytest.mark.parametrize("name", ["desk", "Web1", "", "a b", "x" * 64, "../up"])
def test_names_that_no_host_can_have(folder, name, desk):
    with pytest.raises(OperatorError, match="expected a name"):
        desk.give(name, NOW)


@pytest.mark.parametrize(
    "address", ["192.0.2.0/24", "2001:db8::/64", "127.0.0.1", "uid:33", "fe80::1"]
)
def test_addresses_that_no_host_can_have(address):
    with pytest.raises(OperatorError, match=r"expected a single|nobody else"):
        checked_addresses([Subject(address)])
    with pytest.raises(OperatorError, match="17 addresses"):
        checked_addresses([Subject(f"192.0.2.{n}") for n in range(17)])


def test_a_host_with_a_token_is_enrolled_once(desk, tmp_path):
    sealed, token, signer = ask(desk, tmp_path, "web2")
    assert desk.tokens.waiting(NOW) == {"web2": NOW + HOUR}
    written = desk.admit(sealed, May.CLAIM, NOW + MINUTE)
    assert isinstance(written, Written)
    assert written.instead == ()
    certificate = read_welcome(written.paper, token, signer.public)
    assert certificate == Certificate("web2", signer.public, May.CLAIM, THERE)
    assert set(believed(desk).members) == {"web1", "web2"}
    assert desk.tokens.waiting(NOW) == {}
    refused = desk.admit(sealed, May.CLAIM, NOW + MINUTE)
    assert refused == Refused("web2", "no token for it is open, or it has run out")


def test_who_holds_no_token_or_says_nonsense_is_not_enrolled(desk, tmp_path):
    sealed, token, signer = ask(desk, tmp_path, "web2")
    assert desk.admit(sealed, May.CLAIM, NOW + HOUR) == Refused(
        "web2", "no token for it is open, or it has run out"
    )
    stolen = token._replace(secret=bytes(16))
    other, *_ = ask(desk, tmp_path, "web2", token=stolen)
    assert desk.admit(other, May.CLAIM, NOW) == Refused("web2", "it does not hold the token")
    wide, *_ = ask(desk, tmp_path, "web2", token=token, addresses=(Subject("203.0.113.0/24"),))
    (refused,) = [desk.admit(wide, May.CLAIM, NOW)]
    assert isinstance(refused, Refused)
    assert "single address" in refused.why
    claims = sealed._replace(message=sealed.message._replace(kind=wire.Kind.CLAIMS))
    assert desk.admit(claims, May.CLAIM, NOW) == Refused("web2", "it does not ask to join")
    for noise in (b"", bytes(300), b"TG\1\5"):
        assert read_request(noise, desk.identity.fleet, "web2") is None
    assert read_request(join_request(token, signer, (), NOW), desk.identity.fleet, "web3") is None
    assert isinstance(desk.admit(sealed, May.CLAIM, NOW), Written)  # its token is still good


def test_a_host_takes_only_its_own_certificate_by_its_own_desk(desk, folder, tmp_path):
    sealed, token, signer = ask(desk, tmp_path, "web2")
    right = desk.admit(sealed, May.CLAIM, NOW).paper
    other = keys.make(tmp_path / "other")
    assert read_welcome(right, token, signer.public)
    for data in (None, b"", bytes(200), desk.papers()[0], right[:-1] + bytes(1)):
        assert read_welcome(data, token, signer.public) is None
    assert read_welcome(right, token, other.public) is None
    assert read_welcome(right, token._replace(desk=other.public), signer.public) is None
    assert read_welcome(right, token._replace(fleet=bytes(16)), signer.public) is None
    thief = members.certify(Certificate("web2", signer.public, May(7)), 9, NOW)
    forged = wire.seal(thief, token.fleet, other.sign)
    assert read_welcome(forged, token, signer.public) is None


def test_who_is_revoked_is_no_member_until_enrolled_anew(desk, folder, tmp_path):
    paper = desk.admit(ask(desk, tmp_path, "web2")[0], May.CLAIM, NOW).paper
    late = desk.give("web2", NOW)
    first = desk.revoke(["web2", "web9"], NOW + SECOND, NOW)
    assert first.instead == (paper,)
    assert desk.tokens.waiting(NOW) == {}
    roster = believed(desk, paper, *desk.papers())
    assert set(roster.members) == {"web1"}
    assert {host: one.time for host, one in roster.revoked.items()} == {
        "web2": NOW + SECOND, "web9": NOW + SECOND,
    }  # fmt: skip
    sealed, *_ = ask(desk, tmp_path, "web2", token=late)
    assert isinstance(desk.admit(sealed, May.CLAIM, NOW), Refused)
    again = open_desk(folder)
    second = again.revoke(["web2"], NOW + MINUTE, NOW)
    assert second.instead == (first.paper,)
    assert believed(again).revoked["web2"].time == NOW + MINUTE
    assert again.revoke(["web2"], NOW, NOW)
    assert believed(again).revoked["web2"].time == NOW + MINUTE  # never earlier
    refused = again.admit(ask(again, tmp_path, "web2")[0], May.CLAIM, NOW)
    assert isinstance(refused, Refused)
    assert "its key was revoked" in refused.why
    (tmp_path / "of-web2" / "host.key").unlink()
    assert isinstance(again.admit(ask(again, tmp_path, "web2")[0], May.CLAIM, NOW), Written)
    assert set(believed(open_desk(folder)).members) == {"web1", "web2"}


def test_a_new_key_of_a_host_takes_the_place_of_the_old_one(desk, tmp_path):
    old = desk.admit(ask(desk, tmp_path, "web2")[0], May.CLAIM, NOW).paper
    (tmp_path / "of-web2" / "host.key").unlink()
    written = desk.admit(ask(desk, tmp_path, "web2")[0], May.CLAIM, NOW)
    assert written.instead == (old,)
    assert (
        believed(desk, old, written.paper).members["web2"].certificate.key
        != believed(desk, old).members["web2"].certificate.key
    )


def test_numbers_grow_though_papers_are_lost_or_the_clock_is_put_back(desk, folder):
    """Out of an old backup the clock tells the next number; after a clock ahead the papers do."""
    number = desk.roster.members["web1"].number
    (folder / "papers" / "web1").unlink()
    again = open_desk(folder)
    certificate = Certificate("web1", keys.load(folder).public, May(7))
    again.enrol(certificate, NOW + SECOND)
    assert again.roster.members["web1"].number > number
    ahead = again.roster.members["web1"].number
    again.enrol(certificate, NOW - HOUR)
    assert again.roster.members["web1"].number == ahead + 1
    again.revoke(["x"], NOW, NOW - HOUR)
    assert again.roster.number == ahead + 2
    again.enrol(certificate, NOW - HOUR)
    assert again.roster.members["web1"].number == ahead + 3


def test_a_damaged_paper_is_named(desk, folder):
    (folder / "papers" / "web1").write_bytes(b"?")
    with pytest.raises(OperatorError, match=r"papers/web1: malformed.*backup"):
        open_desk(folder)


def test_a_crash_between_the_token_and_the_paper_costs_a_new_token_only(
    desk, folder, tmp_path, monkeypatch
):
    sealed, *_ = ask(desk, tmp_path, "web2")

    def crash(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(desk, "_write", crash)
    with pytest.raises(KeyboardInterrupt):
        desk.admit(sealed, May.CLAIM, NOW)
    again = open_desk(folder)
    assert isinstance(again.admit(sealed, May.CLAIM, NOW), Refused)
    assert isinstance(again.admit(ask(again, tmp_path, "web2")[0], May.CLAIM, NOW), Written)


def test_many_members_are_read_without_looking_at_their_signatures(desk, folder, monkeypatch):
    for number in range(300):
        desk.enrol(Certificate(f"host-{number}", bytes(32), May.CLAIM), NOW)
    monkeypatch.setattr(keys, "verify", None)
    assert len(open_desk(folder).roster.members) == 301
