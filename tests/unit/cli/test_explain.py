"""`tidegate detect --explain` as people and programs read it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

POLICY = """
[allow]
addresses = ["198.51.100.0/24"]

[source.ssh]
journal = true
detectors = ["sshd"]

[rule.guessing]
on = { "sshd.invalid_user" = 2 }
at-least = 5
within = "10m"
ban = { ports = [22] }
"""
STAMP = "Aug 21 14:03:22 mx sshd[712]: "


def run(folder: Path, *words: str, given: bytes = b"") -> str:
    policy = folder / "tidegate.toml"
    policy.write_text(POLICY)
    done = subprocess.run(
        [sys.executable, "-m", "tidegate", "detect", "--config", policy, *words],
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={"PYTHONPATH": ":".join(sys.path), "TZ": "UTC", "LC_ALL": "C.UTF-8"},
    )
    text = done.stdout.decode()
    assert done.returncode == 0, text
    return text


def rows(folder: Path, *words: str, given: bytes = b"") -> list[dict[str, Any]]:
    return [json.loads(one) for one in run(folder, "--json", *words, given=given).splitlines()]


def test_a_line_that_counts(public_folder: Path) -> None:
    said = run(public_folder, "--line", STAMP + "Invalid user x from 192.0.2.7 port 4")
    for part in (
        "header: bsd tag: stamp Aug 21 14:03:22, host mx, program sshd, process 712",
        '"Invalid user "',
        "sshd.invalid-user: matches",
        "event: sshd.invalid_user (abuse, weight 1) by sshd.invalid-user",
        'subject 192.0.2.7, from the text "192.0.2.7"',
        "from the header's stamp",
        "session 712, from the header's process id",
        'user = "x"',
        "rule guessing (at least 5 within 10m): counts 2",
    ):
        assert part in said


def test_the_caret_stands_under_the_place(public_folder: Path) -> None:
    said = run(
        public_folder, "--explain", given=(STAMP + "Invalid user äx form 192.0.2.7\n").encode()
    )
    line, caret = next(
        (one, said.splitlines()[number + 1])
        for number, one in enumerate(said.splitlines())
        if one.startswith("      Aug")
    )
    assert line[caret.index("^") :] == "orm 192.0.2.7"


def test_a_long_line_is_cut_around_the_caret(public_folder: Path) -> None:
    text = "Invalid user " + "a" * 300 + " form 192.0.2.7" + " b" * 300
    said = run(public_folder, "sshd", "--line", text).splitlines()
    at = next(number for number, one in enumerate(said) if one.strip() == "^")
    assert len(said[at - 1]) < 120
    assert said[at - 1][said[at].index("^") :].startswith("orm 192.0.2.7")


def test_json_has_places_events_and_rules(public_folder: Path) -> None:
    text = STAMP + "Invalid user x from 192.0.2.7 port 4"
    (row,) = rows(public_folder, "--line", text)
    assert (row["v"], row["line"], row["text"]) == (1, 1, text)
    assert row["header"]["program"] == "sshd"
    (event,) = row["events"]
    start, stop = event["from"]["subject"]
    assert text[start:stop] == event["subject"] == "192.0.2.7"
    assert event["rules"] == [{"rule": "guessing", "stated": "at least 5 within 10m", "weight": 2}]
    assert event["notes"] == []


def test_why_nothing_would_be_banned(public_folder: Path) -> None:
    (first,) = rows(public_folder, "--line", STAMP + "Invalid user x from 198.51.100.7")
    assert first["events"][0]["notes"] == ["[allow] has the subject: nothing is closed for it"]
    virus = (
        "2026-08-21 14:03:22 1tAbCd-000000001x-2Bcd H=(x) [192.0.2.7] F=<a@example.com> "
        "rejected after DATA: This message contains a virus (Sobig.F)"
    )
    (second,) = rows(public_folder, "--line", virus)
    (event,) = second["events"]
    assert event["rules"] == []
    assert event["notes"] == ["no [source] of the policy is read by the detectors exim"]


def test_lines_of_one_connection_and_several_files(public_folder: Path) -> None:
    locked = STAMP + "User bob not allowed because account is locked\n"
    bye = STAMP + "Received disconnect from 192.0.2.7 port 40112:11: Bye Bye [preauth]\n"
    for name in ("one.log", "two.log"):
        (public_folder / name).write_text(locked + bye)
    found = rows(
        public_folder, "--explain", *(str(public_folder / n) for n in ("one.log", "two.log"))
    )
    assert [(Path(row["file"]).name, row["line"]) for row in found] == [
        ("one.log", 1), ("one.log", 2), ("two.log", 1), ("two.log", 2)]  # fmt: skip
    assert found[0]["dropped"][0]["detector"] == "sshd.locked"
    kinds = [event["kind"] for event in found[1]["events"]]
    assert "sshd.not_allowed" in kinds


def test_a_stamp_that_cannot_be(public_folder: Path) -> None:
    text = "Feb 30 14:03:22 mx sshd[7]: Invalid user x from 192.0.2.7"
    assert "as the stamp is impossible" in run(public_folder, "--line", text)


def test_hostile_text_is_shown_and_steers_nothing(public_folder: Path) -> None:
    said = run(public_folder, "--explain", given=b"Invalid user \x1b[2J\xff\xe2\x80\xae form 1\n")
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert r"\x1b[2J\xff\u202e" in said


def test_what_the_fleet_counts_too_is_said(public_folder: Path) -> None:
    with (public_folder / "fleet.toml").open("w") as file:
        file.write(POLICY + '[fleet]\nengine = "unix:/nowhere/redis.sock"\n')
    text = STAMP + "Invalid user x from 192.0.2.7 port 4"
    said = run(public_folder, "--line", text, "--config", public_folder / "fleet.toml")
    assert "counts 2, together with what all hosts of the fleet count" in said
    (row,) = rows(public_folder, "--line", text, "--config", public_folder / "fleet.toml")
    assert row["events"][0]["rules"][0]["together"] is True
