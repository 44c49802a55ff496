"""Keys of a host and of the desk, as files; the one-time token by which a host joins.

Touches the key folder only, and the kernel's random numbers; needs `cryptography` (the extra
`fleet`), loaded when first used. Limits: Ed25519 only; whoever can read the folder is this host.

The folder, of mode 0700:

    host.key   Ed25519, PKCS #8 in PEM, mode 0600; `openssl pkey -in host.key -text` reads it
    fleet      what the fleet is: its number, the desk's public key, the name of this host
    epoch      how often this host has started as a member: one number
    desk.key   only at the desk: the key that enrols and revokes
    tokens     only at the desk: tokens that were not used yet, mode 0600
    papers/    only at the desk: who is a member and who is revoked, as the desk signed it
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tidegate.errors import OperatorError, WorldError
from tidegate.fleet.fields import HOST
from tidegate.model import Micros

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

FLEET = 16  # bytes of a fleet's number
_MAX_FILE = 1 << 16
_MAX_TOKENS = 1024
_PREFIX = "tgf1-"
_SECRET = 16


class Identity(NamedTuple):
    """Which host of which fleet this is; `desk` is the public key of who enrols."""

    fleet: bytes
    desk: bytes
    host: str


class Token(NamedTuple):
    """What a host needs to join, once: it knows the right desk, and the desk knows it."""

    fleet: bytes
    desk: bytes
    secret: bytes
    host: str


class Signer:
    """A private key. `sign(bytes)` is its Ed25519 signature, `public` the key all may know."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        from cryptography.hazmat.primitives import serialization as form

        self._key = key
        # Not public_bytes_raw, which Debian 12's cryptography (38) does not have yet.
        self.public = key.public_key().public_bytes(form.Encoding.Raw, form.PublicFormat.Raw)

    def sign(self, signed: bytes) -> bytes:
        """64 bytes, always the same for the same bytes."""
        return self._key.sign(signed)


def verify(key: bytes, signed: bytes, signature: bytes) -> bool:
    """Whether a signature is this key's over these bytes; False also where the key is none."""
    library = _library()
    try:
        library.Ed25519PublicKey.from_public_bytes(key).verify(signature, signed)
    except (ValueError, library.InvalidSignature):
        return False
    return True


class _Library(NamedTuple):
    Ed25519PublicKey: Any
    Ed25519PrivateKey: Any
    InvalidSignature: type[Exception]


def _library() -> _Library:
    """What we need of the library, or a line that says how to get it."""
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise OperatorError(
            "a fleet needs signatures, and cryptography is not installed: "
            "pip install 'tidegate[fleet]', or apt install python3-cryptography"
        ) from error
    return _Library(ed25519.Ed25519PublicKey, ed25519.Ed25519PrivateKey, InvalidSignature)


def make(folder: Path, name: str = "host") -> Signer:
    """A new key in the folder, which is made. OperatorError where there is one already."""
    from cryptography.hazmat.primitives import serialization as form

    key: Ed25519PrivateKey = _library().Ed25519PrivateKey.generate()
    pem = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        write(folder / f"{name}.key", pem, anew=True)
    except FileExistsError as error:
        raise OperatorError(
            f"{folder / name}.key is there already: a key is never replaced; "
            "to begin anew, revoke this host at the desk and move the folder away"
        ) from error
    return Signer(key)


def load(folder: Path, name: str = "host") -> Signer:
    """The key in the folder. OperatorError where there is none, or others can read it."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey as Private

    _library()
    path = folder / f"{name}.key"
    data = _read(path, secret=True)
    try:
        key = form.load_pem_private_key(data, password=None)
    except (ValueError, TypeError) as error:
        raise OperatorError(f"{path}: expected an Ed25519 key in PEM without password") from error
    if not isinstance(key, Private):
        raise OperatorError(f"{path}: expected an Ed25519 key, this is of another kind")
    return Signer(key)


def save_identity(folder: Path, identity: Identity) -> None:
    """Write down which host of which fleet this is, when it is enrolled."""
    said = {"fleet": identity.fleet.hex(), "desk": identity.desk.hex(), "host": identity.host}
    write(folder / "fleet", json.dumps(said, indent=2).encode() + b"\n")
    if not (folder / "epoch").exists():
        write(folder / "epoch", b"0\n")


def load_identity(folder: Path) -> Identity:
    """Which host of which fleet this is. OperatorError where it can't be said."""
    path = folder / "fleet"
    try:
        said = json.loads(_read(path))
        found = Identity(bytes.fromhex(said["fleet"]), bytes.fromhex(said["desk"]), said["host"])
        if len(found.fleet) != FLEET or len(found.desk) != 32 or not HOST.fullmatch(found.host):
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise OperatorError(
            f"{path}: expected fleet, desk and host; enrol this host anew"
        ) from error
    return found


