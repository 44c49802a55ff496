"""A mail node: Debian's dovecot (IMAP, POP3) and exim4 or postfix before one shared Maildir.

Touches the node's folder and the shared one, and starts daemons on the node, which end with it.
Each serves its usual ports, and beside them ports that ask for the PROXY protocol (+10000), by
which the logs name the client and not the balancer. Limits: no TLS, no DNS; delivery by the MTA.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Literal

from tests.story import cluster, stage
from tests.story.cluster import MAIL_UID, MAIL_USER, Node, Service

DOMAIN, USERS, PASSWORD = "example.org", ("anna", "boris"), "correct horse"
SMTP, POP3, IMAP = 25, 110, 143
PROXIED = 10000
DOVECOT_NEEDED = ("sbin/dovecot", "lib/dovecot/imap", "lib/dovecot/pop3")
NEEDED = (*DOVECOT_NEEDED, "sbin/exim4", "sbin/postfix")

DOVECOT = """
base_dir = /run/dovecot
state_dir = /run/dovecot-state
log_path = {log}
protocols = imap pop3
ssl = no
disable_plaintext_auth = no
auth_failure_delay = 0 secs
first_valid_uid = {uid}
# The index is this node's own; what both must agree on (numbers, flags) stands in the Maildir.
mail_location = maildir:{shared}/%n/Maildir:INDEX={folder}/index/%n
maildir_very_dirty_syncs = no
mailbox_idle_check_interval = 1 secs
haproxy_trusted_networks = {balancers}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%n {folder}/dovecot.users
}}
userdb {{
  driver = static
  args = uid={user} gid={user} home={shared}/%n
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service imap-login {{
  inet_listener imap {{
    port = 143
  }}
  inet_listener imap_proxied {{
    port = 10143
    haproxy = yes
  }}
}}
service pop3-login {{
  inet_listener pop3 {{
    port = 110
  }}
  inet_listener pop3_proxied {{
    port = 10110
    haproxy = yes
  }}
}}
"""
EXIM = """
primary_hostname = {name}.example.org
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
pid_file_path = /run/exim.pid
write_rejectlog = no
daemon_smtp_ports = 25 : 10025
hosts_proxy = ${{if ={{$received_port}}{{10025}}{{<; {balancers}}}}}
tls_advertise_hosts =
host_lookup =
rfc1413_query_timeout = 0s
deliver_drop_privilege = no
acl_smtp_rcpt = recipients

begin acl

recipients:
  require verify = recipient
  accept

begin routers

known:
  driver = accept
  domains = {domain}
  local_parts = {colons}
  transport = maildir

begin transports

maildir:
  driver = appendfile
  directory = {shared}/$local_part_data/Maildir
  maildir_format
  user = {user}
  group = {user}
"""
POSTFIX = """
compatibility_level = 3.6
myhostname = {name}.example.org
mydestination =
inet_protocols = ipv4
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {log}
maillog_file_prefixes = {prefix}
alias_maps =
local_recipient_maps =
virtual_mailbox_domains = {domain}
virtual_mailbox_base = {shared}
virtual_mailbox_maps = inline:{{ {maps} }}
virtual_minimum_uid = 1000
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{uid}
smtpd_peername_lookup = no
smtpd_tls_security_level = none
"""
SERVICES = """
smtp      inet  n       -       n       -       -       smtpd
10025     inet  n       -       n       -       -       smtpd
    -o smtpd_upstream_proxy_protocol=haproxy
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
verify    unix  -       -       n       -       1       verify
flush     unix  n       -       n       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
smtp      unix  -       -       n       -       -       smtp
showq     unix  n       -       n       -       -       showq
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
virtual   unix  -       n       n       -       -       virtual
anvil     unix  -       -       n       -       1       anvil
postlog   unix-dgram n  -       n       -       1       postlogd
"""
QUEUES = ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "maildrop",
          "saved", "trace")  # fmt: skip


def shared_maildir(folder: Path) -> Path:
    """The folder with every user's Maildir, which both nodes see."""
    shared = folder / "maildir"
    for user in USERS:
        (shared / user).mkdir(parents=True)
        os.chown(shared / user, MAIL_UID, MAIL_UID)
    os.chown(shared, MAIL_UID, MAIL_UID)
    return shared


class MailNode:
    """Dovecot and one MTA, or none, on a node. `logs` are what a guard of this node, or of others,
    reads."""

    def __init__(
        self, node: Node, shared: Path, mta: Literal["exim", "postfix", ""], balancers: str
    ) -> None:
        self.node, self.mta = node, mta
        self.shared, self.balancers = shared, balancers
        names = {"dovecot": "dovecot.log", "exim": "mainlog", "postfix": "postfix.log"}
        self.logs = {
            name: node.folder / "log" / log
            for name, log in names.items()
            if name in ("dovecot", mta)
        }
        self.services: list[Service] = []
        (node.folder / "log").mkdir(exist_ok=True)
        (node.folder / "log").chmod(0o777)
        self._dovecot()
        if mta:
            self._exim() if mta == "exim" else self._postfix()

    def start(self) -> MailNode:
        """Start both and wait until they listen."""
        folder = self.node.folder
        dovecot = self.node.start("/usr/sbin/dovecot", "-F", "-c", folder / "dovecot.conf")
        self.services = [dovecot.wait_port(IMAP, POP3, IMAP + PROXIED, POP3 + PROXIED)]
        if not self.mta:
            return self
        if self.mta == "exim":
            words = ["/usr/sbin/exim4", "-bdf", "-q5s"]
        else:  # not by `postfix start`, which asks for all of Debian's /etc/postfix
            words = ["/usr/lib/postfix/sbin/master", "-c", "/etc/postfix", "-d"]
        mta = self.node.start(*words)
        self.services.append(mta.wait_port(SMTP, SMTP + PROXIED))
        return self

    def said(self) -> str:
        """Everything in its logs."""
        return "".join(one.read_text("utf-8", "replace") for one in self.logs.values())

    def _write(self, path: Path, template: str, **more: object) -> None:
        path.write_text(
            template.format(
                name=self.node.name, folder=self.node.folder, shared=self.shared, uid=MAIL_UID,
                user=MAIL_USER, domain=DOMAIN, colons=" : ".join(USERS), **more,
            )
        )  # fmt: skip

    def _log(self, name: str, owner: str = "root") -> Path:
        self.logs[name].touch()
        shutil.chown(self.logs[name], owner, "adm")
        self.logs[name].chmod(0o640)
        return self.logs[name]

    def _dovecot(self) -> None:
        folder = self.node.folder
        users = "".join(f"{user}:{PASSWORD}\n" for user in USERS)
        (folder / "dovecot.users").write_text(users)
        (folder / "index").mkdir(exist_ok=True)
        os.chown(folder / "index", MAIL_UID, MAIL_UID)
        self._write(
            folder / "dovecot.conf", DOVECOT,
            log=self._log("dovecot"), balancers=self.balancers,
        )  # fmt: skip

    def _exim(self) -> None:
        folder = self.node.folder
        (folder / "spool").mkdir(exist_ok=True)
        shutil.chown(folder / "spool", "Debian-exim", "Debian-exim")
        self._write(
            folder / "etc" / "exim4" / "exim4.conf", EXIM,
            log=self._log("exim", "Debian-exim"), balancers=self.balancers.replace(" ", " ; "),
        )  # fmt: skip

    def _postfix(self) -> None:
        folder = self.node.folder
        for queue in (*QUEUES, "pid", "private", "public"):
            (folder / "queue" / queue).mkdir(parents=True, exist_ok=True)
        (folder / "data").mkdir(exist_ok=True)
        names = [str(folder / "queue" / queue) for queue in (*QUEUES, "private", "public")]
        self.node.run("chown", "postfix", str(folder / "data"), *names)
        self.node.run(
            "chgrp", "postdrop", *(str(folder / "queue" / one) for one in ("public", "maildrop"))
        )
        maps = ", ".join(f"{{ {user}@{DOMAIN} = {user}/Maildir/ }}" for user in USERS)
        self._write(
            folder / "etc" / "postfix" / "main.cf", POSTFIX,
            log=self._log("postfix"), prefix=folder / "log", maps=maps,
        )  # fmt: skip
        (folder / "etc" / "postfix" / "master.cf").write_text(SERVICES)


def missing() -> str:
    """Why there can be no mail node here; "" if there can."""
    return cluster.missing(*NEEDED)


def delivered(shared: Path, user: str) -> list[str]:
    """The names of the messages that lie in a user's Maildir."""
    found = [
        *(shared / user / "Maildir" / "new").glob("*"),
        *(shared / user / "Maildir" / "cur").glob("*"),
    ]
    return [stage_name(path) for path in found]


def stage_name(path: Path) -> str:
    """The subject of a message, which the story uses as its name."""
    for line in path.read_text("utf-8", "replace").splitlines():
        if line.lower().startswith("subject: "):
            return line[9:]
    raise stage.StoryError(f"a message without a subject: {path}")
