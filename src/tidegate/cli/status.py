"""`tidegate status`: how the daemon is.

Touches the daemon through its control socket. Limits: one moment; `history` tells what went before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from tidegate.cli.common import as_json, client, clock, emit, local, put, socket_option
from tidegate.cli.confined import outward
from tidegate.evidence import backscatter
from tidegate.text import printable

_FAILED = ("refused", "given up")
"""States of gates that need somebody."""


@click.command(epilog="\b\nExamples:\n  tidegate status\n  tidegate status --json | jq .bans\n")
@socket_option
@as_json
def command(socket: str | None, as_json: bool) -> int:
    """Sources with their lag, rules with their last verdict, the gate, and every limit reached."""
    answer = client(socket).get("/status")
    if as_json:
        emit(answer)
    else:
        _show(answer)
    healthy = answer["gate"]["state"] == "ok" and not answer["off"]
    healthy = healthy and not any(
        gate["state"] in _FAILED for guard in answer["guards"] for gate in guard["gates"]
    )
    healthy = healthy and (answer.get("outward") or {"state": "ok"})["state"] == "ok"
    return 0 if healthy and all(one["state"] != "degraded" for one in answer["sources"]) else 1


def _reading(answer: Mapping[str, Any]) -> None:
    """What is read, and by which rules it counts."""
    click.echo("sources" if answer["sources"] else "sources  none")
    for one in answer["sources"]:
        detail = f": {printable(one['detail'])}" if one["detail"] else ""
        read = clock(one["last_read"]) if one["last_read"] else "never"
        put(f"{one['name']:<20} {one['state']}{detail}, last line {read}, lag {one['lag']} B", "  ")
    click.echo("rules" if answer["rules"] else "rules    none")
    for one in answer["rules"]:
        last = one["last_verdict"]
        said = f"last {last['subject']} at {clock(last['time'])}" if last else "no verdict yet"
        counted = f"{one['stated']}: {one['tallies']} counted"
        put(f"{one['name']:<20} {one['mode']}, {counted}, {said}", "  ")


def _show(answer: Mapping[str, Any]) -> None:
    gate, policy, limits = answer["gate"], answer["policy"], answer["limits"]
    mode = "OFF: everything is open, until `tidegate on`" if answer["off"] else answer["mode"]
    click.echo(f"tidegate {answer['version']}, since {local(answer['started'])}: {mode}")
    files = ", ".join(policy["files"])
    put(f"policy   {policy['hash']}, loaded {local(policy['loaded'])}: {files}")
    bans = "unknown" if answer["bans"] is None else answer["bans"]
    put(
        f"gate     {gate['kind']}: {printable(gate['state'])}; {bans} bans in force,"
        f" {gate['applied']} done, {gate['refused']} refused, {gate['repaired']} times repaired"
    )
    if gate["knocks"] or gate["knocks_missed"]:
        missed = f", {gate['knocks_missed']} more were too many" if gate["knocks_missed"] else ""
        click.echo(f"         {gate['knocks']} tries of the banned were heard{missed}")
    if answer.get("fleet"):
        put(_fleet(answer["fleet"]))
    if answer.get("outward"):
        for line in outward(answer["outward"]):
            put(line)
    if answer.get("meter"):
        put(_heard(answer["meter"]))
    if answer["guards"]:
        shut = f"; closed: {', '.join(answer['closed'])}" if answer["closed"] else ""
        put(f"tide     {answer['tide']}{shut}")
    for one in answer.get("incidents", ()):
        put(
            f"INCIDENT {printable(one['title'])}, since {clock(one['start'])};"
            f" tidegate incident show {one['id'][:8]}"
        )
    if gate["evicted"]:
        click.echo(f"WARNING  a set was full: {gate['evicted']} bans ended early for newer ones")
    _reading(answer)
    if answer["guards"]:
        _guards(answer["guards"])
    click.echo(
        f"read     {answer['lines']} lines, {sum(answer['events'].values())} events,"
        f" {answer['successes']} successes"
    )
    bounces = backscatter.share(answer["events"], answer["successes"])
    if bounces.count:
        click.echo(f"         backscatter: {bounces.part:.1%} are bounces to nobody here")
    reached = [f"{name} {limits[name]}" for name in ("evicted", "clamped", "cut", "quarantined")
               if limits[name]]  # fmt: skip
    if limits["events_lost"]:
        reached.append(f"{limits['events_lost']} events not kept for plans")
    click.echo(
        f"limits   {limits['tallies']} of {limits['capacity']} tallies,"
        f" ledger {limits['ledger_bytes']} B, events {limits['events_bytes']} B"
        + "".join(f", {one}" for one in reached)
    )
    if answer["detectors_off"]:
        click.echo(f"WARNING  detectors switched off: {', '.join(answer['detectors_off'])}")
    if answer["breaker"]["tripped_until"]:
        click.echo(f"WARNING  breaker tripped until {local(answer['breaker']['tripped_until'])}:"
                   " subjects with a good record are spared")  # fmt: skip


def _fleet(fleet: Mapping[str, Any]) -> str:
    """How the conversation with the other hosts is."""
    state = printable(fleet["state"])
    detail = f": {printable(fleet['detail'])}" if fleet["detail"] else ""
    if fleet["state"] in ("off", "away", "alone"):
        return f"fleet    {state}{detail}; this host counts and decides alone"
    told = {
        "bans of others": fleet["standing"],
        "counts wait": fleet["spool"],
        "counts left out": fleet["dropped"],
        "messages refused": sum(fleet["refused"].values()),
    }
    said = "".join(f", {count} {name}" for name, count in told.items() if count)
    engine = printable(fleet["engine"])
    return (
        f"fleet    {state}{detail}: {fleet['members']} hosts by {engine}{said};"
        " more: tidegate fleet status"
    )


def _heard(meter: Mapping[str, Any]) -> str:
    """How much of what leaves is listened to, and what was not."""
    part = "all sources" if meter["share"] >= 1 else f"{meter['share']:.1%} of the sources, in turn"
    missed = {
        "in part": meter["loud"],
        "lost": meter["lost"] + meter["unsent"],
        "of nobody known": meter["nameless"],
    }
    said = "".join(f", {count} {name}" for name, count in missed.items() if count)
    return f"meter    {part} heard, {meter['events']} events{said}; {meter['findings']} findings"


def _guards(guards: Sequence[Mapping[str, Any]]) -> None:
    """A line each; what needs a person is said in full by `guard list`."""
    click.echo("guards")
    for guard in guards:
        states = [
            f"{gate['gate'].removeprefix(guard['name'] + '.')} {gate['state']}"
            + (", held" if gate["held"] else "")
            for gate in guard["gates"]
        ]
        said = "; ".join(states) or "only tells"
        unknown = ", ".join(one["reading"] for one in guard["unknown"])
        unknown = f"; UNKNOWN: {unknown}" if unknown else ""
        put(f"{guard['name']:<20} {guard['mode']}, {printable(said)}{printable(unknown)}", "  ")
    worst = (*_FAILED, "taken", "away")
    if any(
        gate["state"] in worst or gate["held"] for guard in guards for gate in guard["gates"]
    ) or any(guard["unknown"] for guard in guards):
        click.echo("  more: tidegate guard list")
