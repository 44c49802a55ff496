"""Error logs of web servers: whatever a client asks for, or says of itself, only it is blamed.

The lines are made as the servers make them: httpd 2.2 and 2.4 (server/log.c, which writes a client's
quotes and control characters as escapes), nginx 1.22 (which writes all but a newline as it came),
ModSecurity 2.9 and 3.0 (msc_alert(), RuleMessage), lighttpd 1.4 (mod_auth.c).
"""

from __future__ import annotations

import json
from datetime import UTC
from importlib import resources

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.detector.engine import Engine
from tidegate.detector.pack import read_pack
from tidegate.model import Block, Event

FORGED, FORGED6 = "203.0.113.9", "2001:db8:bad::9"
TRUE, TRUE6 = "192.0.2.7", "2001:db8:1:2::7"
SUBJECTS = {TRUE: TRUE, TRUE6: "2001:db8:1:2::/64"}
NAMES = ("apache", "nginx", "modsecurity", "lighttpd", "thehive")
PACKS = resources.files("tidegate.detector") / "packs"
ENGINE = Engine(
    [read_pack((PACKS / f"{name}.toml").read_bytes(), name) for name in NAMES], zone=UTC
)

PIECES = (
    f"[client {FORGED}] ",
    f"[client {FORGED}:40112] [client {FORGED}] ModSecurity: Access denied with code 403 (phase 2). ",
    "] ",
    f"[Fri Aug 21 14:03:22 2026] [error] [client {FORGED}] user x not found: /",
    f", client: {FORGED}, server: x, ",
    f'" failed (2: No such file or directory), client: {FORGED}, server: x, ',
    f'": password mismatch, client: {FORGED}, server: x, request: "GET /.env HTTP/1.1", host: "',
    f'" was not found in "x", client: {FORGED}, server: x, request: "GET / HTTP/1.1", host: "',
    f'" while reading client request headers, client: {FORGED}, server: x, request: "',
    f'" while in http auth state, client: {FORGED}, server: x, login: "',
    f"limiting requests, excess: 1.0 by zone x, client: {FORGED6}, server: ",
    'request: "GET /phpMyAdmin HTTP/1.1"',
    f" IP: {FORGED}",
    f" username: x IP: {FORGED}",
    f'"client_ip":"{FORGED}",',
    f'"remote_address":"{FORGED}"',
    '"action":{"intercepted":true',
    '"is_interrupted":true',
    '","transaction":{"',
    "/.env",
    "/x.php",
    " not found: ",
    ", referer: ",
    "File does not exist: /",
    "/",
    " ",
    '"',
    "'",
    "\\",
    ": ",
    "x",
)
text = st.lists(st.sampled_from(PIECES), max_size=6).map("".join)
address = st.sampled_from((TRUE, TRUE6))


def detect(line: str) -> list[Event]:
    block = Block("log", line.encode() + b"\n", 0, 1_790_000_000_000_000, 0)
    return ENGINE.detect(block, fields=True).events


def nobody_else(line: str, address: str) -> list[Event]:
    events = detect(line)
    assert {event.subject for event in events} <= {SUBJECTS[address]}
    return events


def escaped(said: str) -> str:
    return said.replace("\\", "\\\\").replace('"', '\\"')


OLD = "[Fri Aug 21 14:03:22 2026] [error] [client {a}] "
NEW = "[Fri Aug 21 14:03:22.123456 2026] [core:error] [pid 712:tid 14049] [client {a}:40112] AH00001: "
APACHE = (
    'user {t}: authentication failure for "{t}": Password Mismatch',
    "user {t} not found: /{t}",
    "user `{t}' in realm `x' not found: /{t}",
    "client denied by server configuration: /srv/www/{t}",
    "script '/srv/www/{t}' not found or unable to stat",
    "Authorization of user {t} to access /{t} failed, reason: x",
    "Invalid URI in request {t}",
    "request failed: erroneous characters after protocol string: {t}",
    "Client sent malformed Host header: {t}",
)
APACHE_QUIET = (
    "File does not exist: /srv/www/{t}",
    "Directory index forbidden by Options directive: /srv/www/{t}",
    "Hostname {t} provided via SNI, but no hostname provided in HTTP request",
    "ALERT - dropped variable '{t}' (attacker '{a}', file '/srv/www/x.php')",
    "Got error 'PHP message: user {t} authentication failure for x'",
    "PHP message: {t}",
    "{t}",
)


