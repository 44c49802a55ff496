"""The shipped packs over lines of real daemons, judged by the projects they come from.

Touches the corpus, reading only. Misses and false alarms are listed at the end of the test run.
Limits: the corpus is part of what its origins have; a pack must not be fitted to its lines.
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC
from pathlib import Path

import pytest
from tests.corpus.judging import Case, Score, cases, events, judge, judged, services, text

from tidegate.detector.engine import Engine
from tidegate.detector.pack import load_packs
from tidegate.detector.scanner import EngineName
from tidegate.model import Event

pytestmark = pytest.mark.corpus

SERVICES = dict.fromkeys(("exim", "sshd", "postfix", "dovecot", "apache-error", "http-access", "nginx-error", "modsecurity"), 97) | dict.fromkeys(
    (
        "database", "dns", "dropbear", "firewall", "ftp", "honeypot", "mail-misc", "misc", "mysql", "pam",
        "portscan", "recidive", "sendmail", "sip", "web-app", "wordpress",
    ),
    95,
)  # fmt: skip
"""What has to be found of each service's attacks, in per cent."""

CONTESTED = {
    # The same words count as an attack in five cases of other origins.
    "apache-error-ec6dd3f56c",
    "apache-error-4a287195a4",
    # A scanner's script in the request, and a password sent to WordPress and answered as it answers wrong ones.
    "http-access-bd8bb7826d",
    "web-app-76987ffcb2",
}


def every_pack(scanner: EngineName = "auto") -> Engine:
    return Engine(load_packs(), zone=UTC, engine=scanner)


@pytest.mark.parametrize("service", SERVICES)
def test_attacks_are_found_and_others_left_alone(
    corpus: Path, scores: list[Score], service: str
) -> None:
    score = judge(every_pack(), service, judged(corpus, service))
    scores.append(score)
    assert score.attacks, "no judged case: is the corpus whole?"
    assert score.found >= SERVICES[service], "\n".join(score.misses)
    unforeseen = [told for told in score.alarms if told.partition(":")[0] not in CONTESTED]
    assert not unforeseen, "\n".join(unforeseen)


def test_every_service_of_the_corpus_is_judged(corpus: Path) -> None:
    judgeable = {name for name in services(corpus) if any(map(_is_judged, judged(corpus, name)))}
    assert judgeable == set(SERVICES)


def _is_judged(case: Case) -> bool:
    return case["attack"] is not None


def everything(corpus: Path) -> bytes:
    """All lines there are, of every service, judged or not."""
    judged = sorted(corpus.glob("*.jsonl")) + sorted(corpus.glob("unlabelled/*.jsonl"))
    blocks = [text(case) for path in judged for case in cases(path)]
    return b"".join([*blocks, (corpus / "raw" / "OpenSSH_2k.log").read_bytes(), b"\n"])


def test_both_scanners_see_the_same(corpus: Path) -> None:
    data = everything(corpus)
    fast, plain = every_pack("vectorscan"), every_pack("re")
    assert (fast.engine, plain.engine) == ("vectorscan", "re")
    seen = events(fast, data)
    assert len(seen) > 1500
    assert seen == events(plain, data)


def test_blocks_do_not_matter(corpus: Path) -> None:
    data = everything(corpus)
    whole = [event._replace(offset=0) for event in events(every_pack(), data)]
    engine = every_pack()
    single = [
        event._replace(offset=0)
        for line in data.splitlines(keepends=True)
        for event in events(engine, line)
    ]
    assert single == whole


def _tally(seen: list[Event], names: dict[str, tuple[str, ...]]) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for event in seen:
        for said, kinds in names.items():
            if event.kind.name in kinds:
                found[event.fields["addr"], said] += event.count
    return found


def test_failures_counted_in_a_whole_log(corpus: Path) -> None:
    """Each address has exactly the failures, unknown users and logins that were counted by hand."""
    facts = json.loads((corpus / "raw" / "OpenSSH_2k.facts.json").read_text())
    seen = events(every_pack(), (corpus / "raw" / "OpenSSH_2k.log").read_bytes() + b"\n")
    wanted: Counter[tuple[str, str]] = Counter()
    for address, counts in facts.items():
        for said, count in counts.items():
            wanted[address, "Failed" if said.startswith("Failed") else said] += count
    kinds = {
        "Failed": ("sshd.auth_failed",),
        "Invalid user": ("sshd.invalid_user",),
        "Accepted password": ("sshd.auth_ok",),
    }
    assert _tally(seen, kinds) == wanted
