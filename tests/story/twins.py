"""Two mail nodes without balancers: each has an address of its own, which its twin takes when it dies.

Keepalived with two instances on each node, and gratuitous ARP. A customer knows one address, never
asks DNS, and goes on reading and sending through a power cut. Touches what `cluster` touches.
Limits: what a mail program sees as a failure it tries again; a session does not outlive its node.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from tests.story import balancer, mailnode, stage
from tests.story.balancer import Instance
from tests.story.cluster import Node
from tests.story.mailclient import Person
from tests.story.mailnode import MailNode

OWN = {"node1": "192.0.2.31", "node2": "192.0.2.32"}
PAUSE = 0.1
STEADY = 12
"""Rounds of the customer (a message sent, the mailbox read by IMAP and by POP3) in each part."""


class Customer(threading.Thread):
    """Sends a message, reads by IMAP, reads by POP3, and again; all at one address."""

    def __init__(self, person: Person, host: str) -> None:
        super().__init__(daemon=True)
        self.person, self.host = person, host
        self.accepted: list[str] = []
        self.rounds = self.failures = 0
        self.gap = 0.0
        self.unread = ""
        self._ended = threading.Event()

    def run(self) -> None:
        """Until `end`."""
        last = time.monotonic()
        while not self._ended.wait(PAUSE):
            if self._once(f"message {self.rounds + 1} of a customer"):
                now = time.monotonic()
                self.gap, last = max(self.gap, now - last), now
                self.rounds += 1

    def _once(self, subject: str) -> bool:
        """One round; whether all of it came off. What failed is tried again in the next."""
        try:
            if self.accepted[-1:] != [subject]:
                self.person.send(self.host, subject)
                self.accepted.append(subject)
            for read in (self.person.read_imap, self.person.read_pop3):
                read(self.host)
        except OSError:
            self.failures += 1
            return False
        return True

    def wait_rounds(self, count: int, seconds: float = 180.0) -> None:
        """Wait until it has come through so many more."""
        aim = self.rounds + count
        stage.wait_for(f"{count} rounds of the customer", lambda: self.rounds >= aim, seconds)

    def end(self) -> None:
        """Stop after the round that is under way."""
        self._ended.set()
        self.join(60)


class Twins:
    """Two nodes, each with an address of its own, and keepalived on both."""

    def __init__(
        self,
        line: stage.Timeline,
        nodes: Mapping[str, Node],
        mail: Mapping[str, MailNode],
        shared: Path,
    ) -> None:
        self.line, self.nodes, self.mail, self.shared = line, nodes, mail, shared
        for name in OWN:
            self._keepalived(name)
        for name in OWN:
            self.wait_held(name, name)
        line.tell(f"without balancers: node1 has {OWN['node1']}, node2 {OWN['node2']}")

    def _keepalived(self, name: str) -> None:
        (twin,) = OWN.keys() - {name}
        instances = [
            Instance(owner, number, address, 150 if owner == name else 100)
            for number, (owner, address) in enumerate(OWN.items(), 61)
        ]
        node = self.nodes[name]
        balancer.keepalived(node, self.nodes[twin].addresses[0], instances, {name: track(node)})

    def wait_held(self, owner: str, by: str, seconds: float = 30.0) -> None:
        """Wait until exactly this node has that node's address."""
        address = OWN[owner]
        stage.wait_for(
            f"{by} to have {address}",
            lambda: [name for name in OWN if self.nodes[name].holds(address)] == [by],
            seconds,
        )

    def lose_one(self, customer: Customer) -> None:
        """Node1 loses its power and comes back, while a customer goes on."""
        host, node = customer.host, self.nodes["node1"]
        customer.wait_rounds(STEADY)
        before = _neighbour(customer.person, host)
        node.cut_power()
        self.line.tell(f"node1 has lost its power; a customer at {host} never asks DNS")
        self.wait_held("node1", "node2")
        customer.wait_rounds(STEADY)
        stage.wait_for("ARP to tell", lambda: _neighbour(customer.person, host) not in ("", before))
        self.line.tell(
            f"node2 has taken {host}, and told by ARP; the customer reads and sends",
        )
        node.boot()
        self.mail["node1"].start()
        self._keepalived("node1")
        self.wait_held("node1", "node1")
        customer.wait_rounds(STEADY)
        stage.wait_for("ARP to tell", lambda: _neighbour(customer.person, host) == before)
        self.line.tell(
            f"node1 is back and has {host} again; the customer reads and sends",
        )

    def verdict(self, customer: Customer) -> str:
        """That every message that was accepted lies in the mailbox, twice only what was sent twice."""
        accepted = set(customer.accepted)

        def found() -> Counter[str]:
            names = mailnode.delivered(self.shared, customer.person.user)
            return Counter(name for name in names if name.endswith(" of a customer"))

        stage.wait_for("delivery", lambda: accepted <= set(found()), 60)
        twice = sum(count > 1 for count in found().values())
        self.line.expect(
            twice <= customer.failures,
            f"{len(accepted)} messages were accepted, and all have arrived; {twice} twice, where"
            " the sender could not know",
        )
        return (
            f"Without balancers, a customer came through {customer.rounds} rounds at one address:"
            f" its node was busy, died and came back; the longest pause was {customer.gap:.1f} s,"
            f" {customer.failures} tries failed, and no message was lost."
        )


def track(node: Node) -> Path:
    """The file whose number says how much less the node wants its address."""
    return node.folder / "vrrp.load"


def _neighbour(person: Person, address: str) -> str:
    """Which machine the customer's kernel takes that address for."""
    words = person.node.space.run("ip", "neighbour", "show", address).split()
    return words[words.index("lladdr") + 1] if "lladdr" in words else ""
