"""What real daemons keep of what they see: a fleet's plan over all of it, and exactly once each
whatever is killed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.company import Company, attempts, banned, company, joined
from tests.kernel.daemon import FAST, Daemon, good, until, virus

from tidegate.chronicle.records import Noted
from tidegate.chronicle.store import read
from tidegate.daemon.clock import now_micros
from tidegate.fleet.trust import keys
from tidegate.fleet.trust.members import Certificate, May

pytestmark = [pytest.mark.kernel, pytest.mark.daemons]

A, B, C = "192.0.2.7", "192.0.2.8", "198.51.100.9"


@pytest.fixture
def fleet(public_folder: Path) -> Iterator[Company]:
    with company(public_folder) as made:
        yield made


@pytest.fixture
def tree(public_folder: Path) -> Path:
    folder = public_folder / "tree"
    folder.mkdir()
    return folder


def publisher(fleet: Company, name: str) -> None:
    """The desk lets this host publish, and so plan."""
    key = keys.load(fleet.folder / name / "keys").public
    may = May.CLAIM | May.DECIDE | May.PUBLISH
    fleet.desk.enrol(Certificate(name, key, may), now_micros())
    fleet.publish()


def kept(host: Daemon) -> list[str]:
    """Of whom every event is that the host has kept."""
    records = (record for one in read(host.folder / "state" / "events") for record in one)
    batches = [one.batch for one in records if isinstance(one, Noted)]
    return [event.subject for batch in batches for event in batch.events]


def planned(host: Daemon, tree: Path, *words: str) -> tuple[list[dict[str, Any]], str, int]:
    done = host.verb("fleet", "plan", str(tree), "--config", str(host.policy), "--json", *words)
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr, done.returncode


def test_a_plan_sees_what_no_host_alone_has_seen(fleet: Company, tree: Path) -> None:
    hosts = [fleet.host(name) for name in ("web1", "web2", "web3")]
    publisher(fleet, "web1")
    for one in hosts:
        one.start()
    joined(*hosts, members=4)
    for one, number in zip(hosts, (2, 1, 1), strict=True):
        attempts(one, A, number)
        attempts(one, B, 1)
    hosts[1].append(good(C, ago=30))
    attempts(hosts[1], C, 2)
    attempts(hosts[2], C, 1)
    until("A is closed for everywhere", lambda: banned(*hosts) == [{A}] * 3)
    until("all is kept", lambda: [len(kept(one)) for one in hosts] == [3, 4, 3])

    # What a host's own files say stands above what is published: a rule of another name it is.
    (tree / "tidegate.toml").write_text(
        '[rule.stricter]\non = ["exim.malware"]\nat-least = 3\nwithin = "5m"\ncount = "fleet"'
        '\nban = { ports = [25], ladder = ["2h"] }\n'
    )
    rows, said, code = planned(hosts[0], tree, "--wait", "3s")
    *found, last = rows
    assert {(one["what"], one["subject"]) for one in found} == {
        ("appears", A), ("appears", B), ("appears", C),
    }  # fmt: skip
    by = {one["subject"]: one for one in found}
    assert by[A]["also"] == ["virus-senders"]
    assert by[B]["after"]["seen_by"] == ["web1", "web2", "web3"]
    assert by[C]["after"]["seen_by"] == ["web2", "web3"]
    assert by[C]["after"]["good_record"] and not by[B]["after"]["good_record"]
    assert last["summary"]["newly_closed"] == 2
    counted = {one["host"]: one["events"] for one in last["hosts"]}
    assert counted == {"web1": 3, "web2": 4, "web3": 3, "office": 0}
    assert code == 1 and any(one.startswith("office: sent nothing") for one in last["left_out"])

    rows, said, code = planned(hosts[0], tree, "--own")
    assert (len(rows), code) == (1, 0), said  # alone it has seen too little of anybody

    done = hosts[1].verb("fleet", "plan", str(tree), "--config", str(hosts[1].policy))
    assert done.returncode == 2
    assert "web2 may not ask the other hosts" in done.stderr
    fleet.server.kill()
    rows, said, code = planned(hosts[0], tree)
    assert code == 3 and "--own" in said


@pytest.mark.parametrize("seed", [2])
def test_every_event_is_kept_once_whatever_is_killed(public_folder: Path, seed: int) -> None:
    chance = random.Random(seed)
    daemon = Daemon(public_folder, None, FAST)
    try:
        daemon.start("--observe")
        expected: list[str] = []
        for number in range(6):
            who = [f"10.1.{number}.{at % 250 + 1}" for at in range(chance.randrange(1, 900))]
            daemon.append("".join(virus(one, ago=600 - number) for one in who))
            expected += who
            if chance.random() < 0.3:
                least = len(expected) // 2
                until("they are kept", lambda least=least: len(kept(daemon)) >= least)
            daemon.kill("watcher")
            until("another watcher", lambda: daemon.children().get("watcher"))
        until("all is kept", lambda: len(kept(daemon)) >= len(expected))
        assert kept(daemon) == expected
    finally:
        daemon.close()
