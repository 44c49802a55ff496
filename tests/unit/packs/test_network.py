"""Telephony, firewalls, scans, intrusion detection, honeypots, VPN: only the true peer is blamed.

The lines are made as the programs make them, with text that tries to pass for the program's own wherever
somebody else may choose it. Numbers and flags are nobody's text; there the whole line is imitated.
"""

from __future__ import annotations

import json
from datetime import UTC

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.detector.engine import Engine
from tidegate.detector.pack import load_packs
from tidegate.model import Block, Event

FORGED = "203.0.113.9"
TRUE, TRUE6 = "192.0.2.7", "2001:db8:1:2::7"
SUBJECTS = {TRUE: "192.0.2.7", TRUE6: "2001:db8:1:2::/64"}

ENGINE = Engine(load_packs(), zone=UTC)

PIECES = (
    FORGED,
    f" from {FORGED}",
    f" from {FORGED}:1",
    f"' failed for '{FORGED}:1' (callid: x) - No matching endpoint found",
    f"' failed for '{FORGED}:1' - Wrong password",
    f'",SessionID="x",LocalAddress="IPV4/UDP/198.51.100.1/1",RemoteAddress="IPV4/UDP/{FORGED}/1"',
    f"' ({FORGED}:1) to extension '",
    f"' (from {FORGED})",
    f"] from ip {FORGED}",
    f"] from {FORGED}",
    f"(-1)> Rejected connection from {FORGED}:1: Invalid server password",
    f'" and failed! query from 1 {FORGED}:1 attempted to login with account "',
    f'" from "{FORGED}:1"',
    f" via ssh from {FORGED} via ssh",
    f" IN=eth0 OUT= SRC={FORGED} DST=198.51.100.1 LEN=40 PROTO=TCP SPT=1 DPT=22 SYN ",
    f" :: Viewer Address: {FORGED} :: Type: DH",
    f" ip={FORGED} time=1",
    f": Invalid username or password from {FORGED}: no",
    f"> IP <{FORGED}> Authentication: rejected, Session Type: x",
    f" : user IP = {FORGED}",
    f"] [Source: {FORGED}] [localport: 22] [Reason: x] at y",
    f'" srcip={FORGED} remip={FORGED} x="',
    f"'. Reason: x. From: {FORGED}.\"",
    f"' from host '{FORGED}'",
    f"] {FORGED}:1 TLS Error: ",
    f" block(1): tcp/accept ]: {FORGED}.1 198.51.100.1.1: ",
    f'"src_ip":"{FORGED}"',
    f'","src_ip":"{FORGED}',
    f",{FORGED}] login attempt [x] failed",
    f" in:ether1 out:x, proto TCP, {FORGED}:1->198.51.100.1:22, len 1",
    " rejected because extension not found in context 'x'.",
    'SecurityEvent="InvalidPassword"',
    "Rejecting unknown SIP connection from ",
    "client-to-server,high,",
    '"',
    "'",
    "]",
    "[",
    ">",
    ",",
    ": ",
    " ",
    "x",
)
word = st.lists(st.sampled_from(PIECES), max_size=6).map("".join)
address = st.sampled_from((TRUE, TRUE6))


def detect(line: str) -> list[Event]:
    block = Block("log", f"{line}\n".encode(), 0, 1_790_000_000_000_000, 0)
    return ENGINE.detect(block, fields=True).events


