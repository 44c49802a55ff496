"""Readings of the administrator's own: real commands that hang, fail, flood and speak well."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
import tomllib
from pathlib import Path

import pytest

from tidegate.errors import SourceError
from tidegate.model import SECOND
from tidegate.policy.guards import ReadingSpec
from tidegate.source.readings import commands
from tidegate.source.readings.custom import Custom, number


def shell(text: str, timeout: int = 10 * SECOND):
    spec = ReadingSpec("lag", command=("/bin/sh", "-c", text), timeout=timeout)
    return Custom().taker(spec).attempt(1)


def file(path: Path):
    return Custom().taker(ReadingSpec("lag", file=str(path))).attempt(1)


def gone(pid: int) -> bool:
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True


def test_the_number_on_the_first_line_is_taken():
    assert shell("echo 12.5; echo 7") == (12.5, None, "")
    assert shell("echo '  3 seconds behind'").value == 3


@pytest.mark.parametrize("text", ["7", "+7", "7.", "7e0", "0.7e1", "7\n8", "7 apples", "\t7\r\n"])
def test_spellings_of_a_number(text):
    assert number(text.encode(), "x") == 7


@pytest.mark.parametrize("text", ["", "\n7", "NULL", "nan", "inf", "0x7", "7%", "1,5", "--7", "²"])
def test_what_is_no_number_is_unknown(text):
    with pytest.raises(SourceError, match="expected a number on the first line, not"):
        number(text.encode(), "x")


def test_hostile_output_is_shown_harmless():
    assert shell(r"printf '\033[31mred\377'").why == (
        r'/bin/sh: expected a number on the first line, not "\x1b[31mred' + '�"'
    )


def test_one_that_fails_is_unknown_by_its_last_words():
    assert shell("echo 7; echo one >&2; echo two >&2; exit 3") == (
        None, None, "/bin/sh failed with exit code 3: two",
    )  # fmt: skip
    assert shell("kill -9 $$").why == "/bin/sh failed with signal 9"


def test_one_that_hangs_is_killed_with_all_that_it_started(tmp_path):
    pids = tmp_path / "pids"
    began = time.monotonic()
    taken = shell(f"sleep 1000 & echo $! >{pids}; echo $$ >>{pids}; wait", SECOND // 2)
    assert taken == (None, None, "/bin/sh did not end within 0.5 s; it was killed")
    assert time.monotonic() - began < 10
    for pid in map(int, pids.read_text().split()):
        deadline = time.monotonic() + 20
        while not gone(pid):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_one_that_hangs_without_its_output_is_killed_too():
    assert "did not end within" in shell("exec >&- 2>&-; sleep 1000", SECOND // 2).why


def test_one_that_floods_is_unknown_and_ended():
    for stream in ("", " >&2; exit 0"):
        began = time.monotonic()
        taken = shell(f"head -c 300000 /dev/zero{stream}")
        if stream:  # of what it complains the end is kept, and no number is printed
            assert "expected a number on the first line, not nothing" in taken.why
        else:
            assert taken.why == "/bin/sh prints more than 64 KiB"
        assert time.monotonic() - began < 10
    assert shell("yes").why == "/bin/sh prints more than 64 KiB"


def test_what_it_leaves_behind_does_not_hold_its_number_up_and_is_ended(tmp_path):
    pids = tmp_path / "pid"
    began = time.monotonic()
    assert shell(f"sleep 1000 & echo $! >{pids}; echo 5").value == 5
    assert time.monotonic() - began < 5
    deadline = time.monotonic() + 20
    while not gone(int(pids.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_one_that_is_not_there_is_unknown():
    spec = ReadingSpec("lag", command=("/no/such/lag",))
    assert Custom().taker(spec).attempt(1).why == (
        "/no/such/lag can't be started: no such file or directory"
    )


def test_it_has_a_minimal_environment_and_nothing_to_read(monkeypatch):
    monkeypatch.setenv("SECRET", "x")
    said = commands.run(["/bin/sh", "-c", "env; pwd; wc -c; ulimit -n"], 5).decode()
    assert "SECRET" not in said
    assert set(said.split("\n/\n")[0].split("\n")) - {"PWD=/"} == {
        f"{key}={value}" for key, value in commands.ENVIRONMENT.items()
    }
    assert "\n0\n" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
def test_it_has_none_of_our_capabilities(tmp_path):
    """In a process that has one to give: as the sampler does."""
    program = """
