"""Who sends much for good reasons on this host: mail servers, resolvers, proxies, monitors.

Touches /proc/sys and /etc/passwd below a root folder, only to read. Limits: programs that run now,
and the users that distributions give them; who runs them as somebody else is asked for by nobody.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple


class Sender(NamedTuple):
    """A user who is busy by profession, and what showed it."""

    user: str
    why: str


_USERS: dict[str, tuple[str, ...]] = {
    "exim4": ("Debian-exim", "exim", "mail"),
    "exim": ("Debian-exim", "exim", "mail"),
    "master": ("postfix",),
    "smtpd": ("_smtpq", "opensmtpd"),
    "qmail-rspawn": ("qmailr",),
    "unbound": ("unbound",),
    "named": ("bind", "named"),
    "dnsmasq": ("dnsmasq",),
    "kresd": ("knot-resolver",),
    "pdns_recursor": ("pdns", "pdns-recursor"),
    "systemd-resolve": ("systemd-resolve",),
    "chronyd": ("_chrony", "chrony"),
    "ntpd": ("ntpsec", "ntp"),
    "systemd-timesyn": ("systemd-timesync",),
    "squid": ("proxy", "squid"),
    "tinyproxy": ("tinyproxy",),
    "tor": ("debian-tor", "toranon", "tor"),
    "nagios": ("nagios",),
    "nagios4": ("nagios",),
    "icinga2": ("nagios", "icinga"),
    "zabbix_server": ("zabbix",),
    "prometheus": ("prometheus",),
    "blackbox_export": ("prometheus",),
    "smokeping": ("smokeping",),
    "rspamd": ("_rspamd", "rspamd"),
    "spamd": ("debian-spamd", "spamd"),
    "prosody": ("prosody",),
    "ejabberd": ("ejabberd",),
    "transmission-da": ("debian-transmission", "transmission"),
}
"""Programs as the kernel names them (15 bytes at most), and whom distributions let them run as."""


def busy(running: Collection[str], root: str = "") -> tuple[Sender, ...]:
    """The users to leave alone, of the programs that run; only users that there are."""
    users = {line.partition(":")[0] for line in _text(root, "etc/passwd").splitlines()}
    found: dict[str, Sender] = {}
    for program in sorted(running):
        for user in _USERS.get(program[:15], ()):
            if user in users:
                found.setdefault(user, Sender(user, f"running: {program}"))
                break
    return tuple(found.values())


def forwards(root: str = "") -> bool:
    """Whether packets of others pass through this host."""
    places = ("proc/sys/net/ipv4/ip_forward", "proc/sys/net/ipv6/conf/all/forwarding")
    return any(_text(root, place).strip() == "1" for place in places)


def tracks(root: str = "") -> bool:
    """Whether the kernel keeps track of connections already, for somebody else."""
    count = _text(root, "proc/sys/net/netfilter/nf_conntrack_count").strip()
    return count.isdigit() and int(count) > 0


def _text(root: str, name: str) -> str:
    try:
        return Path(root or "/", name).read_text("utf-8", "replace")
    except OSError:
        return ""
