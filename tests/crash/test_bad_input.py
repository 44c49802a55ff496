"""Bad input, end to end: one clear line with file and key, never a traceback, and the rest goes on."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.daemon import (
    FAST,
    PATHS,
    SOURCE,
    TIDEGATE,
    Daemon,
    until,
    virus,
)
from tests.kernel.namespaces import Namespace

from tidegate.cli import main

A, B, FORGED = "192.0.2.7", "192.0.2.8", "203.0.113.66"
NOBODY = {"user": 65534, "group": 65534, "extra_groups": []}
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="not root")


class Done(subprocess.CompletedProcess[str]):
    """How a verb ended, and the most memory it held, in KiB."""

    memory: int


def tidegate(*words: str | Path, stdin: bytes = b"", **options: Any) -> Done:
    """A verb, run to its end; no traceback whatever happens."""
    process = subprocess.Popen(
        [*TIDEGATE, *map(str, words)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, **options,
    )  # fmt: skip
    try:
        out, err = process.communicate(stdin, timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    done = Done(words, process.returncode, out.decode(), err.decode())
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture
def check(capfd: pytest.CaptureFixture[str]) -> Callable[[Path], Done]:
    """`tidegate check` in this very process, since it is asked so often here."""

    def checked(policy: Path) -> Done:
        with pytest.raises(SystemExit) as ended:
            main(["check", "--config", str(policy)])
        out, err = capfd.readouterr()
        return Done(("check", policy), ended.value.code, out, err)

    return checked


def refused(done: Done, code: int, *words: str) -> None:
    """It ended with this code and one line that holds all of these words."""
    assert (done.returncode, done.stdout) == (code, ""), done
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("tidegate: ")
    for word in words:
        assert word in lines[0]


def viruses(address: str, count: int = 16) -> str:
    return "".join(virus(address) for _ in range(count))


# -- policies ----------------------------------------------------------------------------------

RULE = FAST.replace("virus-senders", "x")
FAULTS = {
    "broken TOML": ("[rule.x\n", ":", "not valid TOML"),
    "two tables of one name": (RULE + RULE, ":", "not valid TOML"),
    "an unknown section": ("[rules.x]\n", "rules", 'did you mean "rule"?'),
    "an unknown key": (RULE + "fprget = 1\n", "rule.x.fprget", 'did you mean "forget"?'),
    "a key in the wrong place": ("[limits]\nwithin = 1\n", "limits.within", "known keys: subjects"),
    "an unknown unit": (RULE.replace("5m", "5 parsecs"), "rule.x.within", "expected a duration"),
    "a number for a time": (RULE.replace('"5m"', "300"), "rule.x.within", "expected a duration"),
    "a text for a number": (RULE.replace("= 15", '= "15"'), "rule.x.more-than", "a whole number"),
    "a negative number": (RULE.replace("= 15", "= -1"), "rule.x.more-than", "a whole number"),
    "a number too large": (RULE.replace("= 15", "= 99999"), "rule.x.more-than", "to 9999"),
    "a port too high": (RULE.replace("[25]", "[65536]"), "rule.x.ban.ports", "from 1 to 65535"),
    "no such kind": (RULE.replace("malware", "malwear"), "rule.x.on", "did you mean 'exim.malware'"),
    "no address": ('[allow]\naddresses = ["localhost"]\n', "allow.addresses", "'localhost' is neither"),
    "a size without unit": ("[limits]\nledger = 100\n", "limits.ledger", 'a size such as "256MiB"'),
    "a relative path": ('[source.x]\nfile = "mainlog"\n', "source.x.file", "an absolute path"),
    "two kinds of source": ('[source.x]\nfile = "/x"\nstdin = true\n', "source.x", "exactly one of"),
    "no such detectors": ('[source.x]\nfile = "/x"\ndetectors = ["exmi"]\n', "source.x.detectors", "'exim'"),
    "no such zone": ('[source.x]\nfile = "/x"\nzone = "Mars/Base"\n', "source.x.zone", "a time zone"),
    "a table for a value": ("[mode]\nx = 1\n", "mode", "expected"),
    "a value for a table": ("rule = 7\n", "rule", "expected a table"),
    "hostile text in a key": ('[source."\\u001b[31m"]\nfile = "/x"\n', "source.", "expected a name"),
}  # fmt: skip


@pytest.fixture
def policy(public_folder: Path) -> Path:
    """A sound policy in a folder of its own."""
    path = public_folder / "tidegate.toml"
    path.write_text((SOURCE + PATHS).replace("{folder}", str(public_folder)) + FAST)
    return path


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_policy_is_told_with_file_line_and_key(policy, check, name):
    text, *said = FAULTS[name]
    faulty = policy.with_name("policy.d")
    faulty.mkdir()
    (faulty / "50-mine.toml").write_text(text)
    done = check(policy)
    refused(done, 2, f"{faulty}/50-mine.toml", *said)
    assert "\x1b" not in done.stderr


def test_every_verb_that_reads_a_policy_says_the_same_of_it(policy):
    policy.write_text(policy.read_text() + "[rule.x\n")
    log = policy.with_name("log")
    log.write_text(viruses(A))
    for words in (("check",), ("run",), ("replay", log), ("detect", log)):
        refused(tidegate(*words, "--config", policy), 2, f"{policy}: not valid TOML")


def test_every_fault_is_told_at_once(policy, check):
    policy.write_text(policy.read_text() + RULE.replace("5m", "5x").replace("ports", "prots"))
    done = check(policy)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 3
    for key in ("rule.x.within", "rule.x.ban.prots", "rule.x.ban"):
        assert f": {key}: " in done.stderr


@pytest.mark.parametrize("verb", ["check", "run"])
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("absent", "No such file"),
        ("fifo", "not a regular file"),
        ("folder", "Is a directory"),
        ("device", ""),  # as root its rights are what is told
        ("socket", ""),
        ("not UTF-8", "not UTF-8 at byte 3"),
        ("huge", "larger than 1048576 bytes"),
        ("binary", "not valid TOML"),
    ],
)
def test_what_is_no_policy_file_is_told_and_hangs_nothing(public_folder, verb, kind, said):
    path = public_folder / "x.toml"
    with ExitStack() as stack:
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        elif kind == "device":
            path.symlink_to("/dev/zero")
        elif kind == "socket":
            stack.enter_context(socket.socket(socket.AF_UNIX)).bind(str(path))
        elif kind != "absent":
            data = {
                "not UTF-8": b"# \xff\xfe",
                "huge": b"#" * (1 << 21),
                "binary": b"\0\x01\x02" * 99,
            }
            path.write_bytes(data[kind].replace(b"# \xff", b"#  \xff"))
        refused(tidegate(verb, "--config", path), 2, f"{path}: ", said)


@AS_ROOT
def test_a_policy_that_others_could_change_is_refused_by_the_daemon(policy):
    policy.chmod(0o666)
    refused(tidegate("run", "--config", policy), 2, f"{policy} is writable by others", "chmod go-w")
    policy.chmod(0o644)
    os.chown(policy, 65534, 0)
    refused(tidegate("run", "--config", policy), 2, f"{policy} belongs to uid 65534; expected root")


@AS_ROOT
def test_a_policy_that_may_not_be_read_is_told(policy):
    policy.chmod(0o600)
    done = tidegate("check", "--config", policy, **NOBODY)
    refused(done, 2, f"{policy}: can't be read: Permission denied")


PACK = """
name = "door"
about = "A door"
reference = "https://www.example.com/"
programs = ["doord"]
[[detector]]
name = "knock"
kind = "knock"
literals = ["knock "]
pattern = 'knock at <addr>'
match = [{ line = "Aug 21 14:03:22 mx doord[1]: knock at 192.0.2.7", subject = "192.0.2.7" }]
"""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("name = ", "nmae = "), "unknown key"),
        (("<addr>", "<adr>"), "door.knock: pattern"),
        (("knock at <addr>", "(knock at <addr>"), "door.knock: pattern"),
        (("knock at <addr>", "knock (?:[a-z]+ ?)+ <addr>"), "nested quantifiers"),
        (('subject = "192.0.2.7"', 'subject = "192.0.2.8"'), "door.knock"),
        (('["knock "]', '["knack "]'), "door.knock"),
        (("[[detector]]", "[[detector"), "expected TOML"),
    ],
)
def test_a_faulty_pack_is_told_with_file_and_detector(policy, check, change, said):
    folder = policy.with_name("detectors")
    folder.mkdir()
    (folder / "door.toml").write_text(PACK)
    assert check(policy).returncode == 0
    (folder / "door.toml").write_text(PACK.replace(*change))
    done = check(policy)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"tidegate: {folder}/door.toml: " in done.stderr
    assert said in done.stderr


@pytest.mark.parametrize("kind", ["fifo", "folder", "dangling"])
def test_what_is_no_pack_file_is_told_and_hangs_nothing(policy, kind):
    path = policy.with_name("detectors") / "x.toml"
    path.parent.mkdir()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/nowhere")
    refused(tidegate("check", "--config", policy), 2, f"{path}: ")


def test_a_policy_without_sources_is_told_by_the_daemon(public_folder):
    path = public_folder / "x.toml"
    path.write_text("[paths]\n")
    refused(tidegate("run", "--config", path), 2, f"{path}: no [source.NAME] says what to read")


# -- files -------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["replay", "detect"])
def test_files_that_are_none_are_told(policy, public_folder, verb):
    words = (verb, "--config", policy)
    if verb == "replay":
        refused(tidegate(*words, "/no/such/file"), 2, "/no/such/file: no such file")
    refused(tidegate(*words, public_folder), 3, f"{public_folder}: ")


@AS_ROOT
def test_a_file_that_may_not_be_read_is_told_with_what_would_help(policy, public_folder):
    path = public_folder / "secret"
    path.write_text(viruses(A))
    path.chmod(0o600)
    done = tidegate("replay", "--config", policy, path, **NOBODY)
    refused(done, 3, f"{path}: nobody may not read", "setfacl -m u:nobody:r")


def rubbish(size: int) -> bytes:
    return random.Random(5).randbytes(size)


@pytest.mark.parametrize("engine", ["vectorscan", "re"])
def test_rubbish_between_good_lines_changes_nothing(policy, public_folder, engine):
    policy.write_text(f'engine = "{engine}"\n' + policy.read_text())
    path = public_folder / "log" / "mainlog"
    path.parent.mkdir()
    noise = rubbish(300_000)
    path.write_bytes(b"".join(noise[n : n + 20_000] + b"\n" + virus(A).encode()
                              for n in range(0, 300_000, 20_000)) + virus(A).encode())  # fmt: skip
    done = tidegate("replay", "--json", "--config", policy, path)
    assert done.returncode == 0
    (row,) = map(json.loads, done.stdout.splitlines())
    assert (row["subject"], row["count"]) == (A, 16)


def test_rubbish_alone_is_read_to_its_end(policy, public_folder):
    for name, data in {
        "zeros": bytes(2_000_000),
        "noise": rubbish(2_000_000),
        "newlines": b"\n" * 500_000,
        "nothing": b"",
        "half a gzip": b"\x1f\x8b\x08\x00" + rubbish(1000),
        "one byte of gzip": b"\x1f",
    }.items():
        path = public_folder / name
        path.write_bytes(data)
        done = tidegate("replay", "--config", policy, path)
        assert done.returncode == (1 if name == "half a gzip" else 0), (name, done)
        assert "Nobody would be banned." in done.stdout
        piped = tidegate("replay", "--config", policy, "-", stdin=data)
        assert piped.returncode == done.returncode


HUNDRED = 100 << 20


PEAK = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


@pytest.mark.parametrize("way", ["file", "pipe"])
def test_a_hundred_megabytes_without_newline_hold_no_more_than_a_few(policy, public_folder, way):
    path = public_folder / "long"
    with path.open("wb") as file:
        file.write(viruses(A, 8).encode())
        for _ in range(HUNDRED >> 20):
            file.write(b"a 192.0.2.99 This message contains a virus " * 24385)
        file.write(b"\n" + viruses(A, 8).encode())
    given = path if way == "file" else "-"
    # Started by a small process: a child's peak begins with its parent's, and ours is large.
    with path.open("rb") as data:
        done = subprocess.run(
            [sys.executable, "-c", PEAK, *TIDEGATE, "replay", "--json", "--config", str(policy),
             str(given)],
            stdin=data if way == "pipe" else subprocess.DEVNULL, capture_output=True,
        )  # fmt: skip
    *rows, peak = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, b"")
    assert [json.loads(line)["subject"] for line in rows] == [A]
    assert int(peak) < 160 << 10, f"{int(peak)} KiB"


FORGERIES = (
    # Whom a client calls itself, or claims to be, in the places that exim and sshd quote.
    "{exim} H=([{forged}]) [{true}] F=<a@b.example> rejected after DATA: This message contains a"
    " virus (x)",
    "{exim} H=(x) [{forged}]) [{true}] F=<a@b.example> rejected after DATA: This message contains a"
    " virus (x)",
    "{exim} H=(x) [{true}] F=<[{forged}]@b.example> rejected after DATA: This message contains a"
    " virus (H=x [{forged}])",
    "{sshd} Failed password for invalid user root from {forged} port 22 ssh2 from {true} port 4711"
    " ssh2",
    "{sshd} Invalid user a from {forged} port 1 from {true} port 4711",
    "{sshd} Invalid user \x00 from {forged} from {true} port 4711",
)


def test_forged_addresses_blame_nobody_else(policy, public_folder):
    policy.write_text(
        policy.read_text().replace('detectors = ["exim"]\n', "")
        + '[rule.any]\nat-least = 1\nwithin = "1m"\nban = { ports = [] }\n'
        'on = ["exim.malware", "sshd.auth_failed", "sshd.invalid_user"]\n'
    )
    now = datetime.now()
    exim, sshd = f"{now:%Y-%m-%d %H:%M:%S}", f"{now:%b %e %H:%M:%S} mx sshd[712]:"
    path = public_folder / "log" / "mainlog"
    path.parent.mkdir()
    lines = [line.format(exim=exim, sshd=sshd, true=A, forged=FORGED) for line in FORGERIES]
    path.write_text("".join(f"{line}\n" for line in lines))
    done = tidegate("replay", "--json", "--config", policy, path)
    assert {json.loads(line)["subject"] for line in done.stdout.splitlines()} == {A}
    assert FORGED in path.read_text()


def test_text_that_is_none_is_shown_harmlessly(policy, public_folder):
    path = public_folder / "log" / "mainlog"
    path.parent.mkdir()
    hostile = b"\x1bc\x07\xff\xfe\x00\xed\xa0\x80\xe2\x80\xae"
    path.write_bytes(viruses(A).encode().replace(b"dell-xp", hostile))
    done = tidegate("replay", "--json", "--config", policy, path)
    (row,) = map(json.loads, done.stdout.splitlines())
    assert row["subject"] == A
    assert "\\xff\\xfe" in row["evidence"][0]["line"]
    shown = tidegate("detect", "exim", "--config", policy, path)
    assert shown.returncode == 0
    assert not {"\x1b", "\x07", "\x00"} & set(shown.stdout)


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        ("0001-01-01 00:00:00", "past"),
        ("1969-12-31 23:59:59", "past"),
        ("1970-01-01 00:00:00", "past"),
        ("2003-08-19 12:00:00", "past"),
        ("2099-12-31 23:59:59", "now"),
        ("9999-12-31 23:59:59", "now"),
        ("2026-02-31 12:00:00", "any"),
        ("2026-13-01 12:00:00", "any"),
        ("2026-01-01 25:61:61", "any"),
        ("0000-00-00 00:00:00", "any"),
        ("99999999999999999 1", "any"),
    ],
)
def test_stamps_far_away_or_impossible_are_clamped_or_passed_over(
    policy, public_folder, stamp, expected
):
    # East of London 1970 begins before it does.
    policy.write_text(policy.read_text().replace("start =", 'zone = "Asia/Tokyo"\nstart ='))
    path = public_folder / "log" / "mainlog"
    path.parent.mkdir()
    line = virus(A)
    path.write_text((stamp + line[19:]) * 16)
    done = tidegate("replay", "--json", "--config", policy, path)
    assert done.returncode == 0
    rows = [json.loads(row) for row in done.stdout.splitlines()]
    if expected != "any":
        (row,) = rows
    for row in rows:
        time_of = datetime.fromisoformat(row["time"]).timestamp()
        assert time_of <= time.time() + 61
        assert (time_of < time.time() - 86_400) == (expected == "past") or expected == "any"
        length = datetime.fromisoformat(row["until"]).timestamp() - time_of
        assert length == 3600


# -- a world that refuses ----------------------------------------------------------------------


def test_without_a_daemon_every_question_says_so(policy, public_folder):
    environment = os.environ | {"TIDEGATE_SOCKET": f"{public_folder}/none.sock"}
    for words in (("status",), ("list",), ("why", A), ("history",), ("ban", A), ("unban", A),
                  ("allow", A), ("reload",)):  # fmt: skip
        done = tidegate(*words, env=environment)
        refused(done, 3, f"{public_folder}/none.sock: the daemon is not running")


def test_something_else_behind_the_socket_is_told(public_folder):
    path = f"{public_folder}/odd.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        process = subprocess.Popen(
            [*TIDEGATE, "status", "--socket", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        server.settimeout(30)
        client, _ = server.accept()
        client.recv(1000)
        client.sendall(b"\x00\xff rubbish\r\n\r\n")
        client.close()
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (3, b"")
    assert b"Traceback" not in err
    assert b"this is not a tidegate daemon" in err


@AS_ROOT
def test_without_root_it_decides_only_and_says_where_its_folders_may_be(policy, public_folder):
    refused_start = tidegate("run", "--config", policy, **NOBODY)
    assert refused_start.returncode == 3
    last = refused_start.stderr.splitlines()[-1]
    assert last.startswith(f"tidegate: {public_folder}/")
    assert "set [paths] state and run to folders of yours" in last
    assert "not root: everything is decided and recorded, nothing is closed" in refused_start.stderr


@pytest.fixture
def daemon(public_folder: Path) -> Iterator[Callable[..., Daemon]]:
    """Makes daemons in a namespace of their own; all of them end with the test."""
    with ExitStack() as stack:
        space = Namespace("bad")
        stack.callback(space.close)

        def make(policy: str = FAST, source: str = SOURCE) -> Daemon:
            made = Daemon(public_folder, space, policy)
            made.write_policy(policy, source)
            stack.callback(made.close)
            return made

        yield make


@pytest.mark.kernel
def test_sources_that_are_none_degrade_alone_and_recover(daemon, public_folder):
    odd = {
        "absent": "does not exist",
        "fifo": "is a FIFO",
        "folder": "is a directory",
        "device": "is a character device",
        "secret": "tidegate-watch may not read",
        "foreign": "only root or the target's owner may link",
    }
    source = SOURCE + "".join(
        f'[source.{name}]\nfile = "{public_folder}/log/{name}"\nstart = "beginning"\n'
        for name in odd
    )
    here = daemon(FAST, source)
    logs = here.log.parent
    os.mkfifo(logs / "fifo")
    (logs / "folder").mkdir()
    (logs / "device").symlink_to("/dev/zero")
    (logs / "secret").write_text(viruses(B))
    (logs / "secret").chmod(0o600)
    (logs / "foreign").symlink_to("/etc/hostname")
    os.chown(logs / "foreign", 65534, 65534, follow_symlinks=False)
    here.start()
    here.append(viruses(A))
    assert set(until("the ban", here.closed)) == {(A, (25,))}
    states = {one["name"]: (one["state"], one["detail"]) for one in here.ask("/status")["sources"]}
    assert states.pop("exim") == ("ok", "")
    for name, said in odd.items():
        state, detail = states[name]
        assert state == "degraded", name
        assert f"{logs}/{name}" in detail
        assert said in detail
    assert here.verb("status").returncode == 1
    checked = here.verb("check", "--config", str(here.policy))
    assert checked.returncode == 0
    assert "setfacl -m u:tidegate-watch:r" in checked.stderr
    for name in ("fifo", "folder", "device", "foreign"):
        subprocess.run(["rm", "-r", str(logs / name)], check=True)
        (logs / name).touch()
    (logs / "absent").touch()
    (logs / "secret").chmod(0o644)
    until("the ban", lambda: (B, (25,)) in here.closed())
    until(
        "all to be well",
        lambda: all(one["state"] != "degraded" for one in here.ask("/status")["sources"]),
    )
    troubles = [line for line in here.said().splitlines() if "well again" not in line]
    assert sum("is a FIFO" in line for line in troubles) == 1, "it is said once"


@pytest.mark.kernel
def test_live_rubbish_and_an_endless_line_hold_nothing_up(daemon):
    here = daemon().start()
    pid = here.pair()["watcher"]
    here.append(viruses(A, 8).encode() + rubbish(1_000_000))
    with here.log.open("ab") as file:
        for _ in range(100):
            file.write(b"b" * (1 << 20))
    until("the end of it", lambda: here.ask("/status")["sources"][0]["lag"] < 2 << 20)
    here.append(b"\n" + viruses(A, 8).encode())
    assert set(until("the ban", here.closed)) == {(A, (25,))}
    assert here.ask("/status")["limits"]["cut"] >= 1
    peak = Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0]
    assert int(peak) < 160 << 10, f"{peak} KiB"
    assert here.pair()["watcher"] == pid


@pytest.mark.kernel
def test_live_stamps_far_away_close_for_no_longer_than_stated(daemon):
    here = daemon().start()
    line = virus(A)
    here.append(("2003-08-19 12:00:00" + virus(B)[19:]) * 16)
    here.append(("2099-12-31 23:59:59" + line[19:]) * 16)
    left = until("the ban", here.closed)
    assert set(left) == {(A, (25,))}
    assert 3500 < left[A, (25,)] <= 3600
    assert here.ask("/status")["limits"]["clamped"] == 16
    states = {row["subject"]: row["state"] for row in here.history()}
    states.pop(B, None)  # so old that it may have been dropped already
    assert states == {A: "applied"}


@pytest.mark.kernel
def test_a_full_disk_stops_no_ban_and_everything_is_written_down_later(daemon, public_folder):
    here = daemon()
    state = public_folder / "state"
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "none", state], check=True)
    try:
        here.start()
        filler = state / "filler"
        with pytest.raises(OSError, match="No space"), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        for n in range(1, 40):
            here.append(viruses(f"192.0.2.{n}"))
        until("every ban", lambda: len(here.closed()) == 39)
        until("the word", lambda: "the disk is full; bans go on" in here.said())
        assert here.verb("status").returncode in (0, 1)
        assert here.verb("unban", "192.0.2.1").returncode == 0
        here.space.run("nft", "flush", "ruleset")
        until("the repair", lambda: len(here.closed()) == 38)
        pid = here.kill("watcher")
        until("a new watcher", lambda: here.pair()["watcher"] != pid)
        until("an answer", lambda: here.ask("/status"))
        here.append(viruses("192.0.2.77"))
        until("a ban", lambda: ("192.0.2.77", (25,)) in here.closed())
        filler.unlink()
        until("it to be well", lambda: "well again" in here.said())
        bans = {f"192.0.2.{n}" for n in (*range(1, 40), 77)}
        until("the ledger", lambda: {row["subject"] for row in here.history()} >= bans)
        standing = {(row["subject"], tuple(row["ports"])) for row in here.rows("/list")}
        assert set(here.closed()) == standing
        assert here.stop() == 0
    finally:
        here.close()
        subprocess.run(["umount", state], check=True)


def hidden(here: Daemon, *mounts: str) -> subprocess.Popen[bytes]:
    """`tidegate run` in a mount namespace of its own, after these commands."""
    script = " && ".join(("mount --make-rprivate /", *mounts, 'exec "$@"'))
    with here.output.open("ab") as output:
        here.process = here.popen(
            ["unshare", "--mount", "sh", "-c", script, "sh", *TIDEGATE, "run", "--config",
             str(here.policy)],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    return here.process


@pytest.mark.kernel
def test_without_nft_everything_is_decided_and_recorded_and_that_is_said(daemon):
    here = daemon()
    hidden(here, "mount --bind /dev/null /usr/sbin/nft")
    until("an answer", lambda: here.ask("/status"))
    assert (
        "nft is missing, so nothing can be closed; install it (apt install nftables)" in here.said()
    )
    here.append(viruses(A))
    until("the decision", here.history)
    assert here.closed() == {}
    assert here.ask("/status")["gate"]["kind"] == "in memory (nothing is closed)"
    assert "in memory (nothing is closed)" in here.verb("status").stdout


@pytest.mark.kernel
@pytest.mark.parametrize("user", ["tidegate", "tidegate-watch"])
def test_without_its_users_it_says_how_to_make_them(daemon, public_folder, user):
    here = daemon()
    rows = Path("/etc/passwd").read_text().splitlines()
    fewer = public_folder / "passwd"
    fewer.write_text("".join(f"{row}\n" for row in rows if not row.startswith(f"{user}:")))
    assert hidden(here, f"mount --bind {fewer} /etc/passwd").wait(30) == 3
    assert f"the system user {user} is missing; run as root: useradd --system" in here.said()
    assert "Traceback" not in here.said()


@pytest.mark.kernel
def test_a_second_daemon_is_told_and_the_first_goes_on(daemon):
    here = daemon().start()
    second = Daemon(here.folder, here.space)
    second.output = here.folder / "second.log"
    assert second.spawn().wait(30) == 3
    assert "Traceback" not in second.said()
    assert len(second.said().splitlines()) <= 4
    here.append(viruses(A))
    until("the ban", here.closed)
