"""Whether a server is fit to be the engine of a fleet, by what it says of itself.

Touches nothing: takes the reply to INFO. Limits: what a server hides from us is not judged; rights
of other users at it are not seen.
"""

from __future__ import annotations

from collections.abc import Mapping

from tidegate.errors import FleetError, OperatorError

LEAST = 7


def read_info(reply: object) -> dict[str, str]:
    """The reply to INFO by its keys. FleetError where it is none."""
    if not isinstance(reply, bytes):
        raise FleetError(f"the engine does not say what it is: {str(reply)[:200]}")
    lines = reply.decode("utf-8", "replace").splitlines()
    pairs = (line.partition(":") for line in lines if not line.startswith("#"))
    return {key: value.strip() for key, colon, value in pairs if colon}


def name(info: Mapping[str, str]) -> str:
    """What it is, such as `Redis 7.0.15`."""
    if "valkey_version" in info:
        return f"Valkey {info['valkey_version']}"
    return f"Redis {info.get('redis_version', 'of unknown version')}"


def check(info: Mapping[str, str]) -> None:
    """OperatorError where it can't be an engine."""
    major = info.get("redis_version", "").partition(".")[0]
    if not major.isdecimal() or int(major) < LEAST:
        raise OperatorError(
            f"the engine is {name(info)}: expected Redis or Valkey {LEAST} or newer, which have"
            " functions"
        )
    if info.get("role") == "slave":
        raise OperatorError("the engine is a replica, which takes nothing: name its primary")


def notes(info: Mapping[str, str], password: bool) -> list[str]:
    """What should be put right there, each a sentence; none stops the fleet."""
    found = []
    kept = info.get("maxmemory_policy", "noeviction")
    if info.get("maxmemory", "0") != "0" and kept != "noeviction":
        found.append(
            f"the engine throws things away where its memory is full (maxmemory-policy {kept}),"
            " counts and decisions too: set maxmemory-policy noeviction"
        )
    if not password:
        found.append(
            "whoever reaches the engine may write to it: nobody is closed for by that, but counts"
            " can be spoiled; packaging/fleet/tidegate.acl has users with few rights"
        )
    return found
