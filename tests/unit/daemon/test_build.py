"""From a policy to a pipeline: packs found, cross-checked and tried, zones, journal matches."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tidegate.daemon import build
from tidegate.daemon.build import host_zone, journal_matches, plan, with_policy
from tidegate.errors import PackError, PolicyError
from tidegate.model import Block
from tidegate.policy.models import SourceSpec

POLICY = """
[source.exim]
file = "/var/log/exim4/mainlog"
detectors = ["exim"]
[source.second]
file = "/var/log/second"
detectors = ["exim"]
[source.zoned]
file = "/var/log/zoned"
zone = "Asia/Tokyo"
detectors = ["exim"]
[source.asleep]
file = "/var/log/asleep"
enabled = false
[paths]
detectors = "{folder}/detectors"
"""
PACK = """
name = "door"
about = "A door"
reference = "https://www.example.com/"
programs = ["doord"]
journal = [["_COMM=doord"]]
[[detector]]
name = "knock"
kind = "knock"
weight = 3
literals = ["knock "]
pattern = 'knock at <addr>'
match = [{ line = "Aug 21 14:03:22 mx doord[1]: knock at 192.0.2.7", subject = "192.0.2.7" }]
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "tidegate.toml"
    path.write_text(POLICY.replace("{folder}", str(tmp_path)))
    (tmp_path / "detectors").mkdir()
    return path


def add(policy: Path, text: str, name: str = "door.toml") -> Path:
    path = policy.parent / "detectors" / name
    path.write_text(text)
    return path


def test_sources_that_are_off_are_not_built_and_equal_ones_share_an_engine(policy):
    found = plan(policy)
    assert [source.name for source in found.sources] == ["exim", "second", "zoned"]
    engines = found.pipeline().engines
    assert engines["exim"] is engines["second"]
    assert engines["exim"] is not engines["zoned"]


def test_own_packs_are_found_weighed_and_named_in_rules(policy):
    add(policy, PACK)
    policy.write_text(
        policy.read_text()
        + '[rule.x]\non = ["door.knock"]\nat-least = 1\nwithin = "1m"\nban = { ports = [] }\n'
    )
    found = plan(policy)
    assert found.weights()["door.knock"] == 3
    assert found.weights()["exim.malware"] == 1
    assert found.pipeline().windows.windows[0].weights == {"door.knock": 3}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[rule.x]\non = ["door.knock"]\nat-least = 1\nwithin = "1m"\nban = { ports = [] }\n',
         "rule.x.on: no detector sees 'door.knock'"),
        ('[source.x]\nfile = "/x"\ndetectors = ["door"]\n',
         "source.x.detectors: no such detectors 'door'"),
    ],
)  # fmt: skip
def test_what_no_pack_has_is_a_fault_of_the_policy(policy, text, said):
    policy.write_text(policy.read_text() + text)
    with pytest.raises(PolicyError, match=said):
        plan(policy)
    add(policy, PACK)
    plan(policy)


@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
def test_packs_that_others_could_change_are_refused_when_trust_matters(public_folder):
    policy = public_folder / "tidegate.toml"
    policy.write_text(POLICY.replace("{folder}", str(public_folder)))
    (public_folder / "detectors").mkdir()
    path = add(policy, PACK)
    plan(policy, trusted=True)
    path.chmod(0o666)
    plan(policy)
    with pytest.raises(PackError, match=f"{path} is writable by others"):
        plan(policy, trusted=True)


def test_the_journal_is_asked_for_what_the_packs_trust_or_the_source_says(policy):
    packs = plan(policy).packs
    trusted = journal_matches(SourceSpec("x", journal=(), detectors=("sshd",)), packs)
    assert all(any(match.startswith("_") for match in line) for line in trusted)
    own = (("_COMM=mine",),)
    assert journal_matches(SourceSpec("x", journal=own, detectors=("sshd",)), packs) == own
    everything = journal_matches(SourceSpec("x", journal=()), packs)
    assert set(trusted) < set(everything)


def test_a_changed_policy_keeps_the_packs(policy):
    found = plan(policy)
    observing = with_policy(found, mode="observe")
    assert observing.loaded.policy.mode == "observe"
    assert observing.packs is found.packs


def test_the_hosts_zone(monkeypatch):
    monkeypatch.setenv("TZ", ":Europe/Zurich")
    assert host_zone() == ZoneInfo("Europe/Zurich")
    monkeypatch.setenv("TZ", "No/Where")
    monkeypatch.setattr(build, "_linked_zone", lambda: "Asia/Tokyo")
    assert host_zone() == ZoneInfo("Asia/Tokyo")
    monkeypatch.setattr(build, "_linked_zone", lambda: "No/Where")
    noon = datetime(2026, 8, 21, 12, tzinfo=UTC)
    assert noon.astimezone(host_zone()).utcoffset() is not None


def test_a_host_without_a_zone_is_in_utc(monkeypatch):
    monkeypatch.setenv("TZ", "")
    monkeypatch.setattr(build, "_linked_zone", lambda: "")

    def missing(*_words):
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", missing)
    assert host_zone() is UTC


FINDING = b"2026-08-21T14:03:22.123456Z tidegate outward: scan uid:33: 14 new destinations\n"


def test_only_a_source_that_names_it_speaks_as_a_pack_kept_apart(policy):
    """Else whoever may write into the system's log could have any user of this host cut off."""
    found = plan(policy)
    sources = (SourceSpec("syslog"), SourceSpec("outward", detectors=("outward", "inward")))
    engines = found.pipeline(sources).engines
    block = Block("any", FINDING, 0, 1_790_000_000_000_000, 1)
    assert engines["syslog"].detect(block).events == []
    assert [event.subject for event in engines["outward"].detect(block).events] == ["uid:33"]
    assert [event.subject for event in found.engine().detect(block).events] == ["uid:33"]
