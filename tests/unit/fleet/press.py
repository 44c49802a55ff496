"""A publisher on paper for tests: entries with their contents, sealed and proven."""

from __future__ import annotations

from tests.unit.fleet.village import DESK, FLEET, NOW, Host, revocation, verify

from tidegate.fleet import wire
from tidegate.fleet.journal import journal
from tidegate.fleet.journal.journal import Entry, Published
from tidegate.fleet.journal.shelf import Shelf
from tidegate.fleet.trust.members import May, Roster

RULES = b'[rule.guessing]\non = ["sshd.auth_failed"]\nat-least = 5\nwithin = "10m"\n'


def files(text=RULES):
    return {"tidegate.toml": text}


class Press:
    """A host that may publish (or whatever `may` says)."""

    def __init__(self, name="office", may=May.CLAIM | May.PUBLISH, number=1):
        self.host = Host(name)
        self.certificate = self.host.certificate(number, may)

    def sealed(self, number, text=RULES, canaries=(), trial=0, now=NOW, **more):
        content = journal.pack(files(text))
        entry = Entry(number, journal.digest(content), canaries, trial, **more)
        sign = self.host.seal.sign
        return journal.publish(entry, self.host.name, FLEET, now, sign), content

    def bundle(self, number, text=RULES, revocations=b"", **more):
        sealed, content = self.sealed(number, text, **more)
        return journal.encode_bundle(revocations, self.certificate, sealed, content)

    def one(self, number, text=RULES, **more) -> Published:
        return judge(self.bundle(number, text, **more))


def judge(bundle, lists=(), fleet=FLEET, desk=DESK.public):
    return journal.judge(bundle, fleet, desk, verify, lists)


def shelf(folder):
    return Shelf(folder, FLEET, DESK.public, verify)


def roster(*presses, revoked=b""):
    found = Roster(FLEET, DESK.public, verify)
    for press in presses:
        assert found.take(press.certificate)[1] == ""
    if revoked:
        found.take(revoked)
    return found


__all__ = ["FLEET", "NOW", "Press", "files", "judge", "revocation", "roster", "shelf", "wire"]
