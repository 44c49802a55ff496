from __future__ import annotations

import json
from ipaddress import ip_address

import pytest
from click.testing import CliRunner

from tidegate.cli import top
from tidegate.cli.top_view import as_object, cells, drawn, short, show, summary, worth
from tidegate.errors import OperatorError
from tidegate.evidence.path import Who
from tidegate.evidence.talkers import Talker
from tidegate.source.traffic.passing import Report

NAMES = {2: "eth0", 3: "a\x1b[2Jb"}
HOSTILE = Who(None, "/tmp/\x1b]0;owned\x07\u202ebot (pid 7)")


def talker(**more: object) -> Talker:
    values = {
        "way": "out", "source": ip_address("192.0.2.1").packed, "sources": 1, "forged": False,
        "interface": 2, "who": Who(0, "/usr/bin/x (pid 7)"), "protocol": 17, "port": 1434,
        "answers": False, "packets": 12345.6, "volume": 4987622.4, "new": 200.0,
        "looks": "scan, UDP flood", "destinations": ((ip_address("2001:db8::1").packed, 1434),),
        "looked": 5,
    }  # fmt: skip
    return Talker(**(values | more))  # type: ignore[arg-type]


def report(*rows: Talker, thinned: int = 1, lost: int = 0) -> Report:
    return Report([*rows], {"in": 0, "out": 20000}, {"in": 0, "out": 5e6}, thinned, lost, 2.0)


def test_a_row_for_people() -> None:
    assert cells(talker(), NAMES) == (
        "out", "192.0.2.1", "root (0)", "/usr/bin/x (pid 7)", "1434/udp", "12k", "5.0M", "200",
        "scan, UDP flood",
    )  # fmt: skip
    assert cells(talker(), NAMES, about=True)[5:8] == ("~12k", "~5.0M", "~200")


@pytest.mark.parametrize(
    ("more", "column", "expected"),
    [
        ({"source": b"", "sources": 500}, 1, "500 sources"),
        ({"source": b"", "forged": True}, 1, "forged addresses"),
        ({"source": ip_address("2001:db8::").packed[:8]}, 1, "2001:db8::/64"),
        ({"who": None}, 1, "192.0.2.1 via eth0"),
        ({"who": None, "interface": 9}, 1, "192.0.2.1 via ?"),
        ({"who": Who(54329, "")}, 2, "54329"),
        ({"who": Who(54329, "")}, 3, "unknown"),
        ({"who": Who(None, ""), "protocol": 1}, 3, ""),
        ({"port": 443, "answers": True, "protocol": 6}, 4, "from 443/tcp"),
        ({"port": 0, "protocol": 47}, 4, "47"),
    ],
)
def test_what_stands_in_a_column(more: dict[str, object], column: int, expected: str) -> None:
    assert cells(talker(**more), NAMES)[column] == expected


def test_an_object_for_programs() -> None:
    found = as_object(talker(), NAMES)
    assert json.loads(json.dumps(found)) == {
        "way": "out", "source": "192.0.2.1", "sources": 1, "forged": False, "here": True,
        "interface": "eth0", "uid": 0, "program": "/usr/bin/x (pid 7)", "protocol": "udp",
        "port": 1434, "source_port": None, "packets": 12345.6, "bytes": 4987622, "new": 200.0,
        "looks": "scan, UDP flood", "looked": 5, "destinations": ["[2001:db8::1]:1434/udp"],
    }  # fmt: skip
    other = as_object(talker(answers=True, forged=True, source=b"", who=None, looks=""), NAMES)
    assert (other["port"], other["source_port"], other["source"], other["uid"]) == (
        None, 1434, None, None,
    )  # fmt: skip


def test_hostile_text_is_only_shown(capsys: pytest.CaptureFixture[str]) -> None:
    found = report(talker(who=HOSTILE), talker(who=None, interface=3))
    show(found, NAMES, 20)
    said = capsys.readouterr().out
    assert said.replace("\n", "").replace("\t", "").isprintable()
    assert "\\x1b" in said
    from rich.console import Console

    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(drawn(found, NAMES, 20))
    assert "\x1b" not in (text := console.export_text())
    assert "\u202e" not in text


def test_what_was_hardly_looked_at_is_left_out() -> None:
    rows = talker(looked=2), talker(looked=3)
    assert worth(report(*rows), 20) == [*rows]
    assert worth(report(*rows, thinned=4), 20) == [rows[1]]
    assert worth(report(*rows), 1) == [rows[0]]


def test_all_that_was_seen_in_a_line() -> None:
    said = summary(report(thinned=16, lost=3))
    assert said == (
        "in 0 packets, 0 bytes a second; out 20k packets, 5.0M bytes a second;"
        " one packet in 16 was looked at; 3 more were too many"
    )


def test_nothing_passed(capsys: pytest.CaptureFixture[str]) -> None:
    show(report(), NAMES, 20)
    assert capsys.readouterr().out == "Nothing passed.\n"


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, "0"), (0.4, "0.4"), (9.96, "10"), (999, "999"), (1000, "1.0k"), (3.2e12, "3200G")],
)
def test_numbers_are_short(number: float, expected: str) -> None:
    assert short(number) == expected


def test_a_span_that_is_none() -> None:
    done = CliRunner().invoke(top.command, ["--for", "soon"])
    assert isinstance(done.exception, OperatorError)
    assert "--for" in str(done.exception)
