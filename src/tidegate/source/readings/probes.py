"""Probes: is a service there, and how quickly does it answer? By URL.

Touches the network: one connection a probe, and a word of goodbye. `tcp://host:port` connects;
`http://` and `https://` want a status below 500; `smtp://`, `imap://` and `pop3://` (`smtps://`,
`imaps://`, `pop3s://` by TLS) want their greeting. Certificates are verified, unless the URL ends
in `#unverified`. Limits: nobody logs in, no page is read, no redirect followed.
"""

from __future__ import annotations

import re
import time
from typing import NamedTuple
from urllib.parse import urlsplit

from tidegate.errors import SourceError
from tidegate.source.readings.conversation import Conversation, Down, addresses
from tidegate.text import printable

GOODBYE = 0.5
"""Seconds that the other side has to hang up."""


class Form(NamedTuple):
    """How a scheme is spoken: its port (0: none of its own), TLS or not, greeting, goodbye."""

    port: int
    tls: bool
    greeting: re.Pattern[bytes] | None
    goodbye: bytes


_SMTP = re.compile(rb"220[ -]|220$")
_IMAP = re.compile(rb"\* (?:OK|PREAUTH)\b", re.IGNORECASE)
_POP3 = re.compile(rb"\+OK\b")
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)\b")

FORMS = {
    "tcp": Form(0, False, None, b""),
    "http": Form(80, False, None, b""),
    "https": Form(443, True, None, b""),
    "smtp": Form(25, False, _SMTP, b"QUIT\r\n"),
    "smtps": Form(465, True, _SMTP, b"QUIT\r\n"),
    "imap": Form(143, False, _IMAP, b"a LOGOUT\r\n"),
    "imaps": Form(993, True, _IMAP, b"a LOGOUT\r\n"),
    "pop3": Form(110, False, _POP3, b"QUIT\r\n"),
    "pop3s": Form(995, True, _POP3, b"QUIT\r\n"),
}


class Target(NamedTuple):
    """A URL, taken apart. `authority` is what a Host header says."""

    scheme: str
    host: str
    port: int
    authority: str
    path: str
    verify: bool


def target(url: str) -> Target:
    """What a URL names. SourceError says what is wrong with it."""
    expected = f"expected SCHEME://HOST[:PORT], SCHEME one of {', '.join(FORMS)}"
    if not url.isascii() or not url.isprintable() or " " in url:
        raise SourceError(f"{printable(url)}: has characters that no URL has; {expected}")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise SourceError(f"{url}: {error}; {expected}") from error
    form = FORMS.get(parts.scheme)
    if form is None or not host:
        raise SourceError(f"{url}: {expected}")
    if parts.username is not None:
        raise SourceError(f"{url}: a probe logs in nowhere; leave out what stands before @")
    if not (port or form.port):
        raise SourceError(f"{url}: has no port; expected {parts.scheme}://HOST:PORT")
    if parts.fragment not in ("", "unverified"):
        raise SourceError(f"{url}: behind # only `unverified` is known")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(
        parts.scheme, host, port or form.port, parts.netloc, path, parts.fragment != "unverified"
    )


def up(url: str, timeout: float) -> float:
    """1.0: it is there and greets as it should; 0.0: it does not, within `timeout` seconds.

    SourceError: it could not be tried (a faulty URL, an unknown name, no network of ours).
    """
    try:
        _reach(url, timeout)
    except Down:
        return 0.0
    return 1.0


def latency(url: str, timeout: float) -> float:
    """Seconds from connecting to the greeting (the status line, the end of the handshake).

    Looking up the name does not count. SourceError: it is down, or could not be tried.
    """
    try:
        return _reach(url, timeout)
    except Down as error:
        raise SourceError(f"{printable(url)}: {printable(str(error))}") from error


def _reach(url: str, timeout: float) -> float:
    """The latency by the first of its addresses that is well."""
    wanted = target(url)
    deadline = time.monotonic() + timeout
    found = addresses(wanted.host, wanted.port, deadline)
    down: Down | None = None
    untried: SourceError | None = None
    for number, address in enumerate(found):
        now = time.monotonic()
        until = now + (deadline - now) / (len(found) - number)
        try:
            with Conversation(address, until) as talk:
                said = _greet(talk, wanted)
                took = time.monotonic() - now
                if goodbye := FORMS[wanted.scheme].goodbye:
                    talk.leave(goodbye, GOODBYE, b"220-" if said.startswith(b"220-") else b"")
                return took
        except Down as error:
            down = down or error
        except SourceError as error:
            untried = error
    raise down or untried or SourceError(f"{wanted.host} has no address")


def _greet(talk: Conversation, wanted: Target) -> bytes:
    """The first line that it says; Down where that is not what it should be."""
    form = FORMS[wanted.scheme]
    if form.tls:
        talk.secure(wanted.host, wanted.verify)
    if wanted.scheme in ("http", "https"):
        talk.send(
            f"GET {wanted.path} HTTP/1.1\r\nHost: {wanted.authority}\r\n"
            "User-Agent: tidegate\r\nAccept: */*\r\nConnection: close\r\n\r\n".encode("ascii")
        )
        said = talk.line()
        status = _STATUS.match(said)
        if status is None or int(status[1]) >= 500:
            raise Down(f"answers {_quoted(said)}")
        return said
    if form.greeting is None:
        return b""
    said = talk.line()
    if not form.greeting.match(said):
        raise Down(f"greets with {_quoted(said)}")
    return said


def _quoted(said: bytes) -> str:
    return repr(printable(said[:80].decode("utf-8", "surrogateescape")))
