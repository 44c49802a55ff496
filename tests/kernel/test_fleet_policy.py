"""One policy for all hosts, with whole daemons: published, tried by a canary, taken back; and what
nobody signed who may does not come on any host, whoever writes it where."""

from __future__ import annotations

import os
import pwd
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.company import Company, attempts, banned, company, joined
from tests.kernel.daemon import PATIENCE, TIDEGATE, Daemon, children_of, until

from tidegate.daemon.clock import now_micros
from tidegate.fleet.trust import keys
from tidegate.fleet.trust.members import Certificate, May

pytestmark = [pytest.mark.kernel, pytest.mark.daemons]

A, B, C = "192.0.2.7", "192.0.2.8", "198.51.100.9"
STRICT = """
[rule.at-once]
on = ["exim.malware"]
at-least = 2
within = "5m"
count = "host"
ban = { ports = [25], ladder = ["1h"] }
"""


@pytest.fixture
def fleet(public_folder: Path) -> Iterator[Company]:
    with company(public_folder) as made:
        yield made


@pytest.fixture
def tree(public_folder: Path) -> Path:
    folder = public_folder / "tree"
    folder.mkdir()
    git(folder, "init", "-q")
    return folder


def git(folder: Path, *words: str) -> None:
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True)


def commit(tree: Path, text: str, name: str = "tidegate.toml") -> None:
    (tree / name).parent.mkdir(exist_ok=True)
    (tree / name).write_text(text)
    git(tree, "add", ".")
    git(tree, "commit", "-q", "-m", "x")


def publisher(fleet: Company, name: str) -> None:
    """The desk lets this host publish."""
    folder = fleet.folder / name / "keys"
    may = May.CLAIM | May.DECIDE | May.PUBLISH
    fleet.desk.enrol(Certificate(name, keys.load(folder).public, may), now_micros())
    fleet.publish()


def publish(host: Daemon, *words: str) -> subprocess.CompletedProcess[str]:
    """As `Daemon.verb`, with more patience: it waits for hosts."""
    process = host.popen(
        [*TIDEGATE, "fleet", "publish", *words, "--config", str(host.policy)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"TIDEGATE_SOCKET": host.socket},
    )  # fmt: skip
    try:
        out, err = process.communicate(timeout=5 * PATIENCE)
    finally:
        process.kill()
    assert "Traceback" not in err, err
    return subprocess.CompletedProcess(words, process.returncode, out, err)


class Thread(threading.Thread):
    """Publishes meanwhile."""

    def __init__(self, *what: Any) -> None:
        super().__init__(daemon=True)
        self._do, *self._words = what
        self.start()

    def run(self) -> None:
        self.done = self._do(*self._words)

    def result(self) -> subprocess.CompletedProcess[str]:
        self.join()
        return self.done


def number(host: Daemon) -> int:
    rows = host.ask("/fleet").get("hosts", [])
    return next((row["policy"] for row in rows if row["host"] == host.folder.name), -1)


def test_what_is_published_holds_on_all_and_what_was_before_comes_back(
    fleet: Company, tree: Path
) -> None:
    one, other = hosts = [fleet.host(name).start() for name in ("web1", "web2")]
    publisher(fleet, "web1")
    joined(*hosts, members=3)
    commit(tree, STRICT)
    done = publish(one, str(tree))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "number 1: 2 of 2 hosts have it" in done.stdout
    attempts(other, A, 2)
    until("web2 closes by it", lambda: banned(other) == [{A}])
    commit(tree, STRICT.replace("at-least = 2", "at-least = 3"))
    assert publish(one, str(tree)).returncode == 0
    attempts(other, B, 2)
    other.wait_read(4)
    done = publish(one, "--back")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "number 3" in done.stdout
    attempts(other, C, 2)
    until("web2 closes by what held before", lambda: C in banned(other)[0])
    assert B not in banned(other)[0]
    assert other.stop() == 0
    other.start()  # what was published is on its own shelf
    until("it says so", lambda: number(other) == 3)


OWN = """
[rule.more]
on = ["exim.malware"]
score-over = 30
half-life = "1h"
count = "host"
ban = { ports = [25] }
"""
MORE = """
[rule.more]
on = ["exim.malware"]
at-least = 1
within = "1m"
count = "host"
ban = { ports = [25] }
"""