import os, sys
from tidegate.daemon.privilege import Identity, drop
from tidegate.source.readings import commands
drop(Identity("x", 61235, 61235, ()), keep=(2,))  # CAP_DAC_READ_SEARCH
own = open("/proc/self/status").read()
assert "CapEff:\\t0000000000000004" in own and "CapAmb:\\t0000000000000004" in own, own
import threading
def run():
    print(commands.run(["/bin/grep", "-E", "Cap(Prm|Eff|Amb)|^Uid", "/proc/self/status"], 5).decode())
thread = threading.Thread(target=run); thread.start(); thread.join()
assert "CapEff:\\t0000000000000004" in open("/proc/self/status").read()
"""
    source = Path(commands.__file__).parents[3]
    said = commands.run(
        ["/usr/bin/env", f"PYTHONPATH={source}", sys.executable, "-c", program], 20
    ).decode()
    assert "Uid:\t61235\t61235" in said
    for name in ("Prm", "Eff", "Amb"):
        assert f"Cap{name}:\t0000000000000000" in said


def test_a_file_holds_a_number(tmp_path):
    path = tmp_path / "lag"
    assert file(path).why == f"{path}: does not exist"
    path.write_text("42\nmore\n")
    assert file(path).value == 42
    path.write_text("x")
    assert file(path).why == f'{path}: expected a number on the first line, not "x"'


def test_a_pipe_or_a_folder_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    said = "the file of a reading must be a regular file"
    assert file(tmp_path / "pipe").why == f"{tmp_path}/pipe: is a FIFO; {said}"
    assert file(tmp_path).why == f"{tmp_path}: is a directory; {said}"


@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
def test_a_link_that_somebody_else_made_is_not_followed(tmp_path):
    (tmp_path / "secret").write_text("7\n")
    (tmp_path / "lag").symlink_to(tmp_path / "secret")
    assert file(tmp_path / "lag").value == 7
    os.lchown(tmp_path / "lag", 61_237, 61_237)
    taken = file(tmp_path / "lag")
    assert taken.value is None
    assert "only root or the target's owner may link" in taken.why


def test_the_commands_on_our_page_give_numbers(tmp_path):
    page = (Path(__file__).parents[4] / "docs/readings.md").read_text("utf-8")
    texts = re.findall(r'^command = \["/bin/sh", "-c", (".*")\]', page, re.M)
    behind, age = (tomllib.loads(f"text = {text}")["text"] for text in texts)
    (tmp_path / "mysql").write_text(
        "#!/bin/sh\necho \"$2\" >&2\necho '  Seconds_Behind_Source: 42'\n"
    )
    (tmp_path / "mysql").chmod(0o755)
    assert shell(behind.replace("mysql", str(tmp_path / "mysql"), 1)).value == 42
    (tmp_path / ".stamp").touch()
    os.utime(tmp_path / ".stamp", (0, time.time() - 500))
    assert 500 <= shell(age.replace("/srv/mirror", str(tmp_path))).value < 560


def test_every_command_is_ended_with_the_process(tmp_path):
    said: list[str] = []
    thread = threading.Thread(target=lambda: said.append(shell("sleep 1000").why))
    thread.start()
    deadline = time.monotonic() + 20
    while not commands._running:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    commands.stop_all()
    thread.join(20)
    assert said == ["/bin/sh failed with signal 9"]
