"""What other hosts have counted or closed, in the words and values of a decision of our own.

Touches nothing. Whether it is carried out here says the judge, as of an own verdict.
Limits: whose word it is, and whether it may be believed, was judged before.
"""

from __future__ import annotations

from collections.abc import Sequence

from tidegate.model import Decision, Micros, Subject

FLEET = "fleet:"
"""What stands before the name of the host whose rule closed."""
_NAMED = 5


def counted_by(shares: Sequence[tuple[str, int]]) -> str:
    """How many hosts counted how much, those with most first: `3 hosts counted (a 4, b 1, c 1)`."""
    if len(shares) == 1:
        return f"the fleet counted (all of it on {shares[0][0]})"
    most = sorted(shares, key=lambda one: (-one[1], one[0]))
    named = ", ".join(f"{host} {count}" for host, count in most[:_NAMED])
    more = f" and {len(shares) - _NAMED} more" if len(shares) > _NAMED else ""
    return f"{len(shares)} hosts counted ({named}{more})"


def closed(
    identity: str,
    host: str,
    rule: str,
    by: str,
    subject: Subject,
    ports: tuple[int, ...],
    time: Micros,
    until: Micros,
    *,
    note: str = "",
    hosts: int = 1,
) -> Decision:
    """Another host has closed for somebody: by its `rule` (`by` is "rule"), or a person there."""
    ruled = by == "rule"
    together = f", where {hosts} hosts had counted" if hosts > 1 else ""
    said = f"rule {rule} on {host}{together}" if ruled else f"by hand on {host}"
    return Decision(
        id=identity,
        time=time,
        action="ban",
        subject=subject,
        rule=rule if ruled else "",
        ports=ports,
        until=until,
        duration=max(0, until - time),
        count=0,
        step=0,
        mode="enforce",
        reason=said,
        by=f"{FLEET}{host}" if ruled else by,
        note=note,
    )
