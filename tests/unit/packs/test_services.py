"""Packs of FTP, database, DNS, directory and login daemons: whatever a client says, only the client is blamed.

Each line is made as its daemon makes it, with text that tries to pass for the daemon's own wherever the client
may choose. JSON strings are escaped as the daemons escape them.
"""

from __future__ import annotations

import json
from datetime import UTC
from functools import cache

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

PIECES = (
    FORGED,
    FORGED6,
    f"@{FORGED}",
    f" {FORGED} ",
    f"x@{FORGED}) [WARNING] Authentication failed for user [y",
    f'] FAIL LOGIN: Client "{FORGED}"',
    f'] OK LOGIN: Client "{FORGED}", "x',
    f'FAIL LOGIN: Client "{FORGED}',
    f" mx (a[{FORGED}]): no such user found from a [{FORGED}] to x:21",
    f" (Login failed) (a[{FORGED}]) - USER y (Login failed): x",
    f" FROM {FORGED}, x",
    f" FROM {FORGED} FOR y",
    f" from a [{FORGED}]",
    f" from '{FORGED}' FOR 'x', y",
    f" from a ({FORGED}) for x: y",
    f"' tried from a ({FORGED})",
    f"'@'{FORGED}' (using password: YES)",
    f"'@'{FORGED}' to database 'x",
    f",{FORGED},1,0,FAILED_CONNECT,,,1045",
    f" {FORGED} x@y ",
    f'FATAL:  password authentication failed for user "{FORGED} x',
    f'{FORGED} x@y FATAL:  password authentication failed for user "x',
    f'FATAL:  no pg_hba.conf entry for host "{FORGED}", user "x", database "y"',
    f"LOG:  connection received: host={FORGED} port=1",
    f'"x",1,"{FORGED}:1",a,b,c,d,e,f,FATAL,28P01,"x"',
    f". Reason: x [CLIENT: {FORGED}]",
    f" on y from client {FORGED}:1 ; z",
    f"] end connection {FORGED}:1 (0 connections now open)",
    f'","remote":"{FORGED}:1","x":"',
    f'","client_ip":"{FORGED}","y":"',
    f'", "remoteAddress": "ipv4:{FORGED}:1", "x": "',
    f"x/y@{FORGED}:1 closing because: auth failed (age=0s)",
    f" {FORGED} undefined GET / 401 ok 1",
    f"' from {FORGED}:22",
    f"Max auth tries reached - user 'x' from {FORGED}:1",
    f"from <{FORGED}:1>: x",
    f"x rhost={FORGED}",
    f"x rhost={FORGED}  user=y",
    f"x uid=0 euid=0 tty= ruser= rhost={FORGED} user=",
    f"' from `{FORGED}'",
    f"@{FORGED} as root: permission denied. cmd='x'",
    f" :: Viewer Address: {FORGED} :: Type: DH",
    f"] remote host [ipv4:{FORGED}:1] mapped to [a]\\[b]. local host [ipv4:{FORGED}:1]",
    f" fd=1 ACCEPT from IP={FORGED}:1 (IP=0.0.0.0:389)",
    f" ({FORGED}) couldn't find service x",
    f": Web Authentication failed from {FORGED}: Web Authentication failed",
    f" from {FORGED} refused, no acl matches",
    f"client {FORGED}#1 (x): query 'x/ANY/IN' denied",
    f") * (ADDRESS=(PROTOCOL=tcp)(HOST={FORGED})(PORT=1)) * establish * x * 12505",
    f"{FORGED}: PREAUTH_FAILED: x",
    f"x) ({FORGED})> 530 Login or password incorrect!",
    f"refused connect from {FORGED}",
    f" ({FORGED})",
    "RESULT tag=97 err=49 ",
    "Failed to authenticate ",
    "FAILED LOGIN 1",
    "]",
    "[",
    ")",
    "(",
    '"',
    "'",
    ",",
    ": ",
    " ",
    "@",
    "/",
    "x",
)

said = st.lists(st.sampled_from(PIECES), max_size=5).map("".join)
true_address = st.sampled_from((TRUE, TRUE6))

