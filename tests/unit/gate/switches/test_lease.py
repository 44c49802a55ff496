"""What a watchman of a track file is told, and what he leaves alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.gate.switches.answers import Track, boot_seconds
from tidegate.gate.switches.kinds import Ran, Tools
from tidegate.gate.switches.lease import Leases
from tidegate.gate.switches.responder import Responder


class Watched:
    """A track file with its watchman."""

    def __init__(self, folder: Path) -> None:
        self.leases = Leases(
            Tools(lambda *_words, **_options: Ran(0, ""), leases=folder / "agents")
        )
        self.file = folder / "track"
        self.file.write_text("-100\n")
        self.leases.watch("track", Track(-100, 0, boot_seconds() + 60, str(self.file)))
        (self.state,) = (folder / "agents").glob("*.state")
        self.watchman = Responder(str(self.state), None, 1.0)
        self.watchman.weight()


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_what_was_ours_is_written_back_when_nobody_renews(watched):
    assert watched.file.read_text() == "-100\n"
    watched.leases.watch("track", Track(-100, 0, 0.0, str(watched.file)))
    watched.watchman.weight()
    assert watched.file.read_text() == "0\n"


def test_what_a_person_writes_right_after_our_opening_stands(watched):
    watched.file.write_text("0\n")
    watched.leases.drop("track")
    watched.file.write_text("-100\n")  # as it would be if we had closed it
    watched.watchman.weight()
    assert watched.file.read_text() == "-100\n"


def test_where_the_state_is_gone_it_is_written_back(watched):
    watched.state.unlink()
    watched.watchman.weight()
    assert watched.file.read_text() == "0\n"


def test_only_root_says_what_a_watchman_writes(watched):
    assert watched.state.stat().st_mode & 0o022 == 0
    watched.leases.drop("track")
    assert watched.state.stat().st_mode & 0o022 == 0
