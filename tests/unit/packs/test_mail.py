"""Mail servers, webmail and filters: whatever a client writes, only the client is blamed.

The lines are made as each program makes them; `{said}` stands where the client may write, `{address}`
where the program writes the client's address.
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

PACKS = (
    *("amavis", "assp", "chasquid", "courier", "cucipop", "cyrus", "domino", "exchange", "haraka"),
    *("hmailserver", "horde", "kerio", "kopano", "mailcow", "mailenable", "mailscanner", "mailu"),
    *("mimedefang", "modoboa", "nginx-mail", "openbsd-spamd", "opensmtpd", "openwebmail"),
    *("oracle-ims", "perdition", "popa3d", "qmail", "qpopper", "rainloop", "roundcube", "rspamd"),
    *("sendmail", "smf-sav", "sogo", "solid-pop3d", "spamdyke", "squirrelmail", "stalwart"),
    *("uw-imap", "vm-pop3d", "vpopmail", "zimbra"),
)
ENGINE = Engine([pack for pack in load_packs() if pack.name in PACKS], zone=UTC)

PIECES = (
    f" from {FORGED}",
    f" from {FORGED}: ",
    f" from {FORGED}. LOGIN: no in /x on line 1 (POST /)",
    f" from {FORGED}(X-Real-IP: x). LOGIN: ",
    f" from {FORGED} in session a (error: 0)",
    f" by {FORGED}",
    f" - {FORGED}",
    f" {FORGED} ",
    f" [{FORGED}]",
    f" [{FORGED}] to Horde",
    f" [{FORGED}] (forwarded for [1]) to Horde",
    f" [{FORGED}] authentication failure using internet password",
    f" [{FORGED}] plaintext x User logged in",
    f", ip=[{FORGED}]",
    f", ip=[{FORGED6}], port=[1], protocol=IMAP",
    f", relay=[{FORGED}]",
    f", relay=[{FORGED}], reject=550 5.7.1 x... Relaying denied",
    f", size=1, class=0, nrcpts=1, relay=[{FORGED}]",
    f":{FORGED}",
    f" at x ({FORGED}): -ERR [AUTH] x",
    f" host=x [{FORGED}]",
    f" remote <a:b:{FORGED}> rcpt <x> : ",
    f" to: x origin_ip: {FORGED} origin_rdns: x",
    f"), [{FORGED}] <a> -> <b>",
    f", ip: {FORGED}, from: <a>, (default: T (reject): ",
    f'", remoteIp = {FORGED}, x = "',
    f";oip={FORGED};",
    f". Attempt from IP address {FORGED}.",
    f", IP address {FORGED}",
    f"; connecting host {FORGED}",
    f" address={FORGED} host=x ",
    f"' - failed auth, from {FORGED}",
    f" from: {FORGED}/1: failed",
    f' while in http auth state, client: {FORGED}, server: x, login: "',
    f'|{FORGED}|1" mi="Bad password"',
    f",{FORGED}:1,>,535 5.7.3 no",
    f"\t{FORGED}\tAUTH\tx\t535 no",
    f'"{FORGED}" "SENT: 535 x"',
    "... User unknown",
    "LOGIN FAILED, user=",
    "Login failed for ",
    "badlogin: ",
    " ",
    "x",
    '"',
    ">",
    "[",
    ": ",
)
said = st.lists(st.sampled_from(PIECES), max_size=6).map("".join)
true_address = st.sampled_from((TRUE, TRUE6))


def detect(line: str) -> list[Event]:
    block = Block("log", f"{line}\n".encode(), 0, 1_790_000_000_000_000, 0)
    return ENGINE.detect(block, fields=True).events


BEHIND = (  # the program writes the address before what the client says
    "mx sm-mta[7]: 57LC3M0Q000712: host.example.com [{address}]: VRFY {said} [rejected]",
    "mx sm-mta[7]: 57LC3M0Q000712: [{address}]: probable open proxy: command={said}",
    "mx sm-mta[7]: 57LC3M0Q000712: collect: relay=[{address}], from={said}, info=Bare linefeed (LF) no",
    "mx cyrus/imap[7]: badlogin: host.example.com [{address}] plaintext {said} SASL(-13): no",
    'mx courieresmtpd: error,relay={address},msg="535 Authentication failed.",cmd: {said}',
    "mx courieresmtpd: error,relay={address},from=<{said}>,to=<{said}>: 550 User unknown.",
    "mx sogod[7]: SOGoRootPage Login from '{address}' for user '{said}' might not have worked",
    "mx modoboa.auth: WARNING Failed connection attempt from '{address}' as user '{said}'",
    "mx php[7]: Auth failed: ip={address} user={said} host=x port=993",
    'mx kopano-gateway[7]: Failed to login from {address} with invalid username "{said}" or wrong'
    " password: x",
    'mx perdition[7]: Auth: {address}->{address} user="{said}" server="x" status="failed"',
    "mx MailScanner[7]: Message 4bsM5k from {address} ({said}) to example.org is spam, SpamAssassin",
    'mx smtpd[7]: 1f55bdcdf16e28a3 smtp event=failed-command address={address} host=x command="AUTH'
    ' {said}" result="535 no"',
    "mx mimedefang.pl[7]: MDLOG,57LC3M0Q000712,spam,12.5,{address},<a>,<b>,{said}",
)
LAST = (  # nothing but the program's own words follow the address
    "mx sm-mta[7]: 57LC3M0Q000712: AUTH failure (LOGIN): no (-13) {said}, user={said},"
    " relay=[{address}]",
    "mx imapd: LOGIN FAILED, user={said}, ip=[{address}]",
    "mx imapd[7]: Login failed user={said} auth={said} host=host.example.com [{address}]",
    "mx solid-pop3d[7]: authentication failed for user {said} - {address}",
    "mx vm-pop3d[7]: User '{said}' - failed auth, from {address}",
    "mx roundcube: <k5f9d8s7> Failed login for {said} from {address} in session k5f9 (error: 0)",
    "mx squirrelmail: [LOGIN_ERROR] {said} (example.com) from {address}: Unknown user or password"
    " incorrect.",
    "mx mailcow[7]: mailcow UI: Invalid password for {said} by {address}",
)
NOT_FORGED = (  # such a line may also be left unexplained
    "mx sm-mta[7]: 57LC3M0Q000712: ruleset=check_rcpt, arg1=<{said}>, relay=[{address}], reject=550"
    " 5.7.1 <{said}>... Relaying denied",
    "mx sm-mta[7]: 57LC3M0Q000712: from=<{said}>, size=9, class=0, nrcpts=0, msgid={said},"
    " proto=ESMTP, daemon=MTA, relay=[{address}]",
    "mx sm-mta[7]: 57LC3M0Q000712: <{said}>... User unknown",
    "mx sm-mta[7]: 57LC3M0Q000712: invalid domain name ({said}) from host.example.com",
    "mx roundcube: IMAP Error: Login failed for {said} from {address}. LOGIN: no in /x on line 1 (POST"
    " /)",
    "mx roundcube: IMAP Error: Login failed for {said} against x from {address}(X-Real-IP: {said})."
    " LOGIN: no {said} in /x on line 1 (POST /)",
    "mx roundcube: Failed login for {said} from {address}(X-Real-IP: {said}) in session x (error: 0)",
    "mx roundcube: Successful login for {said} (ID: 7) from {address} in session x",
    "mx HORDE: [imp] FAILED LOGIN for {said} [{address}] to Horde",
    "mx HORDE: [imp] FAILED LOGIN for {said} [{address}] (forwarded for [x]) to Horde",
    "mx imapd: LOGIN, user={said}, ip=[{address}], port=[1], protocol=IMAP",
    "mx vpopmail[7]: vchkpw-pop3: password fail (pass: '{said}') {said}:{address}",
    "mx popper[7]: {said} at host.example.com ({address}): -ERR [AUTH] no {said}",
    "mx cucipop[7]: authentication failure {said} {address}",
    "mx popa3d[7]: Authentication failed for {said}",
    "mx smf-sav[7]: sender check failed : <{said}>, {address}, host.example.com",
    "mx spamd[7]: {said}: connected (1/1), lists: x",
    "mx spamdyke[7]: DENIED_OTHER from: {said} to: {said} origin_ip: {address} origin_rdns: x auth: x",
    "mx qmail-smtpd[7]: CHKUSER rejected rcpt: from <{said}::> remote <{said}:host:{address}> rcpt"
    " <{said}> : not existing recipient",
    "mx amavis[7]: (7-1) Blocked BANNED ({said}) {{DiscardedInbound}}, [{address}]:1 [x] <{said}> ->"
    " <b>, Hits: -",
    "mx smtpd[7]: 1f55bdcdf16e28a3 smtp authentication user={said} result=permfail",
)
OWN = (  # logs in a form of their own
    "Aug-21-26 14:03:22 [Worker_1] {address} <{said}> [SMTP Error] 535 5.7.8 {said}",
    "Aug-21-26 14:03:22 [Worker_1] Info: {said}",
    "2026-08-21 14:03:22.123 {address}:40112 rejected from={said} to=[{said}] - {said}",
    "2026-08-21 14:03:22   smtp: {said} {address} authentication failure using internet password",
    "21-08-2026 14:03:22   SMTP Server: Authentication failed for user {said} ; connecting host"
    " {address}",
    "[21/Aug/2026 14:03:22] Attempt to deliver to unknown recipient <{said}>, from <{said}>, IP"
    " address {address}",
    "[21/Aug/2026 14:03:22] SMTP: User {said} doesn't exist. Attempt from IP address {address}.",
    "[21/Aug/2026 14:03:22] Failed IMAP login for {said} from {address}",
    "Fri Aug 21 14:03:22 2026 - [7] ({address}) {said} - login error - Password incorrect",
    "Fri Aug 21 14:03:22 2026 - [7] ({address},{said}) x - login error - Password incorrect",
    "[2026-08-21 14:03:22,123] INFO in auth: Login attempt for: {said}/imap/None from: {address}/1:"
    " failed: badauth: x",
    '2026/08/21 14:03:22 [info] 8#8: *1 client login failed: "no" while in http auth state, client:'
    ' {address}, server: 0.0.0.0:25, login: "{said}"',
    '2026-08-21T14:03:22Z INFO Authentication failed (auth.failed) remoteIp = {address}, name = "{said}"',
    "2026-08-21 14:03:22,123 INFO  [qtp1-2:https://x/] [oip={address};ua={said};] SoapEngine -"
    " handler exception: authentication failed for [{said}], invalid password",
    "2026-08-21 14:03:22 #7(normal) <a1b2c3>; task; rspamd_task_write_log: id: <{said}>, ip:"
    " {address}, from: <{said}>, (default: T (reject): [20.10/15.00] []",
    "2026-08-21T14:03:22.123Z [NOTICE] [5A1B2C3D-11] [core] disconnect ip={address} rdns=x helo=x relay=N early=N"
    ' esmtp=Y tls=N pipe=N errors=0 txns=1 rcpts=0/0/1 msgs=0/0/0 bytes=0 lr="{said}" time=2.5',
)


@pytest.mark.parametrize("template", (*BEHIND, *LAST))
@given(text=said, address=true_address)
@settings(max_examples=40, deadline=None)
def test_the_client_is_blamed_and_nobody_else(template: str, text: str, address: str) -> None:
    events = detect("Aug 21 14:03:22 " + template.format(said=text, address=address))
    assert [event.subject for event in events] == [SUBJECTS[address]]
    assert events[0].kind.klass == "abuse"


@pytest.mark.parametrize("template", (*(f"Aug 21 14:03:22 {each}" for each in NOT_FORGED), *OWN))
@given(text=said, address=true_address)
@settings(max_examples=40, deadline=None)
def test_nobody_is_blamed_by_what_a_client_says(template: str, text: str, address: str) -> None:
    events = detect(template.format(said=text, address=address))
    assert not [event for event in events if event.subject in HOSTILE]


QUOTED = (  # in these, what a client says is a value of its own: no delimiter can stand in it
    '<co ts="2026-08-21T14:03:22.56" pi="1" tr="TCP|198.51.100.1|25|{address}|1" ap="SMTP" mi="Bad'
    ' password" us="{said}" di="535 no"/>',
    '"SMTPD"\t1\t5\t"2026-08-21 14:03:22.123"\t"{address}"\t"RECEIVED: {said}"',
    "08/21/26 14:03:22\tSMTP-IN\tA.MAI\t1\t{address}\tAUTH\t{said}\t535 Invalid Username or Password",
    '2026-08-21T14:03:22.514Z,0000000000000005,1,198.51.100.1:110,{address}:1,x,1,2,3,auth,"{said}",'
    '"R=""-ERR Authentication failure"""',
    "2026-08-21T14:03:22.514Z,MX\\Default,08DA6A8C6B5F1A2B,17,198.51.100.1:25,{address}:1,>,550 {said},",
)


@pytest.mark.parametrize("template", QUOTED)
@given(text=said)
@settings(max_examples=40, deadline=None)
def test_a_value_is_not_taken_for_another_column(template: str, text: str) -> None:
    value = text.replace('"', "&quot;").replace("\t", " ")
    events = detect(template.format(said=value, address=TRUE))
    assert all(event.subject == TRUE for event in events)


def test_a_waiting_refusal_is_told_about_its_own_connection_only() -> None:
    lines = (
        "Aug 21 14:03:22 mx sm-mta[7]: 57LC3M0Q900712: <x>... User unknown",
        f"Aug 21 14:03:22 mx sm-mta[8]: 57LC3M0Q900713: from=<a>, size=0, class=0, nrcpts=0,"
        f" daemon=MTA, relay=[{FORGED}]",
        f"Aug 21 14:03:22 mx sm-mta[7]: 57LC3M0Q900712: from=<a>, size=0, class=0, nrcpts=0,"
        f" daemon=MTA, relay=[{TRUE}]",
    )
    abuse = [event for event in detect("\n".join(lines)) if event.kind.klass == "abuse"]
    assert [(event.kind.name, event.subject) for event in abuse] == [
        ("sendmail.rcpt_refused", TRUE)
    ]
