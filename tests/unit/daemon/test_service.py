"""The steps that make the daemon a service, with stand-ins for the programs that would do it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tidegate.daemon.service import Step, carry_out, disabling, enabling, shipped, this_command
from tidegate.errors import WorldError

REPOSITORY = Path(__file__).resolve().parents[3]
COMMAND = ("/opt/tide/bin/tidegate",)
PROGRAMS = ("systemctl", "systemd-sysusers", "systemd-tmpfiles", "rc-update", "rc-service",
            "update-rc.d")  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> str:
    """A made-up root folder."""
    (tmp_path / "host" / "etc").mkdir(parents=True)
    users = "tidegate:x:1:1::/:/bin/false\ntidegate-watch:x:2:2::/:/bin/false\n"
    (tmp_path / "host" / "etc/passwd").write_text(users)
    return str(tmp_path / "host")


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What the stand-ins on PATH were told, line by line."""
    folder, log = tmp_path / "bin", tmp_path / "told"
    folder.mkdir()
    for name in PROGRAMS:
        program = folder / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >>"{log}"\necho said by {name}\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def told() -> list[str]:
        return log.read_text().splitlines() if log.exists() else []

    return told


def do(steps: list[Step], root: str) -> None:
    for step in steps:
        if not step.done and (step.path or step.words):
            carry_out(step, root)


def test_systemd(root: str, told) -> None:
    do(enabling("systemd", COMMAND, ("--config", "/srv/a b%.toml"), root), root)
    assert told() == [
        "systemd-sysusers tidegate.conf",
        "systemd-tmpfiles --create tidegate.conf",
        "systemctl daemon-reload",
        "systemctl enable --now tidegate.service",
    ]
    unit = Path(root, "etc/systemd/system/tidegate.service").read_text()
    assert 'ExecStart=/opt/tide/bin/tidegate run --config "/srv/a b%%.toml"\n' in unit
    assert "ExecReload=/opt/tide/bin/tidegate reload\n" in unit
    assert Path(root, "etc/sysusers.d/tidegate.conf").exists()
    assert Path(root, "etc/tmpfiles.d/tidegate.conf").exists()


def test_the_installed_unit_is_one_that_systemd_understands(root: str, told) -> None:
    analyze = shutil.which("systemd-analyze", path="/usr/bin:/bin")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    do(enabling("systemd", (sys.executable, "-m", "tidegate"), ("--config", "/a b"), root), root)
    unit = Path(root, "etc/systemd/system/tidegate.service")
    unit.write_text(re.sub(r"^Documentation=.*\n", "", unit.read_text(), flags=re.MULTILINE))
    run = subprocess.run([analyze, "verify", "--man=no", unit], capture_output=True, text=True)
    assert (run.returncode, run.stdout + run.stderr) == (0, "")


def test_a_package_brought_the_unit_already(root: str, told) -> None:
    place = Path(root, "usr/lib/systemd/system/tidegate.service")
    place.parent.mkdir(parents=True)
    place.write_text("[Service]\n")
    steps = enabling("systemd", COMMAND, (), root)
    do(steps, root)
    assert not Path(root, "etc/systemd/system").exists()
    assert any(step.done and "left as it is" in step.what for step in steps)
    assert told()[-1] == "systemctl enable --now tidegate.service"


def test_twice_is_as_once(root: str, told) -> None:
    do(enabling("systemd", COMMAND, (), root), root)
    files = {path: path.stat().st_mtime_ns for path in Path(root).rglob("*") if path.is_file()}
    again = enabling("systemd", COMMAND, (), root)
    assert [step.what for step in again if step.path and not step.done] == []
    do(again, root)
    assert files == {path: path.stat().st_mtime_ns for path in files}


def test_a_unit_that_a_person_changed_is_left(root: str, told) -> None:
    do(enabling("systemd", COMMAND, (), root), root)
    unit = Path(root, "etc/systemd/system/tidegate.service")
    unit.write_text("# mine\n")
    do(enabling("systemd", COMMAND, (), root), root)
    assert unit.read_text() == "# mine\n"


