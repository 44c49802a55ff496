"""Would a host take mail for a domain? Asked by SMTP up to RCPT, so that no mail is sent.

Touches the network: one conversation for each address of a host. `outcome` is pure.
Limits: what a host says of a recipient now; a host that looks recipients up elsewhere, or keeps
strangers waiting (greylisting), may say otherwise to others and later.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Literal, NamedTuple

from tidegate.errors import SourceError
from tidegate.source.readings.conversation import Address, Conversation, Down, addresses
from tidegate.text import printable

Verdict = Literal["accepts", "refuses", "defers", "away", "untried"]
Fate = Literal["goes", "waits", "bounces", "returns"]

PORT = 25
_MOST_LINES = 100
_REPLY = re.compile(rb"([2-5]\d\d)([ -]|$)")


class Question(NamedTuple):
    """What is asked: may `recipient` be sent mail by `sender` ("" for the null sender)?"""

    recipient: str
    sender: str = ""
    helo: str = ""
    timeout: float = 30.0


class Answer(NamedTuple):
    """What one address of a host said; `stage` is the command that it said it to.

    refuses: for good, so a sender returns the mail. defers: not now, or not to us; away: nobody
    there; a sender goes to the next host after both. untried: this host has no way there.
    """

    host: str
    preference: int
    address: str
    verdict: Verdict
    text: str
    stage: str = ""


class Outcome(NamedTuple):
    """What becomes of mail while `away` is away: it goes to, waits at, or bounces from `hosts`;
    "returns": it waits at its senders, who give up after some days."""

    away: str
    fate: Fate
    hosts: tuple[str, ...]
    text: str


def ask(host: str, preference: int, question: Question) -> list[Answer]:
    """What each address of the host says."""
    try:
        found = addresses(host, PORT, time.monotonic() + question.timeout)
    except SourceError as error:
        return [Answer(host, preference, "", "away", printable(str(error)))]
    return [_ask(Answer(host, preference, one.text, "accepts", ""), one, question) for one in found]


def _ask(blank: Answer, address: Address, question: Question) -> Answer:
    try:
        with Conversation(address, time.monotonic() + question.timeout) as talk:
            verdict, stage, text = _talk(talk, blank.host, question)
            talk.leave(b"QUIT\r\n", 1.0)
    except Down as error:
        return blank._replace(verdict="away", text=printable(str(error)))
    except SourceError as error:
        return blank._replace(verdict="untried", text=printable(str(error)))
    return blank._replace(verdict=verdict, stage=stage, text=text)


def _talk(talk: Conversation, host: str, question: Question) -> tuple[Verdict, str, str]:
    """Verdict, the command it was said to, and what was said."""
    code, said = _reply(talk)
    if code >= 400:
        return "defers", "greeting", said[0]  # a sender goes on to the next host
    offers = _hello(talk, question.helo)
    if offers is None:
        return "defers", "EHLO", "refuses EHLO and HELO"
    code, said = _say(talk, f"MAIL FROM:<{question.sender}>")
    if code == 530 and "STARTTLS" in offers:
        code, said = _say(talk, "STARTTLS")
        if code < 400:
            talk.secure(host, verify=False)  # as senders do: better than none
            _hello(talk, question.helo)
            code, said = _say(talk, f"MAIL FROM:<{question.sender}>")
    stage = "MAIL"
    if code < 400:
        code, said = _say(talk, f"RCPT TO:<{question.recipient}>")
        stage = "RCPT"
        with suppress(Down):  # the answer stands, however they part
            _say(talk, "RSET")
    return ("accepts" if code < 400 else "defers" if code < 500 else "refuses"), stage, said[0]


def _hello(talk: Conversation, name: str) -> set[str] | None:
    """What it offers after EHLO, nothing after HELO; None: it wants neither."""
    name = name or _own_name(talk)
    code, said = _say(talk, f"EHLO {name}")
    if code < 400:
        return {line[4:].split(" ")[0].upper() for line in said[1:]}
    return set() if _say(talk, f"HELO {name}")[0] < 400 else None


def _own_name(talk: Conversation) -> str:
    """This host's name where it has a domain, else its address in brackets (RFC 5321 §4.1.3)."""
    name = socket.gethostname()
    if re.fullmatch(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", name):
        return name
    address = talk.own_address()
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"


def _say(talk: Conversation, words: str) -> tuple[int, list[str]]:
    talk.send(words.encode("ascii") + b"\r\n")
    return _reply(talk)


def _reply(talk: Conversation) -> tuple[int, list[str]]:
    """Code and lines, made printable. Down: what it says is no SMTP."""
    lines: list[str] = []
    for _number in range(_MOST_LINES):
        line = talk.line()
        found = _REPLY.match(line)
        if found is None:
            raise Down(f"says {printable(line[:80].decode('utf-8', 'surrogateescape'))!r}")
        lines.append(printable(line[:500].decode("utf-8", "surrogateescape")))
        if found[2] != b"-":
            return int(found[1]), lines
    raise Down(f"answers with more than {_MOST_LINES} lines")


# -- what it means ---------------------------------------------------------------------------------


def verdict_of(answers: Sequence[Answer]) -> Verdict:
    """Of a host with these answers: one address that refuses is enough to lose mail."""
    said = {answer.verdict for answer in answers}
    order: tuple[Verdict, ...] = ("refuses", "accepts", "defers", "away", "untried")
    return next((one for one in order if one in said), "away")


def outcome(answers: Sequence[Answer], away: str = "") -> Outcome:
    """What becomes of mail while this host is away ("": as things are), by how senders go on.

    They try by preference, those of one preference in any order; go on to the next where they are
    deferred or nobody is there; stop at the first that accepts or refuses (RFC 5321 §5.1).
    """
    hosts: dict[str, list[Answer]] = {}
    for answer in answers:
        hosts.setdefault(answer.host, []).append(answer)
    best = min((answer.preference for answer in answers), default=0)
    left = {host: said for host, said in hosts.items() if host != away}
    for preference in sorted({said[0].preference for said in left.values()}):
        group = {h: said for h, said in left.items() if said[0].preference == preference}
        verdicts = {host: verdict_of(said) for host, said in group.items()}
        if refusing := tuple(host for host, one in verdicts.items() if one == "refuses"):
            text = next(one.text for one in group[refusing[0]] if one.verdict == "refuses")
            return Outcome(away, "bounces", refusing, text)
        if accepting := tuple(host for host, one in verdicts.items() if one == "accepts"):
            return Outcome(away, "goes" if preference == best else "waits", accepting, "")
    return Outcome(away, "returns", (), "")
