"""A mail cluster: two balancers before two mail nodes, and two nodes that stand in for each other.

Debian's haproxy, keepalived, dovecot, exim4 and postfix in network namespaces on one bridge. With
balancers: a loaded node is drained by its own guard and comes back; who abuses a node is shut out
where the virtual address is; a dead balancer's twin takes over. Without balancers: each of two
nodes has an address of its own, and its twin takes it.

Of the cluster that this is modelled on (DRBD in dual-primary mode below OCFS2; for larger ones,
NFS) the storage is left out: both nodes see one folder of this host. This kernel has no DRBD, no
OCFS2 and no NFS client; `mail_cast.storage` asks it, and the story prints what it found. So locking is that
of one kernel, and nothing is told of what happens when storage is split. Abuse is seen in the
nodes' logs, which both balancers read as files, where yours would arrive by syslog: each decides
by itself, so the standby has the ban before it holds the address, with nothing shared but lines.
Limits: IPv4; checks and advertisements every 200 to 400 ms, closings of a few seconds and little
damping, so that the story is short; a balancer's death ends its sessions.
"""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter
from contextlib import ExitStack

from tests.story import balancer, cluster, mailnode, stage, twins
from tests.story.cluster import retried
from tests.story.mail_cast import ANNA, BALANCERS, BOUND, EVE, NODES, VIP, Play, make_busy, storage
from tests.story.mailclient import Person

PROBES = 12


def story(line: stage.Timeline, stack: ExitStack) -> str:
    """The timeline, top to bottom; the verdict."""
    if why_not := mailnode.missing() or cluster.missing(*balancer.NEEDED):
        return f"Mail cluster: not played, since {why_not}."
    line.tell(storage())
    play = Play(line, stack)
    try:
        return _acts(play)
    except stage.StoryError:
        for name, guardian in play.guardians.items():
            print(f"\n{name}:\n{guardian.said()[-1500:]}")
        raise


def _acts(play: Play) -> str:
    line = play.line
    line.tell("node1 runs dovecot and exim, node2 dovecot and postfix; both see one Maildir")
    for name in BALANCERS:
        play.balance(name)
    stage.wait_for("the virtual address", lambda: play.holders() == ["balancer1"])
    line.tell(f"balancer1 holds {VIP}; balancer2 waits")
    _mail(play)
    drained = _drain(play)
    _abuse(play)
    took = _dead_balancer(play)
    alone = _twins(play)
    return (
        f"Mail cluster: {len(play.sent)} messages through the balancers, all read at both nodes;"
        f" {drained} of {drained} new sessions went elsewhere while node1 was drained, and the open"
        f" one went on; the virtual address moved within {took:.1f} s. {alone}"
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
    session = play.session_at("node1")
    line.tell("Anna has a session of IMAP open at node1")
    busy = make_busy(node)
    line.tell(f"a program on node1 becomes busy (bounded: {BOUND} s)")
    guardian = play.guardians["node1"]
    stage.wait_for("node1's guard to close", lambda: guardian.gates()["busy"] == "closed", 90)
    stage.wait_for("haproxy to see it", lambda: play.state("node1") == "drained", 30)
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
    stage.wait_for("haproxy to see it", lambda: play.state("node1") == "ready", 30)
    both = play.new_sessions(PROBES)
    line.expect(
        both["node1"] > 0, f"node1 is back by itself: {both['node1']} of {PROBES} new sessions"
    )
    play.anna.subjects(session)
    session.logout()
    play.expect_mail(*NODES.values())
    return PROBES


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


def _twins(play: Play) -> str:
    """The part without balancers. The guards of both nodes are still at work."""
    pair = twins.Twins(play.line, play.nodes, play.mail, play.shared)
    customer = twins.Customer(play.anna, twins.OWN["node1"])
    customer.start()
    try:
        customer.wait_rounds(twins.STEADY)
        busy = make_busy(play.nodes["node1"])
        pair.wait_held("node1", "node2", 90)
        play.line.tell(
            f"node1 is busy again: its guard's number in a track file gives {customer.host} to node2"
        )
        customer.wait_rounds(twins.STEADY)
        busy.stop(signal.SIGTERM)
        pair.wait_held("node1", "node1", 90)
        play.line.tell("node1 is calm, and has its address again by itself")
        pair.lose_one(customer)
    finally:
        customer.end()
    return pair.verdict(customer)


def main() -> int:
    """Play it."""
    return stage.play("Mail cluster: balancers, nodes, and twins without balancers", story)


if __name__ == "__main__":
    sys.exit(main())
