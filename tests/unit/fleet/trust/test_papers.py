"""The desk's word is heard though somebody floods all hosts with others in its name."""

from __future__ import annotations

from tests.unit.fleet.village import FLEET, NOW, Seal, revocation, village

from tidegate.fleet import wire
from tidegate.fleet.decisions.accepting import Accepting
from tidegate.fleet.decisions.assembly import Assembly
from tidegate.fleet.trust import members
from tidegate.fleet.trust.members import Revocation
from tidegate.fleet.trust.papers import Papers
from tidegate.model import MINUTE


def test_forged_papers_keep_no_revocation_from_being_heard():
    trust, *_hosts = village("web1", "web2")
    assembly = Assembly("web1", trust.admit, lambda *_: b"", lambda _host: True)
    papers = Papers(trust, assembly, Accepting("web1", trust, lambda _number: None))
    mallory = Seal("mallory")
    forged = [
        wire.seal(members.revoke({"mx1": Revocation(1, NOW)}, number, NOW), FLEET, mallory.sign)
        for number in range(1000, 1500)
    ]
    right = revocation(100, web2=99)
    for body in (*forged, right):
        papers.hear(body, NOW)
    assert "web2" in trust.roster.members  # too much to look at
    assembly.listener.phase = "stream"
    assembly.tick(2, NOW + MINUTE)
    assert assembly.listener.phase != "stream"  # all of it again
    for turn in range(2, 5):
        for body in (*forged, right):
            papers.hear(body, NOW + turn * MINUTE)
    assert "web2" not in trust.roster.members
    looked = []
    trust.roster.verify = lambda *words: looked.append(words)
    papers.hear(forged[0], NOW + 10 * MINUTE)
    assert not looked
