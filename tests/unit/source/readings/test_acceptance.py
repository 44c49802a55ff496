"""What becomes of mail, by what hosts say; and hosts that say odd things."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from tests.unit.source.readings.servers import certificate, saying, serving

from tidegate.source.readings import acceptance
from tidegate.source.readings.acceptance import Answer, Question, Verdict, ask, outcome


def said(host: str, preference: int, verdict: Verdict, text: str = "") -> Answer:
    return Answer(host, preference, "192.0.2.1", verdict, text)


A, B = said("a", 10, "accepts"), said("b", 20, "accepts")


@pytest.mark.parametrize(
    ("answers", "away", "fate", "hosts"),
    [
        ([A, B], "", "goes", ("a",)),
        ([A, B], "a", "waits", ("b",)),
        ([A, B], "b", "goes", ("a",)),
        ([A], "a", "returns", ()),
        ([A, said("b", 20, "refuses", "550 no")], "a", "bounces", ("b",)),
        ([A, said("b", 20, "refuses", "550 no")], "b", "goes", ("a",)),
        ([A, said("b", 20, "defers"), said("c", 30, "accepts")], "a", "waits", ("c",)),
        ([A, said("b", 20, "away"), said("c", 30, "refuses")], "a", "bounces", ("c",)),
        ([A, said("b", 10, "accepts")], "a", "goes", ("b",)),
        ([A, said("b", 10, "accepts")], "", "goes", ("a", "b")),
        # In any order within a preference: one that refuses is met by half of the mail.
        ([A, said("b", 10, "refuses")], "", "bounces", ("b",)),
        # One address of a host that refuses is enough.
        ([A, said("a", 10, "refuses", "550")], "", "bounces", ("a",)),
        ([A, said("a", 10, "untried")], "", "goes", ("a",)),
        ([said("a", 10, "away"), B], "", "waits", ("b",)),
    ],
)
def test_what_becomes_of_mail(
    answers: list[Answer], away: str, fate: str, hosts: tuple[str, ...]
) -> None:
    found = outcome(answers, away)
    assert (found.fate, found.hosts) == (fate, hosts)


def asked(monkeypatch: pytest.MonkeyPatch, *words: bytes, timeout: float = 20.0) -> Answer:
    with serving(saying(*words)) as port:
        monkeypatch.setattr(acceptance, "PORT", port)
        (found,) = ask("127.0.0.1", 10, Question("postmaster@example.org", timeout=timeout))
        return found


@pytest.mark.parametrize(
    ("words", "verdict", "stage"),
    [
        ([b"220 hi\r\n", b"250 hi\r\n", b"250 ok\r\n", b"250 ok\r\n", b"250 ok\r\n"], "accepts", "RCPT"),
        ([b"220 hi\r\n", b"500 what\r\n", b"250 hi\r\n", b"250 ok\r\n", b"251 ok\r\n"], "accepts", "RCPT"),
        ([b"220-hi\r\n220 hi\r\n", b"250-hi\r\n250 X\r\n", b"250 ok\r\n", b"550-no\r\n550 no\r\n"], "refuses", "RCPT"),
        ([b"220 hi\r\n", b"250 hi\r\n", b"550 no null sender\r\n"], "refuses", "MAIL"),
        ([b"220 hi\r\n", b"250 hi\r\n", b"250 ok\r\n", b"450 later\r\n"], "defers", "RCPT"),
        ([b"220 hi\r\n", b"500 what\r\n", b"500 what\r\n"], "defers", "EHLO"),
        ([b"554 go away\r\n"], "defers", "greeting"),
        ([b"421 busy\r\n"], "defers", "greeting"),
        ([b"SSH-2.0-x\r\n"], "away", ""),
        ([b"220 hi\r\n", b"999 what\r\n"], "away", ""),
        ([b"220 hi\r\n", b"250-x\r\n" * 300], "away", ""),
        ([b"220 hi\r\n"], "away", ""),
    ],
)  # fmt: skip
def test_what_hosts_say(
    monkeypatch: pytest.MonkeyPatch, words: list[bytes], verdict: str, stage: str
) -> None:
    found = asked(monkeypatch, *words)
    assert (found.verdict, found.stage) == (verdict, stage), found


def test_their_text_is_printable(monkeypatch: pytest.MonkeyPatch) -> None:
    found = asked(monkeypatch, b"220 hi\r\n", b"250 hi\r\n", b"550 \x1b]0;x\x07 \xe2\x80\xae\r\n")
    assert found.text == "550 \\x1b]0;x\\x07 \\u202e"


def test_one_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    found = asked(monkeypatch, b"220 hi\r\n", b"", timeout=0.5)
    assert (found.verdict, found.text) == ("away", "is silent")


def test_one_that_wants_tls_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from tests.unit.source.readings.servers import secured

    inner = secured(
        certificate(tmp_path, "mx.example.org"),
        lambda tls: [tls.sendall(b"250 ok\r\n") for _time in range(4) if tls.recv(999)] and None,
    )

    def talk(client: socket.socket) -> None:
        client.sendall(b"220 hi\r\n")
        for answer in (b"250-hi\r\n250 STARTTLS\r\n", b"530 STARTTLS first\r\n", b"220 go\r\n"):
            client.recv(999)
            client.sendall(answer)
        inner(client)

    with serving(talk) as port:
        monkeypatch.setattr(acceptance, "PORT", port)
        (found,) = ask("127.0.0.1", 10, Question("postmaster@example.org", timeout=20))
    assert (found.verdict, found.stage) == ("accepts", "RCPT"), found