def test_the_librarian_has_no_rights_and_nobody_else_writes_to_the_shelf(fleet: Company) -> None:
    host = fleet.host("web1").start()
    assert host.process is not None
    titles = {
        Path(f"/proc/{pid}/cmdline").read_bytes(): pid for pid in children_of(host.process.pid)
    }
    (pid,) = [pid for title, pid in titles.items() if b"tidegate: librarian" in title]
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    user = pwd.getpwnam("tidegate")
    assert set(status["Uid"].split()) == {str(user.pw_uid)}
    assert all(int(status[name], 16) == 0 for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb"))
    keys_, shelf = host.folder / "keys", host.folder / "keys" / "journal"
    assert (keys_.stat().st_uid, keys_.stat().st_mode & 0o777) == (0, 0o711)
    assert (shelf.stat().st_uid, shelf.stat().st_mode & 0o777) == (user.pw_uid, 0o755)
    for secret in ("host.key", "fleet", "epoch"):
        assert (keys_ / secret).stat().st_mode & 0o077 == 0


def test_a_canary_tries_it_and_then_all_have_it(fleet: Company, tree: Path) -> None:
    hosts = [fleet.host(name).start() for name in ("web1", "web2")]
    publisher(fleet, "web1")
    joined(*hosts, members=3)
    until("both report", lambda: reported(hosts[0], 2))
    commit(tree, STRICT)
    done = publish(hosts[0], str(tree), "--canary", "50%", "--trial", "3s")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "canaries: web" in done.stdout
    assert "number 1: 1 of 1 hosts have it" in done.stdout
    assert "number 2: 2 of 2 hosts have it" in done.stdout


def test_a_canary_that_can_not_have_it_goes_back_and_then_all_do(
    fleet: Company, tree: Path
) -> None:
    hosts = [fleet.host(name).start() for name in ("web1", "web2")]
    publisher(fleet, "web1")
    joined(*hosts, members=3)
    commit(tree, STRICT)
    assert publish(hosts[0], str(tree)).returncode == 0
    # What only that host's own file can tell: together they have a fault there.
    (hosts[1].folder / "policy.d").mkdir()
    (hosts[1].folder / "policy.d" / "own.toml").write_text(OWN)
    commit(tree, STRICT + MORE)
    done = publish(hosts[0], str(tree), "--canary", "100%", "--trial", "3s")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "web2: " in done.stderr
    assert "rule.more" in done.stderr
    assert "number 2 is withdrawn" in done.stdout
    until("all are back", lambda: [number(host) for host in hosts] == [3, 3])


def test_a_canary_with_which_more_is_wrong_goes_back_by_itself(fleet: Company, tree: Path) -> None:
    hosts = [fleet.host(name).start() for name in ("web1", "web2")]
    publisher(fleet, "web1")
    joined(*hosts, members=3)
    until("both report", lambda: reported(hosts[0], 2))
    commit(tree, STRICT)
    publishing = Thread(publish, hosts[0], str(tree), "--canary", "50%", "--trial", "60s")
    (canary,) = until("one tries it", lambda: [one for one in hosts if number(one) == 1])
    (canary.folder / "log" / "mainlog").rename(canary.folder / "log" / "gone")
    done = publishing.result()
    assert done.returncode == 1, done.stdout + done.stderr
    assert "more is wrong with the host than before" in done.stderr
    until("it is back", lambda: number(canary) == 0)


def reported(host: Daemon, many: int) -> bool:
    return sum(bool(row["sent"]) for row in host.ask("/fleet").get("hosts", [])) == many


def test_a_policy_with_faults_is_not_published_and_what_root_would_run_needs_leave(
    fleet: Company, tree: Path
) -> None:
    one, other = hosts = [fleet.host(name) for name in ("web1", "web2")]
    one.write_policy(fleet.policy() + "accept = { commands = true }\n")
    for host in hosts:
        host.start()
    publisher(fleet, "web1")
    joined(*hosts, members=3)
    until("both report", lambda: reported(one, 2))
    commit(tree, STRICT.replace("at-least = 2", "at-least = 'two'"))
    done = publish(one, str(tree))
    assert (done.returncode, done.stdout) == (2, "")
    assert "fleet policy 1: tidegate.toml:4: rule.at-once.at-least: expected" in done.stderr
    commit(tree, "[notify.boss]\ncommand = ['/bin/true']\n")
    done = publish(one, str(tree))
    assert done.returncode == 1
    assert "note: hosts take it only where their own policy has [fleet]" in done.stderr
    assert "needs the leave of this host's own policy" in done.stderr
    assert "web2: " in done.stderr
    assert "1 of 2 hosts have it" in done.stdout
    assert (number(one), number(other)) == (1, 0)


def test_what_nobody_signed_who_may_comes_on_no_host(fleet: Company, tree: Path) -> None:
    one, other = hosts = [fleet.host(name).start() for name in ("web1", "web2")]
    publisher(fleet, "web2")
    joined(*hosts, members=3)
    commit(tree, STRICT)
    done = publish(one, str(tree), "--wait", "15s")  # enrolled, and not let publish
    assert done.returncode == 1
    assert "may this one publish?" in done.stderr
    assert publish(other, str(tree)).returncode == 0
    attempts(one, A, 2)
    until("web1 closes by it", lambda: banned(one) == [{A}])
    # Whoever can write to the shelf can put nothing there that holds, nor whoever owns `state`.
    assert one.stop() == 0
    shelf = one.folder / "keys" / "journal"
    (file,) = shelf.glob("*.policy")
    data = file.read_bytes()
    file.write_bytes(data[:-9] + bytes(9))
    os.chown(file, 0, 0)
    fleet.server.kill()  # or it would be brought again at once
    one.start()
    attempts(one, B, 2)
    one.wait_read(2)
    assert B not in banned(one)[0]
    fleet.again()
    until("web2 puts it back, and it is brought again", lambda: number(one) == 1)
    attempts(one, C, 2)
    until("and holds", lambda: C in banned(one)[0])


def test_a_publisher_who_is_revoked_publishes_no_more_and_what_it_published_falls(
    fleet: Company, tree: Path
) -> None:
    one, other = hosts = [fleet.host(name).start() for name in ("web1", "web2")]
    publisher(fleet, "web1")
    joined(*hosts, members=3)
    commit(tree, STRICT)
    assert publish(one, str(tree)).returncode == 0
    fleet.revoke("web1")
    until("web2 goes back to its own", lambda: number(other) == 0)
    attempts(other, A, 2)
    other.wait_read(2)
    assert banned(other) == [set()]
