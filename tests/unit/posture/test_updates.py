from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tidegate.posture.updates import COMMAND, parse, pending, security_lists

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
TOLD = """\
Inst apt [2.6.1] (2.6.2 Debian-Security:12/oldstable-security [amd64])
Inst bash [5.2.15-2+b8] (5.2.15-2+b13 Debian:12.15/oldstable [amd64])
Conf apt (2.6.2 Debian-Security:12/oldstable-security [amd64])
Inst linux-image-new (6.1 Debian-Security:12/oldstable-security [amd64])
Inst libgcrypt20 [1.10.1-3] (1.10.1-3+deb12u1 Debian:12.15/oldstable, Debian-Security:12/oldstable-security [amd64]) []
Remv odd
"""


def lists(folder: Path, date: datetime) -> Path:
    (folder / "deb_InRelease").write_text(
        "Label: Debian\nSuite: oldstable\nDate: Sat, 11 Jul 2026 10:16:00 UTC\n"
    )
    (folder / "sec_InRelease").write_text(
        "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nOrigin: Debian\nLabel: Debian-Security\n"
        f"Suite: oldstable-security\nDate: {date:%a, %d %b %Y %H:%M:%S} UTC\n"
    )
    return folder


def says(text: str, code: int = 0) -> tuple[str, ...]:
    return (sys.executable, "-c", f"import sys; sys.stdout.write({text!r}); sys.exit({code})")


def test_security_updates_are_told_from_others_and_new_packages_wait_for_nothing() -> None:
    waiting, others = parse(TOLD)
    assert [(one.package, one.installed, one.available) for one in waiting] == [
        ("apt", "2.6.1", "2.6.2"), ("libgcrypt20", "1.10.1-3", "1.10.1-3+deb12u1")
    ]  # fmt: skip
    assert others == 1


def test_fresh_lists_are_trusted(tmp_path: Path) -> None:
    found = pending(lists(tmp_path, NOW - timedelta(days=1)), NOW, says(TOLD))
    assert (len(found.waiting), found.trouble) == (2, "")


def test_old_and_missing_lists_are_said_to_be_so(tmp_path: Path) -> None:
    assert "no package lists" in pending(tmp_path, NOW, says("")).trouble
    found = pending(lists(tmp_path, NOW - timedelta(days=9)), NOW, says(""))
    assert found.trouble == "the package lists are 9 days old: apt-get update, then ask again"
    assert security_lists(tmp_path) == NOW - timedelta(days=9)


def test_apt_that_is_missing_or_fails_is_said_to(tmp_path: Path) -> None:
    lists(tmp_path, NOW)
    assert "no apt-get here" in pending(tmp_path, NOW, ("/nonexistent/apt-get",)).trouble
    failing = (sys.executable, "-c", "import sys; sys.exit('E: broken lists')")
    assert "E: broken lists" in pending(tmp_path, NOW, failing).trouble


def test_apt_is_only_ever_asked_to_simulate() -> None:
    assert "-s" in COMMAND
    assert "Dir::Cache::pkgcache=" in COMMAND
