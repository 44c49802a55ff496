"""How a member is, for its own status: what it believes, what it refused, what hinders it.

Touches nothing. Limits: what came of its connection to the engine, `rounds` knows.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from tidegate.fleet.port import Health, State
from tidegate.fleet.trust.members import May
from tidegate.model import SECOND, Micros, Subject

if TYPE_CHECKING:
    from tidegate.fleet.member import Member

_EACH: Micros = 500
"""For so long an answer about one subject holds: a hundred times what it takes to look."""


def health(member: Member, now: Micros) -> Health:
    """How the conversation is, as far as the member knows."""
    counting, trust, assembly = member.counting, member.trust, member.assembly
    refused = trust.refused.counts + assembly.refused + member.accepting.refused
    state, detail = _state(member)
    troubles = [
        one for one in (member.trouble, counting.trouble, member.pools.trouble) if one != detail
    ]
    troubles.append(member.mending.trouble(now))
    if counting.usurped:
        troubles.append("somebody counts in the name of this host: revoke it and enrol it anew")
    return Health(
        state, detail, member.host, "", len(trust.roster.members), counting.offset or 0, member.lag,
        len(counting.spool), counting.dropped,
        {f"{host} {reason}".strip(): number for (host, reason), number in sorted(refused.items())},
        member.digest.of(member, now), member.sent, member.read,
        len(member.accepting), 0.0, tuple(one for one in troubles if one),
        member.accepting.drift, trust.roster.may(member.host, May.DECIDE),
    )  # fmt: skip


class Digest:
    """The same text on hosts that want the same closed, whether they came to it by claims
    themselves or heard of it. Not until when, which differs by what each heard first.

    Looking at all that is closed takes some microseconds each, and is asked for every second: where
    there is much, the last answer holds for a while, so that it never takes more than a hundredth
    of a processor.
    """

    def __init__(self) -> None:
        self._text = ""
        self._made = self._again = 0

    def of(self, member: Member, now: Micros) -> str:
        """What this member wants closed."""
        if not self._made <= now < self._again:
            wanted = {one.subject for one in member.assembly.decisions.standing(now)}
            wanted.update(member.trust.cases.closed(now))
            total = sum(map(_number, wanted))
            self._text = f"{total & (1 << 64) - 1:016x}"
            self._made, self._again = now, now + len(wanted) * _EACH
        return self._text


def _number(subject: Subject) -> int:
    return int.from_bytes(hashlib.blake2b(subject.encode(), digest_size=8).digest())


def _state(member: Member) -> tuple[State, str]:
    if member.clocks_differ:
        behind = (member.counting.offset or 0) // SECOND
        return "alone", f"the engine's clock is {behind} s ahead of ours: set this host's clock"
    if member.counting.offset is None and member.counting.trouble:
        return "alone", member.counting.trouble
    listener = member.assembly.listener
    first = listener.snapshots <= 1 and listener.phase != "stream"
    if member.counting.offset is None or first:
        return "starting", ""
    if member.host not in member.trust.roster.members:
        return "alone", "this host is not enrolled, or was revoked: see tidegate fleet enroll"
    return "joined", ""
