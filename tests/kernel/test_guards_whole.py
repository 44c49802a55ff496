"""Guards as people use them, through a whole `tidegate run`: sysfence's files, restarts, notices."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kernel.daemon import until
from tests.kernel.namespaces import World
from tests.kernel.pretended import Pretended, pretended

pytestmark = pytest.mark.kernel

FENCE = """\
rule "ApacheStop" {
la1 >= 10.00 or la5 >= 6.0
} run '/etc/init.d/apache2 stop;'

rule "ApacheStart" {
la1 <= 2 } run once '/etc/init.d/apache2 start;'

rule "warning" { la1 >= 8.00 } run once 'echo "Load High: BACKUP" >> {folder}/told'
"""
LONG = 300.0
"""Patience for what takes a minute by itself: a guard's closing lasts that long at least."""


@pytest.fixture
def here(world: World, public_folder: Path) -> Iterator[Pretended]:
    """A daemon with an apache2 of its own, which runs."""
    with pretended(world, public_folder) as made:
        made.host.service("apache2")
        letters(made).touch()
        letters(made).chmod(0o666)  # written by a command of the watcher, which is not root
        yield made


def letters(here: Pretended) -> Path:
    """What the command of `[notify.here]` was given."""
    return here.folder / "letters"


def fence(here: Pretended) -> Path:
    """The three rules of the blog, in a file of sysfence's."""
    path = here.folder / "sysfence.conf"
    path.write_text(FENCE.replace("{folder}", str(here.folder)))
    return path


def test_sysfences_own_file_stops_and_starts_a_service(here: Pretended) -> None:
    here.guards(f'[guard.old]\nsysfence = ["{fence(here)}"]\n')
    here.start()
    here.wait_state(old_apache2="open", old_warning="ready")
    assert here.verb("hold", "old.warning", "--note", "no mail today").returncode == 0
    here.load(11)
    here.wait_state(old_apache2="closed")
    assert not here.host.runs("apache2")
    assert not (here.folder / "told").exists(), "it is held"
    listed = here.verb("guard", "list").stdout
    assert "old.apache2: close when la1 >= 10 or la5 >= 6; open when la1 <= 2\n" in listed
    assert "  now: la1 11, la5 11\n" in listed
    assert "apache2 is stopped (stopped in " in listed
    assert "; opens when la1 <= 2\n" in listed
    assert "old.warning: run when la1 >= 8, once at each crossing\n" in listed
    assert "    held by root (uid 0) since " in listed
    assert ": no mail today\n" in listed
    assert ": tidegate resume old.warning\n" in listed

    assert here.verb("resume", "old.warning").returncode == 0
    until("the rule that only runs", (here.folder / "told").exists)
    (row,) = [json.loads(line) for line in here.verb("list", "--json").stdout.splitlines()]
    assert (row["gate"], row["does"], row["opens"]) == (
        "old.apache2", "apache2 is stopped", "when la1 <= 2",
    )  # fmt: skip
    assert row["left"] > 200, "an end is five minutes ahead, and moves along"
    told = here.verb("list").stdout.splitlines()
    assert told[0] == "GATE\tWHAT\tBY\tSINCE\tOPENS"
    assert told[1].startswith("old.apache2\tapache2 is stopped\told.apache2\t")
    assert "la1 11 (limit 10)" in here.verb("history", "old.apache2").stdout
    assert "or a gate: old.apache2, old.warning" in here.verb("why", "old").stderr

    here.load(1)
    here.load(1)
    until("apache2 to be started", lambda: here.host.runs("apache2"), LONG)
    here.wait_state(old_apache2="open")
    assert here.host.calls("apache2") == ["start", "stop", "start"]
    assert here.moves() == [
        ("hold", "old.warning"), ("close", "old.apache2"), ("resume", "old.warning"),
        ("fire", "old.warning"), ("open", "old.apache2"),
    ]  # fmt: skip
    assert {row["state"] for row in here.history()} == {"applied"}
    assert "la1 1 (limit 2)" in here.verb("why", "old.apache2").stdout
    assert "It has never moved" not in here.verb("why", "old.warning").stdout


def test_read_strictly_two_rules_run_each_by_itself(here: Pretended) -> None:
    here.guards(f'[guard.old]\nsysfence = ["{fence(here)}"]\nreading = "strict"\n')
    here.start()
    here.wait_state(old_apachestop="ready", old_apachestart="ready", old_warning="ready")
    assert "it can stay stopped for good" in here.verb("check", "--config", str(here.policy)).stderr
    here.load(11)
    until("apache2 to be stopped", lambda: not here.host.runs("apache2"))
    here.load(1)
    until("apache2 to be started", lambda: here.host.runs("apache2"))
    fired = {gate for action, gate in here.moves() if action == "fire"}
    assert {"old.apachestop", "old.apachestart"} <= fired
    assert here.verb("list").stdout == "Nothing is closed.\n", "what is only run closes nothing"


