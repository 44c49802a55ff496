"""Log files to measure with: exim, sshd (RFC 3164) and `journalctl -o export`, as long as wanted.

Touches the file it writes. The same arguments give the same bytes: one seed, one clock, handed in.
Limits: addresses are of RFC 2544, 3849 and 5737, so at most 131,072 IPv4 sources.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

SOURCES = 20_000
RATE = 12
"""Lines a second, on the log's own clock: 1,000,000 lines are about a day."""
END = int(datetime(2026, 8, 21, 14, 0, tzinfo=UTC).timestamp())
POOL = 8192

ID62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class Shape(NamedTuple):
    """What a log is like: `kind` is exim, sshd or journal; `share` of abusive lines from 0 to 1."""

    kind: str
    share: float
    success: bool


Body = tuple[str, int, str]
"""Program, process id and message of one line."""


def sources(count: int = SOURCES) -> list[str]:
    """Where abuse comes from: nine in ten IPv4, every tenth an IPv6 /64 of its own."""
    found = []
    for number in range(count):
        if number % 10 == 9:
            found.append(f"2001:db8:{number >> 8:x}:{number & 255:x}::{number % 97 + 1:x}")
        else:
            spread = number * 40503 % 131072
            found.append(f"198.{18 + (spread >> 16)}.{spread >> 8 & 255}.{spread & 255}")
    return found


def attackers(chance: random.Random, share: float, count: int) -> Iterator[str]:
    """Whom the next attempt is from: half are seen once in a while, half are a few that insist."""
    everybody = sources(count)
    chance.shuffle(everybody)
    passing = cycle(everybody)
    insisting = [next(passing) for _ in range(max(3, round(60 * share)))]
    while True:
        for _ in range(16):
            yield next(passing)
            yield insisting[int(chance.random() * len(insisting))]
        # Every 32nd attempt one of those who insist gives up and another takes its place.
        insisting[int(chance.random() * len(insisting))] = next(passing)


def _word(chance: random.Random, letters: str, length: int) -> str:
    return "".join(chance.choices(letters, k=length))


def _message_id(chance: random.Random) -> str:
    return f"1{_word(chance, ID62, 5)}-{_word(chance, ID62, 11)}-{_word(chance, ID62, 4)}"


def _person(chance: random.Random) -> str:
    return _word(chance, "abcdefghijklmnopqrstuvwxyz", 6)


TLS = "X=TLS1.3:ECDHE_X25519__RSA_PSS_RSAE_SHA256__AES_256_GCM_SHA384:256"


def _exim_harmless(chance: random.Random, success: bool) -> Callable[[], Body]:
    """Mail that goes its way. Without success: a list server that only sends."""

    def one() -> Body:
        draw, message = chance.random(), _message_id(chance)
        host, last = f"mx{chance.randrange(90)}.example.net", chance.randrange(1, 255)
        other = f"{_person(chance)}@{_person(chance)}.example.com"
        size, queued = chance.randrange(900, 90_000), _word(chance, ID62, 12)
        if success and draw < 0.34:
            text = (
                f"{message} <= {other} H={host} [203.0.113.{last}] P=esmtps {TLS} CV=no "
                f"S={size} id={queued}@{host}"
            )
        elif draw < 0.66:
            text = (
                f"{message} => {_person(chance)} <{other}> R=dnslookup T=remote_smtp H={host} "
                f'[192.0.2.{last}] {TLS} CV=yes C="250 2.0.0 Ok: queued as {queued}"'
            )
        elif draw < 0.69:
            text = f"{message} <= list@example.org U=list P=local S={size} id={queued}@example.org"
        elif draw < 0.72:
            text = (
                f"{message} == {other} R=dnslookup T=remote_smtp defer (-44) H={host} "
                f"[192.0.2.{last}]: SMTP error from remote mail server after RCPT TO:<{other}>: "
                "451 4.7.1 Try again later"
            )
        elif success and draw < 0.74:
            text = f"no host name found for IP address 203.0.113.{last}"
        elif draw < 0.76:
            text = f"Start queue run: pid={chance.randrange(900, 99999)}"
        else:
            text = f"{message} Completed"
        return "exim", 0, text

    return one


def _exim_abuse(chance: random.Random, address: str) -> list[Body]:
    draw, helo = chance.random(), f"({_person(chance)})"
    sender = f"{_person(chance)}@example.com"
    port = chance.randrange(1025, 65000)
    if draw < 0.4:
        text = (
            f"login authenticator failed for {helo} [{address}]:{port}: "
            f"535 Incorrect authentication data (set_id={_person(chance)})"
        )
    elif draw < 0.6:
        text = (
            f"H={helo} [{address}]:{port} F=<{sender}> rejected RCPT "
            f"<{_person(chance)}@example.net>: relay not permitted"
        )
    elif draw < 0.75:
        text = (
            f"H={helo} [{address}]:{port} F=<{sender}> rejected RCPT "
            f"<{_person(chance)}@example.org>: Unrouteable address"
        )
    elif draw < 0.9:
        text = (
            f"{_message_id(chance)} H={helo} [{address}]:{port} F=<{sender}> rejected after DATA: "
            "This message contains a virus (Worm.Sobig.F)"
        )
    else:
        text = (
            f"SMTP call from {helo} [{address}]:{port} dropped: too many syntax or protocol "
            'errors (last command was "xxxx")'
        )
    return [("exim", 0, text)]


