"""The shipped rules over whole logs: who is banned, why, and that nobody else is."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.corpus.conftest import note
from tests.corpus.judging import ARRIVAL, judged

from tidegate.daemon.build import Plan, plan
from tidegate.daemon.pipeline import Pipeline
from tidegate.detector.engine import Engine
from tidegate.model import MINUTE, SECOND, Block, Decision
from tidegate.policy.models import SourceSpec

pytestmark = pytest.mark.corpus


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    from importlib import resources

    text = resources.files("tidegate.policy").joinpath("shipped.toml").read_text("utf-8")
    path = tmp_path_factory.mktemp("policy") / "tidegate.toml"
    path.write_text(text)
    return plan(path)


def decided(shipped: Plan, data: bytes) -> tuple[list[Decision], Pipeline]:
    pipeline = shipped.pipeline([SourceSpec(name="log", zone="UTC")], durable=False)
    return pipeline.feed(Block("log", data, 0, ARRIVAL, 0))[0], pipeline


def test_sshd_bans_exactly_who_failed_five_times_in_ten_minutes(
    corpus: Path, shipped: Plan, pytestconfig: pytest.Config
) -> None:
    data = (corpus / "raw" / "OpenSSH_2k.log").read_bytes() + b"\n"
    decisions, _pipeline = decided(shipped, data)
    banned = {str(one.subject) for one in decisions if one.rule == "ssh-guessing"}
    # Counted anew, the plain way: attempts that failed, by the clock in front of the line.
    times: dict[str, list[int]] = defaultdict(list)
    failed = re.compile(
        rb"(\w{3} [ \d]\d [\d:]{8}) \S+ sshd\[\d+\]: "
        rb"(?:message repeated (\d+) times: \[ )?Failed \S+ for .* from ([\d.]+) port"
    )
    for line in data.splitlines():
        if found := failed.match(line):
            moment = datetime.strptime(f"2025 {found[1].decode()}", "%Y %b %d %H:%M:%S")
            seconds = int(moment.replace(tzinfo=UTC).timestamp())
            times[found[3].decode()] += [seconds] * int(found[2] or 1)
    expected = {
        host
        for host, at in times.items()
        if any(late - early <= 600 for early, late in zip(at, at[4:], strict=False))
    }
    facts = json.loads((corpus / "raw" / "OpenSSH_2k.facts.json").read_text())
    many = {
        host
        for host, counts in facts.items()
        if sum(count for said, count in counts.items() if said.startswith("Failed")) >= 5
    }
    note(pytestconfig, f"OpenSSH_2k: {len(banned)} banned; {len(many)} failed five times at all")
    assert banned == expected
    assert banned <= many
    slow = {str(one.subject) for one in decisions if one.rule == "ssh-guessing-slow"}
    assert slow <= many


def test_readers_of_a_public_page_are_left_alone(
    corpus: Path, shipped: Plan, pytestconfig: pytest.Config
) -> None:
    data = (corpus / "raw" / "apache_access_10k.log").read_bytes()
    decisions, _pipeline = decided(shipped, data)
    lines = {}
    for one in decisions:
        for ref in one.refs:
            stop = data.find(b"\n", ref.offset)
            lines.setdefault(str(one.subject), {})[ref.offset] = data[ref.offset : stop].decode()
    note(pytestconfig, f"apache_access_10k: {len(lines)} banned of 1,753 addresses, for")
    for host, told in lines.items():
        for line in told.values():
            note(pytestconfig, f"  {host}: {line[:150]}")
    asked = [line.split('"')[1].split()[1] for told in lines.values() for line in told.values()]
    assert all(re.search(r"wp-|admin|login|fckeditor|\.php", path) for path in asked), asked
    assert len(lines) <= 1


def test_probable_spammers(corpus: Path, shipped: Plan, pytestconfig: pytest.Config) -> None:
    """Points for the judged lines of mail servers: precision and recall, printed."""
    (rule,) = (one for one in shipped.loaded.policy.rules if one.name == "probable-spammers")
    weights = {one.kind: one.weight for one in rule.on}
    engine: Engine = shipped.engine((), "UTC")
    right = wrong = missed = 0
    services = ("exim", "postfix", "sendmail", "mail-misc", "dovecot")
    for number, case in enumerate(case for one in services for case in judged(corpus, one)):
        if case["attack"] is None or case.get("disputed"):
            continue
        lines = case["lines"] if "lines" in case else [case["line"]]
        data = b"".join(line.encode("utf-8", "surrogateescape") + b"\n" for line in lines)
        batch = engine.detect(Block(f"case {number}", data, 0, ARRIVAL, 0))
        points = sum(weights.get(event.kind.name) or 0 for event in batch.events)
        right += bool(points) and case["attack"]
        wrong += bool(points) and not case["attack"]
        missed += not points and case["attack"]
    precision, recall = 100 * right / (right + wrong), 100 * right / (right + missed)
    note(
        pytestconfig,
        f"probable spammers: points for {right} hostile and {wrong} harmless lines of mail servers"
        f" (precision {precision:.1f} %), none for {missed} hostile ones (recall {recall:.1f} %)",
    )
    assert precision >= 98


PROVIDER = "2026-08-21 14:03:{:02} H=mail-x.google.com [192.0.2.7] F=<a@example.com> rejected RCPT <b{}@example.org>: Unrouteable address\n"
UNKNOWN = PROVIDER.replace("mail-x.google.com", "(mail-x.google.com)")
GOOD = "2026-08-20 14:03:22 1tAbCd-000000001x-2Bcd <= a@example.com H=(mail-x.google.com) [192.0.2.7] P=esmtp S=1200\n"
BOUNCE = UNKNOWN.replace("F=<a@example.com>", "F=<>")


@pytest.mark.parametrize(
    ("lines", "banned"),
    [
        ([UNKNOWN.format(n, n) for n in range(11)], True),
        ([PROVIDER.format(n, n) for n in range(50)], False),
        ([GOOD, *(UNKNOWN.format(n, n) for n in range(50))], False),
        ([BOUNCE.format(n % 60, n) for n in range(200)], False),
    ],
    ids=["unknown host", "a provider by its verified name", "accepted mail", "bounces"],
)
def test_whom_probable_spammers_closes_for(shipped: Plan, lines: list[str], banned: bool) -> None:
    decisions, _pipeline = decided(shipped, "".join(lines).encode())
    assert [one.rule for one in decisions if not one.spared] == ["probable-spammers"] * banned


def test_the_second_spam_comment_closes_for_five_days(shipped: Plan) -> None:
    line = (
        "[Fri Aug 21 14:03:{:02}.000000 2026] [:error] [pid 7] [client 192.0.2.7:40112] ModSecurity: Access denied"
        ' with code 403 (phase 2). Match at ARGS:comment. [file "/etc/s.conf"] [line "1"] [id "300061"]'
        ' [msg "Spam: Pharmacy"] [severity "CRITICAL"]\n'
    )
    assert decided(shipped, line.format(1).encode())[0] == []
    found = decided(shipped, (line.format(1) + line.format(2)).encode())[0]
    (ban,) = (one for one in found if one.rule == "comment-spam")
    assert ban.ports == (80, 443)
    assert ban.until - ban.time == 5 * 24 * 60 * MINUTE - SECOND
