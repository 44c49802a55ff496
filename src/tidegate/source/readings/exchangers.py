"""Which hosts take mail for a domain (MX records), by the C library's own resolver.

Touches the network as /etc/resolv.conf says; answers are taken apart here, within bounds.
Limits: classes and types other than MX are not asked; nothing is cached; the resolver's own
patience holds, some seconds a name server.
"""

from __future__ import annotations

import ctypes
import re
import struct
from typing import NamedTuple

from tidegate.errors import OperatorError, SourceError

_IN, _MX = 1, 15
_LARGEST = 65535
_HOST_NOT_FOUND, _NO_DATA = 1, 4
_NAME = re.compile(
    r"(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*",
    re.ASCII,
)
MOST = 20
"""Hosts of a domain that are looked at."""


class Exchanger(NamedTuple):
    """A host that takes mail; the lowest preference is tried first. `host` "": the null MX."""

    preference: int
    host: str


class Missing(Exception):  # noqa: N818 - an answer, not a fault
    """There is no such domain."""


def domain_name(text: str) -> str:
    """A domain as DNS has it, in ASCII and lower case. OperatorError: it is none."""
    try:
        name = text.strip().rstrip(".").encode("idna").decode("ascii").lower()
    except UnicodeError:
        name = ""
    if not _NAME.fullmatch(name):
        raise OperatorError(f"expected a domain such as example.org; found {text!r}")
    return name


def exchangers(domain: str) -> list[Exchanger]:
    """The hosts by preference, then by name; none where the domain has no MX record.

    Raises Missing where there is no such domain, SourceError where nobody could be asked.
    """
    answer = _asked(domain)
    return [] if answer is None else parse(answer)


def is_host(name: str) -> bool:
    """Whether mail can be sent to a host of this name: a name, and no address."""
    return bool(_NAME.fullmatch(name)) and not name.rpartition(".")[2].isdigit()


def parse(answer: bytes) -> list[Exchanger]:
    """The MX records of a DNS answer (RFC 1035 §4, RFC 7505). SourceError: it is none."""
    try:
        return _parse(answer)
    except (struct.error, IndexError) as error:
        raise SourceError("the name server's answer breaks off") from error


def _parse(answer: bytes) -> list[Exchanger]:
    _id, _flags, questions, answers = struct.unpack_from(">4H", answer)
    at = 12
    for _number in range(questions):
        at = _skipped(answer, at) + 4
    found: list[Exchanger] = []
    for _number in range(answers):
        at = _skipped(answer, at)
        kind, klass, _life, length = struct.unpack_from(">HHIH", answer, at)
        at += 10
        if (kind, klass) == (_MX, _IN):
            (preference,) = struct.unpack_from(">H", answer, at)
            found.append(Exchanger(preference, _read(answer, at + 2)))
        at += length
    return sorted(set(found))


def _skipped(answer: bytes, at: int) -> int:
    """Where what follows a name begins."""
    while length := answer[at]:
        if length >= 0xC0:
            return at + 2
        at += 1 + length
    return at + 1


def _read(answer: bytes, at: int) -> str:
    """A name, its pointers followed: each must lead further back, so it ends."""
    labels: list[str] = []
    least = at
    while length := answer[at]:
        if length >= 0xC0:
            (pointer,) = struct.unpack_from(">H", answer, at)
            at = pointer & 0x3FFF
            if at >= least:
                raise SourceError("the name server's answer leads in a circle")
            least = at
            continue
        label = answer[at + 1 : at + 1 + length]
        labels.append(label.decode("ascii", "backslashreplace").lower())
        at += 1 + length
    return ".".join(labels)


def _asked(domain: str) -> bytes | None:
    """The resolver's answer; None: the domain is there, but has no MX record."""
    library = ctypes.CDLL(None, use_errno=True)
    try:
        query = library.res_query
    except AttributeError:  # before glibc 2.34
        query = ctypes.CDLL("libresolv.so.2").__res_query
    buffer = ctypes.create_string_buffer(_LARGEST)
    length = query(domain.encode("ascii"), _IN, _MX, buffer, _LARGEST)
    if length >= 0:
        return buffer.raw[: min(length, _LARGEST)]
    library.__h_errno_location.restype = ctypes.POINTER(ctypes.c_int)
    code = library.__h_errno_location().contents.value
    if code == _HOST_NOT_FOUND:
        raise Missing(domain)
    if code == _NO_DATA:
        return None
    raise SourceError(
        f"no name server answered for {domain}; see /etc/resolv.conf, and whether port 53 is open"
    )