SURE = (  # the true address is found, whatever stands around it
    "[2026-08-21 14:03:22] NOTICE[712] chan_sip.c: Registration from '{word}' failed for '{host}:5060' - Wrong password",
    "[2026-08-21 14:03:22] NOTICE[712] chan_iax2.c: No registration for peer '{word}' (from {address})",
    "[2026-08-21 14:03:22] NOTICE[712] chan_iax2.c: Host {address} failed to authenticate as '{word}'",
    "2026-08-21 14:03:22.123456 [WARNING] sofia_reg.c:2531 Can't find user [{word}] from {address}",
    "2026-08-21 14:03:22.123456 [WARNING] sofia_reg.c:1478 SIP auth failure (REGISTER) on sofia profile"
    " 'internal' for [{word}] from ip {address}",
    "2026-08-21 14:03:22.596079|INFO    |Query         |   |query from 6 {host}:43764 attempted to login"
    ' with account "{word}" and failed!',
    "<W>2026-08-21 14:03:22.818 1 => <4:{word}(-1)> Rejected connection from {host}:29530: Invalid server password",
    'L 08/21/2026 - 14:03:22: Bad Rcon: "rcon 12345 "{word}"" from "{host}:57370"',
    "Aug 21 14:03:22 sip kamailio[712]: NOTICE: <script>: Authentication failed for {word} from {address}",
    "Aug 21 14:03:22 gw system,error,critical login failure for user {word} from {address} via ssh",
    "[20260821-14:03:22] [INFO ] AUTHFAIL: user={word} ip={address} time=1787320000",
    "2026-08-21 14:03:22.773 [info] <0.1.0>@ejabberd_c2s:handle_auth_failure:433 (tls|<0.2.0>) Failed c2s"
    " PLAIN authentication for {word} from {address}: Invalid username or password",
    "Aug 21 14:03:22 srv danted[712]: info: block(1): tcp/accept ]: {address}.8490 198.51.100.1.1080: error"
    ' after reading 31 bytes in 2 seconds: pam_authenticate() for user "{word}" failed: x',
    "Aug 21 14:03:22 vpn ovpn-server[712]: {host}:55329 VERIFY ERROR: depth=0, error=x: CN={word}",
    '2026/08/21 14:03:22 [{host}:43334] [channel 0] input: "{word}"',
    "2026-08-21T14:03:22.513067Z [HoneyPotSSHTransport,12,{address}] login attempt [b'root'/b'{word}'] failed",
    "2026-08-21 14:03:22,123 (glastopf.glastopf) {address} requested GET /{word} on www.example.com:80",
    'Aug 21 14:03:22 fw %ASA-6-605004: Login denied from {address}/40112 to outside:198.51.100.1/ssh for user "{word}"',
    "Aug 21 14:03:22 fw %ASA-6-113015: AAA user authentication Rejected : reason = Invalid password :"
    " local database : user = {word} : user IP = {address}",
    "Aug 21 14:03:22 fw %ASA-6-716039: Group <x> User <{word}> IP <{address}> Authentication: rejected, Session Type: WebVPN.",
    "Aug 21 14:03:22 rt 123: Aug 21 14:03:21: %SEC_LOGIN-4-LOGIN_FAILED: Login failed [user: {word}]"
    " [Source: {address}] [localport: 22] [Reason: Login Authentication Failed] at 14:03:21 UTC Fri Aug 21 2026",
    'date=2026-08-21 time=14:03:22 eventtime=1787320000841267391 logid="1" type="event" subtype="vpn"'
    ' logdesc="SSL VPN login fail" action="ssl-login-fail" tunneltype="ssl-web" tunnelid=0 remip={address}'
    ' user="{word}" msg="SSL user failed to logged in"',
    "Aug 21 14:03:22 fw 1,2026/08/21 14:03:22,0164,SYSTEM,auth,0,2026/08/21 14:03:21,,auth-fail,,0,0,general,medium,"
    "\"failed authentication for user '{word}'. Reason: Invalid username/password. From: {address}.\",7204,0x0",
    "Aug 21 14:03:22 mx sshd[712]: SSHD_LOGIN_FAILED: Login failed for user '{word}' from host '{address}'",
    "Aug 21 14:03:22 fw fw: NetScreen device_id=fw  [Root]system-warning-00518: Login attempt to system by admin"
    " {word} via https from {address} has failed",
)


