"""What of a decision is said to all, and what stays this host's own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tidegate.fleet.decisions import entries
from tidegate.fleet.decisions.decisions import Entry
from tidegate.fleet.trust import cases
from tidegate.model import DAY, HOUR, MINUTE, Decision, Subject

NOW = 500_000 * HOUR
BAN = Decision(
    "x", NOW + 7, "ban", Subject("192.0.2.7"), "guessing", (25, 22), NOW + HOUR, HOUR, 4, 0,
    "enforce", "", note="n",
)  # fmt: skip


def test_a_ban_is_said_as_all_can_understand_it():
    found = entries.entry_of(BAN)
    assert found == Entry(
        "", "ban", "", NOW, BAN.subject, (22, 25), NOW + HOUR, "guessing", "rule", note="n"
    )


@pytest.mark.parametrize(
    "more",
    [
        {"mode": "observe"}, {"spared": "allowlist"}, {"by": "fleet:web2"}, {"action": "allow"},
        {"action": "quarantine"}, {"action": "unban"}, {"until": NOW},
    ],
)  # fmt: skip
def test_what_is_only_ours_is_not_said(more):
    assert entries.entry_of(replace(BAN, **more)) is None


def test_a_persons_word_has_no_rule_and_a_pardon_no_end():
    ban = entries.entry_of(replace(BAN, by="anna (uid 1000)", rule="manual"))
    pardon = entries.entry_of(replace(BAN, by="anna (uid 1000)", action="unban"))
    assert (ban.rule, ban.by, ban.until) == ("", "anna (uid 1000)", NOW + HOUR)
    assert (pardon.verb, pardon.rule, pardon.until) == ("unban", "", 0)


def test_no_ban_is_said_for_longer_than_all_remember():
    assert entries.entry_of(replace(BAN, until=NOW + 400 * DAY)).until == NOW + 30 * DAY


def test_shares_that_find_no_room_are_left_out():
    made = cases.Conviction(
        "c", "guessing", BAN.subject, NOW, 4, (("web1", 2), ("web2", 2)), 4, False, 1, (bytes(16),)
    )
    entry = entries.entry_of(BAN)
    assert entries.proven(entry, made)[-4:] == (made.shares, 4, made.proof, "n")
    many = tuple((f"web{number:04}", 1) for number in range(2000))
    assert entries.proven(entry, made._replace(shares=many)) == entry
    odd = made._replace(shares=(("web1", 5), ("web2", -1)))
    assert entries.proven(entry, odd) == entry
    assert entries.proven(entry, made._replace(proof=(bytes(16),) * 65)).proof == ()
    assert entries.told(made._replace(first=NOW - MINUTE)).first == NOW - MINUTE
