"""Names for people who must not know more: addresses, users and places stand there by pseudonym.

Touches nothing: a keyed hash of name and incident, so that within one incident the same is the
same, and nobody can tell two incidents' sources to be one, nor find out by trying all addresses.
Limits: an address that a person spells in words ("twelve dot ...") is not found in a text.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

from tidegate import subject as subjects
from tidegate.model import Subject

KEY_BYTES = 32
_DIGITS = 10

# Four numbers with dots, dashes or underscores (also as reverse names have them, `[.]` too), with
# a length behind it; whatever has two colons and could be IPv6; user ids; paths from the root.
_FOUR = re.compile(r"[0-9]+(?:(?:\[\.\]|\(\.\)|[._-])[0-9]+){3,}(?:/[0-9]{1,2})?")
_SIX = re.compile(
    r"[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,8}(?:(?:\.[0-9]{1,3}){3})?(?:%[\w.-]+)?(?:/[0-9]{1,3})?"
)
_UID = re.compile(r"\(?\b(?:uid|user id|UID|pid|PID)\b[ :=]*[0-9]+\)?")
_PATH = re.compile(r"(?<![\w/.])(?:~|\.{1,2})?/[^\s/'\"`,;:()\[\]<>|][^\s'\"`,;:()\[\]<>|]*")
_INTERFACE = re.compile(r"\binterface:[\w.@-]{1,15}")


class Plain:
    """Names as they are, for those who may read the ledger."""

    public = False

    def subject(self, subject: Subject) -> str:
        """Of whom something was closed."""
        return subject

    def owner(self, name: str) -> str:
        """Whose it is."""
        return name

    def person(self, label: str) -> str:
        """Who did it."""
        return label

    def number(self, incident: str) -> str:
        """The incident's id."""
        return incident

    def text(self, text: str) -> str:
        """What somebody wrote."""
        return text


class Pseudonyms(Plain):
    """Names as the public may know them, of one incident."""

    public = True

    def __init__(self, key: bytes, incident: str) -> None:
        self._key, self._incident = key, incident

    def subject(self, subject: Subject) -> str:
        """`address-1f…`, `network-…`, `source-…`; of a guard's gate its name."""
        if subject.startswith("gate:"):
            return self.text(subject)
        found = subjects.network(subject)
        if found is None:
            return f"source-{self._hash(subject)}"
        single = found.length in (32, 64, 128)
        return f"{'address' if single else 'network'}-{self._hash(subject)}"

    def owner(self, name: str) -> str:
        """`owner-1f…`."""
        return f"owner-{self._hash('owner ' + name)}"

    def person(self, label: str) -> str:
        """Nobody's name: who it was is in the ledger."""
        return "the operators" if label else ""

    def number(self, incident: str) -> str:
        """An id that says nothing of what it was made from."""
        return public_number(self._key, incident)

    def text(self, text: str) -> str:
        """The text without addresses, user ids and paths."""
        plain = unicodedata.normalize("NFKC", text)
        plain = "".join(char for char in plain if unicodedata.category(char) != "Cf")
        plain = "".join(_digit(char) for char in plain)
        plain = _FOUR.sub(self._four, plain)
        plain = _SIX.sub(self._six, plain)
        plain = _INTERFACE.sub(lambda found: self.subject(Subject(found[0])), plain)
        plain = _UID.sub("(a user)", plain)
        return _PATH.sub("(a path)", plain)

    def _four(self, found: re.Match[str]) -> str:
        dotted = re.sub(r"\[\.\]|\(\.\)|[_-]", ".", found[0])
        subject = subjects.parse(_without_zeros(dotted))
        # Five numbers, or one above 255: no address, but who would miss it?
        return "(an address)" if subject is None else self.subject(subject)

    def _six(self, found: re.Match[str]) -> str:
        subject = subjects.parse(found[0]) if "/" in found[0] else subjects.of_address(found[0])
        if subject is not None:
            return self.subject(subject)
        # A time of the day is none; what has letters or an empty part might be one cut off.
        parts = found[0].split(":")
        plain = len(parts) == 3 and all(part.isdigit() and len(part) <= 2 for part in parts)
        return found[0] if plain else "(an address)"

    def _hash(self, name: str) -> str:
        told = f"{self._incident}\0{name}".encode("utf-8", "surrogateescape")
        return hashlib.blake2b(told, key=self._key, digest_size=16).hexdigest()[:_DIGITS]


def public_number(key: bytes, incident: str) -> str:
    """The public id of an incident."""
    told = f"number\0{incident}".encode("utf-8", "surrogateescape")
    return hashlib.blake2b(told, key=key, digest_size=8).hexdigest()


def _digit(char: str) -> str:
    """Digits of any script as ours: an address may be spelt in Arabic ones."""
    return str(unicodedata.digit(char)) if char.isdecimal() and not char.isascii() else char


def _without_zeros(dotted: str) -> str:
    """`192.000.002.007` without its leading zeros, which no parser takes."""
    return re.sub(r"(?<![0-9])0+(?=[0-9])", "", dotted)