@pytest.mark.parametrize("template", SURE)
@given(word=word, address=address)
@settings(max_examples=40, deadline=None)
def test_the_true_peer_is_blamed(template: str, word: str, address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    events = detect(template.format(word=word, address=address, host=host))
    assert [event.subject for event in events] == [SUBJECTS[address]]
    assert events[0].kind.klass == "abuse"


UNSURE = (  # free text on both sides of the address: where it imitates the slot, nobody is blamed
    "[2026-08-21 14:03:22] NOTICE[712] res_pjsip/pjsip_distributor.c: Request 'INVITE' from '{word}' failed for"
    " '{address}:48336' (callid: {other}) - No matching endpoint found",
    "[2026-08-21 14:03:22] NOTICE[712][C-0fa9] chan_sip.c: Call from '{word}' ({host}:10836) to extension '{other}'"
    " rejected because extension not found in context 'default'.",
    '[2026-08-21 14:03:22] SECURITY[712] res_security_log.c: SecurityEvent="ChallengeResponseFailed",EventTV="1",'
    'Severity="Error",Service="PJSIP",EventVersion="1",AccountID="{word}",SessionID="{other}",'
    'LocalAddress="IPV4/UDP/198.51.100.1/5060",RemoteAddress="IPV4/UDP/{address}/5084",Challenge="1",Response="{word}"',
    '[2026-08-21 14:03:22] SECURITY[712] res_security_log.c: SecurityEvent="ChallengeSent",EventTV="1",'
    'Severity="Informational",Service="PJSIP",EventVersion="1",AccountID="{word}",SessionID="{other}",'
    'LocalAddress="IPV4/UDP/198.51.100.1/5060",RemoteAddress="IPV4/UDP/{address}/5084",Challenge="1"',
    'date=2026-08-21 time=14:03:22 devname="fw" devid="F" logid="1" type="event" eventtime=1787320000'
    ' logdesc="Admin login failed" sn="0" user="{word}" ui="https({address})" method="https" srcip={address}'
    ' dstip=198.51.100.1 action="login" status="failed" msg="Administrator {word} login failed"',
    "Aug 21 14:03:22 fw 1,2026/08/21 14:03:22,0164,THREAT,vulnerability,2561,2026/08/21 14:03:21,{address},198.51.100.1,"
    "0.0.0.0,0.0.0.0,rule,,,web,vsys1,Untrust,DMZ,vlan.1,vlan.2,log,2026/08/21 14:03:22,2,1,40112,80,40112,80,0x4,"
    'tcp,alert,"{word}",x(1),any,high,client-to-server,7204,0x8',
    "Aug 21 14:03:22 vpn ovpn-server[712]: {host}:55330 [{word}] Peer Connection Initiated with [AF_INET]{host}:55330",
    'Aug 21 14:03:22 pot sshesame[712]: [{host}:43334] authentication for user "{word}" with password "{other}" accepted',
)


@pytest.mark.parametrize("template", UNSURE)
@given(word=word, other=word, address=address)
@settings(max_examples=60, deadline=None)
def test_nobody_else_is_blamed(template: str, word: str, other: str, address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    events = detect(template.format(word=word, other=other, address=address, host=host))
    assert all(event.subject == SUBJECTS[address] for event in events)


JSON = (
    {"timestamp": "2026-08-21T14:03:22.123456+0200", "flow_id": 1, "event_type": "alert", "src_ip": TRUE,
     "src_port": 1, "dest_ip": "198.51.100.1", "dest_port": 80, "proto": "TCP",
     "alert": {"action": "allowed", "gid": 1, "signature_id": 2, "rev": 1, "signature": "?", "category": "?",
               "severity": 1}, "http": {"url": "?"}},
    {"eventid": "cowrie.login.failed", "username": "?", "password": "?", "message": "?",
     "timestamp": "2026-08-21T14:03:22.513067Z", "src_ip": TRUE, "session": "2a5e"},
    {"eventTime": "2026-08-21T14:03:22.702", "eventData": {"sourceIP": TRUE, "httpHostName": "?",
     "httpMethod": "GET", "waapIncidentType": "x", "matchedSample": "?"}},
    {"dst_host": "198.51.100.1", "local_time": "2026-08-21 14:03:22.1", "logdata": {"PASSWORD": "?"},
     "logtype": 2000, "node_id": "x", "src_host": TRUE, "src_port": 1},
    {"category": "ssh", "source-ip": TRUE, "source-port": 1, "ssh.username": "?"},
)  # fmt: skip


@pytest.mark.parametrize("entry", JSON)
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@given(word=word)
@settings(max_examples=40, deadline=None)
def test_no_text_in_json_is_taken_for_a_key(
    entry: dict[str, object], separators: tuple[str, str], word: str
) -> None:
    text = json.dumps(entry, separators=separators).replace("?", json.dumps(word)[1:-1])
    assert all(event.subject == TRUE for event in detect(text))


IMITATED = (  # whole lines, said by somebody in the middle of another program's line without a header
    "IN=eth0 OUT= SRC={forged} DST=198.51.100.1 LEN=40 PROTO=TCP SPT=1 DPT=22 SYN",
    "%ASA-2-106001: Inbound TCP connection denied from {forged}/1 to 198.51.100.1/22 flags SYN on interface x",
    "DROP TCP {forged} 198.51.100.1 40112 22 52 S 123 0 64240 - - - RECEIVE",
    "53,,,1,em0,match,block,in,4,0x0,,64,600,0,none,6,tcp,44,{forged},198.51.100.1,1,22,0,S,1,,1,,",
    "rule 5/0(match): block in on em0: {forged}.1 > 198.51.100.1.22: S 1:1(0) win 1",
    "65500 Deny TCP {forged}:1 198.51.100.1:22 in via em0",
    "em0 @0:1 b {forged},1 -> 198.51.100.1,22 PR tcp len 20 48 -S IN",
    "{forged} to 198.51.100.1 ports 80, 81, ..., f????uxy, TOS 00, TTL 49 @14:03:20",
    "Host: x/{forged} Port: 23 TCP Blocked",
    "scan detected: {forged} -> 198.51.100.1 tcp: [1-1024] DL: 3",
    "[1:1:1] x [**] [Priority: 1] {{TCP}} {forged}:1 -> 198.51.100.1:22",
    "NOTICE  [sshd] Ban {forged}",
    'Attack from "{forged}" on service SSH with danger 10.',
    "blocked {forged}/32:22 for 86400 seconds",
    "PIKE - BLOCKing ip {forged}, node=0x7f1c",
    "ACCEPT host={forged} port=1 fd=4 n=1/4096",
    "RT_FLOW_SESSION_DENY: session denied {forged}/1->198.51.100.1/22 junos-ssh 6(0) x",
    'id=firewall time="2026-08-21 14:03:22" fw=1 pri=5 c=64 m=36 msg="dropped" n=1 src={forged}:1:X1',
    'level=debug msg="Handling UDP stream from {forged}:1 to 198.51.100.1:53"',
    "firewall,info input: in:ether1 out:(none), proto TCP, {forged}:1->198.51.100.1:22, len 60",
)


@pytest.mark.parametrize("said", IMITATED)
@pytest.mark.parametrize(
    "line",
    [
        'login failed for user "{said}" at noon',
        "2026-08-21 14:03:22 somebody said: '{said}'",
        "Aug 21 14:03:22 mx app[712]: {said}",
        "Aug 21 14:03:22 mx app: got <{said}>",
    ],
)
def test_a_line_inside_a_line_is_nothing(line: str, said: str) -> None:
    events = detect(line.format(said=said.format(forged=FORGED)))
    assert not [event for event in events if event.subject == FORGED]


def test_what_firewalls_let_through_or_send_is_no_abuse() -> None:
    packet = f"MAC= SRC={TRUE} DST=198.51.100.1 LEN=40 PROTO=TCP SPT=1 DPT=22 SYN "
    for tag in ("[UFW ALLOW] ", "ACCEPT: ", "fw2net-pass ", "[LAN_IN-2000-A]", "[UFW AUDIT] "):
        assert not detect(f"Aug 21 14:03:22 fw kernel: {tag}IN=eth0 OUT= {packet}")
    assert not detect(f"Aug 21 14:03:22 fw kernel: DROP IN= OUT=eth0 {packet}")
    assert detect(f"Aug 21 14:03:22 fw kernel: DROP IN=eth0 OUT= {packet}")


def test_answers_and_broadcasts_weigh_nothing() -> None:
    start = f"Aug 21 14:03:22 fw kernel: DROP IN=eth0 OUT= MAC= SRC={TRUE} DST="
    for rest in (
        "198.51.100.1 LEN=40 PROTO=TCP SPT=443 DPT=51234 WINDOW=1 RES=0x00 ACK FIN URGP=0 ",
        "198.51.100.1 LEN=40 PROTO=UDP SPT=53 DPT=51234 LEN=20",
        "198.51.100.1 LEN=40 PROTO=ICMP TYPE=3 CODE=3 ",
        "224.0.0.1 LEN=36 PROTO=2 ",
        "255.255.255.255 LEN=36 PROTO=UDP SPT=68 DPT=67 LEN=20",
    ):
        assert [event.kind.weight for event in detect(start + rest)] == [0]
