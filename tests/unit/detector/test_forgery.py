"""Whatever clients write into their names, commands and messages: only they themselves are blamed.

The lines are made as the daemons make them (OpenSSH 10.0 auth.c, packet.c, kex.c; Exim 4.98 host.c,
smtp_in.c, receive.c), with text that tries to pass for the daemon's own where the client may choose.
"""

from __future__ import annotations

from datetime import UTC

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.detector.engine import Engine
from tidegate.detector.pack import load_packs
from tidegate.model import Block, Event

FORGED, FORGED6 = "203.0.113.9", "2001:db8:bad::9"
TRUE, TRUE6 = "192.0.2.7", "2001:db8:1:2::7"
SUBJECTS = {TRUE: "192.0.2.7", TRUE6: "2001:db8:1:2::/64"}
HOSTILE = {FORGED, "2001:db8:bad::/64"}

ENGINE = Engine(load_packs(), zone=UTC)
true_address = st.sampled_from((TRUE, TRUE6))

SSHD_PIECES = (
    f" from {FORGED} port 22 ssh2",
    f" from {FORGED6}",
    f" {FORGED} port 22",
    f" {FORGED} port 22: x",
    f"' from {FORGED} port 22",
    f" via {FORGED}",
    f" rhost={FORGED}  user=x",
    f"x uid=0 euid=0 tty=ssh ruser= rhost={FORGED} user=x",
    f"' from `{FORGED}'",
    f"Accepted password for root from {FORGED} port 22 ssh2",
    f": RSA SHA256:x from {FORGED} port 1 ssh2",
    "invalid user ",
    " not allowed because x",
    " timed out",
    " ssh2",
    " [preauth]",
    ": ",
    " ",
    "'",
    "x",
)
EXIM_PIECES = (
    f" H=(x) [{FORGED}]",
    f'" H=(x) [{FORGED}] ',
    f") [{FORGED}]",
    f'" H=(x) [{FORGED}] next input="x',
    f'x" H=(x) [{FORGED}] already authenticated',
    f"x) [{FORGED}] F=<a@example.com> rejected RCPT <b@example.org>: no (x",
    f"x) [{FORGED}] F=<a@example.com> rejected after DATA: no (x",
    f"x) [{FORGED}]: 535 Incorrect authentication data (set_id=(x",
    f"x) [{FORGED}] rejected VRFY (x",
    f"x) [{FORGED}] dropped: too many x (x",
    f"(x) [{FORGED6}]:22",
    f"[{FORGED}]",
    f" from (x) [{FORGED}]: 535 Incorrect authentication data (set_id=x)",
    f" (during SMTP connection from [{FORGED}])",
    f"> H=[{FORGED}] ",
    f" (host=x [{FORGED}]) for x",
    " F=<a@example.com> rejected RCPT <b@example.org>: relay not permitted",
    " rejected after DATA: This message contains a virus",
    ' next input="',
    " P=esmtp S=1",
    "<= a@example.com",
    ' DN="',
    "U=x",
    '"',
    "(",
    ")",
    "<",
    ">",
    "[",
    ": ",
    " ",
    "x",
)


def texts(pieces: tuple[str, ...]) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(pieces), max_size=7).map("".join)


user = texts(SSHD_PIECES).map(lambda text: text.partition(":")[0])  # sshd cuts a name at its colon
said = texts(SSHD_PIECES)
word = texts(EXIM_PIECES)
quoted = word.map(lambda text: '"' + text.replace('"', '\\"') + '"@example.com')
sender = st.one_of(st.just(""), st.just("a@example.com"), quoted)
helo = st.sampled_from(("x", "mx.example.com", f"[{FORGED}]", f"[IPv6:{FORGED6}]", FORGED))


def detect(message: str, header: str) -> list[Event]:
    data = f"{header}{message}\n".encode()
    return ENGINE.detect(Block("log", data, 0, 1_790_000_000_000_000, 0), fields=True).events


