"""A track file, in folders and beside links that others have made."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tidegate.errors import GateError
from tidegate.gate.switches import responder
from tidegate.gate.switches.answers import Track, boot_seconds
from tidegate.gate.switches.keepalived import TrackFiles
from tidegate.gate.switches.kinds import Ran, Tools
from tidegate.gate.switches.lease import Leases
from tidegate.policy.guards import Keepalived

pytestmark = pytest.mark.kernel


def tools(folder: Path) -> Tools:
    return Tools(lambda *_words, **_named: Ran(0, ""), systemd=False, leases=folder / "agents")


def test_a_folder_of_others_is_refused(public_folder: Path) -> None:
    public_folder.chmod(0o1777)
    with pytest.raises(GateError, match="a folder of root's"):
        TrackFiles(tools(public_folder)).look(Keepalived(str(public_folder / "load")))


def test_a_link_beside_it_is_not_written_through(public_folder: Path) -> None:
    precious = public_folder / "precious"
    precious.write_text("keep\n")
    (public_folder / "load.tidegate").symlink_to(precious)
    responder.replace(str(public_folder / "load"), b"-100\n")
    assert precious.read_text() == "keep\n"
    assert (public_folder / "load").read_text() == "-100\n"
    assert (public_folder / "load").stat().st_mode & 0o777 == 0o644


def test_what_a_watchman_is_told_is_roots_to_say(public_folder: Path) -> None:
    leases = Leases(tools(public_folder))
    leases.watch("track", Track(-100, 0, boot_seconds(), "/etc/hostname"))
    (file,) = (public_folder / "agents").glob("*.state")
    assert (file.stat().st_uid, file.stat().st_gid, file.stat().st_mode & 0o022) == (0, 0, 0)
    leases.put("agent", 0, 10.0)
    (agents,) = set((public_folder / "agents").glob("*.state")) - {file}
    assert agents.stat().st_mode & 0o020


def test_where_our_unit_may_not_write_it_is_said_how_it_may(public_folder: Path) -> None:
    file = public_folder / "load"
    script = f"""
import sys
from pathlib import Path
from tests.kernel.test_trackfile import tools
from tidegate.errors import GateError
from tidegate.gate.switches.keepalived import TrackFiles
from tidegate.policy.guards import Keepalived
try:
    TrackFiles(tools(Path("/tmp/none"))).look(Keepalived({str(file)!r}))
except GateError as error:
    print(error)
"""
    mounts = (
        f"mount --bind {public_folder} {public_folder}; mount -o remount,bind,ro {public_folder}"
    )
    run = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f'{mounts}; exec "$@"', "sh", sys.executable, "-c", script],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert f"ReadWritePaths={public_folder}" in run.stdout, run.stderr
