"""What `packaging/` installs: systemd takes the unit, its sandbox is tight, users are as promised."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
PACKAGING = REPOSITORY / "packaging"
UNIT = PACKAGING / "systemd" / "tidegate.service"
COMMAND = Path(sys.executable).parent / "tidegate"


def needs(program: str) -> str:
    found = shutil.which(program, path="/usr/bin:/bin:/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit as it would be installed, with the command that exists here."""
    text = UNIT.read_text("utf-8").replace("/usr/bin/tidegate", str(COMMAND))
    # The manual pages are installed by the package; `verify` would look for them.
    path = tmp_path / UNIT.name
    path.write_text(re.sub(r"^Documentation=.*\n", "", text, flags=re.MULTILINE))
    return path


def test_systemd_understands_every_line(unit: Path) -> None:
    run = subprocess.run(
        [needs("systemd-analyze"), "verify", "--man=no", unit],
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stdout + run.stderr) == (0, "")


def test_a_line_that_systemd_does_not_know_would_be_seen(unit: Path) -> None:
    unit.write_text(unit.read_text().replace("ProtectClock=yes", "ProtectClocks=yes"))
    run = subprocess.run(
        [needs("systemd-analyze"), "verify", "--man=no", unit], capture_output=True, text=True
    )
    assert "ProtectClocks" in run.stdout + run.stderr


def test_the_sandbox_leaves_little(unit: Path) -> None:
    program = needs("systemd-analyze")
    run = subprocess.run(
        [program, "security", "--offline=true", "--no-pager", unit],
        capture_output=True,
        text=True,
    )
    if "offline" in run.stderr:
        pytest.skip("this systemd-analyze has no --offline")
    level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", run.stdout)
    assert level, run.stdout + run.stderr
    # 3.0, and 0.3 for CAP_SYS_PTRACE: which program sends is told of, and a bot's file kept.
    assert float(level[1]) <= 3.3


def test_guards_see_all_processes_and_may_write_what_keepalived_reads() -> None:
    stated = dict(line.split("=", 1) for line in UNIT.read_text().splitlines() if "=" in line)
    assert stated.get("ProtectProc", "default") == "default"  # `processes(...)` counts everybody's
    assert "-/run/keepalived" in stated["ReadWritePaths"].split()
    assert "tidegate-gates" in stated["StateDirectory"].split()


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A root folder with a passwd and a group file, to which sysusers.d has been applied."""
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    (etc / "group").write_text("root:x:0:\nadm:x:4:\nsystemd-journal:x:101:\n")
    apply(needs("systemd-sysusers"), tmp_path, "sysusers.d/tidegate.conf")
    return tmp_path


def apply(program: str, root: Path, file: str, *options: str) -> None:
    run = subprocess.run(
        [program, f"--root={root}", *options, PACKAGING / file], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr


def entries(file: Path) -> dict[str, list[str]]:
    return {line.split(":")[0]: line.split(":") for line in file.read_text().splitlines()}


def test_users_and_groups_are_made(host: Path) -> None:
    users, groups = entries(host / "etc/passwd"), entries(host / "etc/group")
    assert users["tidegate"][2] != users["tidegate-watch"][2]
    assert users["tidegate"][6].endswith("nologin")
    assert "tidegate-admin" in groups
    assert groups["adm"][3] == groups["systemd-journal"][3] == "tidegate-watch"


def test_both_ways_to_make_users_agree() -> None:
    by_script = (PACKAGING / "setup-users").read_text()
    by_systemd = (PACKAGING / "sysusers.d" / "tidegate.conf").read_text()
    for name in set(re.findall(r"^[ugm] (\S+)", by_systemd, re.MULTILINE)):
        assert re.search(rf"\b{name}\b", by_script), name


@pytest.mark.kernel
def test_folders_have_their_owners(host: Path) -> None:
    apply(needs("systemd-tmpfiles"), host, "tmpfiles.d/tidegate.conf", "--create")
    state, policy = (host / "var/lib/tidegate").stat(), (host / "etc/tidegate/policy.d").stat()
    watcher = int(entries(host / "etc/passwd")["tidegate-watch"][2])
    assert (state.st_uid, state.st_mode & 0o777) == (watcher, 0o700)
    assert (policy.st_uid, policy.st_mode & 0o777) == (0, 0o755)