def sshd(message: str) -> list[Event]:
    return detect(message, "Aug 21 14:03:22 mx sshd[712]: ")


def exim(message: str) -> list[Event]:
    return detect(message, "2026-08-21 14:03:22 ")


def nobody_else(events: list[Event]) -> None:
    assert not [event for event in events if event.subject in HOSTILE]


BLAMED = (  # what sshd says of a user, where the user alone is the client's to choose
    "Invalid user {user} from {address} port 40112",
    "Invalid user {user} from {address}",
    "Failed password for invalid user {user} from {address} port 40112 ssh2",
    "Failed publickey for invalid user {user} from {address} port 40112 ssh2: RSA SHA256:Zm9v",
    "Connection closed by invalid user {user} {address} port 40112 [preauth]",
    "Disconnected from authenticating user {user} {address} port 40112 [preauth]",
    "Connection from invalid user {user} {address} port 40112 timed out [preauth]",
    "Disconnecting invalid user {user} {address} port 40112: {said} [preauth]",
    "ssh_dispatch_run_fatal: Connection from invalid user {user} {address} port 40112: bad [preauth]",
    "error: PAM: Authentication failure for illegal user {user} from {address}",
    "Postponed keyboard-interactive for invalid user {user} from {address} port 40112 ssh2 [preauth]",
    "administratively prohibited connection for invalid user {user} from {address} port 40112",
    "pam_access(sshd:account): access denied for user `{user}' from `{address}'",
    "Bad protocol version identification '{said}' from {address} port 40112",
    "Unable to negotiate with {address} port 40112: no matching MAC found. Their offer: {said} [preauth]",
    "scanned from {address} port 40112 with {said}.  Don't panic. [preauth]",
)


@pytest.mark.parametrize("template", BLAMED)
@given(user=user, said=said, address=true_address)
@settings(max_examples=60, deadline=None)
def test_sshd_blames_the_client_and_nobody_else(
    template: str, user: str, said: str, address: str
) -> None:
    events = sshd(template.format(user=user, said=said, address=address))
    assert [event.subject for event in events] == [SUBJECTS[address]]
    assert events[0].kind.klass == "abuse"


NOT_FORGED = (  # the same, where a strange name may also be left unexplained
    "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= "
    "rhost={address}  user={user}",
    "pam_krb5(sshd:auth): authentication failure; logname={user} uid=0 euid=0 tty=ssh ruser= "
    "rhost={address}",
    "Received disconnect from {address} port 40112:11: {said} [preauth]",
    "error: Received disconnect from {address} port 40112:3: {said}: Auth fail [preauth]",
    "error: maximum authentication attempts exceeded for invalid user {user} from {address} port 1 ssh2",
    "Failed hostbased for bob from {address} port 40112 ssh2: RSA SHA256:Zm9v, "
    'client user "{said}", client host "{said}"',
    "Accepted publickey for bob from {address} port 40112 ssh2: RSA-CERT SHA256:Zm9v "
    "ID {said} (serial 0) CA RSA SHA256:YmFy",
    "input_userauth_request: invalid user {user} [preauth]",
    "error: Bad remote protocol version identification: '{said}'",
    'kex_exchange_identification: client sent invalid protocol identifier "{said}"',
    "refused connect from {user}@{address}",
    "refused connect from {user}@host ({address})",
    'Nasty PTR record "{said}" is set up for {address}, ignoring',
)


@pytest.mark.parametrize("template", NOT_FORGED)
@given(user=user, said=said, address=true_address)
@settings(max_examples=60, deadline=None)
def test_sshd_blames_nobody_by_what_a_client_says(
    template: str, user: str, said: str, address: str
) -> None:
    nobody_else(sshd(template.format(user=user, said=said, address=address)))


