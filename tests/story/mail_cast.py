"""Who plays in the story of the mail cluster: balancers, nodes, people, and their policies.

Touches what `cluster`, `mailnode`, `balancer` and `guardian` touch. Limits: addresses are fixed, so
one cluster plays at a time in a network namespace; each `Play` makes its own.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from tests.story import balancer, cluster, mailnode, stage, twins
from tests.story.balancer import Instance
from tests.story.cluster import Node, Service, retried
from tests.story.guardian import Guardian, trusted
from tests.story.mailclient import Imap, Person
from tests.story.mailnode import MailNode

VIP = "192.0.2.1"
BALANCERS = {"balancer1": "192.0.2.2", "balancer2": "192.0.2.3"}
NODES = {"node1": "192.0.2.11", "node2": "192.0.2.12"}
ANNA, EVE = "192.0.2.201", "192.0.2.66"
BUSY, CALM = 0.08, 0.02
"""Cores that the busy program uses: closed from the one on, open again below the other. Low, so that
a host with much else to do plays it, too."""
BOUND = 120
"""Seconds after which the busy program ends by itself, whatever becomes of the story."""
STORAGE = {"DRBD": "drbd", "OCFS2": "ocfs2", "NFS client": "nfs", "NFS server": "nfsd"}

NODE_POLICY = """
[allow]
addresses = ["192.0.2.2", "192.0.2.3", "192.0.2.11", "192.0.2.12"]

[pool.mail]
peers = ["up(imap://{peer}:143)"]
min-healthy = 1

[guard.busy]
close = {{ when = "unit.cpu(/run/busy.pid) >= {busy}", at-least = "2s" }}
open = {{ when = "unit.cpu(/run/busy.pid) <= {calm}", at-least = "2s" }}
agent = {{ listen = "{own}:{port}", weight = "0%" }}
pool = "mail"
flaps = 10

[guard.twin]
close = {{ when = "unit.cpu(/run/busy.pid) >= {busy}", at-least = "2s" }}
open = {{ when = "unit.cpu(/run/busy.pid) <= {calm}", at-least = "2s" }}
keepalived = {{ file = "{track}", value = -100 }}
flaps = 10
"""
BALANCER_POLICY = """
[allow]
addresses = ["192.0.2.2", "192.0.2.3", "192.0.2.11", "192.0.2.12"]

[source.nodes]
file = [{logs}]
detectors = ["dovecot", "exim", "postfix"]

