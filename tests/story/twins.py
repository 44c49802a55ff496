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


def play(
    line: stage.Timeline,
    nodes: Mapping[str, Node],
    mail: Mapping[str, MailNode],
    person: Person,
    shared: Path,
) -> str:
    """The part without balancers; its verdict."""
    for name in OWN:
        _keepalived(nodes, name)
    stage.wait_for(
        "each node's own address", lambda: _held(nodes) == {"node1": ["node1"], "node2": ["node2"]}
    )
    line.tell(f"without balancers: node1 has {OWN['node1']}, node2 {OWN['node2']}")
    host = OWN["node1"]
    customer = Customer(person, host)
    customer.start()
    try:
        customer.wait_rounds(STEADY)
        before = _neighbour(person, host)
        nodes["node1"].cut_power()
        line.tell(f"node1 has lost its power; a customer at {host} never asks DNS")
        stage.wait_for("node2 to take the address", lambda: _held(nodes)["node1"] == ["node2"], 30)
        customer.wait_rounds(STEADY)
        line.expect(
            _neighbour(person, host) != before,
            f"node2 has taken {host}, and told by ARP; the customer reads and sends",
        )
        gap, failures = customer.gap, customer.failures
        nodes["node1"].boot()
        mail["node1"].start()
        _keepalived(nodes, "node1")
        stage.wait_for(
            "node1 to get its address back", lambda: _held(nodes)["node1"] == ["node1"], 30
        )
        customer.wait_rounds(STEADY)
        line.expect(
            _neighbour(person, host) == before,
            f"node1 is back and has {host} again; the customer reads and sends",
        )
    finally:
        customer.end()
    _nothing_lost(line, customer, shared)
    line.tell(f"the longest pause was {gap:.1f} s ({failures} tries failed) when node1 died,"
              f" {customer.gap:.1f} s in all")  # fmt: skip
    return (
        f"Without balancers, a customer came through {customer.rounds} rounds at one address, the"
        f" longest pause {customer.gap:.1f} s while its node died and came back; no message was lost."
    )


def _nothing_lost(line: stage.Timeline, customer: Customer, shared: Path) -> None:
    """Every message that was accepted lies in the mailbox; twice only what was sent twice."""
    accepted = set(customer.accepted)

    def found() -> Counter[str]:
        names = mailnode.delivered(shared, customer.person.user)
        return Counter(name for name in names if name.endswith(" of a customer"))

    stage.wait_for("delivery", lambda: accepted <= set(found()), 60)
    twice = [name for name, count in found().items() if count > 1]
    line.expect(
        len(twice) <= customer.failures,
        f"{len(accepted)} messages were accepted, and all have arrived; {len(twice)} twice, since"
        " their sender could not know",
    )


def _keepalived(nodes: Mapping[str, Node], name: str) -> None:
    (twin,) = OWN.keys() - {name}
    instances = [
        Instance(owner, number, address, 150 if owner == name else 100)
        for number, (owner, address) in enumerate(OWN.items(), 61)
    ]
    balancer.keepalived(nodes[name], nodes[twin].addresses[0], instances)


def _held(nodes: Mapping[str, Node]) -> dict[str, list[str]]:
    """Of each node's own address: who has it now."""
    return {
        owner: [name for name in OWN if nodes[name].holds(address)]
        for owner, address in OWN.items()
    }


def _neighbour(person: Person, address: str) -> str:
    """Which machine the customer's kernel takes that address for."""
    words = person.node.space.run("ip", "neighbour", "show", address).split()
    return words[words.index("lladdr") + 1] if "lladdr" in words else ""
