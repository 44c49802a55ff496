"""A keeper with one capability and a watcher with none, over the real packet filter."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kernel.conftest import ban, now
from tests.kernel.namespaces import ALIVE, ATTACKERS, HOST, World

import tidegate
from tidegate.errors import GateError
from tidegate.gate.nftables import delete_table
from tidegate.gate.remote import RemoteGate
from tidegate.model import Ban, Subject

pytestmark = pytest.mark.kernel

_KEEPER = """
import socket, sys
from pathlib import Path
from tidegate.gate.charter import Charter
from tidegate.gate.keeper import serve
from tidegate.gate.nftables import NftablesGate
from tidegate.subject import network
charter = Charter(allow=(network("192.0.2.9"),), protected=(network("192.0.2.1"),))
connection = socket.socket(fileno=int(sys.argv[1]))
serve(connection, NftablesGate(), lambda: charter, off_file=Path(sys.argv[2]))
"""

ONLY_NET_ADMIN = (
    *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"),
    *("--inh-caps=-all,+net_admin", "--ambient-caps=-all,+net_admin"),
    "--bounding-set=-all,+net_admin",
)


@pytest.fixture
def off_file(public_folder: Path) -> Path:
    return public_folder / "off"


@pytest.fixture
def keeper(world: World, public_folder: Path, off_file: Path) -> Iterator[RemoteGate]:
    """A keeper as nobody with CAP_NET_ADMIN alone, in the mail host; our side of its socket."""
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv not installed")
    shutil.copytree(Path(tidegate.__file__).parent, public_folder / "tidegate")
    here, there = socket.socketpair()
    with world.host.inside():
        process = subprocess.Popen(
            [*ONLY_NET_ADMIN, _python(), "-c", _KEEPER, str(there.fileno()), str(off_file)],
            pass_fds=[there.fileno()],
            env={**os.environ, "PYTHONPATH": str(public_folder)},
            cwd="/",
        )
    there.close()
    try:
        yield RemoteGate(here)
    finally:
        here.close()
        try:
            assert process.wait(10) == 0, "it ends with the watcher"
        finally:
            process.kill()
            process.wait()


def _python() -> str:
    """An interpreter that everybody may run: the virtual one may stand in a closed folder, as may
    the checkout, so that the package is copied."""
    return str(Path(sys.executable).resolve())


def test_one_capability_is_enough(world: World, keeper: RemoteGate, off_file: Path) -> None:
    with world.host.listen(25) as server:
        client = world.attacker.connect(HOST, 25, ATTACKERS[0], ALIVE)
        assert client is not None
        accepted, _peer = server.accept()
        with client, accepted:
            bans = [Ban(Subject(f"10.0.{i >> 8}.{i & 255}"), (), now() + 10**9) for i in range(999)]
            assert keeper.replace(bans, [], now()) == []
            assert keeper.apply([ban(ATTACKERS[0], 25), ban("192.0.2.0/24")], now())[0].index == 1
            assert world.attacker.cut_off(HOST, 25, ATTACKERS[0])
            assert world.attacker.reaches(HOST, 25, ATTACKERS[1])
            with pytest.raises(ConnectionAbortedError):
                accepted.recv(1)
        assert len(keeper.observe(now())) == 1000
        assert not keeper.drifted()
        world.host.nft("flush ruleset")
        assert keeper.drifted()
        assert keeper.replace(bans, [], now()) == []
        assert not keeper.drifted()


def test_off_stays_off(world: World, keeper: RemoteGate, off_file: Path) -> None:
    with world.host.listen(25):
        keeper.apply([ban(ATTACKERS[0])], now())
        assert world.attacker.cut_off(HOST, 25, ATTACKERS[0])
        off_file.touch()
        with world.host.inside():
            delete_table()
        assert world.attacker.reaches(HOST, 25, ATTACKERS[0])
        with pytest.raises(GateError, match="switched off"):
            keeper.replace([Ban(Subject(ATTACKERS[0]), (), now() + 10**9)], [], now())
        assert world.attacker.reaches(HOST, 25, ATTACKERS[0])
        assert keeper.off
        off_file.unlink()
        keeper.replace([Ban(Subject(ATTACKERS[0]), (), now() + 10**9)], [], now())
        assert world.attacker.cut_off(HOST, 25, ATTACKERS[0])