[rule.mail-guessing]
on = ["exim.auth_failed", "postfix.auth_failed", "dovecot.auth_failed", "dovecot.password_mismatch", "dovecot.unknown_user"]
at-least = 5
within = "10m"
ban = {{ ports = [25, 110, 143], ladder = ["10m"] }}
"""


class Play:
    """The whole cluster; `line` tells what happens."""

    def __init__(self, line: stage.Timeline, stack: ExitStack) -> None:
        self.line = line
        self.folder = stack.enter_context(stage.folder())
        switch = cluster.Switch()
        stack.callback(switch.close)
        self.nodes: dict[str, Node] = {}
        for name, address in {**BALANCERS, **NODES}.items():
            self.nodes[name] = Node(switch, self.folder, name, address)
            stack.callback(self.nodes[name].close)
        people = Node(switch, self.folder, "people", ANNA, EVE)
        stack.callback(people.close)
        self.anna, self.eve = Person(people, ANNA), Person(people, EVE)
        self.shared = mailnode.shared_maildir(self.folder)
        proxies = " ".join(BALANCERS.values())
        self.mail = {
            "node1": MailNode(self.nodes["node1"], self.shared, "exim", proxies).start(),
            "node2": MailNode(self.nodes["node2"], self.shared, "postfix", proxies).start(),
        }
        self.guardians: dict[str, Guardian] = {}
        self.sent: list[str] = []

    def balance(self, name: str) -> None:
        """Start haproxy and keepalived on a balancer."""
        (peer,) = set(BALANCERS.values()) - {BALANCERS[name]}
        balancer.haproxy(self.nodes[name], NODES)
        priority = 150 if name == "balancer1" else 100
        balancer.keepalived(self.nodes[name], peer, [Instance("vip", 51, VIP, priority)])

    def guard(self, *names: str) -> None:
        """Start Tidegate on nodes or balancers."""
        for name in names:
            if name not in self.guardians:
                self.guardians[name] = Guardian(self.nodes[name], self._policy(name))
            self.guardians[name].start()
        for name in names:
            self.guardians[name].wait()

    def _policy(self, name: str) -> str:
        if name in BALANCERS:
            logs = [log for one in self.mail.values() for log in one.logs.values()]
            return BALANCER_POLICY.format(logs=", ".join(map(trusted, logs)))
        (peer,) = set(NODES.values()) - {NODES[name]}
        return NODE_POLICY.format(
            peer=peer, own=NODES[name], port=balancer.AGENT, busy=BUSY, calm=CALM,
            track=twins.track(self.nodes[name]),
        )  # fmt: skip

    def holders(self) -> list[str]:
        """Who has the virtual address."""
        return [name for name in BALANCERS if self.nodes[name].holds(VIP)]

    def send(self, subject: str, host: str = VIP) -> None:
        """Anna sends a message to herself, trying again while nobody answers."""
        retried(f"“{subject}” to be accepted", lambda: self.anna.send(host, subject))
        self.sent.append(subject)

    def expect_mail(self, *hosts: str) -> None:
        """Every message that was accepted is there, once, by IMAP and by POP3 at each of these."""
        every = lambda: len(mailnode.delivered(self.shared, "anna")) >= len(self.sent)  # noqa: E731
        stage.wait_for("delivery", every)
        wanted = Counter(self.sent)
        for host in hosts:
            found = [Counter(read(host)) for read in (self.anna.read_imap, self.anna.read_pop3)]
            self.line.expect(
                found == [wanted, wanted],
                f"all {len(self.sent)} messages are read at {host}, by IMAP and by POP3",
            )

    def new_sessions(self, count: int) -> Counter[str]:
        """Who gets so many new sessions of IMAP, by the nodes' own logs."""
        before = {name: self.logins(name) for name in NODES}
        for _ in range(count):
            self.anna.read_imap(VIP)
        return self._since(before, count)

    def _since(self, before: dict[str, int], count: int) -> Counter[str]:
        """Who got the sessions since then; dovecot's log may lag behind its sessions."""
        got = lambda: Counter({name: self.logins(name) - before[name] for name in NODES})  # noqa: E731
        stage.wait_for("the nodes' logs", lambda: got().total() >= count)
        return got()

    def logins(self, name: str) -> int:
        """How many sessions of IMAP a node has opened for Anna, by its log."""
        log = self.mail[name].logs["dovecot"].read_text("utf-8", "replace")
        return sum(
            "imap-login: Info: Login:" in row and f"rip={ANNA}," in row for row in log.splitlines()
        )

    def session_at(self, name: str) -> Imap:
        """A session that this node serves; others that were opened on the way are closed."""
        for _ in range(10):
            before = {node: self.logins(node) for node in NODES}
            session = self.anna.imap(VIP)
            if self._since(before, 1)[name]:
                return session
            session.logout()
        raise stage.StoryError(f"no session came to {name}")

    def state(self, name: str) -> str:
        """How the balancer that holds the address treats this node for IMAP."""
        (holder,) = self.holders()
        return balancer.state(self.nodes[holder], "imap", name)


def make_busy(node: Node) -> Service:
    """A program on this node that uses all of a core, until it is stopped, or for BOUND seconds."""
    script = f"echo $$ >/run/busy.pid; exec timeout {BOUND} sh -c 'while :; do :; done'"
    return node.start("sh", "-c", script)


def storage() -> str:
    """What of the cluster's storage this kernel could run: what is built in, and what is a module."""
    known = Path("/proc/filesystems").read_text().split()
    lacking = []
    for name, module in STORAGE.items():
        words = ["modprobe", "--dry-run", "--quiet", module]
        try:
            loadable = subprocess.run(words, capture_output=True).returncode == 0
        except FileNotFoundError:
            loadable = False
        if module not in known and not Path("/sys/module", module).exists() and not loadable:
            lacking.append(name)
    if not lacking:
        return "This kernel has DRBD, OCFS2 and NFS; the story plays without them all the same"
    return (
        f"This kernel has no {', no '.join(lacking)} (not in /proc/filesystems, no module that"
        " modprobe knows): the Maildir is one folder of this host"
    )
