"""Whatever is typed into the login of a web application, only the client itself is blamed.

Each line is one that its program writes about a failed login, with the places where the client's own
text stands. What is put there imitates the rest of that very line, with another address in it.
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

SYSLOG = "Aug 21 14:03:22 host "
GIN = "[GIN] 2026/08/21 - 14:03:22 | 401 | 505.317us | {address} | "
GRAFANA = "logger=context userId=0 t=2026-08-21T14:03:22Z level=info "
K8S = '{{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","user":{{"username":"{text}"}},'
CAS = "2026-08-21T14:03:22.123Z|CAS|Supplied credentials: [{text}]|AUTHENTICATION_FAILED|{text}|"
GITLAB = (
    '{{"method":"POST","controller":"SessionsController","action":"create","status":401,'
    '"params":[{{"key":"user","value":{{"login":"{text}"}}}}],"meta.remote_ip":"{address}",'
    '"remote_ip":"{address}","ua":"{text}","duration_s":0.01}}'
)
KASM = (
    '{{"levelname": "WARNING", "message": "invalid password for user: ({text})", "metric_name": '
    '"account.login.failed_invalid_password", "request_ip": "{address}, 192.168.32.12", "ua": "{text}"}}'
)
HA_BAN = "2026-08-21 14:03:22.123 WARNING (MainThread) [homeassistant.components.http.ban] "
KEYCLOAK = "2026-08-21 14:03:22,123 WARN  [org.keycloak.events] (executor-thread-1) "
KOMGA = "2026-08-21 14:03:22.123  INFO 1 --- [http-1] o.g.k.LoginListener : AuthenticationActivity("
MATTERMOST = (
    '{{"level":"error","msg":"{text}","path":"/api/v4/users/login","request_id":"x",'
    '"ip_addr":"{address}","user_id":"","http_code":401,"error":"{text}"}}'
)

JSON, LOGFMT, RAW, WORD = "JSON", "logfmt", "raw", "word"
LINES = (  # pack; how the client's text is written: as it is, escaped, without blanks
    ("threeproxy", RAW, "21-08-2026 14:03:22 +0200 PROXY.3128 00004 {text} {address}:40112 0.0.0.0:0 0 0 0 GET {text}"),
    ("adguardhome", RAW, "2026/08/21 14:03:22.123 [error] POST {text} /control/login: from ip {address}: invalid username or password"),
    ("guacamole", RAW, 'WARNING: Authentication attempt from {address} for user "{text}" failed.'),
    ("guacamole", RAW, 'WARNING: Authentication attempt from [{address}, 10.0.0.1] for user "{text}" failed.'),
    ("apereo-cas", RAW, CAS + "{address}|198.51.100.1"),
    ("authelia", JSON, '{{"error":"{text}","level":"error","method":"POST","msg":"Unsuccessful 1FA authentication attempt by user \'{text}\'","path":"{text}","remote_ip":"{address}","time":"2026-08-21T14:03:22Z"}}'),
    ("authelia", LOGFMT, 'time="2026-08-21T14:03:22Z" level=error msg="Unsuccessful 1FA authentication attempt by user \'{text}\'" error="{text}" path=/x remote_ip={address} stack="{text}"'),
    ("authentik", JSON, '{{"action": "login_failed", "auth_via": "x", "client_ip": "{address}", "context": {{"args": {{"next": "{text}"}}, "username": "{text}"}}, "event": "Created Event"}}'),
    ("bitwarden", RAW, "2026-08-21 14:03:22.123 +02:00 [WRN] Failed login attempt. {address}"),
    ("calibre-web", RAW, '[2026-08-21 14:03:22,123]  WARN {{cps.web:1475}} Login failed for user "{text}" IP-address: {address}'),
    ("centreon", RAW, "2026-08-21 14:03:22|-1|0|0|[WEB] [{address}] Authentication failed for '{text}' : password mismatch"),
    ("strongswan", RAW, SYSLOG + "charon[88]: 06[IKE] <85> no IKE config found for 198.51.100.1...{address}, sending {text}"),
    ("cpanel", RAW, '[2026-08-21 14:03:22 +0200] info [cpaneld] {address} - {text} "POST /login/ HTTP/1.1" FAILED LOGIN cpaneld: {text}'),
    ("directadmin", RAW, "2026:08:21-14:03:22: '{address}' 2 failed login attempts. Account '{text}'"),
    ("dockge", RAW, "2026-08-21T14:03:22Z [AUTH] WARN: Incorrect username or password for user {text}. IP={address}"),
    ("drupal", RAW, SYSLOG + "drupal: https://www.example.com|1787321002|user|{address}|https://x/{text}|{text}|0||Login attempt failed for x."),
    ("emby", RAW, "2026-08-21 14:03:22.123 Warn Server: AUTH-ERROR: {address} - Invalid username or password entered."),
    ("filebrowser", RAW, "2026/08/21 14:03:22 /api/login: 403 {address} <nil>"),
    ("fireflyiii", RAW, '[2026-08-21 14:03:22] local.WARNING: AUDIT: Login failed. Attempt for user "{text}" failed. ({address} -> POST:https://x/login)'),
    ("froxlor", RAW, SYSLOG + "Froxlor: [Login Action {address}] User '{text}' tried to login with wrong password."),
    ("gitlab", JSON, GITLAB),
    ("gitlab", RAW, "August 21, 2026 14:03: Failed Login: username={text} ip={address}"),
    ("gotify", WORD, GIN + 'POST "/client?{text}"'),
    ("grafana", LOGFMT, GRAFANA + 'uname="{text}" msg="Request Completed" method=POST path=/login status=401 remote_addr={address} referer="{text}" error="{text}"'),
    ("haproxy", RAW, SYSLOG + "haproxy[88]: {address}:40112 [21/Aug/2026:14:03:22.123] tcp tcp/<NOSRV> -1/-1/0 0 PR 1/1/0/0/0 0/0"),
    ("hestiacp", RAW, "2026-08-21 14:03:22 bob {address} failed to login"),
    ("home-assistant", RAW, HA_BAN + "Login attempt or request with invalid authentication from x.example.com ({address}). Requested URL: '{text}'. ({text})"),
    ("immich", RAW, "[Nest] 7  - 08/21/2026, 2:03:22 PM    WARN [AuthService] Failed login attempt for user {text} from ip address {address}"),
    ("jellyfin", RAW, '[2026-08-21 14:03:22.123 +02:00] [INF] [79] A.B: Authentication request for "{text}" has been denied (IP: "{address}").'),
    ("jellyseerr", JSON, '2026-08-21T14:03:22.123Z [warn][API]: Failed sign-in attempt using invalid Overseerr password {{"ip":"{address}","email":"{text}"}}'),
    ("joplin-server", JSON, '2026-08-21 14:03:22: [error] App: 403: POST /api/sessions: {address}: Invalid username or password: {{"email":"{text}"}}'),
    ("kasm", JSON, KASM),
    ("keycloak", RAW, KEYCLOAK + "type=LOGIN_ERROR, realmId=x, clientId={text}, userId=null, ipAddress={address}, error=user_not_found, username={text}"),
    ("lemonldap-ng", RAW, SYSLOG + "LLNG[88]: [warn] Bad password for {text} ({address})"),
    ("litespeed", RAW, "2026-08-21 14:03:22.123456 [NOTICE] [88] [{address}:40112#_AdminVHost] [STDERR] [WebAdmin Console] Failed Login Attempt - username:{text} ip:{address} url:{text}"),
    ("mealie", RAW, "ERROR    2026-08-21T14:03:22 - Incorrect username or password from {address}"),
    ("meshcentral", RAW, SYSLOG + "https[88]: Failed password for {text} from {address} port 40112"),
    ("miniflux", LOGFMT, 'time=2026-08-21T14:03:22.123Z level=WARN msg="Incorrect username or password" authentication_failed=true client_ip={address} user_agent="{text}" username="{text}"'),
    ("monit", RAW, SYSLOG + "monit[88]: HttpRequest: access denied -- client [{address}]: wrong password for user '{text}'"),
    ("monitorix", RAW, "Fri Aug 21 14:03:22 2026 - NOTEXIST - [{address}] File does not exist: {text}"),
    ("moodle", RAW, "[client {address}]  https://www.example.com  Failed Login:  {text}  {text}"),
    ("cockpit", RAW, SYSLOG + "cockpit-session[88]: pam_unix(cockpit:auth): authentication failure; logname= uid=0 euid=0 tty= ruser= rhost={address}  user={text}"),
    ("kubernetes", JSON, K8S + '"sourceIPs":["198.51.100.1","{address}"],"userAgent":"{text}","responseStatus":{{"metadata":{{}},"message":"{text}","code":403}}}}'),
    ("lfd", RAW, SYSLOG + "lfd[88]: (sshd) Failed SSH login from {address} (XX/x/{text}): 5 in the last 300 secs - *Blocked in csf* [LF_SSHD]"),
    ("litellm", RAW, 'INFO:     {address}:40112 - "GET /{text} HTTP/1.1" 401 Unauthorized'),
    ("audiobookshelf", RAW, '[2026-08-21 14:03:22.123] ERROR: [Auth] Failed login attempt for username "{text}" from ip {address} (User not found)'),
    ("cacti", RAW, "2026-08-21 14:03:22 - AUTH LOGIN FAILED: Local Login Failed for user '{text}' from IP Address '{address}'."),
    ("dolibarr", RAW, "2026-08-21 14:03:22 NOTICE  {address}   functions_dolibarr::check_user_password_dolibarr Authentication KO bad password for '{text}'"),
    ("freepbx", RAW, "[2026-08-21 14:03:22] [freepbx_security.NOTICE]: Authentication failure for {text} from {address} [] []"),
    ("glpi", RAW, "[login] 3: Failed login for {text} from IP {address}"),
    ("groupoffice", RAW, '[2026-08-21 14:03:22]LOGIN FAILED for user: "{text}" from IP: {address}'),
    ("harbor", RAW, SYSLOG + 'proxy[88]: {address} - "POST /c/login HTTP/1.1" 401 21 "{text}" "{text}" 0.010 0.010 .'),
    ("ispconfig", RAW, "Failed login for user '{text}' from {address} at 2026-08-21 14:03:22"),
    ("jira", RAW, "2026-08-21 14:03:22,123+0200 http-nio-8080-exec-7 anonymous 843x12x1 x1y2 {address} /login.jsp The user '{text}' has FAILED authentication.  Failure count equals 1"),
    ("joomla", RAW, "2026-08-21T14:03:22+00:00\tINFO {address}\tjoomlafailure\t{text}"),
    ("komga", RAW, KOMGA + "userId=null, email={text}, ip={address}, userAgent={text}, success=false, error=x)"),
    ("lychee", RAW, "[2026-08-21 14:03:22] production.ERROR: A::b:87 - User ({text}) has tried to log in from {address}"),
    ("mailcow", RAW, "mailcow UI: Invalid password for {text} by {address}"),
    ("mattermost", JSON, MATTERMOST),
)  # fmt: skip
GITEA = (
    "2026/08/21 14:03:22 ...ers/web/auth/auth.go:206:SignInPost() [I] Failed authentication attempt "
    "for {text} from {address}:40112: user does not exist [uid: 0, name: {text}, keyid: 0]"
)
ODD = (
    " ",
    "x",
    '"',
    "'",
    ")",
    "]",
    "|",
    ", ",
    ": ",
    "\\",
    '","',
    "<nil>",
    FORGED,
    f" from {FORGED} ",
    f" ip={FORGED}",
)

NAMES = {pack for pack, _form, _line in LINES} | {"gitea"}
ENGINE = Engine([pack for pack in load_packs() if pack.name in NAMES], zone=UTC)


def written(text: str, form: str) -> str:
    """The client's text as the program writes it."""
    if form in (JSON, LOGFMT):
        return json.dumps(text)[1:-1]
    if form == WORD:
        return text.replace(" ", "%20").replace('"', "%22")
    return text


