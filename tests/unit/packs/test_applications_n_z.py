"""Applications from N to Z: whatever clients write, nobody else is blamed and nobody spoken for.

The lines are made as the applications make them (see `reference` of each pack), with text that tries
to pass for the application's own where the client may choose it.
"""

from __future__ import annotations

import json
from datetime import UTC
from functools import lru_cache
from importlib import resources

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.detector.engine import Engine
from tidegate.detector.pack import read_pack
from tidegate.model import Block, Event

FORGED, FORGED6 = "203.0.113.9", "2001:db8:bad::9"
TRUE, TRUE6 = "192.0.2.7", "2001:db8:1:2::7"
SUBJECTS = {TRUE: "192.0.2.7", TRUE6: "2001:db8:1:2::/64"}
HOSTILE = {FORGED, "2001:db8:bad::/64"}

STAMP = "2026-08-21 14:03:22"
ISO = "2026-08-21T14:03:22"
SYSLOG = "Aug 21 14:03:22 mx "

PIECES = (
    f" from {FORGED}",
    f" from: {FORGED}",
    f"' from: {FORGED}",
    f"' from: {FORGED}[",
    f"' from IP {FORGED}",
    f"` from IP `{FORGED}`.",
    f" from {FORGED} at {STAMP} UTC",
    f'", from {FORGED}.',
    f" from {FORGED} failed (-1)!",
    f" from IP: {FORGED}",
    f". IP={FORGED}",
    f". IP: {FORGED}. Username: x",
    f", IP: {FORGED}, username: x",
    f", ip: {FORGED}, attemps: 3",
    f" (Remote IP: {FORGED})",
    f"' (Remote IP: '{FORGED}')",
    f"' (attacker '{FORGED}', file '/x')",
    f" rhost={FORGED} user=x msg=x",
    f" rhost=[{FORGED}]:1 user=x msg=x",
    f" ip={FORGED}:1 subsystem=sftp username=x",
    f" remoteAddr={FORGED}",
    f'","ip":"{FORGED}","x":"',
    f'","addr.remote":"{FORGED}:1","x":"',
    f'","remoteAddress":"{FORGED}","x":"',
    f'","ClientHost":"{FORGED}","x":"',
    f'","visitor_ip":"{FORGED}","x":"',
    f'", "addr": "{FORGED}", "user": "',
    '","success":true,"x":"',
    f"</Data><Data Name='IpAddress'>{FORGED}</Data>",
    f' - {FORGED} global miniserv.pl "failed" "-" "wrongpass"',
    f"] failed to login from {FORGED}",
    f"] connected to ZNC from {FORGED}",
    f"] ClientAddress[{FORGED}] ForwardedFor[-] RealIp[-] UserAgent[x",
    f"] from [{FORGED}] failed to log in via [DSM] due to authorization failure.",
    f"] from [{FORGED}] logged in successfully via [DSM].",
    f"] [{FORGED}] [Login denied for user",
    f"]: {FORGED}:1 failed authentication attempt for user 'x'",
    f" {FORGED} [x]",
    f"' tried from x ({FORGED})",
    f" (x) from {FORGED6}",
    f" (mysql-denied) from {FORGED}",
    '" 401 17 "-" "-" 1 "x" "x" 0ms',
    f"{FORGED} - x [21/Aug/2026:14:03:22 +0000]",
    " - - [",
    "successfully logged in",
    "Successful login user x",
    "Successfully logged in user x. IP=",
    "Accepted password for x",
    "'",
    '"',
    "`",
    "\\",
    "<",
    "[",
    "]",
    "(",
    ")",
    "{",
    "}",
    ": ",
    ", ",
    " ",
    "x",
)

text = st.lists(st.sampled_from(PIECES), max_size=6).map("".join)
true_address = st.sampled_from((TRUE, TRUE6))


