"""What really happened, as one machine would know it that saw every line of every host at once.

Touches nothing. It is written to be read: lists, and no memory of what was said before. Limits: one
rule that counts N in M, and bans of one length.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from tidegate.fleet.port import Closing, Conviction
from tidegate.model import MINUTE, Decision, Micros, Subject
from tidegate.policy.models import BanTerms, Counted, Rule

LIMIT, WITHIN, BAN = 4, 5 * MINUTE, 30 * MINUTE
PORTS = (22,)
RULE = Rule(
    "guessing", (Counted("sshd.failed"),), LIMIT, WITHIN, BanTerms(PORTS), "4 in 5m", shared=True
)


class Line(NamedTuple):
    """One line of one host's log that counts, once."""

    host: str
    subject: Subject
    time: Micros


class Truth:
    """All lines, and all decisions, whoever knows of them. What breaks the promise is an error."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.said: list[tuple[str, Decision]] = []
        self.liars: set[str] = set()
        """Members who say what never was, and may, in their own name."""

    def crossings(self, subject: Subject) -> list[Micros]:
        """When the limit was reached for the first time since, as one machine had it: each line
        that convicts uses up all before."""
        found, window = [], []
        for time in sorted(one.time for one in self.lines if one.subject == subject):
            window = [one for one in window if time - one <= WITHIN] + [time]
            if len(window) >= LIMIT:
                found.append(time)
                window = []
        return found

    def check_conviction(self, found: Conviction, before: Iterable[Conviction]) -> None:
        """It was counted by those who are named, in the rule's window, and nothing of it twice."""
        since = max(
            (one.time for one in before if one.subject == found.subject and one.time < found.time),
            default=0,
        )
        counted = Counter(
            one.host
            for one in self.lines
            if one.subject == found.subject
            and found.time - WITHIN <= one.time <= found.time
            and one.time > since
        )
        assert found.count == sum(count for _host, count in found.shares) >= LIMIT, found
        for host, count in found.shares:
            if host in self.liars:
                continue
            assert count <= counted[host], f"{found}: {host} counted {counted[host]}"

    def check_closing(self, found: Closing) -> None:
        """Somebody has said just that, and it ends."""
        assert found.time < found.until <= found.time + BAN, found
        assert found.host in self.liars or any(
            (host, one.subject, one.ports) == (found.host, found.subject, found.ports)
            and one.action == "ban"
            for host, one in self.said
        ), f"nobody said {found}"

    def in_force(self, now: Micros) -> set[Subject]:
        """For whom it has to be closed now: said by anybody, not over, and not pardoned since."""
        pardons = {
            subject: max(one.time for _host, one in self.said if _is_pardon(one, subject))
            for subject in {one.subject for _host, one in self.said if one.action == "unban"}
        }
        return {
            one.subject
            for _host, one in self.said
            if one.action == "ban" and one.until > now and one.time > pardons.get(one.subject, -1)
        }


def _is_pardon(one: Decision, subject: Subject) -> bool:
    return one.action == "unban" and one.subject == subject
