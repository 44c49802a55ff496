"""Rules through the whole core, from text to decisions: what a rule says reaches the engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.daemon.build import plan
from tidegate.model import DAY, Block, Decision
from tidegate.policy.models import SourceSpec

BAN = "ban = { ports = [25] }\n"
REFUSED = "2026-08-21 14:03:{:02} H=(x) [192.0.2.7] F=<a@example.com> rejected RCPT <b{}@example.org>: Unrouteable address\n"
TAKEN = "2026-08-21 14:03:{:02} 1tAbCd-0000000000{}-2Bcd <= a@example.com H=mx.example.com [192.0.2.7] P=esmtp S=1\n"
FAILED = "Aug 21 14:03:{:02} mx sshd[{}]: Failed password for {} from 192.0.2.7 port 4{:03} ssh2\n"


def decided(folder: Path, policy: str, *lines: str, blocks: int = 1) -> list[Decision]:
    path = folder / "tidegate.toml"
    path.write_text(policy)
    pipeline = plan(path).pipeline([SourceSpec(name="log", zone="UTC")])
    found: list[Decision] = []
    offset = 0
    for part in [lines] if blocks == 1 else [[line] for line in lines]:
        data = "".join(part).encode()
        found += pipeline.feed(Block("log", data, offset, 1_790_000_000_000_000, 1))[0]
        offset += len(data)
    return found


@pytest.mark.parametrize("blocks", [1, 9])
def test_accepted_mail_takes_points_off(tmp_path: Path, blocks: int) -> None:
    rule = (
        '[rule.spam]\non = { "exim.rcpt_refused" = 5, "exim.accepted" = -5 }\nscore-at-least = 10\ndecay = "1/day"\n'
        + BAN
    )
    refused = [REFUSED.format(n, n) for n in range(3)]
    assert decided(tmp_path, rule, *refused, blocks=blocks)
    mixed = [line for n in range(3) for line in (REFUSED.format(n, n), TAKEN.format(n, n))]
    assert decided(tmp_path, rule, *mixed, blocks=blocks) == []


@pytest.mark.parametrize("blocks", [1, 9])
def test_a_record_spares_and_doubles(tmp_path: Path, blocks: int) -> None:
    text = (
        '[rule.r]\non = ["exim.rcpt_refused"]\nat-least = 3\nwithin = "5m"\ngood-record = "%s"\n'
        + BAN
    )
    three, six = ([REFUSED.format(n, n) for n in range(1, 1 + count)] for count in (3, 6))
    good = TAKEN.format(0, 0)
    assert len(decided(tmp_path, text % "spare", *three, blocks=blocks)) == 1
    assert decided(tmp_path, text % "spare", good, *six, blocks=blocks) == []
    assert decided(tmp_path, text % "double", good, *three, blocks=blocks) == []
    (ban,) = decided(tmp_path, text % "double", good, *six, blocks=blocks)
    assert (ban.count, ban.collateral) == (6, True)


@pytest.mark.parametrize("blocks", [1, 9])
def test_different_users(tmp_path: Path, blocks: int) -> None:
    rule = (
        '[rule.u]\non = ["sshd.auth_failed"]\ndistinct = "user"\nat-least = 4\nwithin = "5m"\nreset-on = "sshd.auth_ok"\n'
        + BAN
    )
    one = [FAILED.format(n, n, "root", n) for n in range(9)]
    four = [FAILED.format(n, n, f"user{n}", n) for n in range(4)]
    in_between = (
        "Aug 21 14:03:02 mx sshd[9]: Accepted password for bob from 192.0.2.7 port 4711 ssh2\n"
    )
    assert decided(tmp_path, rule, *one, blocks=blocks) == []
    (ban,) = decided(tmp_path, rule, *four, blocks=blocks)
    assert ban.count == 4
    assert decided(tmp_path, rule, *four[:2], in_between, *four[2:], blocks=blocks) == []


def test_ten_neighbours_close_their_network_and_one_good_one_keeps_it_open(tmp_path: Path) -> None:
    rule = (
        '[rule.r]\non = ["exim.rcpt_refused"]\nat-least = 2\nwithin = "5m"\n' + BAN
        + '[escalation.near]\nnetwork = "ipv4/24"\nchildren = 10\nwithin = "1h"\nfor = "5m"\n'
    )  # fmt: skip
    hosts = [
        REFUSED.format(n, n).replace("[192.0.2.7]", f"[198.51.100.{n}]")
        for n in range(1, 11)
        for _ in range(2)
    ]
    found = decided(tmp_path, rule, *hosts)
    assert [one.subject for one in found][-1] == "198.51.100.0/24"
    assert len(found) == 11
    assert found[-1].until - found[-1].time == 5 * 60 * 1_000_000
    good = TAKEN.format(0, 0).replace("[192.0.2.7]", "[198.51.100.200]")
    assert len(decided(tmp_path, rule, good, *hosts)) == 10


def test_probation_after_a_ban(tmp_path: Path) -> None:
    rule = '[rule.r]\non = ["exim.rcpt_refused"]\nat-least = 3\nwithin = "5m"\nban = { ports = [25], ladder = ["1m", "1h"] }\n'
    lines = [REFUSED.format(n, n) for n in range(3)]
    later = [REFUSED.format(0, 9).replace("14:03", clock) for clock in ("14:10", "15:30")]
    first, second = decided(tmp_path, rule, *lines, later[0])
    assert (first.step, second.step, second.count) == (0, 1, 1)
    assert second.reason.startswith("one more on probation")
    assert second.duration < DAY
    assert len(decided(tmp_path, rule, *lines, later[1])) == 1, "an hour and a minute are over"
