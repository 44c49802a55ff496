"""Where the engine is, as options of `tidegate fleet`, and as the `[fleet]` section they stand for.

Touches the policy, only to read. Options are judged as the section would be, so that what is
printed is what a policy takes. Limits: one engine; options replace `[fleet]` as a whole.
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Callable, Iterable
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from tidegate import subject as subjects
from tidegate.errors import OperatorError, WorldError
from tidegate.model import SECOND, Micros, Subject
from tidegate.policy.fleet import EngineKind, FleetSpec
from tidegate.policy.loader import read

Function = TypeVar("Function", bound=Callable[..., Any])

TIMEOUT = 10.0
"""Seconds that a person waits for an engine."""
FILE = "/etc/tidegate/policy.d/fleet.toml"
SKEW: Micros = 60 * SECOND
"""A clock that is farther off counts alone (as `admission` has it)."""
_OPTIONS = (
    click.option("--ca", metavar="FILE", default="", help="Who vouches for it, with rediss://."),
    click.option(
        "--password-file", metavar="FILE", default="", help="Our password there, one line, 0600."
    ),
    click.option("--user", metavar="NAME", default="", help="Who we are to the engine (ACL user)."),
    click.option("--name", metavar="NAME", default="", help="What sentinels call the primary."),
    click.option(
        "--kind", type=click.Choice(["single", "sentinel", "cluster"]), default="single",
        show_default=True, help="What stands at --engine.",
    ),
    click.option(
        "--engine", "engines", multiple=True, metavar="URL",
        help="unix:/PATH, redis://HOST:PORT or rediss://HOST:PORT (default: [fleet] of the policy)."
        " Several with --kind sentinel or cluster.",
    ),
)  # fmt: skip


class Reach(NamedTuple):
    """Where the engine is, as it was typed; without `engines` nothing was."""

    engines: tuple[str, ...]
    kind: EngineKind
    name: str
    user: str
    password_file: str
    ca: str


def engine_options(function: Function) -> Function:
    """`--engine` and what belongs to it, as one argument: `reach`."""

    @wraps(function)
    def called(
        engines: tuple[str, ...], kind: EngineKind, name: str, user: str, password_file: str,
        ca: str, **rest: Any,
    ) -> Any:  # fmt: skip
        return function(reach=Reach(engines, kind, name, user, password_file, ca), **rest)

    for option in _OPTIONS:
        called = option(called)
    return called  # type: ignore[return-value]


def spec(policy: Path | None, reach: Reach) -> FleetSpec:
    """Where the engine is: by the options, or by the policy where no `--engine` is given."""
    engines, kind, name, user, password_file, ca = reach
    if not engines:
        if name or user or password_file or ca or kind != "single":
            raise OperatorError("--engine: expected together with the other options about it")
        from tidegate.daemon.published import load  # own files may be whole only with the fleet's

        found = load(policy).policy.fleet
        if found is None:
            raise OperatorError(
                "no engine: give --engine, such as --engine unix:/run/redis/redis-server.sock,"
                " or a policy with [fleet]"
            )
        return found
    said = {
        "engine": list(engines) if len(engines) > 1 else engines[0],
        "kind": kind if kind != "single" else "",
        "name": name, "user": user, "ca": ca and os.path.abspath(ca),
        "password-file": password_file and os.path.abspath(password_file),
    }  # fmt: skip
    text = "[fleet]\n" + "".join(_line(key, value) for key, value in said.items() if value)
    found = read([("options", text)]).policy.fleet
    assert found is not None
    return found


def section(found: FleetSpec) -> str:
    """The `[fleet]` section that says this, as it stands in a policy."""
    engine: str | list[str] = list(found.engines) if len(found.engines) > 1 else found.engines[0]
    said = {
        "engine": engine, "kind": "" if found.kind == "single" else found.kind,
        "name": found.name, "user": found.user, "password-file": found.password_file,
        "ca": found.ca,
    }  # fmt: skip
    return "[fleet]\n" + "".join(_line(key, value) for key, value in said.items() if value)


def options(found: FleetSpec) -> str:
    """The options that say this, to be typed on another host."""
    said = [f"--engine {one}" for one in found.engines]
    said += [f"--kind {found.kind}"] if found.kind != "single" else []
    for option, value in (
        ("--name", found.name), ("--user", found.user), ("--password-file", found.password_file),
        ("--ca", found.ca),
    ):  # fmt: skip
        said += [f"{option} {value}"] if value else []
    return " ".join(said)


def own_name() -> str:
    """What this host is called in its fleet unless somebody says otherwise."""
    short = socket.gethostname().partition(".")[0].lower()
    return re.sub(r"[^a-z0-9._-]", "-", short).strip("-._") or "host"


def addresses(said: Iterable[str]) -> tuple[Subject, ...]:
    """Where this host is: what was said, else its own addresses as far as others can have any
    business with them; the first sixteen."""
    from tidegate.daemon import host
    from tidegate.fleet.trust.desk import MOST_ADDRESSES, checked_addresses

    named = tuple(said)
    if named:
        found = [subjects.parse(f"{one}/{128 if ':' in one else 32}") for one in named]
        wrong = next((one for one, parsed in zip(named, found, strict=True) if not parsed), None)
        if wrong is not None:
            raise OperatorError(f"--address {wrong}: expected an address")
        return checked_addresses(one for one in found if one is not None)
    good: list[Subject] = []
    for text in host.own():
        one = subjects.parse(f"{text}/{128 if ':' in text else 32}")
        try:
            good += checked_addresses([one] if one is not None else [])
        except OperatorError:
            continue  # loopback, link-local: nobody else meets us there
    return tuple(dict.fromkeys(good))[:MOST_ADDRESSES]


def clock_note(ours: Micros, engines: Micros) -> str:
    """What to say of a clock that is too far from the engine's; "" where it is near enough."""
    if abs(ours - engines) <= SKEW:
        return ""
    way = "ahead of" if ours > engines else "behind"
    return (
        f"this host's clock is {abs(ours - engines) // SECOND} s {way} the engine's: it will count"
        " alone until one of them is set right"
    )


def need_root(what: str) -> None:
    """The keys of a host are root's alone; and the extra has to be there. Ask before anything of
    `tidegate.fleet` that speaks to the engine is imported."""
    from tidegate.daemon.fleetless import NEEDED

    if os.geteuid():
        raise WorldError(f"{what} needs root: sudo tidegate fleet {what}")
    for name in NEEDED:
        try:
            import_module(name)
        except ImportError as error:
            raise OperatorError(
                f"{name.partition('.')[0]} can't be loaded ({error});"
                " run: pip install 'tidegate[fleet]'"
            ) from error


def _line(key: str, value: str | list[str]) -> str:
    return f"{key} = {json.dumps(value, ensure_ascii=False)}\n"