@lru_cache(maxsize=1)
def engine() -> Engine:
    """All packs that the lines below are of, together as in a daemon."""
    folder = resources.files("tidegate.detector") / "packs"
    names = sorted({name for name, _line in (*BLAMED, *NOT_FORGED, *JSON)} | {"synology"})
    packs = [read_pack((folder / f"{name}.toml").read_bytes(), name, judge=False) for name in names]
    return Engine(packs, zone=UTC)


def detect(line: str) -> list[Event]:
    block = Block("log", line.encode() + b"\n", 0, 1_790_000_000_000_000, 0)
    return engine().detect(block, fields=True).events


def nobody_else(events: list[Event]) -> None:
    assert not [event for event in events if event.subject in HOSTILE]


BLAMED = (  # lines that blame the client, however it calls itself
    (
        "odoo",
        f"{STAMP},123 1 INFO shop odoo.addons.base.models.res_users: "
        "Login failed for db:shop login:{text} from {address}",
    ),
    (
        "paperless",
        f"[{STAMP},123] [INFO] [paperless.auth] Login failed for user `{{text}}` from IP `{{address}}`.",
    ),
    (
        "pfsense",
        f"{SYSLOG}php-fpm[374]: /index.php: webConfigurator authentication error for user "
        "'{text}' from: {address}",
    ),
    (
        "opnsense",
        f"{SYSLOG}audit[88]: /index.php: Web GUI authentication error for '{{text}}' from {{address}}",
    ),
    ("servarr", "[Warn] Auth: Auth-Failure ip {address} username '{text}'"),
    (
        "proxmox",
        f"{SYSLOG}pvedaemon[712]: authentication failure; rhost={{address}} user={{text}}@pam "
        "msg=no such user ('{text}@pam')",
    ),
    (
        "proxmox-backup",
        f"{ISO}+02:00: authentication failure; rhost=[{{address}}]:47416 user={{text}}@pam msg=no",
    ),
    (
        "pterodactyl-wings",
        " WARN: [Aug 21 14:03:22.123] failed to validate user credentials (invalid format) "
        "ip=[{address}]:43244 subsystem=sftp username={text}",
    ),
    (
        "qbittorrent",
        f"(W) {ISO} - WebAPI login failure. Reason: invalid credentials, attempt count: 3, "
        "IP: {address}, username: {text}",
    ),
    (
        "redmine",
        f"Failed login for '{{text}}' from {{address}} at {STAMP} UTC",
    ),
    (
        "sabnzbd",
        f"{STAMP},123::WARNING::[interface:657] Unsuccessful login attempt from {{address}} [{{text}}]",
    ),
    (
        "softethervpn",
        f'{STAMP}.123 Connection "CID-72": User authentication failed. The user name that has been '
        'provided was "{text}", from {address}.',
    ),
    (
        "suhosin",
        f"{SYSLOG}suhosin[88]: ALERT - tried to register forbidden variable '{{text}}' through GET "
        "variables (attacker '{address}', file '/var/www/index.php')",
    ),
    (
        "squid",
        "1787320002.000      1 {address} TCP_DENIED/403 3745 GET http://example.com/ {text} NONE/-",
    ),
    (
        "tine20",
        f"78017 00cff -- none -- - {ISO}+00:00 WARN (4): Tinebase_Controller::login::106 "
        "Login with username {text} from {address} failed (-1)!",
    ),
    (
        "uptime-kuma",
        f"{ISO}.123Z [AUTH] WARN: Incorrect username or password for user {{text}}. IP={{address}}",
    ),
    (
        "vaultwarden",
        f"[{STAMP}.123][vaultwarden::api::identity][ERROR] Username or password is incorrect. "
        "Try again. IP: {address}. Username: {text}.",
    ),
    ("webmin", f"{SYSLOG}webmin[88]: Invalid login as {{text}} from {{address}}"),
    (
        "webmin",
        '1787320002.1234.0 [21/Aug/2026 14:03:22] {text} - {address} global miniserv.pl "failed" '
        '"-" "wrongpass"',
    ),
    (
        "zoneminder",
        '08/21/26 14:03:22.123456 web_php[88].ERR [{address}] [Login denied for user "{text}"] at /x',
    ),
    (
        "wordpress",
        f"{SYSLOG}wordpress(example.org)[88]: Authentication failure for {{text}} from {{address}}",
    ),
    (
        "phpmyadmin",
        f"{SYSLOG}phpMyAdmin[88]: user denied: {{text}} (mysql-denied) from {{address}}",
    ),
    (
        "radicale",
        f"[{STAMP} +0200] [88/Thread-3] [WARNING] Failed login attempt from {{address}}: '{{text}}'",
    ),
    ("rsyncd", f"{SYSLOG}rsyncd[88]: unknown module '{{text}}' tried from UNKNOWN ({{address}})"),
    (
        "zabbix",
        '88:20260821:140322.123 autoregistration from "{address}" denied (host:"{text}" ip:"" '
        'port:10050): connection type "unencrypted" is not allowed for autoregistration',
    ),
    (
        "seafile",
        f"{STAMP},123 [WARNING] seahub.auth.views:155 login Login attempt limit reached, "
        "username: {text}, ip: {address}, attemps: 3",
    ),
    (
        "prosody",
        "Failed authentication attempt (not-authorized) for user {text} from IP: {address}",
    ),
    ("unraid", f"{SYSLOG}webGUI: Unsuccessful login user {{text}} from {{address}}"),
    (
        "plesk",
        f"[{STAMP}.123] 88:64 ERR [panel] Failed login attempt with login '{{text}}' from IP {{address}}",
    ),
    (
        "typo3",
        f"{SYSLOG}TYPO3[88]: Core: Login-attempt from {{address}}, username '{{text}}' not found!",
    ),
    ("stunnel", 'LOG4[3]: Connection from {address}:55114 REFUSED by IDENT (user "{text}")'),
    (
        "ocserv",
        f"{SYSLOG}ocserv[88]: main: {{address}} failed authentication attempt for user '{{text}}'",
    ),
)


