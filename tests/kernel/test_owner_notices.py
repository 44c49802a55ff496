"""Owners' mail from a whole daemon, through a real SMTP session: once each, over kills and stops."""

from __future__ import annotations

import email.policy
import json
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path

import pytest
from tests.kernel import mailsink
from tests.kernel.daemon import Daemon, daemons, until

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(not shutil.which("nft"), reason="no nft")]

BOT = 54321
POLICY = f"""
[outward]
sources = ["uids"]
destinations = 10

[rule.outward]
on = ["outward.scan", "outward.signature", "outward.guessing", "outward.*_flood"]
at-least = 1
within = "1m"
quarantine = {{ ladder = ["10m", "1h"] }}

[owner.shop]
uids = ["uid:{BOT}"]
notify = ["shop"]

[notify.shop]
mail = "admin@shop.example"
at-most = "50/hour"
"""
SCAN = """
import os, socket, sys, time
os.setgroups([]); os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end = time.monotonic() + 8
while time.monotonic() < end:
    for n in range(1, 200):
        try:
            sock.sendto(b"x" * 376, (f"198.51.100.{n}", 1434))
        except OSError:
            pass
    time.sleep(0.05)
"""


class Post:
    """The mails that have arrived at the sink."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def mails(self) -> list[tuple[str, EmailMessage]]:
        """Envelope and message of each, in their order."""
        found = []
        for path in sorted(self.folder.glob("*.mail")):
            envelope, _gap, data = path.read_bytes().partition(b"\n\n")
            message = BytesParser(policy=email.policy.default).parsebytes(data)
            assert isinstance(message, EmailMessage)
            found.append((envelope.decode(), message))
        return found

    @property
    def subjects(self) -> list[str]:
        """What they are about, without the host's name."""
        return [re.sub(r"^\[.*?\] ", "", str(one["Subject"])) for _envelope, one in self.mails]


@pytest.fixture
def scene(public_folder: Path) -> Iterator[tuple[Daemon, Post]]:
    """A daemon beside a mail server, in a namespace where everything else leads to nowhere."""
    post = public_folder / "post"
    post.mkdir()
    with daemons(public_folder, "owners") as make:
        here = make(POLICY)
        assert here.space is not None
        for words in (
            "link add wan type veth peer name nowhere",
            "addr add 192.0.2.1/24 dev wan",
            "link set wan up",
            "link set nowhere up",
            "neigh add 192.0.2.254 lladdr 02:00:00:00:00:01 dev wan",
            "route add default via 192.0.2.254",
        ):
            here.space.ip(*words.split())
        sink = here.popen([sys.executable, mailsink.__file__, str(post)])
        try:
            until("the mail server", (post / "ready").exists)
            yield here, Post(post)
        finally:
            sink.kill()
            sink.wait(10)


def later(here: Daemon, minutes: int) -> None:
    """As if the last letter to the owner had gone out so much earlier. The daemon is stopped."""
    with sqlite3.connect(here.folder / "state" / "ledger.sqlite") as ledger:
        key = b"owner shop"
        (value,) = ledger.execute(
            "SELECT value FROM memory WHERE part = 'owners' AND key = ?", (key,)
        ).fetchone()
        kept = json.loads(value)
        kept["sent"] -= minutes * 60 * 1_000_000
        ledger.execute(
            "UPDATE memory SET value = ? WHERE part = 'owners' AND key = ?",
            (json.dumps(kept).encode(), key),
        )
    ledger.close()


def test_cut_off_by_hand_killed_released_and_let_back_by_itself(scene):
    here, post = scene
    here.start()
    done = here.verb("quarantine", f"uid:{BOT}", "--for", "30m", "--note", "bot in /var/tmp")
    assert done.returncode == 0, done.stderr
    until("the first mail", lambda: post.mails)
    envelope, mail = post.mails[0]
    assert envelope.lower().endswith("rcpt to:<admin@shop.example>")
    assert post.subjects[0].startswith(f"shop: uid:{BOT} is cut off until ")
    text = mail.get_content()
    assert "By:    root (uid 0)" in text
    assert f"tidegate release uid:{BOT}" in text
    assert "on probation until" in text

    until("it is saved", lambda: here.ask("/status"))
    here.stop()
    later(here, 10)
    here.start()
    here.kill("watcher")
    until("a new watcher", lambda: here.ask("/status").get("lines") is not None)
    assert here.verb("release", f"uid:{BOT}").returncode == 0
    until("the mail of the return", lambda: len(post.mails) >= 2)
    assert post.subjects[1:] == [f"shop: uid:{BOT} is let back"]
    assert "is let back, by root (uid 0)" in post.mails[1][1].get_content()

    assert here.verb("quarantine", f"uid:{BOT}", "--for", "1s").returncode == 0
    here.stop()
    later(here, 10)
    here.start()
    until("the last mail", lambda: len(post.mails) >= 3)
    if "let back" not in post.subjects[2]:  # it went before the return was due
        here.stop()
        later(here, 10)
        here.start()
        until("the return", lambda: len(post.mails) >= 4)
    assert here.stop() == 0
    text = "\n".join(mail.get_content() for _envelope, mail in post.mails)
    assert text.count("is cut off: it can't begin") == 2
    assert text.count("it can begin connections again") == 2


def test_a_worm_is_cut_off_and_its_owner_gets_the_very_lines(scene):
    here, post = scene
    here.start()
    worm = here.popen([sys.executable, "-c", SCAN, str(BOT)], stdin=subprocess.DEVNULL)
    try:
        until("a quarantine", lambda: [
            row for row in here.history() if row["action"] == "quarantine"
        ])  # fmt: skip
        until("a mail", lambda: post.mails)
    finally:
        worm.kill()
        worm.wait(10)
    (row,) = (row for row in here.history() if row["action"] == "quarantine")
    assert (row["subject"], row["state"]) == (f"uid:{BOT}", "applied")
    _envelope, mail = post.mails[0]
    text = mail.get_content()
    assert post.subjects[0].startswith(f"shop: uid:{BOT} is cut off until ")
    assert f"  {row['evidence'][-1]['line'][:300]}" in text.splitlines()
    assert mail["To"] == "admin@shop.example"
    (incident,) = here.rows("/incidents")
    assert incident["title"] == f"uid:{BOT} cut off (rule outward)"
    page = here.verb("incident", "show", incident["id"], "--md").stdout
    assert f"| uid:{BOT} | cut off | " in page
    assert "| shop |" in page
    public = here.verb("incident", "show", incident["id"], "--md", "--public").stdout
    assert str(BOT) not in public
    assert "shop" not in public
