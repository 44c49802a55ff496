"""The outward table as text: names that fit the kernel, rates that nft can say, nothing unnamed."""

from __future__ import annotations

import re
from fractions import Fraction

import pytest

from tidegate.gate.outward.caps import limit
from tidegate.gate.outward.layout import laid
from tidegate.model import DAY, HOUR, MINUTE, SECOND, Subject
from tidegate.policy.outward import Filter, OutwardSpec, Rate

WHOLE = OutwardSpec(
    uids=True, networks=(Subject("192.0.2.0/24"),), interfaces=("lan0", "a-name.of_15@ch"),
    customers=(Subject("198.51.100.0/28"), Subject("2001:db8:7::/48"), Subject("203.0.113.7")),
    busy=(Subject("uid:40"), Subject("192.0.2.25")), destinations=64,
    filters=(Filter("slammer", "udp", 1434, 404), Filter("ä " * 60, "tcp", 4444)),
)  # fmt: skip


@pytest.mark.parametrize(
    ("packets", "per", "said"),
    [
        (50, SECOND, (50, "second")),
        (20, MINUTE, (20, "minute")),
        (2, MINUTE, (2, "minute")),
        (1, HOUR, (1, "hour")),
        (3, 7 * SECOND, (37029, "day")),
        (1, 30 * DAY, (1, "day")),
    ],
)
def test_a_rate_in_the_words_of_nft(packets: int, per: int, said: tuple[int, str]) -> None:
    assert limit(Fraction(packets, per)) == said


def test_names_fit_the_kernel_and_every_one_is_declared() -> None:
    layout = laid(WHOLE, [Subject("192.0.2.1"), Subject("uid:999")])
    text = layout.text(whole=False, cutting=True)
    text.encode("ascii")
    sets, chains = layout.names
    assert all(len(name) < 128 for name in (*sets, *chains))
    assert set(re.findall(r"(?<= )@([a-z]\w+)", text)) - {"ih", "nh"} <= sets
    jumps = set(re.findall(r"(?:goto|jump) (\S+)", text))
    assert {re.sub(r"[^\w.]", "", name) for name in jumps} <= chains
    prefixes = re.findall(r'prefix "([^"]*)"', text)
    assert all(len(prefix) < 64 for prefix in prefixes)
    assert "tg:filter slammer" in prefixes


def test_chains_come_before_those_that_lead_there() -> None:
    """nft puts in what is jumped to first, and takes out in the other order."""
    seen: set[str] = set()
    for name, (_hook, rules) in laid(WHOLE, []).chains.items():
        for rule in rules:
            assert set(re.findall(r"(?:goto|jump) ([\w.]+)", rule)) <= seen, (name, rule)
        seen.add(name)


def test_what_is_off_leaves_no_rule() -> None:
    spec = OutwardSpec(uids=True, syn=None, udp=None, smtp=None, irc=False)
    text = laid(spec, []).text(whole=True)
    assert not re.search(r"syn_uid|udp_uid|smtp_uid|irc|@ih|forward|filter_", text)
    assert "drop" not in laid(OutwardSpec(mode="observe", uids=True), []).text(whole=True)


def test_nobody_is_looked_for_while_nobody_is_cut_off() -> None:
    layout = laid(OutwardSpec(uids=True, networks=(Subject("192.0.2.0/24"),)), [])
    lookup = "@cut_"
    assert lookup not in layout.text(whole=True)
    assert lookup in layout.text(whole=True, cutting=True)
    assert "flush chain" in layout.text_of_cutting(cutting=False)
    assert lookup not in layout.text_of_cutting(cutting=False)


def test_a_tenth_of_a_rate_on_probation() -> None:
    spec = OutwardSpec(uids=True, syn=Rate(50, SECOND, 200), smtp=Rate(20, MINUTE, 5))
    rules = dict(laid(spec, []).chains)["tightrates_uid"][1]
    assert any("limit rate over 5/second burst 20 packets" in rule for rule in rules)
    assert any("limit rate over 2/minute burst 1 packets" in rule for rule in rules)