@pytest.mark.parametrize(("pack", "line"), BLAMED)
@given(text=text, address=true_address)
@settings(max_examples=25, deadline=None)
def test_the_client_is_blamed_and_nobody_else(
    pack: str, line: str, text: str, address: str
) -> None:
    events = detect(line.format(text=text, address=address))
    nobody_else(events)
    assert SUBJECTS[address] in {event.subject for event in events if event.kind.pack == pack}
    assert not [event for event in events if event.kind.klass == "success"]


NOT_FORGED = (  # the same, where a strange name may also be left unexplained
    ("znc", f"[{STAMP}] [{{text}}] failed to login from {{address}}"),
    (
        "pfsense",
        f"{SYSLOG}php-fpm[374]: /index.php: webConfigurator authentication error for user "
        "'{text}' from: {address}[{text}]",
    ),
    (
        "sabnzbd",
        f'{STAMP},123::WARNING::[interface:243] Refused connection with hostname "{{text}}" from: '
        "{address} [{text}]",
    ),
    (
        "synology",
        f"{SYSLOG}Connection: User [{{text}}] from [{{address}}] failed to log in via [DSM] due to "
        "authorization failure.",
    ),
    ("openhab", '{address} -  -  [21/Aug/2026:14:03:22 +0200] "GET /{text} HTTP/1.1" 401 1384'),
    (
        "traefik",
        '{address} - {text} [21/Aug/2026:14:03:22 +0000] "GET /{text} HTTP/2.0" 401 17 "-" "{text}" '
        '72 "x" "/" 0ms',
    ),
    (
        "rocketchat",
        "Failed login detected - Username[{text}] ClientAddress[{address}] ForwardedFor[{text}] "
        "RealIp[-] UserAgent[{text}]",
    ),
    (
        "ocserv",
        f"{SYSLOG}ocserv[88]: worker[{{text}}]: {{address}} failed authentication for '{{text}}'",
    ),
    (
        "rsyncd",
        f"{SYSLOG}rsyncd[88]: auth failed on module backup from UNKNOWN ({{address}}) for {{text}}: no",
    ),
    (
        "synapse",
        f"{STAMP},123 - synapse.access.http.8008 - 460 - INFO - POST-17 - {{address}} - 8008 - {{{{None}}}} "
        "Processed request: 0.2sec/-0.0sec (0.0sec, 0.0sec) (0.0sec/0.0sec/2) 64B 403 "
        '"POST /_matrix/client/v3/login?{text} HTTP/1.1" "{text}" [0 dbevts]',
    ),
    (
        "zoneminder",
        "[Fri Aug 21 14:03:22.123456 2026] [php7:notice] [pid 11328] [client {address}:39568] ERR "
        "[Could not retrieve user {text} details], referer: {text}",
    ),
    (
        "navidrome",
        f'time="{ISO}Z" level=warning msg="API: Invalid login" auth=subsonic '
        'remoteAddr="{address}" requestId=1 username=x',
    ),
    (
        "truenas",
        f"{SYSLOG}Other: {{text}} {{address}}",
    ),
    ("windows", "<Event><System><EventID>4625</EventID></System>{address}"),
    ("nagios", f"{SYSLOG}nrpe[88]: Host {{address}} is asking for command '{{text}}' to be run..."),
    (
        "nagios",
        f"{SYSLOG}nrpe[88]: Error: (!log_opts) Could not complete SSL handshake with {{address}}: {{text}}",
    ),
    (
        "tinyproxy",
        'NOTICE    Aug 21 14:03:22 [88]: Unauthorized connection from "x" [{address}].{text}',
    ),
    (
        "vnc",
        f"{SYSLOG}Xtigervnc[88]: VNCSConnST:  closing [{{address}}]::51220: Authentication failure: {{text}}",
    ),
    (
        "wireguard",
        f"{SYSLOG}kernel: wireguard: wg0: Invalid handshake initiation from {{address}} {{text}}",
    ),
    (
        "stirling-pdf",
        f"{STAMP},123 ERROR s.CustomAuthenticationFailureHandler [qtp1-1] {{text}} {{address}}",
    ),
    (
        "syncthing",
        "[ABCDE] INFO: {text} Wrong credentials supplied during API authorization from {address}",
    ),
    ("ombi", f"{STAMP}.123 +02:00 [Warning] {{text}} Failed login attempt by IP: {{address}}"),
    ("transmission", f"[{STAMP}.123] WRN rpc-server {{text}} Rejected request from {{address}}"),
)


