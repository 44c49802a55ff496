"""Keys as files, real signatures, tokens that work once; what is lost or open to others is said."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest
from tests.unit.fleet.village import NOW, WHO, claim, rule

from tidegate.errors import OperatorError, WorldError
from tidegate.fleet import wire
from tidegate.fleet.trust import keys
from tidegate.fleet.trust.admission import Guarded
from tidegate.fleet.trust.cases import Conviction
from tidegate.fleet.trust.claims import terms_of
from tidegate.fleet.trust.keys import (
    Identity,
    Tokens,
    load,
    load_identity,
    make,
    make_token,
    next_epoch,
    read_token,
    save_identity,
    token_text,
    verify,
)
from tidegate.fleet.trust.members import (
    Certificate,
    Join,
    May,
    Roster,
    certify,
    encode_join,
    join_proof,
    judge_join,
)
from tidegate.fleet.trust.trust import Trust
from tidegate.model import HOUR

FLEET = bytes(range(16))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "fleet"


def test_a_key_signs_and_comes_back_and_is_never_replaced(folder):
    pytest.importorskip("cryptography")
    signer = make(folder)
    signature = signer.sign(b"said")
    assert load(folder).sign(b"said") == signature
    assert verify(signer.public, b"said", signature)
    assert not verify(signer.public, b"other", signature)
    assert not verify(signer.public, b"said", signature[:-1])
    assert not verify(b"short", b"said", signature)
    assert not verify(make(folder, "desk").public, b"said", signature)
    assert (folder / "host.key").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    with pytest.raises(OperatorError, match="never replaced"):
        make(folder)
    assert load(folder).public == signer.public
    assert not [one for one in folder.iterdir() if one.name.startswith(".")]


def test_a_key_that_others_can_read_or_that_is_none_is_refused(folder):
    make(folder)
    path = folder / "host.key"
    path.chmod(0o640)
    with pytest.raises(OperatorError, match="others can read it"):
        load(folder)
    path.chmod(0o600)
    path.write_bytes(b"nonsense")
    with pytest.raises(OperatorError, match="expected an Ed25519 key"):
        load(folder)
    path.unlink()
    with pytest.raises(OperatorError, match="there is none"):
        load(folder)
    path.symlink_to("/etc/passwd")
    with pytest.raises(WorldError):
        load(folder)
    with pytest.raises(WorldError):
        save_identity(folder / "missing", Identity(FLEET, bytes(32), "a"))


def test_a_key_of_another_kind_is_refused(folder):
    folder.mkdir()
    made = subprocess.run(
        ["openssl", "genpkey", "-algorithm", "X25519", "-out", folder / "host.key"],
        capture_output=True,
    )
    if made.returncode:
        pytest.skip("no openssl")
    (folder / "host.key").chmod(0o600)
    with pytest.raises(OperatorError, match="another kind"):
        load(folder)


def test_identity_and_epochs_survive_and_a_lost_epoch_is_said(folder):
    folder.mkdir()
    who = Identity(FLEET, bytes(32), "web-1.example")
    save_identity(folder, who)
    assert load_identity(folder) == who
    assert [next_epoch(folder) for _ in range(3)] == [1, 2, 3]
    save_identity(folder, who)
    assert next_epoch(folder) == 4
    for damaged in (b"", b"-1", b"x", b"9" * 10, b"\xff"):
        (folder / "epoch").write_bytes(damaged)
        with pytest.raises(OperatorError, match="replay"):
            next_epoch(folder)
    for damaged in (
        b"",
        b"[]",
        b"{}",
        b'{"fleet": "00", "desk": "00", "host": "a"}',
        b"[" * 60_000,
    ):
        (folder / "fleet").write_bytes(damaged)
        with pytest.raises(OperatorError, match="enrol"):
            load_identity(folder)


def test_a_token_comes_back_and_a_wrong_letter_is_seen():
    token = make_token(Identity(FLEET, bytes(range(32)), "desk-host"), "web-1")
    text = token_text(token)
    assert read_token(text) == token
    assert read_token(f" {text[:20]}\n{text[20:].upper()} ") == token
    for at in range(len(text)):
        wrong = text[:at] + ("b" if text[at] != "b" else "c") + text[at + 1 :]
        with pytest.raises(OperatorError, match="token"):
            read_token(wrong)
    for wrong in ("", "tgf1-", "tgf1-äöü", text[:-5], text + "aa", "x" * 10_000):
        with pytest.raises(OperatorError, match="token"):
            read_token(wrong)
    with pytest.raises(OperatorError, match="expected a name"):
        make_token(Identity(FLEET, bytes(32), "d"), "No Name")


def test_a_token_is_used_once_in_time_by_its_host(folder):
    folder.mkdir()
    identity = Identity(FLEET, bytes(32), "d")
    tokens = Tokens(folder)
    first, second = make_token(identity, "a"), make_token(identity, "b")
    tokens.give(first, NOW + HOUR, NOW)
    tokens.give(second, NOW + HOUR, NOW)
    assert (folder / "tokens").stat().st_mode & 0o777 == 0o600
    assert not tokens.use("b", NOW, lambda secret: secret == first.secret)
    assert not tokens.use("a", NOW + HOUR, lambda _: True)
    assert Tokens(folder).use("a", NOW, lambda secret: secret == first.secret)
    again = Tokens(folder)
    assert not again.use("a", NOW, lambda _: True)
    anew = make_token(identity, "b")
    again.give(anew, NOW + HOUR, NOW)
    assert not again.use("b", NOW, lambda secret: secret == second.secret)
    assert again.use("b", NOW, lambda secret: secret == anew.secret)
    (folder / "tokens").write_bytes(b"[1]")
    with pytest.raises(OperatorError, match="damaged"):
        Tokens(folder)


def test_so_many_tokens_wait_and_no_more(folder, monkeypatch):
    folder.mkdir()
    monkeypatch.setattr(keys, "_MAX_TOKENS", 2)
    identity, tokens = Identity(FLEET, bytes(32), "d"), Tokens(folder)
    for name in "ab":
        tokens.give(make_token(identity, name), NOW + HOUR, NOW)
    with pytest.raises(OperatorError, match="wait"):
        tokens.give(make_token(identity, "c"), NOW + HOUR, NOW)
    tokens.give(make_token(identity, "c"), NOW + 3 * HOUR, NOW + 2 * HOUR)


def test_without_the_library_one_line_says_how_to_get_it():
    script = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from tidegate.fleet.trust import keys, trust\n"
        "from tidegate.errors import OperatorError\n"
        "try: keys.verify(b'', b'', b'')\n"
        "except OperatorError as error: print(error)\n"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert found.stdout.count("\n") == 1, found.stderr
    assert "pip install 'tidegate[fleet]'" in found.stdout


def test_a_fleet_from_its_first_key_to_a_conviction(tmp_path):
    """The desk gives tokens, two hosts join by them, count, and convict each other's burglar."""
    desk = make(tmp_path / "desk", "desk")
    identity = Identity(FLEET, desk.public, "desk-host")
    tokens, papers, signers = Tokens(tmp_path / "desk"), [], {}
    for name in ("web-1", "web-2"):
        tokens.give(make_token(identity, name), NOW + HOUR, NOW)
    texts = {
        row: token_text(keys.Token(FLEET, desk.public, bytes.fromhex(key), row))
        for key, (row, _) in tokens._open.items()
    }
    for number, (name, text) in enumerate(texts.items(), 1):
        token = read_token(text)
        signer = signers[name] = make(tmp_path / name)
        save_identity(tmp_path / name, Identity(token.fleet, token.desk, name))
        proof = join_proof(token.secret, token.fleet, name, signer.public)
        request = wire.Message(
            wire.Kind.JOIN, name, 1, NOW, encode_join(Join(signer.public, proof))
        )
        sealed = wire.unseal(wire.seal(request, FLEET, signer.sign), FLEET)
        judged = []

        def holds(secret, judged=judged, sealed=sealed):
            judged[:] = [judge_join(sealed, FLEET, secret, verify)[0]]
            return judged[0] is not None

        assert tokens.use(name, NOW, holds)
        certificate = Certificate(name, judged[0].key, May.CLAIM)
        papers.append(wire.seal(certify(certificate, number, NOW), FLEET, desk.sign))
    trust = Trust(Roster(FLEET, desk.public, verify), [terms_of(rule())], Guarded())
    assert [trust.paper(paper, NOW) for paper in papers] == [[], []]
    outputs = []
    for name in signers:
        number = wire.sequence(next_epoch(tmp_path / name), 1)
        said = wire.Message(wire.Kind.CLAIMS, name, number, NOW, wire.encode_claims([claim(1, 2)]))
        outputs += trust.receive(wire.seal(said, FLEET, load(tmp_path / name).sign), NOW, NOW)
    (found,) = outputs
    assert isinstance(found, Conviction)
    assert found.subject == WHO


def test_signatures_are_ed25519(tmp_path):
    """RFC 8032 §7.1, test 1: the empty message."""
    ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")
    secret = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    signer = keys.Signer(ed25519.Ed25519PrivateKey.from_private_bytes(secret))
    assert signer.public.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert (
        signer.sign(b"")
        .hex()
        .startswith("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065")
    )
    assert hashlib.sha256(signer.sign(b"")).digest() != hashlib.sha256(signer.sign(b"x")).digest()