def _sshd_harmless(chance: random.Random, success: bool, only_sshd: bool) -> Callable[[], Body]:
    """A host that people work on: cron, sudo, sessions. Without success: nobody logs in by ssh."""

    def one() -> Body:
        draw, pid = chance.random(), chance.randrange(300, 4_000_000)
        last, port, user = chance.randrange(1, 255), chance.randrange(1025, 65000), _person(chance)
        if success and draw < 0.5:
            key = _word(chance, ID62, 43)
            texts = (
                f"Accepted publickey for {user} from 203.0.113.{last} port {port} ssh2: "
                f"ED25519 SHA256:{key}",
                f"pam_unix(sshd:session): session opened for user {user}(uid=1001) by (uid=0)",
                f"pam_unix(sshd:session): session closed for user {user}",
            )
            return "sshd", pid, texts[int(draw * 6)]
        if only_sshd or draw < 0.65:
            ends = (
                f"Received disconnect from 203.0.113.{last} port {port}:11: disconnected by user",
                f"Disconnected from user {user} 203.0.113.{last} port {port}",
                "Server listening on 0.0.0.0 port 22.",
                f"pam_unix(sshd:session): session closed for user {user}",
            )
            return "sshd", pid, ends[pid % 4]
        if draw < 0.85:
            state = "opened for user root(uid=0) by (uid=0)" if pid % 2 else "closed for user root"
            return "CRON", pid, f"pam_unix(cron:session): session {state}"
        if draw < 0.95:
            return "systemd-logind", 611, f"Session {pid % 9999} logged out. Waiting for exit."
        return "sudo", pid, f"{user} : TTY=pts/1 ; PWD=/srv ; USER=root ; COMMAND=/usr/bin/apt"

    return one


def _sshd_abuse(chance: random.Random, address: str) -> list[Body]:
    draw, pid = chance.random(), chance.randrange(300, 4_000_000)
    user, port = _person(chance), chance.randrange(1025, 65000)
    if draw < 0.4:
        texts = [
            f"Invalid user {user} from {address} port {port}",
            f"Failed password for invalid user {user} from {address} port {port} ssh2",
            f"Connection closed by invalid user {user} {address} port {port} [preauth]",
        ]
    elif draw < 0.8:
        texts = [
            "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= "
            f"rhost={address}  user=root",
            f"Failed password for root from {address} port {port} ssh2",
            f"Connection closed by authenticating user root {address} port {port} [preauth]",
        ]
    else:
        texts = [f"Failed password for root from {address} port {port} ssh2"]
    return [("sshd", pid, text) for text in texts]


def _abuse(shape: Shape, chance: random.Random, count: int) -> Iterator[Body]:
    make = _exim_abuse if shape.kind == "exim" else _sshd_abuse
    # Bodies are made once with a mark for the address, since making them is what takes time.
    pool = [make(chance, "\0") for _ in range(POOL)]
    for address in attackers(chance, shape.share, count):
        for program, pid, text in pool[int(chance.random() * POOL)]:
            yield program, pid, text.replace("\0", address)


def _harmless(shape: Shape, chance: random.Random) -> Iterator[Body]:
    if shape.kind == "exim":
        make = _exim_harmless(chance, shape.success)
    else:
        make = _sshd_harmless(chance, shape.success, shape.kind == "journal")
    pool = [make() for _ in range(POOL)]
    while True:
        yield pool[int(chance.random() * POOL)]


def _exim_line(moment: int) -> Callable[[Body], str]:
    stamp = datetime.fromtimestamp(moment).strftime("%Y-%m-%d %H:%M:%S ")
    return lambda body: f"{stamp}{body[2]}\n"


def _syslog_line(moment: int) -> Callable[[Body], str]:
    stamp = datetime.fromtimestamp(moment).strftime("%b %e %H:%M:%S mail")
    return lambda body: f"{stamp} {body[0]}[{body[1]}]: {body[2]}\n"


def _journal_line(moment: int) -> Callable[[Body], str]:
    boot, machine = "b" * 32, "5" * 32
    micros, serial = moment * 1_000_000, moment * 64

    def render(body: Body) -> str:
        nonlocal micros, serial
        micros, serial = micros + 1000, serial + 1
        return (
            f"__CURSOR=s={machine};i={serial:x};b={boot};m={micros:x};t={micros:x};x={serial:016x}\n"
            f"__REALTIME_TIMESTAMP={micros}\n__MONOTONIC_TIMESTAMP={micros % 10**14}\n"
            f"_BOOT_ID={boot}\n_COMM={body[0]}\n_UID=0\n_PID={body[1]}\n"
            f"SYSLOG_IDENTIFIER={body[0]}\nMESSAGE={body[2]}\n\n"
        )

    return render


RENDER = {"exim": _exim_line, "sshd": _syslog_line, "journal": _journal_line}


def write(
    path: Path, shape: Shape, lines: int, *, count: int = SOURCES, end: int = END, seed: int = 2003
) -> None:
    """Write a log of `lines` lines (journal: entries) that ends at `end`, in epoch seconds.

    Stamps without zone are in the local one. The file's time of change is `end` too.
    """
    chance = random.Random(seed)
    abuse, harmless = _abuse(shape, chance, count), _harmless(shape, chance)
    moment, left = end - lines // RATE, lines
    with path.open("w", encoding="ascii", buffering=1 << 20) as file:
        while left:
            now = min(left, RATE)
            render = RENDER[shape.kind](moment)
            for _ in range(now):
                bad = chance.random() < shape.share
                file.write(render(next(abuse if bad else harmless)))
            left -= now
            moment += 1
    os.utime(path, (end, end))