@pytest.mark.parametrize(("pack", "line"), NOT_FORGED)
@given(text=text, address=true_address)
@settings(max_examples=25, deadline=None)
def test_nobody_is_blamed_by_what_a_client_says(
    pack: str, line: str, text: str, address: str
) -> None:
    assert pack
    nobody_else(detect(line.format(text=text, address=address)))


JSON: tuple[tuple[str, dict[str, object]], ...] = (  # `{text}` is the client's, in every string
    (
        "nextcloud",
        {
            "reqId": "h1Bq2",
            "level": 2,
            "time": f"{ISO}+00:00",
            "remoteAddr": "{address}",
            "user": "--",
            "app": "core",
            "method": "POST",
            "url": "/login?{text}",
            "message": "Login failed: {text} (Remote IP: {address})",
            "userAgent": "{text}",
        },
    ),
    (
        "opensearch-dashboards",
        {
            "type": "response",
            "@timestamp": f"{ISO}Z",
            "tags": [],
            "pid": 88,
            "method": "post",
            "statusCode": 401,
            "req": {
                "url": "/auth/login?{text}",
                "method": "post",
                "headers": {"host": "{text}", "user-agent": "{text}"},
                "remoteAddress": "{address}",
                "userAgent": "{text}",
            },
        },
    ),
    ("overseerr", {"email": "{text}", "ip": "{address}", "x": "{text}"}),
    (
        "teleport",
        {
            "addr.remote": "[{address}]:34204",
            "code": "T1000W",
            "ei": 0,
            "event": "user.login",
            "success": False,
            "time": f"{ISO}Z",
            "user": "{text}",
            "user_agent": "{text}",
        },
    ),
    (
        "traefik",
        {
            "ClientAddr": "x:39490",
            "ClientHost": "{address}",
            "ClientPort": "39490",
            "ClientUsername": "x{text}",
            "DownstreamStatus": 401,
            "RequestPath": "/{text}",
            "request_User-Agent": "{text}",
            "time": f"{ISO}Z",
        },
    ),
    (
        "ntfy",
        {
            "time": f"{ISO}Z",
            "level": "INFO",
            "message": "Connection closed with HTTP 401",
            "http_path": "/{text}",
            "http_status": 401,
            "visitor_ip": "{address}",
        },
    ),
)