def test_systemd_stops_and_opens(root: str, told) -> None:
    assert [step.words for step in disabling("systemd", root)][-1] == ()
    do(disabling("systemd", root), root)
    assert told() == []  # nothing is installed
    do(enabling("systemd", COMMAND, (), root), root)
    do(disabling("systemd", root), root)
    assert told()[-1] == "systemctl disable --now tidegate.service"
    assert "delete the table" in disabling("systemd", root)[-1].what


def test_openrc(root: str, told) -> None:
    do(enabling("openrc", ("/opt/py", "-m", "tidegate"), ("--config", "/srv/p.toml"), root), root)
    script = Path(root, "etc/init.d/tidegate")
    assert 'command="/opt/py"\n' in script.read_text()
    assert 'command_args="-m tidegate run --config /srv/p.toml ' in script.read_text()
    assert os.access(script, os.X_OK)
    do(disabling("openrc", root), root)
    assert told() == [
        "rc-update add tidegate default",
        "rc-service --ifstopped tidegate start",
        "rc-service --ifstarted tidegate stop",
        "rc-update --all del tidegate",
    ]


def test_sysv_starts_the_script_it_wrote(root: str, told, tmp_path: Path) -> None:
    steps = enabling("sysv", COMMAND, ("--config", "/srv/p.toml"), root)
    text = next(step.text for step in steps if step.path)
    assert 'COMMAND="/opt/tide/bin/tidegate"\n' in text
    assert 'OPTIONS="--config /srv/p.toml"\n' in text
    assert [step.words for step in steps[-2:]] == [
        ("update-rc.d", "tidegate", "defaults"),
        (f"{root}/etc/init.d/tidegate", "start"),
    ]


def test_words_that_a_shell_minds_are_refused(root: str, told) -> None:
    for booted in ("sysv", "openrc"):
        with pytest.raises(WorldError, match="can't stand in an init script"):
            enabling(booted, ("/opt/a b/tidegate",), (), root)


def test_nothing_that_we_know(root: str) -> None:
    assert enabling("", COMMAND, (), root) == []
    steps = disabling("", root)
    assert [step.done for step in steps] == [True, False]


def test_missing_users_are_made(root: str, told) -> None:
    Path(root, "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    (users, *_rest) = enabling("sysv", COMMAND, (), root)
    assert not users.done
    assert "useradd" in users.words[2]


def test_a_program_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(WorldError, match="exit code 3\nno such thing"):
        carry_out(Step("x", words=("sh", "-c", "echo no such thing; exit 3")))
    with pytest.raises(WorldError, match="No such file"):
        carry_out(Step("x", words=("no-such-program-here",)))
    with pytest.raises(WorldError, match="run it as root"):
        carry_out(Step("x", path="/proc/no/such", text="x"))


def test_everything_it_installs_is_in_the_wheel() -> None:
    included = re.findall(r'^"packaging/(\S+)" = "tidegate/packaging/\1"$',
                          (REPOSITORY / "pyproject.toml").read_text(), re.MULTILINE)  # fmt: skip
    read = ("daemon/service.py", "cli/fleet_acl.py")
    code = "".join((REPOSITORY / "src/tidegate" / name).read_text() for name in read)
    wanted = set(re.findall(r'shipped\("([^"]+)"\)', code))
    assert wanted == set(included)
    assert all(shipped(name) for name in wanted)


def test_this_command_is_the_script_or_the_module(monkeypatch, tmp_path: Path) -> None:
    script = tmp_path / "tidegate"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(script)])
    assert this_command() == (str(script),)
    monkeypatch.setattr(sys, "argv", ["/somewhere/__main__.py"])
    assert this_command() == (sys.executable, "-m", "tidegate")


@pytest.mark.parametrize("script", ["init.d/tidegate", "openrc/tidegate", "setup-users"])
def test_scripts_are_shell(script: str) -> None:
    path = REPOSITORY / "packaging" / script
    assert os.access(path, os.X_OK)
    assert subprocess.run(["sh", "-n", path]).returncode == 0
