"""A whole daemon: a user is cut off, what they dropped and runs stands still until they are back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.kernel.daemon import Daemon, daemons, until
from tests.kernel.test_halt import GATE, USER, Scene, state

pytestmark = pytest.mark.kernel

SOURCE = """
[source.found]
file = "{folder}/log/mainlog"
detectors = ["outward"]
start = "beginning"
"""
POLICY = """
[outward]
sources = ["uids"]
stop = "freeze"
[rule.worm]
on = ["outward.scan"]
at-least = 1
within = "1m"
quarantine = { ladder = ["1h", "4h"] }
"""
CREW = ("keeper", "watcher", "service keeper", "meter")


@pytest.fixture
def bot(tmp_path: Path) -> Iterator[int]:
    with ExitStack() as stack:
        yield Scene(tmp_path, stack).bot()


@pytest.fixture
def daemon(public_folder: Path) -> Iterator[Daemon]:
    with daemons(public_folder, "halting", POLICY) as make:
        made: Daemon = make()
        made.write_policy(POLICY, SOURCE)
        made.start()
        made.crew(*CREW)
        yield made


def scan(daemon: Daemon) -> None:
    moment = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    daemon.append(f"{moment} tidegate outward: scan uid:{USER}: 14 new destinations in 0.2s\n")


def stands(bot: int) -> Callable[[], bool]:
    return lambda: state(bot) == "T"


def goes(bot: int) -> Callable[[], bool]:
    return lambda: state(bot) != "T"


def test_it_stands_still_while_its_user_is_cut_off_and_why_says_so(
    daemon: Daemon, bot: int
) -> None:
    scan(daemon)
    until("the bot to stand still", stands(bot))
    said = until("the word of it", lambda: explained(daemon))
    assert f"/var/tmp/bot (pid {bot})" in said
    assert list((daemon.folder / "gates/evidence").glob(f"{bot}-*.json"))
    assert daemon.verb("release", f"uid:{USER}").returncode == 0
    until("the bot to go on", goes(bot))


def explained(daemon: Daemon) -> str:
    said = daemon.verb("why", f"uid:{USER}").stdout
    return said if "stands still" in said else ""


def test_it_goes_on_when_the_daemon_stops_for_good(daemon: Daemon, bot: int) -> None:
    """After its lease, by the dead man; `off` does it at once."""
    scan(daemon)
    until("the bot to stand still", stands(bot))
    daemon.kill("service keeper")
    daemon.crew(*CREW)
    assert stands(bot)(), "whoever comes next takes it over"
    assert daemon.stop() == 0
    assert stands(bot)()
    done = daemon.verb("off", "--config", str(daemon.policy))
    assert done.returncode == 0
    assert GATE in done.stdout
    assert goes(bot)()


def test_a_reload_that_says_never_lets_it_go_on(daemon: Daemon, bot: int) -> None:
    scan(daemon)
    until("the bot to stand still", stands(bot))
    daemon.write_policy(POLICY.replace('stop = "freeze"', 'stop = "never"'), SOURCE)
    assert daemon.verb("reload").returncode == 0
    until("the bot to go on", goes(bot))