def filled(value: object, text: str, address: str) -> object:
    if isinstance(value, dict):
        return {key: filled(each, text, address) for key, each in value.items()}
    if isinstance(value, str):
        return value.replace("{address}", address).replace("{text}", text)
    return value


@pytest.mark.parametrize(("pack", "record"), JSON)
@given(text=text, address=true_address)
@settings(max_examples=25, deadline=None)
def test_no_text_in_json_passes_for_a_key(
    pack: str, record: dict[str, object], text: str, address: str
) -> None:
    line = json.dumps(filled(record, text, address), separators=(",", ":"))
    if pack == "overseerr":
        line = f"{ISO}.123Z [warn][API]: Failed sign-in attempt using invalid Overseerr password {line}"
    events = detect(line)
    nobody_else(events)
    assert [event.subject for event in events if event.kind.pack == pack] == [SUBJECTS[address]]
    assert not [event for event in events if event.kind.klass == "success"]


@given(text=text, address=true_address)
@settings(max_examples=25, deadline=None)
def test_navidrome_and_truenas_quote_what_clients_say(text: str, address: str) -> None:
    quoted = json.dumps(text)
    audit = {
        "aid": "8f1c",
        "addr": address,
        "user": text,
        "svc_data": json.dumps({"addr": text}),
        "event": "AUTHENTICATION",
        "event_data": json.dumps({"username": text}),
        "success": False,
    }
    for line in (
        f'time="{ISO}Z" level=warning msg="API: Invalid login" auth=subsonic error={quoted} '
        f'remoteAddr="[{address}]:51220" requestId=1 username={quoted}',
        f"@cee:{json.dumps({'TNAUDIT': audit})}",
    ):
        assert [event.subject for event in detect(line)] == [SUBJECTS[address]]


FOREIGN = (  # how lines of other programs begin, where a client's text follows
    "error: ",
    "app: user ",
    "[error] ",
    "[INFO] ",
    '192.0.2.7 - - [21/Aug/2026:14:03:22 +0000] "GET / HTTP/1.1" 404 1 "-" "',
    "[Fri Aug 21 14:03:22.123456 2026] [core:error] [pid 88] [client 192.0.2.7:1] x, referer: ",
    "2026/08/21 14:03:22 [error] 88#88: *1 x, client: 192.0.2.7, request: ",
    '{"level":"info","body":',
    '{"level":"info","message":"',
)


@pytest.mark.parametrize("begin", FOREIGN)
@pytest.mark.parametrize(("pack", "line"), (*BLAMED, *NOT_FORGED))
def test_a_whole_line_inside_another_programs_line_is_nothing(
    pack: str, line: str, begin: str
) -> None:
    assert pack
    whole = line.format(text="x", address=FORGED)
    message = whole.removeprefix(SYSLOG).partition("]: ")[2] or whole
    for inside in (whole, message):
        nobody_else(detect(begin + inside))
        nobody_else(detect(begin + inside + '"}'))
