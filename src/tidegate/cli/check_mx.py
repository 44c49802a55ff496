"""`tidegate check mx`: do the hosts that are listed for a domain's mail take it?

Touches the network: DNS, then port 25 of each host; no mail is sent. Gives up root before the
first word is heard. Limits: at most 20 hosts, eight at a time.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import click

from tidegate.cli.common import as_json, emit, say, table
from tidegate.daemon.privilege import become_nobody
from tidegate.errors import OperatorError
from tidegate.source.readings.acceptance import Answer, Outcome, Question, ask, outcome, verdict_of
from tidegate.source.readings.exchangers import (
    MOST,
    Exchanger,
    Missing,
    domain_name,
    exchangers,
    is_host,
)

_AT_ONCE = 8
_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}", re.ASCII)
_HELO = re.compile(r"[A-Za-z0-9.:\[\]_-]{1,253}|", re.ASCII)


@click.command(
    epilog="""\b
Examples:
  tidegate check mx example.org
  tidegate check mx example.org --recipient info --json
"""
)
@click.argument("domain")
@click.option(
    "--recipient",
    default="postmaster",
    show_default=True,
    help="Before the @; every domain has a postmaster, but few send mail there.",
)
@click.option("--helo", default="", help="The name to greet with (default: this host's).")
@click.option(
    "--timeout",
    type=click.FloatRange(1, 300),
    default=30.0,
    show_default=True,
    help="Seconds for each address.",
)
@as_json
def command(domain: str, recipient: str, helo: str, timeout: float, as_json: bool) -> int:
    """Ask each host that is listed for DOMAIN's mail (MX) whether it takes it, and say what becomes
    of mail while one of them is away. Exit code 0: all take it; 1: not all do."""
    name = domain_name(domain)
    if not _LOCAL.fullmatch(recipient):
        raise OperatorError(f"--recipient: expected what stands before the @; found {recipient!r}")
    if not _HELO.fullmatch(helo):
        raise OperatorError(f"--helo: expected a host's name; found {helo!r}")
    become_nobody()
    try:
        listed = exchangers(name)
    except Missing:
        return _none(name, f"{name} does not exist: its mail returns to its senders", as_json)
    if any(not one.host for one in listed):
        return _none(name, f"{name} says that it takes no mail (a null MX)", as_json)
    notes = []
    if not listed:
        notes.append(f"{name} has no MX record: senders go to the address of that name itself")
        listed = [Exchanger(0, name)]
    if len(listed) > MOST:
        notes.append(f"{len(listed)} hosts are listed; the first {MOST} are asked")
    if not as_json and timeout > 2:
        say(f"asking {', '.join(one.host for one in listed[:MOST])}; up to {timeout:g} s each …")
    question = Question(f"{recipient}@{name}", "", helo, timeout)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        asked = pool.map(lambda one: _asked(one, question), listed[:MOST])
        answers = [answer for answers in asked for answer in answers]
    return _told(name, answers, notes, as_json)


def _asked(one: Exchanger, question: Question) -> list[Answer]:
    if is_host(one.host):
        return ask(one.host, one.preference, question)
    why = "the MX record names no host; it must be a name that has an address"
    return [Answer(one.host, one.preference, "", "away", why)]


def _told(name: str, answers: list[Answer], notes: list[str], as_json: bool) -> int:
    hosts = list(dict.fromkeys(answer.host for answer in answers))
    outcomes = [outcome(answers), *(outcome(answers, host) for host in hosts)]
    well = all(_host_verdict(answers, host) == "accepts" for host in hosts)
    notes = notes + _notes(answers)
    if as_json:
        for answer in answers:
            emit({"v": 1} | answer._asdict())
        for one in outcomes:
            emit({"v": 1} | one._asdict() | {"says": _sentence(one, len(hosts))})
        emit({"v": 1, "domain": name, "ok": well, "notes": notes})
        return 0 if well else 1
    table(
        ("preference", "host", "address", "verdict", "says"),
        [(str(a.preference), a.host, a.address or "-", _word(a), a.text) for a in answers],
        "no host",
    )
    for one in outcomes:
        click.echo(_sentence(one, len(hosts)))
    for text in notes:
        click.echo(f"note: {text}")
    return 0 if well else 1


def _word(answer: Answer) -> str:
    words = {"away": "not reachable", "untried": "not tried", "defers": "defers"}
    return words.get(answer.verdict, answer.verdict)


def _host_verdict(answers: list[Answer], host: str) -> str:
    return verdict_of([answer for answer in answers if answer.host == host])


def _sentence(one: Outcome, hosts: int) -> str:
    """`if mx1 is away, mail waits at mx2`"""
    when = f"if {one.away} is away, mail" if one.away else "now mail"
    names = " or ".join(one.hosts)
    if one.fate == "goes":
        return f"{when} goes to {names}"
    if one.fate == "waits":
        return f"{when} waits at {names}"
    if one.fate == "bounces":
        return f"{when} bounces from {names}: {one.text}"
    other = "no host takes it" if not one.away or hosts > 1 else "there is no other host"
    return f"{when} waits with its senders, who give up after some days: {other}"


def _notes(answers: list[Answer]) -> list[str]:
    notes = []
    verdicts = {answer.verdict for answer in answers}
    if verdicts <= {"away", "untried"}:
        notes.append("nothing answered on port 25: is it open outwards where this was run?")
    best = min(answer.preference for answer in answers)
    first = [answer for answer in answers if answer.preference == best]
    later = [a for a in answers if a.preference > best and a.verdict == "accepts"]
    if later and any(answer.verdict == "accepts" for answer in first):
        notes.append(
            f"{later[0].host} was asked while {first[0].host} is there; a host that asks another"
            " for its recipients may say otherwise when that is away: ask again then"
        )
    if any(answer.verdict == "defers" for answer in answers):
        notes.append("who defers may only keep strangers waiting (greylisting): ask again later")
    return notes


def _none(name: str, text: str, as_json: bool) -> int:
    if as_json:
        emit({"v": 1, "domain": name, "ok": False, "notes": [text]})
    else:
        click.echo(text)
    return 1
