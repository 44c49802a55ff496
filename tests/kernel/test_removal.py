"""Before the package goes, everything is open: what no program is left for can't be put back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.kernel.daemon import FAST, daemons, until
from tests.kernel.namespaces import Namespace

from tidegate.gate.switches.record import Record, Records
from tidegate.model import HOUR
from tidegate.policy.guards import Command

pytestmark = pytest.mark.kernel

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "packaging" / "before-removal"


@pytest.fixture
def closed(public_folder: Path) -> Path:
    """A folder with a policy, and a record of a gate that was closed a moment ago."""
    (public_folder / "tidegate.toml").write_text(
        f'[paths]\ngates = "{public_folder}/gates"\noff = "{public_folder}/off"\n'
    )
    (public_folder / "command").write_text(
        f'#!/bin/sh\nexec {sys.executable} -m tidegate "$@" --config {public_folder}/tidegate.toml\n'
    )
    (public_folder / "command").chmod(0o755)
    undo = ("/usr/bin/touch", str(public_folder / "opened"))
    terms = Command(("/bin/true",), undo)
    now = 1_000_000 * HOUR  # far ahead, as an end is that nobody waits for
    Records(public_folder / "gates").write(Record("door", terms, {}, "closed", now, now))
    return public_folder


def remove(space: Namespace, folder: Path, word: str) -> subprocess.CompletedProcess[str]:
    named = {"COMMAND": folder / "command", "SYSTEMD": "/none", "SCRIPT": "/none"}
    with space.inside():
        return subprocess.run(
            [SCRIPT, word], capture_output=True, text=True, check=False,
            env={**os.environ, **{key: str(value) for key, value in named.items()}},
        )  # fmt: skip


def test_all_is_opened_before_a_removal_but_not_before_an_upgrade(
    alone: Namespace, closed: Path
) -> None:
    with alone.inside():
        subprocess.run(["nft", "add", "table", "inet", "tidegate"], check=True)
    for word in ("upgrade", "1"):
        assert remove(alone, closed, word).stdout == ""
        assert not (closed / "opened").exists()
    run = remove(alone, closed, "remove")
    assert run.returncode == 0, run.stderr
    assert "door: open" in run.stdout and "Everything is open." in run.stdout
    assert (closed / "opened").exists() and not Records(closed / "gates").read()
    assert "tidegate" not in alone.run("nft", "list", "tables")
    assert not (closed / "off").exists()


def test_what_can_not_be_opened_is_said_and_the_removal_goes_on(
    alone: Namespace, closed: Path
) -> None:
    records = Records(closed / "gates")
    (found,) = records.read()
    records.write(Record("door", Command(("/bin/true",), ("/bin/false",)), {}, "closed", 1, 1))
    assert found.gate == "door"
    run = remove(alone, closed, "0")
    assert run.returncode == 0
    assert "door: refused" in run.stdout and "not all could be opened" in run.stderr


@pytest.mark.parametrize("words", [(), ("--observe",)])
def test_a_policy_without_guards_opens_what_an_earlier_one_has_closed(
    public_folder: Path, words: tuple[str, ...]
) -> None:
    """After a boot nobody else is left who could."""
    undo = ("/usr/bin/touch", str(public_folder / "opened"))
    terms = Command(("/bin/true",), undo)
    with daemons(public_folder, "removal", FAST) as make:
        here = make()
        now = 1_000_000 * HOUR
        Records(public_folder / "gates").write(Record("door", terms, {}, "closed", now, now))
        here.start(*words)
        until("the gate", (public_folder / "opened").exists)
        until("the record", lambda: not Records(public_folder / "gates").read())
        assert here.stop() == 0


def test_no_table_of_ours_is_left_when_the_package_is_gone(
    alone: Namespace, tmp_path: Path
) -> None:
    script = SCRIPT.with_name("after-removal")
    (tmp_path / "systemctl").symlink_to("/bin/true")  # the host's timer is none of this
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    with alone.inside():
        for table in ("tidegate", "tidegate_outward", "other"):
            subprocess.run(["nft", "add", "table", "inet", table], check=True)
        for word, left in (("upgrade", 3), ("remove", 1)):
            subprocess.run(["sh", script, word], check=True, env=environment)
            found = subprocess.check_output(["nft", "list", "tables"], text=True)
            assert len(found.splitlines()) == left
