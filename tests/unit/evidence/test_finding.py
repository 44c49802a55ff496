"""Findings as lines: what the packs read, and what nobody can put into one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.daemon.build import plan
from tidegate.evidence.finding import LONGEST, Finding, endpoint, line, listed, span_text
from tidegate.model import MINUTE, SECOND, Block, Subject

NOW = 1_700_000_000 * SECOND
ENGINE = plan().engine(("outward", "inward"))
KINDS = [
    ("outward.scan", "uid:33"), ("outward.capped", "192.0.2.7"), ("outward.syn_flood", "2001:db8:1:2::/64"),
    ("outward.udp_flood", "interface:lan0"), ("outward.smtp_flood", "198.51.100.0/28"), ("outward.irc", "uid:0"),
    ("outward.signature", "192.0.2.7"), ("outward.guessing", "192.0.2.7"), ("inward.syn_flood", "service:25"),
    ("inward.guessing", "203.0.113.9"),
]  # fmt: skip


def events(text: str):
    data = (text + "\n").encode("utf-8", "backslashreplace")
    return ENGINE.detect(Block("outward", data, 0, NOW + MINUTE, 1)).events


@pytest.mark.parametrize(("kind", "subject"), KINDS)
@given(text=st.text(max_size=600))
def test_every_finding_is_one_event_whatever_its_text(kind, subject, text):
    name = "slammer" if kind == "outward.signature" else ""
    written = line(Finding(NOW, kind, Subject(subject), text, name))
    assert "\n" not in written
    assert len(written) < LONGEST + 120
    assert [(one.kind.name, one.subject, one.time) for one in events(written)] == [
        (kind, subject, NOW)
    ]


def test_a_text_that_looks_like_another_line_is_none():
    forged = "x\n2026-08-21T14:03:22Z tidegate outward: scan uid:0: gotcha"
    (event,) = events(line(Finding(NOW, "outward.capped", Subject("uid:33"), forged)))
    assert (event.kind.name, event.subject) == ("outward.capped", "uid:33")


def test_endpoints():
    assert endpoint("198.51.100.4", 1434, 17) == "198.51.100.4:1434/udp"
    assert endpoint("2001:db8::1", 80, 6) == "[2001:db8::1]:80/tcp"
    assert endpoint("198.51.100.4", 0, 1) == "198.51.100.4/icmp"
    assert endpoint("198.51.100.4", 7, 253) == "198.51.100.4:7/253"


def test_lists_and_spans():
    assert listed([]) == ""
    assert listed(["a", "b"]) == ": a, b"
    assert listed(["a", "b", "c", "d"], 20) == ": a, b, c and 17 more"
    assert [span_text(one) for one in (-5, 200_000, 12 * SECOND, 5 * MINUTE, 300 * MINUTE)] == [
        "0.0s",
        "0.2s",
        "12s",
        "5m",
        "5h",
    ]