def test_what_import_writes_is_a_policy(here: Pretended) -> None:
    made = here.verb("import", "sysfence", str(fence(here)))
    assert made.returncode == 0, made.stderr
    parts = here.folder / "policy.d"
    parts.mkdir()
    (parts / "sysfence.toml").write_text(made.stdout)
    here.guards("")
    here.start()
    here.wait_state(apache2="open", warning="ready")
    here.load(11)
    here.wait_state(apache2="closed")
    assert not here.host.runs("apache2")
    until("the rule that only runs", (here.folder / "told").exists)
    assert here.verb("open", "apache2").returncode == 0
    until("apache2 to be started", lambda: here.host.runs("apache2"))


RESTART = """
[guard.leak]
restart = { service = "apache2", when = "la1 >= 10", wait = "1s", at-most = "2/day" }
notify = ["here"]
[notify.here]
command = ["sh", "-c", "cat >> {folder}/letters; echo >> {folder}/letters"]
at-most = "100/h"
"""


def test_a_restart_that_does_not_help_is_given_up_once_and_loudly(here: Pretended) -> None:
    here.guards(RESTART)
    here.start()
    here.wait_state(leak="ready")
    before = here.host.pid("apache2")
    assert "leak: restart when la1 >= 10\n" in here.verb("guard", "list").stdout
    here.load(11)
    here.wait_state(leak="given up")
    assert here.host.runs("apache2")
    assert here.host.pid("apache2") != before
    assert here.host.calls("apache2") == ["start"] + 2 * ["stop", "start"]
    until("both to be settled", lambda: {row["state"] for row in here.history()} == {"applied"})
    assert [action for action, _gate in here.moves()] == ["fire", "fire", "give-up"]
    told = letters(here)
    until("the notice", lambda: "is given up, and needs you" in told.read_text())
    assert "restarting apache2 2 times in 1d did not help" in told.read_text()
    listed = here.verb("guard", "list").stdout
    assert "leak: given up, and needs you" in listed
    assert "restarted 2 of 2 times, the last time " in listed
    assert "given up" in here.verb("status").stdout
    assert "It is left to you." in here.verb("why", "leak").stdout
    assert here.verb("list").stdout == "Nothing is closed.\n"


def test_a_restart_of_what_does_not_run_is_told(here: Pretended) -> None:
    here.guards(RESTART)
    here.start()
    here.wait_state(leak="ready")
    here.host.stop("apache2")
    here.load(11)
    until("the notice", lambda: "could not be restarted" in letters(here).read_text())
    assert not here.host.runs("apache2"), "what a person stopped stays stopped"
    assert ("fire", "refused") in {(row["action"], row["state"]) for row in here.history()}


WARNING = """
[guard.load]
warn = { when = "la1 >= 8" }
capture = { commands = [["echo", "SHOW FULL PROCESSLIST"]] }
notify = ["admins", "here"]
[notify.admins]
mail = "root"
[notify.here]
command = ["sh", "-c", "cat >> {folder}/letters; echo >> {folder}/letters"]
"""


class Mailbox(threading.Thread):
    """A small mail server on port 25 of a host: what it accepted is in `mails`."""

    def __init__(self, world: World) -> None:
        super().__init__(daemon=True)
        self.mails: list[str] = []
        self._server = world.host.listen(25)
        self._server.settimeout(None)
        self.start()

    def run(self) -> None:
        """Answer one after the other until it is closed."""
        while True:
            try:
                client, _address = self._server.accept()
            except OSError:
                return
            with client, client.makefile("rb") as lines:
                self._talk(client, lines)

    def _talk(self, client: socket.socket, lines: Iterator[bytes]) -> None:
        client.sendall(b"220 mail.example.org ESMTP\r\n")
        for line in lines:
            word = line[:4].upper()
            if word == b"DATA":
                client.sendall(b"354 go\r\n")
                text = b"".join(iter(lambda: next(iter(lines), b".\r\n"), b".\r\n"))
                self.mails.append(text.decode())
            client.sendall(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


def test_a_warning_goes_out_by_mail_and_command_with_what_was_captured(
    world: World, here: Pretended
) -> None:
    mailbox = Mailbox(world)
    try:
        here.guards(WARNING)
        here.start()
        here.load(9)
        told = letters(here)
        until("the command", lambda: "la1 9" in told.read_text())
        until("the mail", lambda: mailbox.mails)
        for text in (told.read_text(), mailbox.mails[0]):
            assert "warning of load: la1 9 (limit 8)" in text.replace("\r\n ", " ")
            assert "SHOW FULL PROCESSLIST" in text
            assert "tidegate why load" in text
        assert "\r\nTo: root@localhost\r\n" in mailbox.mails[0]
        assert "tide     low" in here.verb("status").stdout, "a warning alone raises no tide"
        assert "  only tells; it has no gate\n" in here.verb("guard", "list").stdout
        shown = here.verb("why", "load").stdout
        assert "warn load by guard load: la1 9 (limit 8) [applied]" in shown
        assert "  | SHOW FULL PROCESSLIST\n" in shown
    finally:
        mailbox.close()
