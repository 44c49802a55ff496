"""What each process may do, proven with the real ones: ids, capabilities, and what is refused."""

from __future__ import annotations

import ctypes
import grp
import json
import os
import pwd
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from tests.kernel.daemon import FAST, Daemon, closed, is_running, title_of, until, virus
from tests.kernel.namespaces import Namespace

pytestmark = pytest.mark.kernel

_LIBC = ctypes.CDLL(None, use_errno=True)
_PIDFD_GETFD = 438  # pidfd_getfd(2), the same number on every architecture

NET_ADMIN = 1 << 12
OWN, ALLOWED = "203.0.113.1", "198.51.100.9"
POLICY = FAST + '[allow]\naddresses = ["198.51.100.0/28", "2001:db8:5::/48"]\n'


@pytest.fixture(scope="module")
def space() -> Iterator[Namespace]:
    """Where the fake watcher's keeper is: a namespace that has an address of its own."""
    made = Namespace("rights")
    made.ip("address", "add", f"{OWN}/24", "dev", "lo")
    yield made
    made.close()


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """One daemon with a ban, for all tests."""
    with ExitStack() as stack:
        space = Namespace("whole")
        stack.callback(space.close)
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="tidegate-test-", dir="/tmp")))
        folder.chmod(0o755)
        made = Daemon(folder, space, POLICY)
        stack.callback(made.close)
        made.start()
        made.append("".join(virus("192.0.2.7") for _ in range(16)))
        until("the ban", made.closed)
        yield made


