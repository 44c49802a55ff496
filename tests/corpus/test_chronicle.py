"""A day's lines judged once as they come, and again from what was kept of them: the same bans."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.corpus.conftest import note
from tests.corpus.judging import ARRIVAL

from tidegate.chronicle.records import Record
from tidegate.chronicle.store import Chronicle, read
from tidegate.daemon.build import Plan, plan
from tidegate.daemon.chronicling import head
from tidegate.daemon.rehearsal import Rehearsal
from tidegate.model import HOUR, SECOND, Block, Decision, Subject
from tidegate.policy.models import SourceSpec

pytestmark = pytest.mark.corpus

MORE = """
[rule.tightens]
on = ["sshd.auth_failed", "web.*"]
at-least = 9
within = "1h"
when = { high = { at-least = 6 }, flood = { at-least = 3 } }
ban = { ports = [80, 22], for = "10m" }

[rule.prolonged]
on = ["sshd.*"]
score-over = 8
half-life = "1h"
release-at = 4
ban = { ports = [22] }

[escalation.c]
network = "ipv4/24"
children = 3
within = "1d"
for = "1h"
"""
LOGS = ("OpenSSH_2k.log", "apache_access_10k.log")


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    text = resources.files("tidegate.policy").joinpath("shipped.toml").read_text("utf-8")
    path = tmp_path_factory.mktemp("policy") / "tidegate.toml"
    path.write_text(text + MORE)
    return plan(path)


@pytest.fixture(scope="module")
def lines(corpus: Path) -> list[bytes]:
    """Several logs as one, so that what is common to a page differs from event to event."""
    logs = [(corpus / "raw" / name) for name in LOGS]
    found = [path.read_bytes().splitlines(keepends=True) for path in logs if path.exists()]
    assert len(found) >= 2
    size = max(map(len, found))
    mixed = [
        line if line.endswith(b"\n") else line + b"\n"
        for at in range(size) for log in found for line in log[at : at + 1]
    ]  # fmt: skip
    told = [one for line in mixed for one in (line, *succeeded(line))]
    return [_ADDRESS.sub(neighbour, one) for one in told]


_ADDRESS = re.compile(rb"(?<=from )[\d.]{7,15}(?= port)")


def neighbour(found: re.Match[bytes]) -> bytes:
    """Every third is of one network, so that enough in it are convicted."""
    number = crc32(found[0])
    return found[0] if number % 3 != 1 else b"198.51.100.%d" % (number % 251)


def succeeded(line: bytes) -> Iterator[bytes]:
    """Some of those who fail succeed once, so that there are good records among the offenders."""
    found = re.match(rb"(\w{3} +\d+ [\d:]+ \S+ sshd\[\d+\]: )Failed .* from ([\d.]+) port", line)
    if found and crc32(line) % 17 == 0 and crc32(found[2]) % 3 == 2:
        yield found[1] + b"Accepted password for anna from " + found[2] + b" port 22 ssh2\n"


def kept(folder: Path) -> list[Record]:
    return [record for stretch in read(folder) for record in stretch]


_reasons: Counter[str] = Counter()


@settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.generate], derandomize=True)
@given(seed=st.integers(0, 1 << 32))
def test_what_was_kept_of_a_day_leads_to_exactly_its_decisions(
    rules: Plan, lines: list[bytes], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    chance = random.Random(seed)
    folder = tmp_path_factory.mktemp("events")
    pipeline = rules.pipeline([SourceSpec(name="log", zone="UTC")])
    chronicle = Chronicle(folder, 64 << 20, lambda _now: head(rules, ARRIVAL))
    chronicle.begin(ARRIVAL)
    pipeline.tap = chronicle
    now, at, offset, origin = ARRIVAL, 0, 0, 1
    found: list[Decision] = []
    while at < len(lines):
        size = chance.choice((1, 3, 40, 700, 6000))
        data = b"".join(lines[at : at + size])
        decisions, _batch = pipeline.feed(Block("log", data, offset, ARRIVAL, origin))
        found += decisions
        at, offset = at + size, offset + len(data)
        if chance.random() < 0.3:
            now += chance.choice((SECOND, 700 * SECOND, HOUR))
            chronicle.tick(now)
            list(chronicle.changes())
        if chance.random() < 0.1:  # rotated
            origin, offset = origin + 1, 0
        if chance.random() < 0.2:
            pipeline.tide = chance.choice(("low", "high", "flood"))
        if found and chance.random() < 0.2:
            last = chance.choice(found)
            when = last.time + SECOND
            pipeline.pardon(last.subject, when, chance.choice((0, SECOND, HOUR)))
        for last in [one for one in found if one.rule == "prolonged"][-3:]:
            when = last.time + chance.randrange(60) * SECOND
            found += pipeline.knock(last.subject, 22, when)
    list(chronicle.changes())
    again = list(Rehearsal(rules).play(kept(folder)))
    assert len(found) > 30
    for word in ("still tries", "high", "flood", "convicted"):
        _reasons[word] += any(word in one.reason for one in found)
    _reasons["good"] += any(one.collateral for one in found)
    assert again == found


def test_all_of_it_was_tried() -> None:
    """Reads what the test above has met."""
    wanted = ("still tries", "high", "flood", "convicted", "good")
    assert not _reasons or all(_reasons[word] for word in wanted), _reasons


def test_what_a_day_costs(
    rules: Plan, lines: list[bytes], tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    pipeline = rules.pipeline([SourceSpec(name="log", zone="UTC")])
    chronicle = Chronicle(tmp_path, 64 << 20, lambda _now: head(rules, ARRIVAL))
    chronicle.begin(ARRIVAL)
    pipeline.tap = chronicle
    _decisions, batch = pipeline.feed(Block("log", b"".join(lines), 0, ARRIVAL, 1))
    list(chronicle.changes())
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    note(pytestconfig, f"chronicle: {len(batch.events)} events in {size} bytes")
    assert 0 < size / len(batch.events) < 40


def test_successes_of_before_are_known_again(rules: Plan, tmp_path: Path) -> None:
    """Who succeeded yesterday needs twice the count, also when judged from today's events."""
    friend, stranger = Subject("192.0.2.1"), Subject("192.0.2.2")
    fails = [
        f"Dec 31 00:00:{second:02} host sshd[{pid}]: Failed password for root from {who} port 1 ssh2\n"
        for second in range(7) for pid, who in ((second * 2, friend), (second * 2 + 1, stranger))
    ]  # fmt: skip
    pipeline = rules.pipeline([SourceSpec(name="log", zone="UTC")])
    ok = f"Dec 30 00:00:00 host sshd[9]: Accepted password for x from {friend} port 1 ssh2\n"
    arrival = ARRIVAL + 110 * 24 * HOUR
    pipeline.feed(Block("log", ok.encode(), 0, arrival, 1))
    chronicle = Chronicle(tmp_path, 64 << 20, lambda _now: head(rules, ARRIVAL))
    chronicle.begin(arrival)
    pipeline.tap = chronicle
    decisions, _batch = pipeline.feed(Block("log", "".join(fails).encode(), 500, arrival, 1))
    list(chronicle.changes())
    assert {one.subject for one in decisions if one.rule == "ssh-guessing"} == {stranger}
    again = list(Rehearsal(rules).play(kept(tmp_path)))
    assert again == decisions