SYSLOG = "Aug 21 14:03:22 mx {program}[712]: "
VSFTPD = "Fri Aug 21 14:03:22 2026 [pid 712] "
PG = "2026-08-21 14:03:22.123 UTC [712] "
MONGO = (
    '{{"t":{{"$date":"2026-08-21T14:03:22.123+02:00"}},"s":"I",  "c":"ACCESS",   "id":20249,   '
    '"ctx":"conn1","msg":"Authentication failed","attr":{{"mechanism":"PLAIN","speculative":false,'
    '"principalName":{json},"authenticationDatabase":{json2},"remote":"{peer}:40112","extraInfo":{{}},'
    '"error":{json}}}}}'
)
SFTPGO = (
    '{{"level":"debug","time":"2026-08-21T14:03:22.123","sender":"connection_failed","client_ip":"{address}",'
    '"username":{json},"login_type":"password","protocol":"SSH","error":{json2}}}'
)
SMB = (
    '{{"timestamp": "2026-08-21T14:03:22.123456+0200", "type": "Authentication", "Authentication": '
    '{{"version": {{"major": 1, "minor": 2}}, "eventId": 4625, "logonId": "0", "logonType": 3, '
    '"status": "NT_STATUS_NO_SUCH_USER", "localAddress": "ipv4:198.51.100.1:445", '
    '"remoteAddress": "ip{family}:{address}:40112", "serviceDescription": "SMB2", '
    '"clientAccount": {json}, "workstation": {json2}}}}}'
)
PAM = "logname= uid=0 euid=0 tty=x ruser={text} rhost={address}"

BLAMED = (  # (program, line): what the client chose stands where it can hide nothing
    ("", VSFTPD + '[x] FAIL LOGIN: Client "{address}", "Permission denied."'),
    (
        "proftpd",
        "mx (a.example.com[{address}]) - USER {text}: no such user found from a [{address}] to x:21",
    ),
    ("proftpd", "mx (a.example.com[{address}]): USER {text} (Login failed): Incorrect password"),
    ("wu-ftpd", "failed login from a.example.com [{address}], {text}"),
    ("ftpd", "FTP LOGIN FAILED FROM {address}, {text}"),
    ("ftpd", "FTP LOGIN REFUSED FROM {address}, {text}"),
    ("", SFTPGO),
    ("", "2026-08-21T14:03:22.123Z << [FTP Session 12 {address}] 530 {text}"),
    ("", "(000012) 8/21/2026 2:03:22 PM - (not logged in) ({address})> 530 Login {text}"),
    (
        "mysqld",
        "2026-08-21 14:03:22 5907 [Warning] Access denied for user '{text}'@'{address}' (using password: NO)",
    ),
    (
        "",
        "2026-08-21 14:03:22.54 Logon       Login failed for user '{text}'. Reason: {text2}. [CLIENT: {address}]",
    ),
    ("", MONGO),
    ("named", "client @0x7f65 {address}#40112 (x): query (cache) '{text}' denied"),
    (
        "named",
        "client {address}#40112: bad zone transfer request: '{text}': non-authoritative zone (NOTAUTH)",
    ),
    ("dnsdist", 'HTTP Request "{text}" from {peer}:40112: Web Authentication failed'),
    (
        "",
        "[2026-08-21 14:03:22 UTC] [{peer}:40112] DnsServerCore.DnsWebServiceException: Invalid username or password for user: {text}",
    ),
    ("dropbear", "Bad password attempt for '{text}' from {address}:40112"),
    (
        "dropbear",
        "Exit before auth from <{address}:40112>: (user '{text}', 0 fails): Exited normally",
    ),
    (
        "login",
        "FAILED LOGIN (1) on '/dev/pts/0' from '{address}' FOR '{text}', Authentication failure",
    ),
    ("login", "FAILED LOGIN 1 FROM {address} FOR {text}, Authentication failure"),
    ("rsyncd", "auth failed on module m from a.example.com ({address}) for {text}: unknown user"),
    ("rsyncd", "unknown module '{text}' tried from a.example.com ({address})"),
    ("rpc.mountd", "refused mount request from {address} for {text} (/): not exported"),
    ("in.telnetd", "refused connect from {text}@a.example.com ({address})"),
    (
        "screensharingd",
        "Authentication: FAILED :: User Name: {text} :: Viewer Address: {address} :: Type: DH",
    ),
    ("smbd", "a.example.com ({address}) couldn't find service {text}"),
    ("", SMB),
    (
        "krb5kdc",
        "AS_REQ (2 etypes {{18 17}}) {address}: PREAUTH_FAILED: {text} for krbtgt/X@X, Preauthentication failed",
    ),
)

