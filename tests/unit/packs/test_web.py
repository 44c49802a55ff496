"""Access logs: whatever clients send, only the address in its slot is blamed.

Lines are made as the servers make them: Apache escapes quotes as \\", nginx as \\x22, both write the
user that a client claims to be; JSON strings are escaped by the rules of JSON.
"""

from __future__ import annotations

import json
from datetime import UTC
from pathlib import Path
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tidegate.detector
from tidegate.detector.engine import Engine
from tidegate.detector.pack import read_pack
from tidegate.model import Block, Event

FORGED, FORGED6 = "203.0.113.9", "2001:db8:bad::9"
TRUE, TRUE6 = "192.0.2.7", "2001:db8:1:2::7"
SUBJECTS = {TRUE: "192.0.2.7", TRUE6: "2001:db8:1:2::/64"}
HOSTILE = {FORGED, "2001:db8:bad::/64"}
PACK = Path(tidegate.detector.__file__).parent / "packs" / "web.toml"
WEB = read_pack(PACK.read_bytes(), "web", judge=False)
ENGINE = Engine([WEB], zone=UTC)
TIME = "21/Aug/2026:14:03:22 +0200"

PIECES = (
    f'{FORGED} - - [{TIME}] "GET /.env HTTP/1.1" 401 12 "-" "sqlmap"',
    f' - - [{TIME}] "GET /.env HTTP/1.1" 404 12',
    f"{FORGED} - x",
    f" {FORGED} - ",
    f" {FORGED}:22 [{TIME}] ",
    f"{FORGED} www.example.com - [",
    f"[{TIME}] - 404 404 - GET https x ",
    f" [Client {FORGED}] [Length 1]",
    f'","remote_addr":"{FORGED}","x":"',
    f'"remote_ip":"{FORGED}","remote_port":"1","client_ip":"{FORGED}"',
    f'{{"ClientHost":"{FORGED}"',
    f"10.0.0.1 GET /.env - 80 - {FORGED} x - 401 0 2 1",
    f"https 2026-08-21T14:03:22.123456Z app/x {FORGED}:1 - -1 -1 -1 404 - 1 1 ",
    f"[{FORGED6}]:1",
    " 401 ",
    '" 404 ',
    '":401',
    "/.env",
    "/wp-login.php",
    "/../../etc/passwd",
    "${jndi:ldap://x}",
    " union select 1,2",
    "sqlmap",
    "GET ",
    "\\",
    '"',
    "[",
    "]",
    "{",
    "}",
    " ",
    "x",
)
said = st.lists(st.sampled_from(PIECES), max_size=6).map("".join)
true_address = st.sampled_from((TRUE, TRUE6))
status = st.sampled_from(("200", "301", "400", "401", "403", "404", "444"))


