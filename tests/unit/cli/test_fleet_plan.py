"""`tidegate fleet plan` on one host's own events: what appears, vanishes, changes, and what it can't
tell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tidegate.chronicle.store import stretches
from tidegate.daemon import chronicling
from tidegate.daemon.build import plan
from tidegate.model import MINUTE, SECOND, Block, Micros
from tidegate.text import time_text

NOW: Micros = 1_790_000_000_000_000

POLICY = """
[paths]
state = "{state}"
detectors = "{state}/none"
run = "{state}"

[source.ssh]
file = "/var/log/none.log"
detectors = ["sshd"]
zone = "UTC"

[rule.guessing]
on = ["sshd.auth_failed"]
at-least = 5
within = "10m"
ban = {{ ports = [22], for = "1h" }}

[rule.many-names]
on = ["sshd.auth_failed"]
distinct = "user"
at-least = 8
within = "1h"
ban = {{ ports = [], for = "2h" }}
"""


def failed(second: int, address: str, user: str = "root") -> str:
    stamp = time_text(NOW - 60 * MINUTE + second * SECOND)
    return f"{stamp} host sshd[{second}]: Failed password for {user} from {address} port 2 ssh2\n"


def accepted(second: int, address: str) -> str:
    return failed(second, address).replace("Failed", "Accepted")


@pytest.fixture
def config(public_folder: Path) -> Path:
    path = public_folder / "tidegate.toml"
    path.write_text(POLICY.format(state=public_folder))
    return path


def keep(config: Path, lines: list[str]) -> None:
    """As the watcher does."""
    found = plan(config)
    pipeline = found.pipeline()
    folder = chronicling.folder(found.loaded.policy)
    chronicle = chronicling.chronicle(folder, lambda: found)
    chronicle.begin(NOW)
    pipeline.tap = chronicle
    pipeline.feed(Block("ssh", "".join(lines).encode(), 0, NOW, 1))
    list(chronicle.changes())
    chronicle.close()


def run(config: Path, *words: str) -> tuple[list[dict[str, Any]], subprocess.CompletedProcess[str]]:
    command = [sys.executable, "-m", "tidegate", "fleet", "plan", "-c", str(config), *words]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return rows, done


def proposed(config: Path, *changes: tuple[str, str]) -> Path:
    text = config.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    folder = config.parent / "proposed"
    folder.mkdir(exist_ok=True)
    (folder / "tidegate.toml").write_text(text)
    return folder


LINES = [
    *(failed(at, "192.0.2.5") for at in range(6)),  # banned now
    *(failed(10 + at, "192.0.2.3") for at in range(3)),  # only by a stricter rule
    accepted(20, "192.0.2.4"),
    *(failed(30 + at, "192.0.2.4") for at in range(3)),  # a customer
    *(failed(40 + at, "192.0.2.8", f"user{at}") for at in range(9)),  # by both rules
]


def test_a_stricter_rule_shows_whom_it_hits_customers_first(config: Path) -> None:
    keep(config, LINES)
    rows, done = run(config, str(proposed(config, ("at-least = 5", "at-least = 3"))), "--json")
    assert done.returncode == 0, done.stderr
    *found, last = rows
    told = [(one["what"], one["subject"], one["rule"]) for one in found]
    assert told == [
        ("appears", "192.0.2.4", "guessing"),
        ("appears", "192.0.2.3", "guessing"),
        ("changes", "192.0.2.5", "guessing"),
        ("changes", "192.0.2.8", "guessing"),
    ]
    assert [one["after"]["good_record"] for one in found] == [True, False, False, False]
    assert found[0]["after"]["seconds"] == 3600
    assert last["summary"]["newly_closed"] == 2
    assert last["summary"]["good_record"] == 1
    assert last["hosts"][0]["events"] == 21
    text = run(config, str(config.parent / "proposed"))[1].stdout
    assert "2 would appear, 0 vanish, 2 change: 2 would be closed for who are not now" in text
    assert "LOOK  1 of those that would appear hit somebody who succeeded" in text


def test_a_rule_that_goes_and_an_allowed_address_vanish(config: Path) -> None:
    keep(config, LINES)
    folder = proposed(
        config, ("[source.ssh]", '[allow]\naddresses = ["192.0.2.5"]\n[source.ssh]'),
        ("at-least = 8", "at-least = 80"),
    )  # fmt: skip
    rows, done = run(config, str(folder), "--json")
    assert done.returncode == 0, done.stderr
    told = [
        (one["what"], one["subject"], one["rule"], one["spared"], one["also"]) for one in rows[:-1]
    ]
    assert told == [
        ("vanishes", "192.0.2.5", "guessing", "allowlist", []),
        ("vanishes", "192.0.2.8", "many-names", "", ["guessing"]),
    ]
    assert rows[-1]["summary"]["no_longer_closed"] == 1


def test_the_same_policy_makes_no_difference(config: Path) -> None:
    keep(config, LINES)
    rows, done = run(config, str(proposed(config)), "--json")
    assert [*rows[0]["summary"].items()][2:5] == [("appears", 0), ("vanishes", 0), ("changes", 0)]
    assert "No ban would be different." in run(config, str(config))[1].stdout
    assert done.returncode == 0


def test_a_source_that_is_read_no_more_takes_its_bans_along(config: Path) -> None:
    keep(config, LINES)
    folder = proposed(config, ("[source.ssh]", "[source.other]"))
    rows, _done = run(config, str(folder), "--json")
    assert {one["what"] for one in rows[:-1]} == {"vanishes"}
    assert rows[-1]["summary"]["bans_after"] == 0


def test_what_was_not_kept_is_said(config: Path) -> None:
    keep(config, LINES)
    more = (
        '[rule.new]\non = ["sshd.auth_ok", "sshd.invalid_user", "web.not_found"]\nwhere = { uri = "*x*" }'
        '\nat-least = 2\nwithin = "1h"\nban = { ports = [80], for = "1h" }\n[rule.guessing]'
    )
    folder = proposed(config, ("[rule.guessing]", more))
    rows, done = run(config, str(folder), "--json")
    kinds = {(one["rule"], one["kind"], *one["fields"]) for one in rows[-1]["not_kept"]}
    assert ("new", "sshd.auth_ok") in kinds
    assert ("new", "sshd.invalid_user", "uri") in kinds
    assert done.returncode == 0
    assert "rule new can't be judged" in run(config, str(folder))[1].stderr


def test_a_damaged_stretch_is_left_out_and_said(config: Path) -> None:
    keep(config, LINES)
    ((path, _number),) = stretches(config.parent / "events")
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    rows, done = run(config, str(proposed(config)), "--json")
    assert done.returncode == 1
    assert rows[-1]["left_out"] == ["this host: stretch 1 of 1: a block of it is damaged"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["/nonexistent"], "does not exist"),
        (["--since", "x", "."], "--since: expected a duration"),
        (["--most", "x", "."], "--most: expected a size"),
    ],
)
def test_wrong_words_are_said(config: Path, words: list[str], said: str) -> None:
    _rows, done = run(config, *words)
    assert done.returncode == 2
    assert said in done.stderr


def test_where_nothing_is_kept_it_says_so(config: Path) -> None:
    _rows, done = run(config, str(config))
    assert done.returncode == 2
    assert "no events are kept yet" in done.stderr


def test_a_faulty_policy_is_refused_with_its_place(config: Path) -> None:
    keep(config, LINES)
    _rows, done = run(config, str(proposed(config, ("at-least = 5", "at-least = -5"))))
    assert done.returncode == 2
    assert "rule.guessing.at-least" in done.stderr