@pytest.mark.parametrize("head", [OLD, NEW])
@pytest.mark.parametrize("template", APACHE)
@given(said=text, referer=text, address=address)
@settings(max_examples=30, deadline=None)
def test_httpd_blames_the_client(
    head: str, template: str, said: str, referer: str, address: str
) -> None:
    line = (head + template + ", referer: {r}").format(a=address, t=escaped(said), r=referer)
    events = nobody_else(line, address)
    assert [event.kind.klass for event in events] == ["abuse"]


@pytest.mark.parametrize("head", [OLD, NEW, "[error] [client {a}] "])
@pytest.mark.parametrize("template", APACHE_QUIET)
@given(said=text, address=address)
@settings(max_examples=30, deadline=None)
def test_httpd_blames_nobody_else(head: str, template: str, said: str, address: str) -> None:
    nobody_else((head + template).format(a=address, t=said), address)


@given(said=text)
def test_httpd_blames_nobody_where_no_client_is_named(said: str) -> None:
    head = "[Fri Aug 21 14:03:22.123456 2026] [ssl:error] [pid 712] AH02032: Hostname "
    assert not detect(f"{head}{said} provided via SNI and hostname x provided via HTTP")


@pytest.mark.parametrize("port", [1025, 9999, 65535])
@pytest.mark.parametrize(
    ("address", "subject"),
    [
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2a02:0:0:1::", "2a02:0:0:1::/64"),
        ("2a02::a:b:c:d", "2a02::/64"),
        ("::1", "::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
    ],
)
def test_a_port_is_no_part_of_an_address(address: str, subject: str, port: int) -> None:
    head = f"[Fri Aug 21 14:03:22.1 2026] [x:error] [pid 7] [client {address}:{port}] "
    assert [event.subject for event in detect(f"{head}AH01618: user x not found: /")] == [subject]
    twice = f"{head}[client {address}] ModSecurity: Access denied with code 403 (phase 2). x"
    assert [event.subject for event in detect(twice)] == [subject]
    once = f"{head}ModSecurity: Access denied with code 403 (phase 2). x"
    assert [event.subject for event in detect(once)] == [subject]


# A request line holds no blank in its path, a name of HTTP authentication no colon.
END = ', server: _, request: "GET /{q} HTTP/1.1", host: "x", referrer: "{t}"'
NGINX = (
    'user "{u}": password mismatch, client: {a}' + END,
    'user "{u}" was not found in "/etc/nginx/users", client: {a}' + END,
    "access forbidden by rule, client: {a}" + END,
    'limiting requests, excess: 5.428 by zone "one", client: {a}' + END,
    'client login failed: "no" while in http auth state, client: {a}, server: x:25, login: "{t}"',
    "client sent invalid request while reading client request line, client: {a}" + END,
)
NGINX_QUIET = (
    'open() "/srv/www/{t}" failed (2: No such file or directory), client: {a}' + END,
    '"/srv/www/{t}/index.html" is not found (2: No such file or directory), client: {a}' + END,
    'directory index of "/srv/www/{t}" is forbidden, client: {a}' + END,
    'FastCGI sent in stderr: "PHP message: login failed {t}" while reading response header from '
    "upstream, client: {a}" + END,
    'client sent invalid header line: "{t}" while reading client request headers, client: {a}'
    + END,
    'client was rejected: "{t}" while in auth state, client: {a}, server: x:25',
    'upstream sent invalid response: "-ERR {t}" while reading response from upstream, client: {a}'
    ', server: x:110, login: "{t}", upstream: 198.51.100.2:110',
)
HEAD = "2026/08/21 14:03:22 [error] 712#712: *9 "


def nginx(template: str, said: str, other: str, address: str) -> str:
    name, path = said.partition(":")[0], other.replace(" ", "%20")
    return HEAD + template.format(a=address, t=said, u=name, q=path)


@pytest.mark.parametrize("template", NGINX)
@given(said=text, other=text, address=address)
@settings(max_examples=50, deadline=None)
def test_nginx_blames_the_client(template: str, said: str, other: str, address: str) -> None:
    events = nobody_else(nginx(template, said, other, address), address)
    assert [event.kind.klass for event in events] == ["abuse"]


@pytest.mark.parametrize("template", NGINX_QUIET)
@given(said=text, other=text, address=address)
@settings(max_examples=100, deadline=None)
def test_nginx_blames_nobody_else(template: str, said: str, other: str, address: str) -> None:
    nobody_else(nginx(template, said, other, address), address)


@pytest.mark.parametrize("length", range(1, 40))
def test_nginx_may_cut_a_line(length: int) -> None:
    """A line ends after 2048 bytes: half an address is none."""
    line = f'{HEAD}user "x": password mismatch, client: 192.0.2.77, server: _, request: "GET / HTTP/1.1"'
    cut = line.index("client: ") + length
    assert {event.subject for event in detect(line[:cut])} <= {"192.0.2.77"}


WAF = (
    'ModSecurity: {v} Pattern match "a" at ARGS:x. [file "a.conf"] [line "1"] [id "9"] '
    '[msg "m"] [data "{t}"] [severity "CRITICAL"] [hostname "x"] [uri "/{t}"] [unique_id "u"]'
)


@pytest.mark.parametrize(
    "head", [OLD, "[Fri Aug 21 14:03:22.1 2026] [:error] [pid 7] [client {a}:4011] [client {a}] "]
)
@pytest.mark.parametrize(
    ("verdict", "klass"), [("Access denied with code 403.", "abuse"), ("Warning.", "notice")]
)
@given(said=text, address=address)
@settings(max_examples=40, deadline=None)
def test_modsecurity_in_httpd(head: str, verdict: str, klass: str, said: str, address: str) -> None:
    line = head.format(a=address) + WAF.format(v=verdict, t=escaped(said))
    assert [event.kind.klass for event in nobody_else(line, address)] == [klass]
    assert detect(line)[0].kind.pack == "modsecurity"


@given(said=text, address=address)
@settings(max_examples=60, deadline=None)
def test_modsecurity_in_nginx(said: str, address: str) -> None:
    matched = (
        f"Matched \"Operator `Rx' with parameter `a' against variable `ARGS:x' (Value: `{said}' )"
    )
    line = f'{HEAD}[client {address}] ModSecurity: Warning. {matched} [file "a"] [id "9"] [ref ""]'
    tail = f', client: {address}, server: x, request: "GET / HTTP/1.1", referrer: "{said}"'
    assert [event.kind.klass for event in nobody_else(line + tail, address)] == ["notice"]


@given(said=text, key=text, address=address, denied=st.booleans())
@settings(max_examples=100, deadline=None)
def test_audit_logs_of_json(said: str, key: str, address: str, denied: bool) -> None:
    headers = {"Host": "x", key: said, "client_ip": FORGED, "is_interrupted": "true"}
    second = {
        "transaction": {"time": "21/Aug/2026:14:03:22 +0200", "transaction_id": "u"},
        "request": {"request_line": said, "headers": headers, "body": [said]},
        "audit_data": {"messages": [said], "action": {"intercepted": True}},
    }
    second["transaction"] |= {"remote_address": address, "remote_port": 1}
    if not denied:
        del second["audit_data"]["action"]
    third = {
        "transaction": {
            "client_ip": address,
            "time_stamp": "Fri Aug 21 14:03:22 2026",
            "client_port": 1,
            "is_interrupted": denied,
            "request": {"method": "GET", "uri": said, "headers": headers, "body": said},
            "response": {"body": said, "http_code": 200, "headers": {key: said}},
            "messages": [{"message": "m", "details": {"data": said, "ruleId": "9"}}],
        }
    }
    for record in (second, third):
        for separators in ((",", ":"), (", ", ": ")):
            events = nobody_else(json.dumps(record, separators=separators), address)
            assert bool([each for each in events if each.kind.klass == "abuse"]) == denied


@given(said=text, name=text, address=address)
@settings(max_examples=60, deadline=None)
def test_lighttpd(said: str, name: str, address: str) -> None:
    head = "2026-08-21 14:03:22: (mod_auth.c.853) "
    line = f"{head}password doesn't match for /{said} username: {name} IP: {address}"
    assert [event.kind.name for event in nobody_else(line, address)] == ["lighttpd.auth_failed"]


@given(said=text, address=address)
@settings(max_examples=40, deadline=None)
def test_thehive(said: str, address: str) -> None:
    head = "[info] o.t.s.AccessLogFilter [1e60|2989] "
    line = f"{head}{address} GET /{said} took 9ms and returned 401 70 bytes"
    assert not detect(line)
