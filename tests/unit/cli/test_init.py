"""`tidegate init` on this very host: it shows before it writes, and writes only what is right."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

SESSION = {"SSH_CONNECTION": "198.51.100.7 50122 203.0.113.1 22"}


def run(*words: str | Path, code: int = 0, **environ: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tidegate", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
        | SESSION
        | environ,
    )
    said = done.stdout.decode()
    assert done.returncode == code, said
    return said


@pytest.fixture
def policy(public_folder: Path) -> Path:
    return public_folder / "tidegate.toml"


def test_it_shows_and_writes_nothing(policy: Path) -> None:
    said = run("init", "--output", policy)
    assert "+addresses = [" in said
    assert f"+++ {policy}" in said
    assert f"Nothing was written. To write it: tidegate init --write --output {policy}" in said
    assert not policy.exists()


def test_what_it_writes_passes_the_check(policy: Path) -> None:
    said = run("init", "--write", "--observe", "--output", policy)
    assert f"{policy} is written" in said
    assert "ok:" in run("check", "--config", policy)
    found = tomllib.loads(policy.read_text())
    assert found["mode"] == "observe"
    assert "198.51.100.7" in found["allow"]["addresses"]
    assert policy.stat().st_mode & 0o777 == 0o644
    assert "there is nothing to add" in run("init", "--write", "--output", policy)


def test_a_policy_that_is_there_is_shown_as_a_diff_and_kept(policy: Path) -> None:
    mine = '# mine\n[allow]\naddresses = ["203.0.113.9"]\n'
    policy.write_text(mine)
    said = run("init", "--output", policy)
    assert '\n-addresses = ["203.0.113.9"]\n' in said
    assert policy.read_text() == mine
    said = run("init", "--write", "--dry-run", "--output", policy)
    assert "Nothing was written (--dry-run)" in said
    assert policy.read_text() == mine
    run("init", "--write", "--output", policy)
    assert "# mine" in policy.read_text()
    assert policy.with_name("tidegate.toml.before-init").read_text() == mine
    assert {"203.0.113.9", "198.51.100.7"} <= set(
        tomllib.loads(policy.read_text())["allow"]["addresses"]
    )


def test_a_faulty_policy_is_left_and_its_fault_told(policy: Path) -> None:
    policy.write_text("[allow\n")
    assert "not valid TOML" in run("init", "--write", "--output", policy, code=2)
    assert policy.read_text() == "[allow\n"


def test_a_link_to_the_policy_stays_one(policy: Path) -> None:
    real = policy.with_name("real.toml")
    real.write_text("# mine\n")
    policy.symlink_to(real)
    run("init", "--write", "--output", policy)
    assert policy.is_symlink()
    assert "198.51.100.7" in real.read_text()


def test_what_policy_d_says_instead_is_a_warning(policy: Path) -> None:
    folder = policy.with_name("policy.d")
    folder.mkdir()
    (folder / "mine.toml").write_text('[allow]\naddresses = ["203.0.113.9"]\n')
    said = run("init", "--write", "--output", policy)
    assert "warning: 198.51.100.7 is not allowed" in said
    assert "mine.toml" in said


def test_json(policy: Path) -> None:
    row = json.loads(run("init", "--json", "--output", policy))
    assert (row["v"], row["file"], row["changed"], row["written"]) == (1, str(policy), True, False)
    assert {"subject": "198.51.100.7", "why": "you are logged in from here"} in row["allow"]
    assert tomllib.loads(row["policy"])["mode"] == "enforce"
    assert row["diff"].startswith("--- /dev/null\n")
    assert not policy.exists()
    row = json.loads(run("init", "--json", "--write", "--output", policy))
    assert row["written"]
    assert policy.read_text() == row["policy"]


@pytest.mark.parametrize(("answer", "written"), [("y", True), ("n", False), ("", False)])
def test_at_a_terminal_it_asks(policy: Path, answer: str, written: bool) -> None:
    child, terminal = pty.fork()
    if child == 0:
        environ = {"PYTHONPATH": ":".join(sys.path), "PATH": os.environ["PATH"], "TERM": "dumb"}
        words = [sys.executable, "-m", "tidegate", "init", "--output", str(policy)]
        os.execve(sys.executable, words, environ)
    said = b""
    asked = False
    while True:
        try:
            more = os.read(terminal, 4096)
        except OSError:  # the child has ended
            break
        if not more:
            break
        said += more
        if b"[y/N]" in said and not asked:
            asked = True
            os.write(terminal, f"{answer}\n".encode())
    os.close(terminal)
    _pid, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, said
    assert asked
    assert policy.exists() == written


def test_a_service_without_a_policy_is_refused(policy: Path) -> None:
    said = run("init", "--enable", "--dry-run", "--output", policy, code=2)
    assert "no policy yet" in said
    assert "--enable and --disable" in run("init", "--enable", "--disable", code=2)


def test_a_dry_run_says_every_step_and_does_none() -> None:
    said = run("init", "--disable", "--dry-run")
    assert "would: open every gate and delete the table inet tidegate" in said
    steps = [
        json.loads(line) for line in run("init", "--disable", "--dry-run", "--json").splitlines()
    ]
    assert steps[-1]["state"] == "would"