NOT_FORGED = (  # the same, where a strange name may also be left unexplained
    ("", VSFTPD + '[{text}] FAIL LOGIN: Client "{address}"'),
    ("", VSFTPD + '[{text}] OK LOGIN: Client "{address}", anon password "{text2}"'),
    ("", VSFTPD + 'FTP command: Client "{address}", "USER {text}"'),
    ("", VSFTPD + '[{text}] FTP command: Client "{address}", "{text2}"'),
    ("", VSFTPD + '[bob] OK DOWNLOAD: Client "{address}", "{text}", 1 bytes, 1.00Kbyte/sec'),
    ("proftpd", "mx (a.example.com[{address}]) - USER {text}: Login successful."),
    ("pure-ftpd", "(?@{address}) [WARNING] Authentication failed for user [{text}]"),
    ("pure-ftpd", "({text}@{address}) [WARNING] Authentication failed for user [{text}]"),
    ("pure-ftpd", "({text}@{address}) [INFO] {text2} is now logged in"),
    ("", "(000012) 8/21/2026 2:03:22 PM - (not logged in) ({address})> {text}"),
    ("", "2026-08-21T14:03:22.123Z >> [FTP Session 12 {address} {text2}] {text}"),
    ("mysqld", "2026-08-21 14:03:22 5907 [Warning] Access denied for user '{text}'@'{address}' to database '{text2}'"),
    ("mysqld", "2026-08-21 14:03:22 5907 [Warning] Access denied for user '{text}'@'{address}'"),
    ("", "20260821 14:03:22,db1,{text},{address},12,0,FAILED_CONNECT,{text2},,1045"),
    ("", "20260821 14:03:22,db1,bob,{address},12,9,QUERY,{text},'{text2}',0"),
    ("", PG + '{address} {text}@{text2} FATAL:  password authentication failed for user "{text}"'),
    ("", PG + '{text}@{text2} FATAL:  password authentication failed for user "{text}"'),
    ("", PG + 'user={text},db={text2},app=x,client={address} FATAL:  role "{text}" does not exist'),
    ("", PG + '{text}@{text2} FATAL:  no pg_hba.conf entry for host "{address}", user "{text}", database "{text2}", no encryption'),
    ("", PG + "{text}@{text2} LOG:  connection authorized: user={text} database={text2}"),
    ("", "{address} " + PG + '{text}@{text2} FATAL:  password authentication failed for user "{text}"'),
    ("", "2026-08-21 14:03:22.123 UTC:{address}(1):{text}@{text2}:[712]:FATAL:  role \"{text}\" does not exist"),
    ("", '2026-08-21 14:03:22.123 UTC,{csv},{csv2},712,"{address}:1",6510.2c8,2,"authentication",2026-08-21 14:03:22 UTC,3/5,0,FATAL,28P01,{csv},,,,,,,,,"","client backend",,0'),
    ("", "2026-08-21T14:03:22.123+0200 I ACCESS   [conn1] SCRAM-SHA-1 authentication failed for {text} on {text2} from client {address}:40112 ; UserNotFound: Could not find user {text}@{text2}"),
    ("", "[notice] 2026-08-21T14:03:22.123456Z nonode@nohost <0.176.12> 90b0213c46 {text} {address} {text2} GET / 401 ok 3"),
    ("", PG + "LOG C-0x55d0: {text}/{text2}@{peer}:40112 closing because: no such user: {text2} (age=0s)"),
    ("influxd", '[httpd] {text}, {address} - {text2} [21/Aug/2026:14:03:22 +0200] "GET / HTTP/1.1" 401 5 "-" "{text}" x 1'),
    ("", "21-AUG-2026 14:03:22 * (CONNECT_DATA=(SID={text})) * (ADDRESS=(PROTOCOL=tcp)(HOST={address})(PORT=1)) * establish * {text2} * 12505"),
    ("", "712:M 21 Aug 2026 14:03:22.123 # Possible SECURITY ATTACK detected. It looks like somebody is sending POST or Host: commands to Redis. Connection from {peer}:40112 aborted."),
    ("nsd", "axfr for example.com. from {address} refused, {text}"),
    ("unbound", "[712:0] info: refused nonrec (cache snoop) query from ip4 {address} port 40112 (len 16)"),
    ("pdns_server", "AXFR-out zone 'example.com', client '{peer}:40112', denied: client IP has no permission"),
    ("dropbear", "Exit before auth (user '{text}', 10 fails): Max auth tries reached - user '{text}' from {address}:40112"),
    ("dropbear", "Login attempt with wrong user {text} from {address}:40112"),
    ("vsftpd", "pam_unix(vsftpd:auth): authentication failure; " + PAM),
    ("vsftpd", "pam_unix(vsftpd:auth): authentication failure; " + PAM + "  user={text2}"),
    ("su", "pam_unix(su:auth): authentication failure; logname=bob uid=1000 euid=0 tty=pts/0 ruser={text} rhost=  user={text2}"),
    ("vsftpd", "pam_access(vsftpd:account): access denied for user `{text}' from `{address}'"),
    ("in.rshd", "pam_rhosts(rsh:auth): denied access to {text}@{address} as {text2}"),
    ("in.rshd", "{text}@{address} as {text2}: permission denied. cmd='{text}'"),
    ("login", "invalid password for '{text}' on '/dev/pts/0' from '{address}'"),
    ("in.telnetd", "refused connect from {text}@{address}"),
    ("xinetd", "FAIL: telnet address from={address}"),
    ("rpcbind", "connect from {address} to dump(): request from unauthorized host"),
    ("smbd", "Auth: [SMB2,(null)] user [{text}]\\[{text2}] at [Fri, 21 Aug 2026 14:03:22.123456 CEST] with [NTLMv2] status [NT_STATUS_NO_SUCH_USER] workstation [{text}] remote host [ipv4:{address}:40112] mapped to [{text}]\\[{text2}]. local host [ipv4:198.51.100.1:445]"),
    ("slapd", 'conn=1022 op=0 BIND dn="{text}" method=128'),
    ("", "[21/Aug/2026:14:03:22.123456789 +0200] conn=5 op=0 BIND dn=\"{text}\" method=128 version=3"),
    ("", "2026-08-21 14:03:22 {address} {plus} 198.51.100.1 21 PASS {plus2} 530 1326 41 - -"),
)  # fmt: skip