def imitations(template: str) -> list[str]:
    """Pieces of the line itself, with another address in it."""
    parts = template.replace("{address}", FORGED).replace("{{", "{").replace("}}", "}")
    around = parts.split("{text}")
    return [*around, *(after + before for before in around for after in around), *ODD]


def detect(line: str) -> list[Event]:
    block = Block("log", f"{line}\n".encode(), 0, 1_790_000_000_000_000, 0)
    return ENGINE.detect(block, fields=True).events


@pytest.mark.parametrize(("pack", "form", "template"), LINES)
@given(data=st.data(), address=st.sampled_from((TRUE, TRUE6)))
@settings(max_examples=40, deadline=None)
def test_only_the_client_is_blamed(
    pack: str, form: str, template: str, data: st.DataObject, address: str
) -> None:
    pieces = st.lists(st.sampled_from(imitations(template)), max_size=4).map("".join)
    text = written(data.draw(pieces), form)
    events = detect(template.format(text=text, address=address))
    assert all(event.subject == SUBJECTS[address] for event in events)


@pytest.mark.parametrize(("pack", "form", "template"), LINES)
@pytest.mark.parametrize("address", [TRUE, TRUE6])
def test_a_plain_name_is_found(pack: str, form: str, template: str, address: str) -> None:
    del form
    events = [
        e for e in detect(template.format(text="bob", address=address)) if e.kind.pack == pack
    ]
    assert [(event.subject, event.kind.klass) for event in events] == [(SUBJECTS[address], "abuse")]


@given(name=st.lists(st.sampled_from(imitations(GITEA)), max_size=4).map("".join))
@settings(max_examples=200, deadline=None)
def test_gitea_repeats_a_name_behind_the_address(name: str) -> None:
    events = detect(GITEA.format(text=name, address=TRUE))
    assert all(event.subject == TRUE for event in events)


@given(name=st.lists(st.sampled_from(imitations(GITEA)), max_size=4).map("".join))
@settings(max_examples=100, deadline=None)
def test_nobody_can_make_a_failed_login_look_like_a_good_one(name: str) -> None:
    events = detect(GITEA.format(text=name, address=TRUE))
    assert all(event.kind.klass == "abuse" for event in events)