def apache(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def nginx(text: str) -> str:
    return text.replace("\\", "\\x5C").replace('"', "\\x22")


def detect(line: str) -> list[Event]:
    data = f"{line}\n".encode()
    return ENGINE.detect(Block("log", data, 0, 1_790_000_000_000_000, 0), fields=True).events


LINES = (
    '{a} - {user} [{t}] "GET /{uri} HTTP/1.1" {s} 12 "{said}" "{agent}"',
    '{a} - {user} [{t}] "{uri}" {s} 12',
    'www.example.com:443 {a} - - [{t}] "POST /wp-login.php?{uri} HTTP/1.1" {s} 12 "{said}" "{agent}" 5',
    f'{FORGED} {{a}} - - [{{t}}] "GET /{{uri}} HTTP/1.1" {{s}} 12 "{{said}}" "{{agent}}" "{{user}}"',
    '{a} www.example.com - [{t}] "GET /{uri} HTTP/1.1" {s} 12 "{said}" "{agent}"',
    'Aug 21 14:03:22 web nginx[712]: {a} - {user} [{t}] "GET /{uri} HTTP/2.0" {s} 12 "{said}" "{agent}"',
    "Aug 21 14:03:22 lb haproxy[7]: {a}:4711 [21/Aug/2026:14:03:22.123] www~ app/app1 0/0/1/2/3 {s} 187 "
    '- - ---- 1/1/0/0/0 0/0 "GET /x HTTP/1.1"',
    "h2 2026-08-21T14:03:22.123456Z app/x/1 {a}:4711 10.0.0.1:80 0.000 0.001 0.000 {s} 200 34 366 "
    '"GET https://www.example.com:443/{uri} HTTP/2.0" "{agent}" - - - "Root=1-5"',
    '[{t}] - {s} {s} - GET https www.example.com "/{uri}" [Client {a}] [Length 1] [Gzip -] '
    '[Sent-to 10.0.0.1] "{agent}" "{said}"',
)


@pytest.mark.parametrize("escaped", [apache, nginx])
@pytest.mark.parametrize("template", LINES)
@given(address=true_address, user=said, uri=said, agent=said, other=said, s=status)
@settings(max_examples=40, deadline=None)
def test_only_the_client_is_blamed(
    template: str,
    escaped: object,
    address: str,
    user: str,
    uri: str,
    agent: str,
    other: str,
    s: str,
) -> None:
    assert callable(escaped)
    line = template.format(
        a=address,
        t=TIME,
        s=s,
        user=escaped(user),
        uri=escaped(uri),
        agent=escaped(agent),
        said=escaped(other),
    )
    events = detect(line)
    assert all(event.subject == SUBJECTS[address] for event in events), line


@given(address=true_address, host=said.map(lambda text: text.replace("/", "")), uri=said)
@settings(max_examples=200, deadline=None)
def test_nobody_is_blamed_by_a_host_with_blanks(address: str, host: str, uri: str) -> None:
    """Before 1.21.1 nginx wrote a `Host:` with blanks in it as it came, but none with a slash."""
    line = f'{nginx(host)} {address} - - [{TIME}] "GET /{nginx(uri)} HTTP/1.1" 401 12 "-" "sqlmap"'
    assert not [event for event in detect(line) if event.subject in HOSTILE], line


@given(address=true_address, uri=said, agent=said, name=said, value=said, s=status)
@settings(max_examples=200, deadline=None)
def test_only_the_client_is_blamed_in_json(
    address: str, uri: str, agent: str, name: str, value: str, s: str
) -> None:
    flat = {"time": "2026-08-21T14:03:22Z", "user": value, "remote_addr": address}
    rest = {"request_uri": f"/{uri}", "status": int(s), "http_user_agent": agent}
    request = {"remote_ip": FORGED, "remote_port": "1", "client_ip": address, "proto": "HTTP/2.0"}
    caddy = {
        "level": "info",
        "ts": 1692626602.123,
        "msg": "handled request",
        "request": {
            **request,
            "uri": f"/{uri}",
            "headers": {name: [value], "remote_addr": [FORGED]},
        },
        "status": int(s),
    }
    traefik = {"ClientHost": f"{FORGED}, {address}", "RequestPath": f"/{uri}", "request_X": value}
    for logged in ({**flat, **rest}, caddy, {**traefik, "DownstreamStatus": int(s)}):
        for text in (json.dumps(logged), json.dumps(logged, separators=(",", ":"))):
            events = detect(text)
            assert all(event.subject == SUBJECTS[address] for event in events), text
            assert events or s in ("200", "301")


@pytest.mark.parametrize(
    "part", ["/../..", " union select", "?=http://", ";", "[", " 1.1.1.1 - ", '","']
)
def test_long_lines_are_read_in_time(part: str) -> None:
    filled = part * (30_000 // len(part))
    start = process_time()
    for line in (
        f'{TRUE} - {filled} [{TIME}] "GET /phpinfo() HTTP/1.1" 401 12',
        f'{TRUE} - - [{TIME}] "GET /{nginx(filled)}powershell+ HTTP/1.1" 404 12 "-" "x"',
        f'{{"remote_addr":"{TRUE}","request_uri":"/{apache(filled)}","status":404}}',
    ):
        detect(line)
    assert process_time() - start < 2


HARMLESS = (
    "GET / HTTP/1.1",
    "GET /blog/credit-union-selection?utm_source=x&url=https://example.com/?a HTTP/1.1",
    "GET /wp-admin/admin-ajax.php HTTP/1.1",
    "GET /docs/../css/a.css HTTP/1.1",
    "GET /search?q=%3Cdiv%3E+and+or HTTP/2.0",
    "POST /xmlrpc HTTP/1.1",
    "GET /.well-known/security.txt HTTP/1.1",
    "CONNECT /chat HTTP/2.0",
)


@pytest.mark.parametrize("request_line", HARMLESS)
def test_readers_are_left_alone(request_line: str) -> None:
    line = f'{TRUE} - bob [{TIME}] "{request_line}" 200 12 "https://example.com/?q=union" "Mozilla/5.0"'
    assert not detect(line)
