"""How programs write what clients say: who chooses a text, what it can hold, how it is escaped.

Touches nothing. Known of the programs, by `pack.detector:group`, `pack:group` or `*:group`; what is
not named here is taken for the client's, raw. Limits: a place without a name (`pack:`) may hold
whatever its pattern lets stand there; in JSON the escapes are JSON's.
"""

from __future__ import annotations

import json
import re

from tests.unit.packs.places import Place, mask

HOSTS = mask("[0-9A-Za-z._-]")  # what a resolver believes
WORDS = mask("[^ ]")
NO_COLON = mask("[^:]")
HELO = mask("[0-9A-Za-z.:_-]")

LIMITS: dict[str, int] = {  # the bytes that can stand there
    "*:host": HOSTS,
    "*:method": WORDS,
    "cisco.ios-login:user": WORDS,  # from here on: a user who exists
    "pure-ftpd:account": WORDS,
    "squirrelmail.login:user": WORDS,
    "squirrelmail.mass-mail:user": WORDS,
    "sshd.accepted:user": WORDS & NO_COLON,
    "sshd.disconnecting-user:user": WORDS & NO_COLON,
    "sshd.failed:user": WORDS & NO_COLON,
    "sshd.key-refused:user": WORDS & NO_COLON,
    "sshd.locked:user": WORDS & NO_COLON,
    "sshd.none-refused:user": WORDS & NO_COLON,
    "sshd.not-allowed:user": WORDS & NO_COLON,
    "uw-imap.logged-in:user": WORDS,
    "vm-pop3d.logged-in:user": WORDS,
    "exim:helo": HELO,  # unless helo_accept_junk_hosts is set
    "exim:sender": WORDS,  # or quoted: see detector/test_forgery.py
    "hestiacp:user": HOSTS,  # checked before it is logged
    "modsecurity:vhost": HOSTS,  # else the server refuses the request
    "nginx:user": NO_COLON,  # ends at the colon
    "qpopper:user": WORDS,  # blanks end it
    "nsd:zone": WORDS,  # blanks are written \\032
    "sshd:user": NO_COLON,  # cut off by sshd
    "web.in-vain:uri": WORDS,
    "web.traversal:uri": WORDS,
}
QUOTED = frozenset(  # packs of programs that write a backslash before a quote
    ("authelia", "grafana", "mattermost", "miniflux", "navidrome", "web")
)
OWN = frozenset(  # what the program says itself; `pack:` for all that has no name
    (
        "*:level",
        "*:module",
        "*:timestamp",
        "asterisk:why",
        "cisco:msg",
        "exim.helo-syntax:command",
        "exim.out-of-order:why",
        "exim.protocol-error:why",
        "exim.syntax:why",
        "dropbear:why",
        "exim.content-scan:why",
        "webmin:why",
        "guacamole:",
        "exim:method",
        "gitlab:meta.remote_ip",
        "mssql:why",
        "snort:msg",
        "centreon:",
        "pgbouncer:",
        "roundcube.login-refused:",
        "wordpress:",
        "juniper:msg",
        "mikrotik:service",
        "mimedefang:what",
        "murmur:why",
        "netscreen:msg",
        "pterodactyl-wings:why",
        "rshd:other",  # 16 bytes at most
        "sabnzbd:why",
        "sendmail:rule",
        "sendmail.relay-check:why",
        "sshd.audit:",
        "sshd.wrong-place:",
        "fail2ban:service",
        "openvpn:",
        "sophos:msg",
        "sshd.audit:user",  # in hexadecimal digits where it is strange
        "sshd:method",
        "sshd:why",
        "nginx:why",  # of the authentication server
        "threeproxy:service",
        "vaultwarden:service",
        "web:remote_port",
        "web:time_local",
        "web:service",
        "modsecurity:",
        "nginx-mail.bad-command:",
        "postgresql.no-client-joined:",
        "web:",
        "domino:",
        "dovecot:",
        "ejabberd:",
        "firewall:",
        "fortinet:",
        "gitea:",
        "grafana:",
        "kerio.administration:",
        "krb5kdc:",
        "lfd:",
        "mattermost:",
        "mikrotik:",
        "miniflux:",
        "navidrome:",
        "netscreen:",
        "nginx.bad-header:",
        "nginx.handshake:",
        "postgresql.login:",
        "postgresql.login-joined:",
        "postgresql.no-client:",
        "powerdns:",
        "sophos:",
        "stalwart:",
        "suricata:",
        "windows:",
        "authelia.failed:",
        "honeypots.dionaea-text:",
        "honeypots.conpot:service",
        "outward:filter",  # named in the policy
    )
)


def written(place: Place, text: str) -> bytes | None:
    """The text as the program writes it at this place; None where nobody else chooses it."""
    names = (
        f"{place.detector}:{place.name}",
        f"{place.pack}:{place.name}",
        f"*:{place.name}" if place.name else "",
    )
    if not OWN.isdisjoint(names):
        return None
    for _ in range(place.depth):
        text = json.dumps(text, ensure_ascii=False)[1:-1]
    if not place.depth and place.pack in QUOTED:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    if place.line[place.begin : place.begin + 1] == b'"':  # the field of a table
        text = '"' + text.replace('"', '""') + '"'
    can = next((LIMITS[each] for each in names if each in LIMITS), place.holds)
    return bytes(each if can >> each & 1 else 95 for each in text.encode())


def put(place: Place, text: bytes) -> bytes:
    """The line with this text in its place; a user's name wherever the program repeats it."""
    before, after = place.line[: place.begin], place.line[place.stop :]
    old = place.line[place.begin : place.stop]
    if "user" in place.name and len(old) > 2:
        again = rb"(?<![0-9A-Za-z@.])" + re.escape(old) + rb"(?![0-9A-Za-z@.])"
        after = re.sub(again, lambda _: text, after)
    return before + text + after
