"""A mail cluster: two balancers before two mail nodes, and two nodes that stand in for each other.

Debian's haproxy, keepalived, dovecot, exim4 and postfix in network namespaces on one bridge. With
balancers: a loaded node is drained by its own guard and comes back; who abuses a node is shut out
where the virtual address is; a dead balancer's twin takes over. Without balancers: each of two
nodes has an address of its own, and its twin takes it.

Of the cluster that this is modelled on (DRBD in dual-primary mode below OCFS2; for larger ones,
NFS) the storage is left out: both nodes see one folder of this host. This kernel has no DRBD, no
OCFS2 and no NFS client; `storage` asks it, and the story prints what it found. So locking is that
of one kernel, and nothing is told of what happens when storage is split. Abuse is seen in the
nodes' logs, which both balancers read as files, where yours would arrive by syslog: each decides
by itself, so the standby has the ban before it holds the address, with nothing shared but lines.
Limits: IPv4; checks and advertisements every 200 to 400 ms; a balancer's death ends its sessions.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from tests.story import balancer, cluster, mailnode, stage, twins
from tests.story.balancer import Instance
from tests.story.cluster import Node, retried
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
PROBES = 12
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
            peer=peer, own=NODES[name], port=balancer.AGENT, busy=BUSY, calm=CALM
        )

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
        return Counter({name: self.logins(name) - before[name] for name in NODES})

    def logins(self, name: str) -> int:
        """How many sessions of IMAP a node has opened for Anna, by its log."""
        log = self.mail[name].logs["dovecot"].read_text("utf-8", "replace")
        return sum(
            "imap-login: Info: Login:" in row and f"rip={ANNA}," in row for row in log.splitlines()
        )


def story(line: stage.Timeline, stack: ExitStack) -> str:
    """The timeline, top to bottom; the verdict."""
    if why_not := mailnode.missing() or cluster.missing(*balancer.NEEDED):
        return f"Mail cluster: not played, since {why_not}."
    line.tell(storage())
    play = Play(line, stack)
    line.tell("node1 runs dovecot and exim, node2 dovecot and postfix; both see one Maildir")
    for name in BALANCERS:
        play.balance(name)
    stage.wait_for("the virtual address", lambda: play.holders() == ["balancer1"])
    line.tell(f"balancer1 holds {VIP}; balancer2 waits")
    _mail(play)
    drained = _drain(play)
    _abuse(play)
    took = _dead_balancer(play)
    alone = twins.play(play.line, play.nodes, play.mail, play.anna, play.shared)
    return (
        f"Mail cluster: {len(play.sent)} messages through the balancers, all read at both nodes;"
        f" {drained} of {drained} new sessions went elsewhere while node1 was drained, and the open"
        f" one went on; the virtual address moved within {took:.1f} s. {alone}"
    )


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


def _mail(play: Play) -> None:
    line = play.line
    for n in range(6):
        play.send(f"through the balancer {n + 1}")
    play.expect_mail(VIP, *NODES.values())
    for name, one in play.mail.items():
        line.expect(
            f"[{ANNA}]" in one.logs[one.mta].read_text(),
            f"{one.mta} on {name} has taken some of it, and its log names the client {ANNA}",
        )
    both = play.new_sessions(PROBES)
    line.expect(
        all(both[name] > 0 for name in NODES),
        f"of {PROBES} new sessions node1 got {both['node1']} and node2 {both['node2']}",
    )


def _drain(play: Play) -> int:
    line, node = play.line, play.nodes["node1"]
    play.guard(*NODES)
    line.tell("`tidegate run` on both nodes: a guard that drains its node by the agent-check")
    session = _session_at(play, "node1")
    line.tell("Anna has a session of IMAP open at node1")
    script = f"echo $$ >/run/busy.pid; exec timeout {BOUND} sh -c 'while :; do :; done'"
    busy = node.start("sh", "-c", script)
    line.tell(f"a program on node1 becomes busy (bounded: {BOUND} s)")
    guardian = play.guardians["node1"]
    stage.wait_for("node1's guard to close", lambda: guardian.gates()["busy"] == "closed", 90)
    stage.wait_for("haproxy to see it", lambda: _state(play, "node1") == "drained", 30)
    line.tell("node1's guard has closed: the agent says drain, haproxy shows node1 drained")
    elsewhere = play.new_sessions(PROBES)
    line.expect(
        elsewhere == Counter({"node2": PROBES}),
        f"all {PROBES} new sessions went to node2 ({elsewhere['node1']} to node1)",
    )
    line.expect(
        Counter(play.anna.subjects(session)) == Counter(play.sent),
        "the session that was open at node1 goes on",
    )
    play.send("while node1 was drained")
    for row in guardian.verb("why", "busy").stdout.splitlines()[:4]:
        line.tell(f"  | {row[:110]}")
    busy.stop(signal.SIGTERM)
    line.tell("the busy program has ended")
    stage.wait_for("node1's guard to open", lambda: guardian.gates()["busy"] == "open", 90)
    stage.wait_for("haproxy to see it", lambda: _state(play, "node1") == "ready", 30)
    both = play.new_sessions(PROBES)
    line.expect(
        both["node1"] > 0, f"node1 is back by itself: {both['node1']} of {PROBES} new sessions"
    )
    play.anna.subjects(session)
    session.logout()
    play.expect_mail(*NODES.values())
    return PROBES


def _session_at(play: Play, name: str) -> Imap:
    """A session that this node serves; others that were opened on the way are closed."""
    for _ in range(10):
        before = play.logins(name)
        session = play.anna.imap(VIP)
        if play.logins(name) > before:
            return session
        session.logout()
    raise stage.StoryError(f"no session came to {name}")


def _state(play: Play, name: str) -> str:
    """How the balancer that holds the address treats this node for IMAP."""
    (holder,) = play.holders()
    return balancer.state(play.nodes[holder], "imap", name)


def _abuse(play: Play) -> None:
    line = play.line
    play.guard(*BALANCERS)
    line.tell("`tidegate run` on both balancers, reading the logs of both nodes")
    guesses = 0
    holder, standby = (play.guardians[name] for name in ("balancer1", "balancer2"))

    def guessed() -> bool:
        nonlocal guesses
        if EVE in holder.closed():
            return True
        try:
            play.eve.imap(VIP, password=f"guess {guesses}").logout()
        except PermissionError:
            guesses += 1
        except OSError:
            pass
        return False

    stage.wait_for("Eve to be shut out", guessed, 60)
    rows = [
        row for one in play.mail.values() for row in one.logs["dovecot"].read_text().splitlines()
    ]
    seen = [row for row in rows if "auth failed" in row]
    line.expect(
        bool(seen) and all(f"rip={EVE}," in row for row in seen),
        f"Eve guessed {guesses} passwords at {VIP}; the nodes' logs name {EVE}, not a balancer",
    )
    stage.wait_for("the packets to be dropped", lambda: EVE in holder.dropped())
    line.expect(not _reaches(play.eve), f"{EVE} is shut out on balancer1, which holds {VIP}")
    stage.wait_for("the standby's ban", lambda: EVE in standby.closed(), 60)
    line.tell("balancer2 has read the same lines, and has the same ban before it is needed")
    line.expect(_reaches(play.anna), f"{ANNA} is served")


def _reaches(person: Person) -> bool:
    with person.node.inside():
        return cluster.reached(VIP, mailnode.IMAP, person.address)


def _dead_balancer(play: Play) -> float:
    line = play.line
    session = play.anna.imap(VIP)
    begin = time.monotonic()
    play.nodes["balancer1"].cut_power()
    line.tell("balancer1 has lost its power")
    retried("the virtual address", lambda: play.anna.read_imap(VIP), 60)
    took = time.monotonic() - begin
    line.expect(
        play.holders() == ["balancer2"], f"balancer2 holds {VIP}, and serves, after {took:.1f} s"
    )
    try:
        play.anna.subjects(session)
        line.tell("the session of IMAP went on")
    except OSError:
        line.tell(
            "the session that went through balancer1 is broken: haproxy shares none; Anna opens another"
        )
    session.shutdown()
    play.send("after balancer1 died")
    play.expect_mail(VIP, *NODES.values())
    line.expect(not _reaches(play.eve), f"{EVE} is shut out on balancer2, too")
    play.nodes["balancer1"].boot()
    play.balance("balancer1")
    play.guard("balancer1")
    stage.wait_for(
        "balancer1 to take the address back", lambda: play.holders() == ["balancer1"], 30
    )
    play.send("after balancer1 came back")
    play.expect_mail(VIP)
    line.expect(
        not _reaches(play.eve),
        f"balancer1 is back and holds the address again; {EVE} is shut out there as before",
    )
    return took


def main() -> int:
    """Play it."""
    return stage.play("Mail cluster: balancers, nodes, and twins without balancers", story)


if __name__ == "__main__":
    sys.exit(main())
