"""Probes against servers that are well, that are not, and that mean harm."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest
from tests.unit.source.readings.servers import answering, certificate, saying, secured, serving

from tidegate.errors import SourceError
from tidegate.policy.arguments import SCHEMES
from tidegate.policy.readings import parse_reading, split
from tidegate.source.readings import conversation
from tidegate.source.readings.probes import FORMS, latency, target, up

LONG = 20.0
SHORT = 0.3


@pytest.mark.parametrize(
    ("scheme", "greeting", "well"),
    [
        ("smtp", b"220 mail.example.org ESMTP\r\n", 1.0),
        ("smtp", b"220-mail.example.org\r\n220 ESMTP\r\n", 1.0),
        ("smtp", b"421 4.3.2 try later\r\n", 0.0),
        ("smtp", b"554 no service\r\n", 0.0),
        ("smtp", b"2200 odd\r\n", 0.0),
        ("imap", b"* OK [CAPABILITY IMAP4rev1] ready\r\n", 1.0),
        ("imap", b"* PREAUTH\r\n", 1.0),
        ("imap", b"* BYE overloaded\r\n", 0.0),
        ("imap", b"* OKAY\r\n", 0.0),
        ("pop3", b"+OK ready\r\n", 1.0),
        ("pop3", b"+OK\r\n", 1.0),
        ("pop3", b"-ERR [SYS/TEMP] away\r\n", 0.0),
        ("pop3", b"220 wrong door\r\n", 0.0),
    ],
)
def test_a_greeting_says_how_it_is(scheme: str, greeting: bytes, well: float) -> None:
    with serving(saying(greeting, b"bye\r\n")) as port:
        assert up(f"{scheme}://127.0.0.1:{port}", LONG) == well


def test_a_mail_server_is_left_politely() -> None:
    heard: list[bytes] = []

    def talk(client: socket.socket) -> None:
        client.sendall(b"220 mail.example.org\r\n")
        heard.append(client.recv(100))
        client.sendall(b"221 bye\r\n")

    with serving(talk) as port:
        assert 0 <= latency(f"smtp://127.0.0.1:{port}", LONG) < LONG
    assert heard == [b"QUIT\r\n"]


def test_a_greeting_that_is_not_over_is_not_cut_short() -> None:
    # A mail server that begins with a dash and waits takes who speaks now for a robot.
    heard: list[bytes] = []

    def talk(client: socket.socket) -> None:
        client.sendall(b"220-mail.example.org\r\n")
        heard.append(client.recv(100))

    with serving(talk) as port:
        assert up(f"smtp://127.0.0.1:{port}", LONG) == 1.0
    assert heard == [b""]


@pytest.mark.parametrize(
    ("answer", "well"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", 1.0),
        (b"HTTP/1.0 404 Not Found\r\n\r\n", 1.0),
        (b"HTTP/1.1 301 Moved\r\nLocation: file:///etc/passwd\r\n\r\n", 1.0),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", 0.0),
        (b"HTTP/1.1 2000 OK\r\n\r\n", 0.0),
        (b"SSH-2.0-OpenSSH\r\n", 0.0),
        (b"", 0.0),
    ],
)
def test_a_web_server_is_well_below_500(answer: bytes, well: float) -> None:
    heard: list[bytes] = []
    with serving(answering(answer, heard)) as port:
        assert up(f"http://127.0.0.1:{port}/status?full=1", LONG) == well
        expected = f"GET /status?full=1 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n".encode()
    assert heard[0].startswith(expected)


def test_certificates_are_verified_unless_told_otherwise(tmp_path: Path) -> None:
    path = certificate(tmp_path, "localhost")
    with serving(secured(path, answering(b"HTTP/1.1 200 OK\r\n\r\n"))) as port:
        assert up(f"https://localhost:{port}/", LONG) == 0.0
        with pytest.raises(SourceError, match="certificate is not good: self-signed"):
            latency(f"https://localhost:{port}/", LONG)
        assert up(f"https://localhost:{port}/#unverified", LONG) == 1.0


def test_mail_greets_inside_tls_too(tmp_path: Path) -> None:
    path = certificate(tmp_path, "localhost")
    with serving(secured(path, saying(b"* OK ready\r\n", b"* BYE\r\n"))) as port:
        assert up(f"imaps://localhost:{port}#unverified", LONG) == 1.0
    with serving(saying(b"* OK no TLS here\r\n")) as port:
        assert up(f"imaps://localhost:{port}#unverified", LONG) == 0.0


def test_version_6() -> None:
    with serving(saying(b"220 six\r\n", b"221\r\n"), socket.AF_INET6) as port:
        assert up(f"smtp://[::1]:{port}", LONG) == 1.0
        assert up(f"tcp://[::1]:{port}", LONG) == 1.0


def test_nobody_there_is_down() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound, not listening: refused
        url = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        assert up(url, LONG) == 0.0
        with pytest.raises(SourceError, match="connection refused"):
            latency(url, LONG)


def test_one_address_of_a_name_is_enough() -> None:
    # localhost is ::1 as well on most hosts; the server listens on one of them.
    with serving(saying(b"+OK\r\n", b"+OK\r\n")) as port:
        assert up(f"pop3://localhost:{port}", LONG) == 1.0


def silent(client: socket.socket) -> None:
    client.recv(100)


def dripping(client: socket.socket) -> None:
    for _time in range(200):
        client.sendall(b"2")
        threading.Event().wait(0.05)


def endless(client: socket.socket) -> None:
    while True:
        client.sendall(b"2" * 65536)


@pytest.mark.parametrize(
    ("talk", "said"), [(silent, "is silent"), (dripping, "is silent"), (endless, "more than 2048")]
)
def test_hostile_servers_are_down_in_time(talk: object, said: str) -> None:
    assert callable(talk)
    with serving(talk) as port:
        timeout = LONG if talk is endless else SHORT
        with pytest.raises(SourceError, match=said):
            latency(f"smtp://127.0.0.1:{port}", timeout)


def test_what_a_server_says_is_printable() -> None:
    with (
        serving(saying(b"\x1b]0;owned\x07\xff\r\n")) as port,
        pytest.raises(SourceError) as caught,
    ):
        latency(f"smtp://127.0.0.1:{port}", LONG)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://192.0.2.1", "SCHEME one of"),
        ("192.0.2.1:25", "SCHEME one of"),
        ("tcp://192.0.2.1", "has no port"),
        ("tcp://192.0.2.1:99999", "[Pp]ort"),
        ("smtp://", "expected SCHEME"),
        ("http://user:secret@192.0.2.1/", "logs in nowhere"),
        ("http://192.0.2.1/a b", "characters"),
        ("http://192.0.2.1/\r\nX: y", "characters"),
        ("https://192.0.2.1/#verified", "only `unverified`"),
        ("http://[::1/", "expected SCHEME"),
    ],
)
def test_faulty_urls_are_not_tried(url: str, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        up(url, LONG)


def test_ports_of_their_own() -> None:
    ports = {scheme: target(f"{scheme}://h.example.org").port for scheme in ("smtp", "imaps")}
    assert ports == {"smtp": 25, "imaps": 993}


def test_an_unknown_name_was_not_tried() -> None:
    with pytest.raises(SourceError, match="could not be looked up"):
        up("smtp://name.invalid", 5.0)


def test_hanging_look_ups_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    hang = threading.Event()
    begun = threading.Semaphore(0)

    def never(*_arguments: object, **_options: object) -> list[object]:
        begun.release()
        hang.wait(30)
        return []

    monkeypatch.setattr(conversation.socket, "getaddrinfo", never)
    try:
        for _time in range(conversation.MOST_LOOKUPS):
            with pytest.raises(SourceError, match="in time"):
                up("smtp://slow.example.org", 0.05)
        with pytest.raises(SourceError, match="hang already"):
            up("smtp://slow.example.org", 0.05)
    finally:
        hang.set()
    for _time in range(conversation.MOST_LOOKUPS):
        assert begun.acquire(timeout=5)


@pytest.mark.parametrize(
    "url",
    [
        *(f"{scheme}://mail.example.org:2525" for scheme in SCHEMES),
        *(f"{scheme}://[2001:db8::1]:25" for scheme in SCHEMES),
        "https://www.example.org/status?full=1#unverified",
        "imaps://192.0.2.25#unverified",
    ],
)
def test_every_url_of_a_policy_can_be_tried(url: str) -> None:
    name, argument = split(parse_reading(f'up("{url}")'))
    assert (name, argument) == ("up", url)
    found = target(argument)
    assert (found.scheme, found.verify) == (url.partition(":")[0], "#" not in url)


def test_policies_and_probes_know_the_same_schemes() -> None:
    assert set(SCHEMES) == set(FORMS)


@pytest.mark.parametrize("url", ["http://192.0.2.1/#unverified", "https://192.0.2.1/#other"])
def test_what_no_policy_may_say(url: str) -> None:
    with pytest.raises(ValueError, match="behind # but"):
        parse_reading(f'up("{url}")')