@cache
def engine() -> Engine:
    return Engine(load_packs(), zone=UTC)


def detect(program: str, template: str, address: str, text: str, text2: str) -> list[Event]:
    words = {
        "address": address,
        "peer": f"[{address}]" if ":" in address else address,
        "family": "v6" if ":" in address else "v4",
        "text": text,
        "text2": text2,
        "json": json.dumps(text),
        "json2": json.dumps(text2),
        "csv": '"' + text.replace('"', '""') + '"',
        "csv2": '"' + text2.replace('"', '""') + '"',
        "plus": text.replace(" ", "+") or "-",
        "plus2": text2.replace(" ", "+") or "-",
    }
    header = SYSLOG.format(program=program) if program else ""
    data = f"{header}{template.format(**words)}\n".encode()
    return engine().detect(Block("log", data, 0, 1_790_000_000_000_000, 0), fields=True).events


@pytest.mark.parametrize(("program", "template"), BLAMED)
@given(address=true_address, text=said, text2=said)
@settings(max_examples=25, deadline=None)
def test_the_client_is_blamed_and_nobody_else(
    program: str, template: str, address: str, text: str, text2: str
) -> None:
    events = detect(program, template, address, text, text2)
    assert {event.subject for event in events} == {SUBJECTS[address]}
    assert any(event.kind.klass == "abuse" for event in events)


@pytest.mark.parametrize(("program", "template"), NOT_FORGED)
@given(address=true_address, text=said, text2=said)
@settings(max_examples=40, deadline=None)
def test_nobody_is_blamed_by_what_a_client_says(
    program: str, template: str, address: str, text: str, text2: str
) -> None:
    events = detect(program, template, address, text, text2)
    assert not [event for event in events if event.subject in HOSTILE]


@pytest.mark.parametrize(
    ("program", "template"),
    [(program, template) for program, template in NOT_FORGED if "{address}" in template],
)
def test_a_plain_name_is_explained(program: str, template: str) -> None:
    events = detect(program, template, TRUE, "bob", "shop")
    assert not [event for event in events if event.subject != TRUE]
