"""The keeper's charter from root-owned policy and from what this host looks like.

Touches /proc and /etc/resolv.conf through `host`, only to read.
Limits: read at start and at each reload; the core looks at the host every second besides.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from tidegate import subject as subjects
from tidegate.daemon.engines import hosts_of, literal
from tidegate.daemon.host import ourselves, protected
from tidegate.gate.charter import Charter
from tidegate.model import Subject
from tidegate.policy.guards import KERNEL
from tidegate.policy.models import Policy
from tidegate.subject import Network


def charter_of(policy: Policy) -> Charter:
    """What the keeper may do under this policy, on this host, now."""
    engines = (literal(host) for host in hosts_of(policy.fleet))
    here = tuple(subject for subject, _reason in protected())
    here += tuple(engine for engine in engines if engine is not None)
    ours = tuple(user for user, _reason in ourselves())
    outward = policy.outward
    if outward is not None and policy.mode == "observe":
        outward = replace(outward, mode="observe")
    return Charter(
        allow=_networks(policy.allow),
        protected=_networks([*here, *policy.proxies]),
        widest4=policy.limits.widest_ipv4,
        widest6=policy.limits.widest_ipv6,
        longest=policy.limits.longest_ban,
        outward=outward,
        spared=tuple(dict.fromkeys((*here, *policy.allow, *policy.proxies, *ours))),
        gates=tuple(
            gate
            for guard in policy.guards
            if guard.enabled
            for gate in guard.gates
            if isinstance(gate.terms, KERNEL)
        ),
    )


def _networks(members: Iterable[Subject]) -> tuple[Network, ...]:
    found = (subjects.network(member) for member in members)
    return tuple(network for network in found if network is not None)