def next_epoch(folder: Path) -> int:
    """The number of this start: one more than any before, on disk before it is used."""
    path = folder / "epoch"
    try:
        text = _read(path).decode("ascii").strip()
        if not text.isdecimal() or len(text) > 9:
            raise ValueError
    except ValueError as error:
        raise OperatorError(
            f"{path}: expected a number; where it is lost, others would take what this host says "
            "for a replay: revoke it at the desk and enrol it anew"
        ) from error
    write(path, f"{int(text) + 1}\n".encode())
    return int(text) + 1


def make_token(identity: Identity, host: str) -> Token:
    """A new token for a host of this name."""
    if not HOST.fullmatch(host):
        raise OperatorError(f"{host!r}: expected a name of small letters, digits and . _ -")
    return Token(identity.fleet, identity.desk, secrets.token_bytes(_SECRET), host)


def token_text(token: Token) -> str:
    """A token as a person copies it: one word, which tells when it was copied wrongly."""
    raw = token.fleet + token.desk + token.secret + token.host.encode("ascii")
    raw += hashlib.sha256(raw).digest()[:4]
    return _PREFIX + base64.b32encode(raw).decode("ascii").rstrip("=").lower()


def read_token(text: str) -> Token:
    """The token in a word. OperatorError where it is none, or is damaged."""
    word = "".join(text.split()).lower()
    body = word.removeprefix(_PREFIX).upper()
    try:
        raw = base64.b32decode(body + "=" * (-len(body) % 8))
    except (binascii.Error, ValueError):
        raw = b""
    fixed = FLEET + 32 + _SECRET
    host = raw[fixed:-4].decode("latin-1")
    whole = hashlib.sha256(raw[:-4]).digest()[:4] == raw[-4:]
    # The last letter has bits that say nothing: one token has one spelling.
    spelt = word == _PREFIX + base64.b32encode(raw).decode("ascii").rstrip("=").lower()
    if not (whole and spelt and HOST.fullmatch(host)):
        raise OperatorError("no token, or a letter of it is wrong: ask the desk for another")
    return Token(raw[:FLEET], raw[FLEET : FLEET + 32], raw[FLEET + 32 : fixed], host)


class Tokens:
    """At the desk: the tokens that may still be used. Each is used once, by the host it names."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "tokens"
        self._open: dict[str, tuple[str, Micros]] = {}  # secret in hex: host, until
        if self._path.exists():
            try:
                rows = json.loads(_read(self._path, secret=True))
                self._open = {
                    str(key): (str(host), int(until)) for key, (host, until) in rows.items()
                }
            except (ValueError, TypeError, AttributeError, RecursionError) as error:
                raise OperatorError(
                    f"{self._path}: damaged; remove it: tokens that were not used become void"
                ) from error

    def give(self, token: Token, until: Micros, now: Micros) -> None:
        """A token is handed out; the one for this host before it is void."""
        kept = {
            key: row for key, row in self._open.items() if row[1] > now and row[0] != token.host
        }
        if len(kept) >= _MAX_TOKENS:
            raise OperatorError(
                f"{_MAX_TOKENS} tokens wait for their hosts: let some of them run out"
            )
        self._save({**kept, token.secret.hex(): (token.host, until)})

    def use(self, host: str, now: Micros, judge: Callable[[bytes], bool]) -> bool:
        """Whether a host holds a token for itself, as `judge` says of its secret; then it is used
        up, on disk before anybody acts on it."""
        for key, (named, until) in self._open.items():
            if named == host and now < until and judge(bytes.fromhex(key)):
                self._save({other: row for other, row in self._open.items() if other != key})
                return True
        return False

    def waiting(self, now: Micros) -> dict[str, Micros]:
        """The hosts that may still use theirs, and until when."""
        return {host: until for host, until in self._open.values() if until > now}

    def void(self, hosts: Collection[str]) -> None:
        """Whatever these hold is worth nothing any more."""
        kept = {key: row for key, row in self._open.items() if row[0] not in hosts}
        if kept != self._open:
            self._save(kept)

    def _save(self, rows: dict[str, tuple[str, Micros]]) -> None:
        write(self._path, json.dumps(rows).encode())
        self._open = rows


def _read(path: Path, *, secret: bool = False) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise OperatorError(
            f"{path}: there is none; enrol this host: tidegate fleet enroll"
        ) from error
    except OSError as error:
        raise WorldError(f"{path}: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        if secret and os.fstat(descriptor).st_mode & 0o077:
            raise OperatorError(
                f"{path}: others can read it; chmod 0600 it, and if they may have: revoke"
            )
        return file.read(_MAX_FILE)


def write(path: Path, data: bytes, *, anew: bool = False) -> None:
    """Durably and whole, or not at all; `anew`: only where there is none (FileExistsError)."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        if anew:
            os.link(beside, path)
        else:
            os.replace(beside, path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except FileExistsError:
        raise
    except OSError as error:
        raise WorldError(f"{path}: {error.strerror}") from error
    finally:
        beside.unlink(missing_ok=True)