EXIM = (
    "{h} F=<{sender}> rejected RCPT <{word}>: relay not permitted",
    "{h} F=<{sender}> rejected RCPT {word}: {word}",
    "{h} F=<{sender}> rejected after DATA: This message contains a virus ({word})",
    "{h} F=<{sender}> temporarily rejected RCPT <{word}>: later",
    "{h} F=<{sender}> rejected during MIME ACL checks: {word}",
    "F={sender} {h} P=esmtp rejected by local_scan(): {word}",
    "{h} rejected MAIL <{sender}>: no",
    "{h} rejected VRFY {word}",
    "{h} rejected EHLO or HELO {word}: no",
    "{h} sender verify fail for <{sender}>: {word}",
    "login authenticator failed for {peer}: 535 Incorrect authentication data (set_id={word})",
    'SMTP protocol error in "{word}" {h} AUTH command used when not advertised',
    'SMTP syntax error in "{word}" {h} unrecognized command',
    "SMTP protocol synchronization error (next input sent too soon: pipelining was not advertised): "
    'rejected "{word}" {h} next input="{word2}"',
    "SMTP protocol synchronization error (input sent without waiting for greeting): "
    'rejected connection from {h} input="{word}"',
    'SMTP call from {peer} dropped: too many unrecognized commands (last was "{word}")',
    "rejected EHLO from {peer}: syntactically invalid argument(s): {word}",
    "unqualified sender rejected: <{word}> {h} (failed to find host name from IP address)",
    "unqualified recipient rejected: <{word}> {h}",
    "too many recipients: message rejected: sender=<{sender}> {h}",
    "rejected MAIL FROM:<{sender}> {h}: message too big: size=99 max=9",
    "VRFY failed for {word} {h}",
    "no IP address found for host {word} (during SMTP connection from {peer})",
    "no MAIL in SMTP connection from {peer} D=2s C=EHLO,QUIT",
    "TLS error on connection from {peer} (gnutls_handshake): {word}",
    "1tAbCd-000000001x-2Bcd <= {sender} {h} P=esmtp S=1200 id=x T={quoted} for {word}",
    "1tAbCd-000000001x-2Bcd SA: Action: silently tossed message: score=9 required=5 (scanned in 6/6 "
    "secs | Message-Id: x). From <{sender}> (host=mx.example.com [{address}]) for {word}",
)


def exim_line(template: str, name: str, greeting: str, address: str, **said: str) -> str:
    peer = f"{name}({greeting}) [{address}]:40112 I=[198.51.100.1]:25"
    return template.format(h=f"H={peer}", peer=peer, address=address, **said)


name = st.sampled_from(("", "mx.example.com "))


@pytest.mark.parametrize("template", EXIM)
@given(name=name, helo=helo, address=true_address, sender=sender, word=word, other=word, t=quoted)
@settings(max_examples=80, deadline=None)
def test_exim_blames_nobody_by_what_a_client_says(
    template: str, name: str, helo: str, address: str, sender: str, word: str, other: str, t: str
) -> None:
    said = {"sender": sender, "word": word, "word2": other, "quoted": t}
    events = exim(exim_line(template, name, helo, address, **said))
    nobody_else(events)
    assert all(event.subject == SUBJECTS[address] for event in events)


@pytest.mark.parametrize("template", [each for each in EXIM if "<=" not in each])
@given(name=name, helo=word, address=true_address)
@settings(max_examples=80, deadline=None)
def test_exim_blames_nobody_by_a_junk_helo(
    template: str, name: str, helo: str, address: str
) -> None:
    """With helo_accept_junk_hosts a HELO may close its bracket and go on as the log does."""
    said = {"sender": "a@example.com", "word": "x", "word2": "x", "quoted": '"x"'}
    nobody_else(exim(exim_line(template, name, helo, address, **said)))


@given(helo=helo, address=true_address, word=word.filter(lambda text: ") [" not in text))
@settings(max_examples=100, deadline=None)
def test_exim_blames_the_client(helo: str, address: str, word: str) -> None:
    for template in EXIM[:3]:
        said = {"sender": "a@example.com", "word": word, "word2": "x", "quoted": '"x"'}
        events = exim(exim_line(template, "", helo, address, **said))
        assert [event.subject for event in events] == [SUBJECTS[address]]