def status(pid: int) -> dict[str, list[str]]:
    """/proc/PID/status: name → columns."""
    rows = (line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {name: value.split() for name, value in rows}


def capabilities(pid: int) -> dict[str, int]:
    found = status(pid)
    return {name: int(found[f"Cap{name}"][0], 16) for name in ("Prm", "Eff", "Bnd", "Amb", "Inh")}


def gids(*names: str) -> set[str]:
    found = set()
    for name in names:
        with suppress(KeyError):
            found.add(str(grp.getgrnam(name).gr_gid))
    return found


# -- what the processes are --------------------------------------------------------------------


def test_the_keeper_is_its_own_user_with_one_capability(daemon):
    found = status(daemon.pair()["keeper"])
    user = pwd.getpwnam("tidegate")
    assert found["Uid"] == [str(user.pw_uid)] * 4
    assert found["Gid"] == [str(user.pw_gid)] * 4
    assert found["Groups"] == []
    assert found["NoNewPrivs"] == ["1"]
    assert set(capabilities(daemon.pair()["keeper"]).values()) == {NET_ADMIN}


def test_the_watcher_is_another_user_with_no_capability_at_all(daemon):
    found = status(daemon.pair()["watcher"])
    user = pwd.getpwnam("tidegate-watch")
    assert found["Uid"] == [str(user.pw_uid)] * 4
    assert found["Gid"] == [str(user.pw_gid)] * 4
    assert set(found["Groups"]) == gids("adm", "systemd-journal")
    assert found["NoNewPrivs"] == ["1"]
    assert set(capabilities(daemon.pair()["watcher"]).values()) == {0}
    assert user.pw_uid != pwd.getpwnam("tidegate").pw_uid != 0


def test_titles_tell_role_and_duty(daemon):
    pair = daemon.pair()
    assert title_of(pair["keeper"]) == "tidegate: keeper"
    assert title_of(pair["watcher"]) == "tidegate: watcher (1 source, 1 rule)"


def test_the_keeper_holds_no_log_no_ledger_and_the_watcher_no_netlink(daemon):
    pair = daemon.pair()
    kept = opened(pair["keeper"])
    assert not {str(daemon.log), f"{daemon.folder}/state/ledger.sqlite"} & set(kept)
    assert str(daemon.log) in opened(pair["watcher"])
    families = {family(pair["watcher"], fd) for fd in Path(f"/proc/{pair['watcher']}/fd").iterdir()}
    assert families <= {None, socket.AF_UNIX}


def opened(pid: int) -> list[str]:
    found = []
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            found.append(str(fd.readlink()))
    return found


def family(pid: int, fd: Path) -> int | None:
    """The address family of a socket of another process; None where it is none."""
    if not str(fd.readlink()).startswith("socket:"):
        return None
    pidfd = os.pidfd_open(pid)
    copy = _LIBC.syscall(_PIDFD_GETFD, pidfd, int(fd.name), 0)
    os.close(pidfd)
    assert copy >= 0, "pidfd_getfd"
    with socket.socket(fileno=copy) as mine:
        return mine.family


def test_files_are_for_their_owners_alone(daemon):
    watcher = pwd.getpwnam("tidegate-watch").pw_uid
    for path, owner, mode in (
        ("state", watcher, 0o700),
        ("state/ledger.sqlite", watcher, 0o600),
        ("run", 0, 0o755),
        ("run/watcher", watcher, 0o755),
    ):
        found = (daemon.folder / path).stat()
        assert (path, found.st_uid, stat.S_IMODE(found.st_mode)) == (path, owner, mode)


# -- what the watcher's user can't do ----------------------------------------------------------


def as_watcher(daemon: Daemon, *words: str) -> subprocess.CompletedProcess[str]:
    """Run something as the watcher's user, with its groups, in the daemon's namespace."""
    user = pwd.getpwnam("tidegate-watch")
    process = daemon.popen(
        list(words), user=user.pw_uid, group=user.pw_gid,
        extra_groups=[int(one) for one in gids("adm", "systemd-journal")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/",
    )  # fmt: skip
    out, err = process.communicate(timeout=30)
    return subprocess.CompletedProcess(words, process.returncode, out, err)


@pytest.mark.parametrize("number", ["0", "TERM", "KILL", "STOP", "HUP"])
def test_it_cannot_signal_the_keeper_or_the_master(daemon, number):
    for pid in (daemon.pair()["keeper"], daemon.process.pid):
        done = as_watcher(daemon, "/bin/kill", f"-{number}", str(pid))
        assert done.returncode != 0
        assert "not permitted" in done.stderr
        assert is_running(pid)


PTRACE = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
for request in (16, 0x4206):  # PTRACE_ATTACH, PTRACE_SEIZE
    assert libc.ptrace(request, int(sys.argv[1]), 0, 0) == -1
    assert ctypes.get_errno() == 1, os.strerror(ctypes.get_errno())
for name in ("mem", "environ", "maps", "syscall", "stack"):
    try:
        with open(f"/proc/{sys.argv[1]}/{name}", "rb") as file:
            file.read(1)
    except PermissionError:
        continue
    raise SystemExit(f"could read {name}")
try:
    os.listdir(f"/proc/{sys.argv[1]}/fd")
except PermissionError:
    print("refused")
"""


def test_it_cannot_trace_the_keeper_or_read_its_memory(daemon):
    for pid in (daemon.pair()["keeper"], daemon.process.pid):
        done = as_watcher(daemon, "/usr/bin/python3", "-c", PTRACE, str(pid))
        assert (done.stdout, done.stderr) == ("refused\n", "")


@pytest.mark.parametrize(
    "words",
    [
        "delete table inet tidegate",
        "flush ruleset",
        "add table inet mine",
        "delete element inet tidegate ban4_32_25 { 192.0.2.7 }",
        "list ruleset",
    ],
)
def test_it_cannot_touch_the_firewall(daemon, words):
    before = daemon.closed()
    done = as_watcher(daemon, "/usr/sbin/nft", words)
    assert done.returncode != 0
    assert "Operation not permitted" in done.stderr
    assert set(daemon.closed()) == set(before) == {("192.0.2.7", (25,))}


def test_it_cannot_write_policy_or_switch_or_run_folder_or_log(daemon):
    folder = daemon.folder
    for path in (daemon.policy, folder / "off", folder / "policy.d" / "x", folder / "run" / "x",
                 daemon.log):  # fmt: skip
        done = as_watcher(daemon, "/bin/sh", "-c", 'echo x >> "$0"', str(path))
        assert done.returncode != 0, path
    for path in (daemon.policy, folder / "state", folder / "run" / "watcher"):
        moved = as_watcher(daemon, "/bin/mv", str(path), f"{path}.gone")
        assert moved.returncode != 0, path
    assert not (folder / "off").exists()


def test_the_watcher_itself_cannot_win_rights_back(daemon):
    """A set-uid program of root gives nothing to a process without new privileges."""
    pid = daemon.pair()["watcher"]
    assert status(pid)["NoNewPrivs"] == ["1"]
    soft, hard = (
        Path(f"/proc/{pid}/limits").read_text().partition("Max core file size")[2].split()[:2]
    )
    assert (soft, hard) == ("0", "0")


# -- a watcher that was taken over -------------------------------------------------------------


class FakeWatcher:
    """The other end of a real keeper's socket: says what it likes, and reads the answers."""

    def __init__(self, daemon: Daemon) -> None:
        self._end, theirs = socket.socketpair()
        self._end.settimeout(20)
        code = (
            "import os, socket, sys; from pathlib import Path;"
            "from tidegate.daemon import roles; from tidegate.daemon.privilege import identity;"
            f"roles.keeper(socket.socket(fileno={theirs.fileno()}), Path({str(daemon.policy)!r}),"
            " True, identity('tidegate'), os.getppid())"
        )
        self.process = daemon.popen(
            [sys.executable, "-c", code], pass_fds=[theirs.fileno()],
            stderr=(daemon.folder / "keeper.log").open("w"),
        )  # fmt: skip
        theirs.close()

    def say(self, data: bytes) -> None:
        self._end.sendall(data)

    def ask(self, **frame: Any) -> dict[str, Any]:
        body = json.dumps(frame).encode()
        self.say(struct.pack(">I", len(body)) + body)
        return self.hear()

    def hear(self) -> dict[str, Any]:
        """The next answer; {} when the keeper hung up. Notices are passed over."""
        while True:
            head = self._read(4)
            if not head:
                return {}
            found: dict[str, Any] = json.loads(self._read(*struct.unpack(">I", head)))
            if found["type"] != "notice":
                return found

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (more := self._end.recv(size - len(data))):
            data += more
        return data

    def close(self) -> None:
        self._end.close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def fake(space: Namespace) -> Iterator[FakeWatcher]:
    """A real keeper, as its own user, that a fake watcher talks to."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="tidegate-test-", dir="/tmp")))
        folder.chmod(0o755)
        here = Daemon(folder, space, POLICY)
        made = FakeWatcher(here)
        stack.callback(made.close)
        assert made.ask(type="hello", version=1)["type"] == "done"
        assert status(made.process.pid)["Uid"][0] == str(pwd.getpwnam("tidegate").pw_uid)
        yield made


def soon() -> int:
    return time.time_ns() // 1000 + 600_000_000


FORBIDDEN = {
    "allowlisted": (["ban", ALLOWED, [25], None], "it lies inside the allowlist"),
    "an allowlisted network": (["ban", "198.51.100.8/29", [], None], "inside the allowlist"),
    "allowlisted IPv6": (["ban", "2001:db8:5:9::/64", [25], None], "inside the allowlist"),
    "our own address": (["ban", OWN, [25], None], "it would hit a protected address"),
    "a network around it": (["ban", "203.0.113.0/24", [25], None], "hit a protected address"),
    "loopback": (["ban", "127.0.0.5", [25], None], "it would hit a protected address"),
    "IPv6 loopback": (["ban", "::1", [25], None], "it would hit a protected address"),
    "link-local": (["ban", "fe80::/64", [25], None], "it would hit a protected address"),
    "the whole internet": (["ban", "0.0.0.0/0", [], None], ""),
    "too wide": (["ban", "192.0.0.0/9", [25], None], "wider than is permitted"),
    "too wide IPv6": (["ban", "2001:db8::/32", [25], None], "wider than is permitted"),
    "a name": (["ban", "mail.example.com", [25], None], "not an address"),
    "another spelling": (["ban", "192.0.2.007", [25], None], "not an address"),
    "a mapped address": (["ban", "::ffff:192.0.2.7", [25], None], "say the IPv4 address"),
    "host bits": (["ban", "192.0.2.7/24", [25], None], "bits are set behind the prefix"),
    "shell": (["ban", "192.0.2.9; reboot", [25], None], "not an address"),
    "nft": (["ban", "192.0.2.9 } add table x {", [25], None], "not an address"),
    "a number": (["ban", 3232235777, [25], None], "a subject is text"),
    "ports as text": (["ban", "192.0.2.9", "25", None], "ports must be a list"),
    "a port too high": (["ban", "192.0.2.9", [65536], None], "ports must be 1-65535"),
    "ports that are true": (["ban", "192.0.2.9", [True], None], "ports must be a list"),
    "too many ports": (["ban", "192.0.2.9", list(range(1, 90)), None], "more than 40 ports"),
    "for ever": (["ban", "192.0.2.9", [25], 1 << 62], "it ends later than is permitted"),
    "no end": (["ban", "192.0.2.9", [25], "never"], "an end is a whole number"),
    "a verb of its own": (["flush", "192.0.2.9", [25], None], "not a permitted verb"),
    "no request": ("ban everything", "not a request"),
    "too little": (["ban", "192.0.2.9"], "not a request"),
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_the_keeper_refuses_by_itself(fake, space, name):
    before = closed(space)
    request, reason = FORBIDDEN[name]
    if isinstance(request, list) and len(request) == 4 and request[3] is None:
        request = [*request[:3], soon()]
    answer = fake.ask(type="apply", requests=[request])
    assert answer["type"] == "done"
    ((index, said),) = answer["refusals"]
    assert index == 0
    assert reason in said
    streamed = request[1:] if isinstance(request, list) and request[0] == "ban" else request
    fake.ask(type="replace-begin")
    again = fake.ask(type="replace-part", bans=[streamed])
    committed = fake.ask(type="replace-commit")
    assert "error" in (again["type"], committed["type"]) or committed["refusals"]
    assert set(closed(space)) <= set(before)


GARBAGE = {
    "not JSON": b"\x00\x00\x00\x04nope",
    "a list": b"\x00\x00\x00\x02[]",
    "no type": b"\x00\x00\x00\x02{}",
    "deep": struct.pack(">I", 100_000) + b"[" * 100_000,
    "another type": b'\x00\x00\x00\x0f{"type":"shell"}'[:4] + b'{"type":"she"} ',
    "no list": struct.pack(">I", 31) + b'{"type":"apply","requests":"x"}',
    "a part of nothing": struct.pack(">I", 23) + b'{"type":"replace-part"}',
    "nothing to commit": struct.pack(">I", 25) + b'{"type":"replace-commit"}',
    "an old version": struct.pack(">I", 28) + b'{"type":"hello","version":0}',
    "not text": struct.pack(">I", 12) + b'{"type":\xff\xfe1}',
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_answered_and_the_third_in_a_row_ends_it(fake, name):
    fake.say(GARBAGE[name])
    first = fake.hear()
    assert first["type"] == "error"
    assert first["reason"].startswith("malformed: ")
    assert fake.ask(type="ping")["malformed"] == 1
    for _ in range(3):
        fake.say(GARBAGE[name])
    while fake.hear():
        pass
    assert fake.process.wait(20) == 0


def test_a_frame_without_end_is_not_waited_for(fake):
    fake.say(b"\xff\xff\xff\xff")
    assert fake.hear()["reason"].startswith("malformed: a frame of 4294967295 bytes")
    assert fake.hear() == {}
    assert fake.process.wait(20) == 0


def test_the_keeper_has_no_request_for_commands_files_or_policy(fake, space):
    """`reload` takes no path, `open-all` no table: whatever else a frame says is not looked at."""
    fake.ask(type="reload", path="/etc/shadow", policy={"allow": []}, config="x")
    answer = fake.ask(type="apply", requests=[["ban", ALLOWED, [25], soon()]])
    assert answer["refusals"] == [[0, "it lies inside the allowlist"]]
    space.nft("add table inet mine")
    fake.ask(type="open-all", table="mine")
    tables = [
        one["table"]["name"] for one in space.nft("list tables")["nftables"] if "table" in one
    ]
    assert tables == ["mine"]
    space.nft("delete table inet mine")


def test_the_keeper_ends_when_it_is_told(fake):
    os.kill(fake.process.pid, signal.SIGTERM)
    assert fake.process.wait(20) in (0, -signal.SIGTERM)
