"""The fleet out of policy tables: `[fleet]`, and which rules its hosts can count together.

Touches nothing: neither the engine nor the password's file is opened here. Every fault is
collected with its key. Limits: whether anybody answers there is seen when the fleet is joined.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

from tidegate.model import DAY, SECOND
from tidegate.policy import values
from tidegate.policy.fleet import FleetSpec
from tidegate.policy.models import Policy, Rule
from tidegate.policy.sections import Read, Sections, subtable

MOST_COUNTED = 1025
"""So many events or values the hosts count together, at most."""
MOST_POINTS = 65_535
LONGEST = 30 * DAY
LONGEST_NAME = 64
_LONGEST_SERVICE = 24


def engines(value: object) -> tuple[str, ...]:
    """Where the engine is: an address, or several."""
    several = value if isinstance(value, list) else [value]
    if several and all(isinstance(one, str) and _is_address(one) for one in several):
        return tuple(dict.fromkeys(several))
    if any(isinstance(one, str) and "@" in one.partition("://")[2] for one in several):
        said = 'an address without user and password; those are "user" and "password-file"'
        raise ValueError(said)
    raise ValueError(
        '"unix:/run/redis/redis-server.sock", "redis://HOST:6379" or "rediss://HOST:6379"'
        " (TLS), or a list of these"
    )


ACCEPT: dict[str, Read] = {
    "min-hosts": values.whole(1, 64),
    **dict.fromkeys(("bans", "policy", "commands"), values.boolean),
}
FLEET: dict[str, Read] = {
    "engine": engines,
    "kind": values.choice("single", "sentinel", "cluster"),
    "name": values.text,
    "user": values.text,
    "password-file": values.path,
    "ca": values.path,
    "read": values.choice("primary", "replica"),
    "count": values.choice("fleet", "host"),
}
SECTIONS: dict[str, dict[str, Read]] = {
    "fleet": {**FLEET, "accept": subtable},
    "fleet.accept": ACCEPT,
}


def read(sections: Sections) -> FleetSpec | None:
    """`[fleet]`; None where there is none. Meaningless where it has faults afterwards."""
    if "fleet" not in sections.data:
        return None
    raw = sections.table("fleet", sections.data["fleet"])
    data = sections.section("fleet", raw, SECTIONS["fleet"])
    accept = sections.section(
        "fleet.accept", sections.table("fleet.accept", raw.get("accept", {})), ACCEPT
    )
    if "engine" not in raw:
        said = '"engine" is missing, such as engine = "unix:/run/redis/redis-server.sock"'
        sections.fault("fleet", said)
    found = FleetSpec(
        data.pop("engine", ()),
        password_file=data.pop("password-file", ""),
        min_hosts=accept.get("min-hosts", 1),
        bans=accept.get("bans", True),
        policy=accept.get("policy", True),
        commands=accept.get("commands", False),
        **data,
    )
    _judge(sections, found)
    return found


def _judge(sections: Sections, found: FleetSpec) -> None:
    """What the keys of a section mean together."""
    if found.kind == "single":
        if len(found.engines) > 1:
            said = 'expected one address; several are those of kind = "sentinel" or "cluster"'
            sections.fault("fleet.engine", said)
        if found.read == "replica":
            said = 'replicas are only known with kind = "sentinel" or "cluster"'
            sections.fault("fleet.read", said)
    elif any(one.startswith("unix:") for one in found.engines):
        sections.fault("fleet.engine", f"a {found.kind} is reached by redis:// or rediss:// only")
    if found.kind == "sentinel" and not found.name:
        said = '"name" is missing: what the sentinels call the primary, such as name = "mymaster"'
        sections.fault("fleet", said)
    elif found.kind != "sentinel" and found.name:
        sections.fault("fleet.name", 'only sentinels know a name; expected kind = "sentinel"')
    if found.ca and found.engines and not any(_is_tls(one) for one in found.engines):
        sections.fault("fleet.ca", "goes with rediss://, for only TLS has certificates")
    clear = [one for one in found.engines if one.startswith("redis://") and not _is_near(one)]
    if clear:
        said = f"{clear[0]}: password and addresses go in clear over the network; rediss:// hides"
        sections.note("fleet.engine", f"{said} them (nobody can forge them in either case)")


def shared(rule: Rule, said: str, fleet: FleetSpec | None, sections: Sections) -> bool:
    """Whether the hosts of a fleet count together by a rule. `said`: its `count`, "" if none."""
    path = f"rule.{rule.name}.count"
    why = uncountable(rule)
    if said == "fleet" and why:
        sections.fault(path, f'{why}; expected count = "host"')
    elif said == "fleet" and fleet is None:
        sections.note(path, "there is no [fleet], so this host counts alone")
    return fleet is not None and not why and (said or fleet.count) == "fleet"


class Counting(NamedTuple):
    """Rules that are switched on, as the administrator named them: those by which all hosts count
    together, and by which this one counts alone because the fleet can't, with why."""

    together: tuple[str, ...]
    alone: tuple[tuple[str, str], ...]


def counting(policy: Policy) -> Counting:
    """Who counts by the rules of a policy; nothing of those that are to be counted alone."""
    together: dict[str, None] = {}
    alone: dict[str, str] = {}
    for rule in policy.rules if policy.fleet is not None else ():
        name = rule.name.rpartition(".")[0] if rule.ban.service else rule.name
        if not rule.enabled or rule.ban.outward:
            continue
        if rule.shared:
            together[name] = None
        elif policy.fleet is not None and policy.fleet.count == "fleet" and uncountable(rule):
            alone[name] = uncountable(rule)
    return Counting(tuple(together), tuple(alone.items()))


def uncountable(rule: Rule) -> str:
    """Why hosts can't count together by a rule, so that it would be as on one machine; "" if they
    can."""
    if rule.ban.outward:
        return "what leaves is counted where it leaves, for sources are those of one host"
    if rule.reset_on:
        return "the fleet can't begin a count anew (reset-on)"
    room = LONGEST_NAME - (_LONGEST_SERVICE if rule.ban.service else 0)
    if rule.name[:1] in ("", "-", ".") or len(rule.name) > room:
        return f"the fleet takes names of rules of at most {room} characters, no dot or - first"
    if rule.score is None:
        if rule.threshold > MOST_COUNTED:
            return f"the fleet counts to {MOST_COUNTED} at most"
        return "the fleet counts within 30d at most" if rule.within > LONGEST else ""
    if rule.score.form != "exponential":
        form = "in steps" if rule.score.form == "steps" else "evenly"
        return f"points that fade {form} depend on the order of events; half-life does not"
    if any(one.weight is not None and one.weight < 0 for one in rule.on):
        return "the fleet can't take points off"
    if rule.score.limit > MOST_POINTS:
        return f"the fleet counts to {MOST_POINTS} points at most"
    if not SECOND <= rule.score.span <= LONGEST:
        return "the fleet takes a half-life from 1s to 30d"
    return ""


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    if parts.query or parts.fragment or "@" in parts.netloc:
        return False
    if parts.scheme == "unix":
        return not parts.netloc and parts.path.startswith("/")
    named = bool(parts.hostname) and parts.path in ("", "/")
    return parts.scheme in ("redis", "rediss") and named and port != 0


def _is_tls(text: str) -> bool:
    return text.startswith("rediss:")


def _is_near(text: str) -> bool:
    host = urlsplit(text).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")
