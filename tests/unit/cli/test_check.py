"""`check` by itself, and what stands below it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


def tidegate(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tidegate", *words], capture_output=True, text=True, timeout=60
    )


def test_a_policy_is_checked_with_its_options(tmp_path: Path) -> None:
    policy = tmp_path / "tidegate.toml"
    policy.write_text('mode = "observe"\n')
    done = tidegate("check", "--config", str(policy), "--json")
    assert (done.returncode, json.loads(done.stdout)["ok"]) == (0, True), done.stderr
    policy.write_text('mode = "odd"\n')
    done = tidegate("check", "-c", str(policy), "--json")
    assert (done.returncode, json.loads(done.stdout)["ok"]) == (2, False), done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["check", "xm", "example.org"], "xm"),
        (["check", "mx"], "DOMAIN"),
        (["check", "mx", "example.org", "--recipient", "a b"], "--recipient: expected"),
        (["check", "mx", "example.org", "--helo", "x\r\nMAIL"], "--helo: expected"),
    ],
)
def test_what_is_wrong_is_said(words: list[str], said: str) -> None:
    done = tidegate(*words)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr


def test_the_manual_page_names_what_else_is_checked(tmp_path: Path) -> None:
    assert tidegate("manual", str(tmp_path)).returncode == 0
    page = (tmp_path / "tidegate-check.1").read_text()
    assert ".B mx [OPTIONS] DOMAIN" in page
    assert "tidegate\\-run" not in page
    assert ".BR tidegate-check (1)" in (tmp_path / "tidegate.1").read_text()
    inner = (tmp_path / "tidegate-fleet-enroll.1").read_text()
    assert ".BR tidegate-fleet-enroll (1)" in (tmp_path / "tidegate-fleet.1").read_text()
    assert ".B tidegate fleet enroll\n" in inner
    assert "\\-\\-no\\-people" in inner


def test_guards_are_counted_and_what_is_worth_a_look_fails_nothing(tmp_path: Path) -> None:
    policy = tmp_path / "tidegate.toml"
    policy.write_text(
        '[guard.apache]\nclose = "la1 >= 10 or la5 >= 6"\nopen = "la1 <= 2"\nservice = "apache2"\n'
    )
    done = tidegate("check", "--config", str(policy))
    note = "guard.apache.open: close and open can hold together (la5 >= 6 while la1 <= 2)"
    assert (done.returncode, f"{policy}:3: {note}" in done.stderr) == (0, True), done.stderr
    assert "0 rules, 1 guards," in done.stdout
    told = json.loads(tidegate("check", "--config", str(policy), "--json").stdout)
    assert (told["guards"], len(told["notes"])) == (1, 1)
    shown = tidegate("check", "--config", str(policy), "--show").stdout
    assert f'guard.apache.service = "apache2"    # {policy}:4' in shown


def test_what_outward_lacks_is_said_and_fails_nothing(tmp_path: Path) -> None:
    policy = tmp_path / "tidegate.toml"
    policy.write_text(
        """
[outward]
sources = ["uids", "no-such-lan0"]
busy = ["no-such-user"]
[outward.filter.slammer]
protocol = "udp"
port = 1434
length = 404
"""
    )
    done = tidegate("check", "--config", str(policy), "--show")
    assert done.returncode == 0, done.stderr
    lacks = (
        f"note: {policy}:4: outward.busy: no-such-user: no such user on this host; passed over",
        f"note: {policy}:2: outward: caps hold, but no rule that counts outward.* has quarantine",
        "warning: outward: there is no interface no-such-lan0 yet",
    )
    assert [one for one in lacks if one not in done.stderr] == []
    assert f'outward.sources = ["uids", "no-such-lan0"]    # {policy}:3' in done.stdout
    shown = 'outward.filter.slammer = { protocol = "udp", port = 1434, length = 404 }'
    assert f"{shown}    # {policy}:5" in done.stdout


FLEET = """
[fleet]
engine = "unix:/nowhere/redis.sock"
[paths]
fleet = "{folder}/keys"
[rule.guess]
on = ["sshd.auth_failed"]
at-least = 5
within = "10m"
ban = {{ ports = "service" }}
[rule.users]
on = ["sshd.auth_failed"]
at-least = 5
distinct = "user"
reset-on = "sshd.auth_ok"
within = "10m"
ban = {{ ports = [22] }}
[rule.here]
on = ["sshd.auth_failed"]
at-least = 9
within = "10m"
count = "host"
ban = {{ ports = [22] }}
"""


def test_who_counts_by_which_rule_is_said_where_there_is_a_fleet(tmp_path: Path) -> None:
    policy = tmp_path / "tidegate.toml"
    policy.write_text(FLEET.format(folder=tmp_path))
    done = tidegate("check", "--config", str(policy))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:-1] == [
        "fleet: all hosts count together by guess",
        "fleet: each host counts alone by users: the fleet can't begin a count anew (reset-on)",
    ]
    assert "warning: fleet: this host counts and decides alone: " in done.stderr
    answer = json.loads(tidegate("check", "--config", str(policy), "--json").stdout)
    assert answer["together"] == ["guess"]
    policy.write_text(
        FLEET.format(folder=tmp_path).replace('redis.sock"', 'redis.sock"\ncount = "host"')
    )
    done = tidegate("check", "--config", str(policy))
    assert done.stdout.startswith(
        "fleet: hosts count together by no rule; what one closes, all close\nok: "
    )
    policy.write_text(FLEET.format(folder=tmp_path).partition("[rule")[2].join(["[rule", ""]))
    done = tidegate("check", "--config", str(policy))
    assert (done.returncode, "fleet" in done.stdout + done.stderr) == (0, False), done.stderr
