"""`tidegate incident`: closings with one cause, told as a whole; notes, feed, minutes closed.

Touches the daemon through its control socket, and standard output. Limits: as far back as the
ledger keeps decisions (limits.keep, 30 days).
"""

from __future__ import annotations

import sys

import click

from tidegate.cli import incident_page
from tidegate.cli.common import as_json, client, clock, emit, local, put, socket_option, table
from tidegate.text import printable

public_option = click.option(
    "--public",
    is_flag=True,
    help="For everybody: no addresses, users, paths or lines; pseudonyms instead.",
)


@click.group(
    epilog="""\b
Examples:
  tidegate incident list
  tidegate incident show 3f9ac21b
  tidegate incident show 3f9ac21b --md --public
  tidegate incident note 3f9ac21b "the customer cleans the machine; back by 6"
  tidegate incident feed --atom > /var/www/status/incidents.atom
  tidegate incident minutes --month 2026-11
"""
)
def command() -> None:
    """What happened, as a whole: a flood of bans, a source cut off, a service that was stopped.

    An incident is made of closings with one cause: any quarantine, any gate of a guard that takes
    a service away, or ten bans by one rule within ten minutes; see docs/incidents.md.
    """


@command.command("list", epilog="\b\nExamples:\n  tidegate incident list --limit 10\n")
@click.option("--limit", default=100, show_default=True, help="How many, the newest first.")
@public_option
@socket_option
@as_json
def list_(limit: int, public: bool, socket: str | None, as_json: bool) -> int:
    """The incidents, the newest first; those that go on are `open`."""
    query = {"limit": str(limit), "public": str(int(public))}
    rows = list(client(socket).lines("/incidents", query))
    if as_json:
        for row in rows:
            emit(row)
        return 0
    table(
        ("ID", "STATE", "SINCE", "UNTIL", "WHAT"),
        (
            (
                row["id"][:8],
                row["state"],
                clock(row["start"]),
                clock(row["end"]) if row["end"] else "-",
                row["title"],
            )
            for row in rows
        ),
        "There was no incident.",
    )
    return 0


@command.command(
    "show",
    short_help="One incident, whole.",
    epilog="""\b
Examples:
  tidegate incident show 3f9ac21b
  tidegate incident show 3f9ac21b --md --public > for-the-status-page.md
  tidegate incident show 3f9ac21b --json | jq .affected
""",
)
@click.argument("number", metavar="ID")
@click.option("--md", is_flag=True, help="Markdown, for a ticket or a page.")
@public_option
@socket_option
@as_json
def show(number: str, md: bool, public: bool, socket: str | None, as_json: bool) -> int:
    """One incident: what happened, who was affected, what was done, what we got wrong.

    ID is the one that `incident list` shows, or the first digits of it; that of any decision of
    the incident (`tidegate history --json`), and the one of its public form, find it too.
    """
    answer = client(socket).get("/incident", {"id": number, "public": str(int(public))})
    if as_json:
        emit(answer)
    elif md:
        click.echo("\n".join(incident_page.markdown(answer)))
    else:
        for line in incident_page.plain(answer):
            put(line.lstrip(" "), line[: len(line) - len(line.lstrip(" "))])
    return 0


@command.command(
    "note",
    short_help="Say something about an incident, signed with your name.",
    epilog="""\b
Examples:
  tidegate incident note 3f9ac21b "the customer was called"
  tidegate incident note 3f9ac21b - < what-we-know.txt
""",
)
@click.argument("number", metavar="ID")
@click.argument("text")
@socket_option
@as_json
def note(number: str, text: str, socket: str | None, as_json: bool) -> int:
    """Say something about an incident: kept with it, with your name (as the kernel knows it) and
    the time. `-` reads it from standard input.

    It can't be changed afterwards; say another. The public form shows it without your name, and
    without the addresses, users and paths that stand in it.
    """
    if text == "-":
        text = sys.stdin.read(1 << 16)
    answer = client(socket).post("/note", {"incident": number, "text": text})
    if as_json:
        emit(answer)
        return 0
    latest = answer["updates"][-1]
    click.echo(f"{answer['id'][:8]}: noted by {printable(latest['by'])}, {local(latest['time'])}")
    return 0


@command.command(
    "feed",
    short_help="The latest incidents as an Atom feed.",
    epilog="""\b
Examples:
  tidegate incident feed --atom
  tidegate incident feed --atom --url https://status.example.org/incidents.atom
""",
)
@click.option("--atom", is_flag=True, help="As an Atom feed (RFC 4287); there is no other form.")
@click.option(
    "--public/--private",
    default=True,
    help="For everybody (so it is unless you say otherwise), or with every name.",
)
@click.option("--title", default="Incidents", show_default=True, help="What the feed is called.")
@click.option("--url", default="", help="Where the feed will stand, for its link to itself.")
@socket_option
@as_json
def feed(atom: bool, public: bool, title: str, url: str, socket: str | None, as_json: bool) -> int:
    """The latest 50 incidents as a feed, on standard output: let a timer write it to your pages."""
    answer = client(socket).get("/feed", {"public": str(int(public))})
    if as_json:
        emit(answer)
        return 0
    from tidegate.cli.incident_feed import atom as written

    sys.stdout.buffer.write(written(answer, title, url))
    sys.stdout.buffer.flush()
    return 0


@command.command(
    "minutes",
    short_help="How long each service was closed in a month.",
    epilog="""\b
Examples:
  tidegate incident minutes
  tidegate incident minutes --month 2026-11 --json
""",
)
@click.option("--month", default="", help="Such as 2026-11 (default: this month).")
@public_option
@socket_option
@as_json
def minutes(month: str, public: bool, socket: str | None, as_json: bool) -> int:
    """How long each service was closed in a month; closings that overlap count once.

    FOR everybody: a guard had it stopped, or slowed; some: only those who were banned or cut off.
    """
    answer = client(socket).get("/minutes", {"month": month, "public": str(int(public))})
    if as_json:
        emit(answer)
        return 0
    table(
        ("SERVICE", "WAS", "FOR", "MINUTES", "CLOSINGS", "SUBJECTS"),
        (
            (
                row["service"],
                row["what"],
                row["for"],
                f"{row['minutes']:.1f}",
                str(row["closings"]),
                str(row["subjects"] or "-"),
            )
            for row in answer["rows"]
        ),
        f"Nothing was closed in {answer['month']}.",
    )
    if answer["kept_since"]:
        click.echo(
            f"What ended before {local(answer['kept_since'])} may be missing: decisions are kept"
            " for limits.keep only.",
            err=True,
        )
    return 0
