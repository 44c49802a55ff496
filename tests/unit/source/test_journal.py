"""The journal as a source, against a real systemd-journald in a mount namespace of its own."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tidegate.errors import PolicyError
from tidegate.model import MINUTE, SECOND, Block, Position
from tidegate.source.journal import JournalSource

JOURNALD = "/lib/systemd/systemd-journald"
SSHD = [["_COMM=sshd", "_UID=0"]]
NOBODY = 65534

# `native` sends the journal's own protocol, where a value may hold anything.
SENDER = """
import ctypes, os, socket, struct, sys
kind, comm, uid = sys.argv[1:4]
fields = [bytes.fromhex(each) for each in sys.argv[4:]]
os.setgroups([])
os.setgid(int(uid))
os.setuid(int(uid))
ctypes.CDLL(None).prctl(15, comm.encode() + b"\\0", 0, 0, 0)  # PR_SET_NAME
if kind == "syslog":
    end, data = "dev-log", b"<38>" + fields[0]
else:
    end, data = "socket", b""
    for name, value in zip(fields[::2], fields[1::2]):
        data += name + b"\\n" + struct.pack("<Q", len(value)) + value + b"\\n"
sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sender.connect("/run/systemd/journal/" + end)
sender.send(data)
print("sent", flush=True)
# journald asks the kernel about us when it reads: stay until it has.
sys.stdin.read()
"""


class Journald:
    """A journald that sees only this namespace; its files stand in `folder`/journal."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.directory = folder / "journal"
        self._config = folder / "journald.conf"
        self._config.write_text(
            "[Journal]\nAudit=no\nReadKMsg=no\nRateLimitIntervalSec=0\n"
            "ForwardToSyslog=no\nForwardToWall=no\nSystemMaxUse=64M\nRuntimeMaxUse=64M\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        script = textwrap.dedent(f"""
            set -e
            mkdir -p /run/log /run/systemd
            mount --bind {self._config} /etc/systemd/journald.conf
            mount -t tmpfs none /run/systemd
            mkdir /run/systemd/journal
            mount --bind {self.folder} /run/log
            if [ -d /var/log/journal ]; then mount -t tmpfs none /var/log/journal; fi
            exec {JOURNALD}
        """)
        self._process = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", script], stderr=subprocess.DEVNULL
        )
        test = ["test", "-S", "/run/systemd/journal/socket"]
        wait_for(lambda: self.run(test).returncode == 0)
        wait_for(lambda: any(self.directory.rglob("system.journal")))

    def run(self, command: Sequence[str], **options: object) -> subprocess.CompletedProcess[bytes]:
        """Run something where this journald is the journald."""
        return subprocess.run(  # type: ignore[call-overload,no-any-return]
            [*self._enter(), *command], capture_output=True, **options
        )

    def _enter(self) -> list[str]:
        assert self._process is not None
        return ["nsenter", f"--mount=/proc/{self._process.pid}/ns/mnt"]

    def send(self, kind: str, comm: str, uid: int, *fields: bytes) -> None:
        sender = subprocess.Popen(
            [*self._enter(), "/usr/bin/python3", "-c", SENDER, kind, comm, str(uid)]
            + [each.hex() for each in fields],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with sender:
            assert sender.stdin is not None
            assert sender.stdout is not None
            assert sender.stdout.readline() == b"sent\n"
            assert self.run(["journalctl", "--sync"]).returncode == 0
            sender.stdin.close()
        assert sender.returncode == 0

    def syslog(self, text: str, *, comm: str = "sshd", uid: int = 0) -> None:
        self.send("syslog", comm, uid, b"sshd[4242]: " + text.encode("utf-8", "surrogateescape"))

    def rotate(self) -> None:
        assert self._process is not None
        before = len(list(self.directory.rglob("*.journal")))
        self._process.send_signal(signal.SIGUSR2)
        wait_for(lambda: len(list(self.directory.rglob("*.journal"))) > before)

    def stop(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait(10)
            self._process = None


def wait_for(met: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


@pytest.fixture
def journald(public_folder: Path) -> Iterator[Journald]:
    if not Path(JOURNALD).exists() or not shutil.which("journalctl"):
        pytest.skip("systemd-journald is not installed")
    daemon = Journald(public_folder)
    daemon.start()
    yield daemon
    daemon.stop()


class Reader:
    """A JournalSource with a clock, read until what is awaited has come."""

    def __init__(self, journald: Journald, **options: object) -> None:
        self.options = {"start": "beginning", "directory": str(journald.directory)} | options
        self.now = time.time_ns() // 1000
        self.matches = SSHD
        self.blocks: list[Block] = []
        self.saved: list[Position] = []
        self.source = self._open()

    def _open(self) -> JournalSource:
        return JournalSource("ssh", self.matches, positions=self.saved, **self.options)  # type: ignore[arg-type]

    def restart(self) -> None:
        self.saved = self.source.positions()
        self.source.close()
        self.source = self._open()

    def read(self, wait: int = SECOND) -> None:
        self.now += wait
        self.blocks += self.source.read(self.now)

    def until(self, count: int) -> list[bytes]:
        """Read until there are so many messages, then a little longer; all messages."""

        def enough() -> bool:
            select.select(self.source.fds(), [], [], 0.1)
            self.read(wait=SECOND // 10)
            return len(self.messages()) >= count

        wait_for(enough)
        select.select(self.source.fds()[:1], [], [], 0.3)
        self.read()
        return self.messages()

    def messages(self) -> list[bytes]:
        data = b"".join(block.data for block in self.blocks)
        return [line[8:] for line in data.split(b"\n") if line.startswith(b"MESSAGE=")]


@pytest.fixture
def reader(journald: Journald) -> Iterator[Reader]:
    made = Reader(journald)
    yield made
    made.source.close()


@pytest.mark.kernel
class TestRealJournal:
    def test_only_what_the_kernel_vouches_for(self, journald: Journald, reader: Reader) -> None:
        journald.syslog("Failed password for root from 192.0.2.7 port 4242 ssh2")
        journald.syslog("forged by another user", uid=NOBODY)
        journald.syslog("forged by another program", comm="logger")
        journald.syslog("second")
        assert reader.until(2) == [
            b"Failed password for root from 192.0.2.7 port 4242 ssh2",
            b"second",
        ]
        data = b"".join(block.data for block in reader.blocks)
        assert b"\nSYSLOG_IDENTIFIER=sshd\n" in data
        assert b"\nSYSLOG_PID=4242\n" in data
        assert b"\n_PID=" in data
        assert {block.framing for block in reader.blocks} == {"journal"}
        place = data.index(b"MESSAGE=second")
        assert reader.source.fetch(reader.blocks[0].origin, place) == b"second"
        assert reader.source.fetch(99, place) is None
        assert reader.source.health()[:2] == ("ok", "")
        [origin] = reader.source.origins()
        assert (origin.identity, origin.rereadable) == ("journal:_COMM=sshd _UID=0", False)

    def test_alternatives(self, journald: Journald, reader: Reader) -> None:
        reader.source.close()
        reader.matches = [*SSHD, ["_COMM=sshd-session", "_UID=0"]]
        reader.restart()
        journald.syslog("one")
        journald.syslog("two", comm="sshd-session")
        journald.syslog("three", comm="sshd-session", uid=NOBODY)
        journald.syslog("four")
        assert reader.until(3) == [b"one", b"two", b"four"]

    def test_a_message_of_many_lines_forges_nothing(
        self, journald: Journald, reader: Reader
    ) -> None:
        forged = (
            b"x\n\n__CURSOR=s=0;i=0\n_PID=1\n_COMM=sshd\n"
            b"MESSAGE=Failed password for root from 192.0.2.66 port 1 ssh2\n\n\x1b[31m\xff"
        )
        journald.send("native", "sshd", 0, b"MESSAGE", forged, b"SYSLOG_IDENTIFIER", b"a\nb")
        journald.syslog("after")
        [first, second] = reader.until(2)
        assert first.startswith(rb"x\n\n__CURSOR=s=0;i=0\n_PID=1\n_COMM=sshd\nMESSAGE=Failed")
        assert first.endswith(rb"\n\n\x1b[31m" + b"\xff")
        assert second == b"after"
        data = b"".join(block.data for block in reader.blocks)
        assert data.count(b"\n\n") == 2
        assert b"\n_PID=1\n" not in data

    def test_goes_on_behind_the_cursor(self, journald: Journald, reader: Reader) -> None:
        journald.syslog("one")
        reader.until(1)
        reader.restart()
        reader.read()
        assert len(reader.messages()) == 1
        reader.source.close()
        journald.syslog("two")
        reader.restart()
        journald.syslog("three")
        assert reader.until(3) == [b"one", b"two", b"three"]
        offset = 0
        for block in reader.blocks:  # the offsets go on too
            assert block.offset == offset
            offset += len(block.data)
        [position] = reader.source.positions()
        assert position.offset == offset

    def test_starts_at_the_end_and_remembers_it_before_the_first_entry(
        self, journald: Journald
    ) -> None:
        journald.syslog("long ago")
        reader = Reader(journald, start="end")
        reader.read(wait=0)
        reader.restart()
        reader.source.close()
        journald.syslog("while down")
        reader.restart()
        assert reader.until(1) == [b"while down"]
        reader.source.close()

    def test_a_cursor_that_is_gone_or_nonsense(self, journald: Journald, reader: Reader) -> None:
        journald.syslog("one")
        reader.until(1)
        [position] = reader.source.positions()
        moment = int(position.cursor.partition(";t=")[2].partition(";")[0], 16)
        reader.source.close()
        journald.syslog("two")
        for cursor in (
            f"s={'1' * 32};i=1;b={'2' * 32};m=1;t={moment:x};x=1",
            f"nonsense;t={moment:x}",
        ):
            reader.blocks.clear()
            reader.saved = [position._replace(cursor=cursor)]
            reader.source = reader._open()
            assert reader.until(1)[-1] == b"two"
            reader.source.close()

    def test_rotation_and_restart_of_journald(self, journald: Journald, reader: Reader) -> None:
        journald.syslog("one")
        reader.until(1)
        journald.rotate()
        journald.syslog("two")
        assert reader.until(2) == [b"one", b"two"]
        journald.stop()
        journald.start()
        journald.syslog("three")
        assert reader.until(3) == [b"one", b"two", b"three"]
        assert reader.source.health().state == "ok"

    def test_a_dead_child_is_started_again(self, journald: Journald, reader: Reader) -> None:
        journald.syslog("one")
        reader.until(1)
        child = reader.source._child
        assert child
        os.kill(child.pid, signal.SIGKILL)
        wait_for(lambda: (reader.read(0), reader.source.health().state == "degraded")[1])
        assert reader.source.health().detail == "journalctl ended: exit code -9"
        assert reader.source.fds() == ()
        journald.syslog("two")
        reader.read(wait=SECOND // 2)
        assert reader.source.fds() == ()
        reader.read(wait=SECOND)
        assert reader.until(2) == [b"one", b"two"]
        assert reader.source.health().state == "ok"
        assert reader.source.restarts == 1

    def test_a_journal_directory_that_appears_later(self, journald: Journald) -> None:
        later = journald.folder / "later"
        reader = Reader(journald, directory=str(later))
        reader.read()
        assert reader.source.health()[:2] == ("degraded", f"no journal in {later}")
        journald.syslog("one")
        journald.stop()
        shutil.copytree(journald.directory, later)
        reader.read(wait=MINUTE)
        assert reader.until(1) == [b"one"]
        journald.start()
        journald.syslog("two")
        copy = later / ("f" * 32)
        shutil.copytree(next(journald.directory.iterdir()), copy)
        reader.read(wait=10 * SECOND)  # the set of directories changed: it is opened anew
        assert reader.until(2) == [b"one", b"two"]
        reader.source.close()

    def test_without_permission_it_says_what_would_help(self, journald: Journald) -> None:
        journald.syslog("secret")
        script = textwrap.dedent("""
            import os, select, sys
            from tidegate.source.journal import JournalSource
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            source = JournalSource("ssh", [["_COMM=sshd"]], start="beginning", directory=sys.argv[1])
            while source.health().state != "degraded":
                source.read(1_700_000_000_000_000)
                select.select(source.fds(), [], [], 0.1)
            print(source.health().detail)
        """)
        done = subprocess.run(
            [sys.executable, "-c", script, str(journald.directory)],
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert done.stdout == (
            "nobody may not read the journal; `usermod -aG systemd-journal nobody` and a restart\n"
        )


class TestWithoutJournal:
    def test_no_journalctl(self, tmp_path: Path) -> None:
        (tmp_path / "machine").mkdir()
        source = JournalSource(
            "ssh", SSHD, directory=str(tmp_path), programs=[str(tmp_path / "journalctl")]
        )
        assert source.read(SECOND) == []
        assert source.health()[:2] == (
            "degraded",
            "journalctl is not installed (Debian: apt install systemd)",
        )
        assert source.fds() == ()
        # Nothing is lost meanwhile: reading will start from the first attempt.
        assert source.positions()[0].cursor == f"@{SECOND}"
        source.read(MINUTE)
        assert source.restarts == 2
        source.read(MINUTE + SECOND)
        assert source.restarts == 2
        source.read(MINUTE + 2 * SECOND)
        assert source.restarts == 3
        source.close()

    def test_a_program_that_cannot_be_run(self, tmp_path: Path) -> None:
        (tmp_path / "machine").mkdir()
        broken = tmp_path / "journalctl"
        broken.write_bytes(b"no program")
        broken.chmod(0o755)
        source = JournalSource("ssh", SSHD, directory=str(tmp_path), programs=[str(broken)])
        source.read(SECOND)
        assert source.health()[:2] == ("degraded", f"{broken}: Exec format error")
        source.close()

    def test_it_is_started_anew_when_another_journal_directory_appears(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            "tidegate.source.journal.PLACES", (str(tmp_path / "run"), str(tmp_path / "var"))
        )
        (tmp_path / "run" / "machine").mkdir(parents=True)
        fake = tmp_path / "journalctl"
        fake.write_text("#!/bin/sh\nexec sleep 60\n")
        fake.chmod(0o755)
        source = JournalSource("ssh", SSHD, programs=[str(fake)])
        source.read(MINUTE)
        assert source._child
        first = source._child.pid
        source.read(MINUTE + 10 * SECOND)
        assert source._child.pid == first
        (tmp_path / "var" / "machine").mkdir(parents=True)
        source.read(MINUTE + 19 * SECOND)
        assert source._child.pid == first
        source.read(MINUTE + 20 * SECOND)
        assert source._child.pid != first
        assert source.health().state == "waiting"
        source.close()

    @pytest.mark.parametrize(
        "matches",
        [
            [],
            [[]],
            [["SYSLOG_IDENTIFIER=sshd"]],
            [["_COMM=sshd", "--directory=/tmp"]],
            [["_COMM=a\nb"]],
            [["_SYSTEMD_UNIT=tidegate.service"]],
        ],
    )
    def test_untrusted_matches_are_refused(self, matches: list[list[str]]) -> None:
        with pytest.raises(PolicyError, match=r"source\.ssh\.journal: "):
            JournalSource("ssh", matches)

    def test_the_child_gets_a_clean_environment(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "machine").mkdir()
        fake = tmp_path / "journalctl"
        fake.write_text('#!/bin/sh\n(env; printf \'%s\\n\' "$@") > "${0%/*}/told"\nexec sleep 60\n')
        fake.chmod(0o755)
        monkeypatch.setenv("SYSTEMD_PAGER", "evil")
        source = JournalSource(
            "ssh",
            [["_COMM=sshd", "_UID=0"], ["_COMM=sshd-session"]],
            positions=[Position("ssh", "journal", "journal:old", 77, "s=ab;i=1")],
            directory=str(tmp_path),
            programs=[str(fake)],
        )
        source.read(SECOND)
        told = tmp_path / "told"
        wait_for(lambda: told.exists() and "sshd-session" in told.read_text())
        lines = told.read_text().splitlines()
        assert not any("evil" in line for line in lines)
        assert "LC_ALL=C" in lines
        machine = [f"_MACHINE_ID={Path('/etc/machine-id').read_text().strip()}"]
        first = lines.index("--output=export")
        assert lines[first + 1 :] == [
            "--output-fields=MESSAGE,SYSLOG_IDENTIFIER,_PID,SYSLOG_PID,_SYSTEMD_UNIT",
            "--follow",
            "--no-tail",
            "--merge",
            f"--directory={tmp_path}",
            "--cursor=s=ab;i=1",
            "_COMM=sshd",
            "_UID=0",
            *machine,
            "+",
            "_COMM=sshd-session",
            *machine,
        ]
        assert source.positions()[0].offset == 77
        source.close()
