"""`tidegate fleet revoke`: a host is no member any more, and all that it caused is taken back.

Touches the desk's papers, as root, and the engine. Limits: at the desk only; who has the engine's
password can still write there, which the other hosts refuse, count and show.
"""

from __future__ import annotations

from contextlib import closing
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tidegate.cli import fleet_access as access
from tidegate.cli.common import as_json, config, emit, paths, say
from tidegate.errors import FleetError, OperatorError

if TYPE_CHECKING:
    from tidegate.fleet.trust.desk import Desk
    from tidegate.fleet.trust.post import Post
    from tidegate.model import Micros


@click.command(
    epilog="""\b
Examples:
  sudo tidegate fleet revoke web2           broken into, stolen, or gone for good
  sudo tidegate fleet revoke web2 web3
  sudo tidegate fleet enroll web2           once it is clean: with a new key, believed from then on

Exit code 3: revoked in the desk's papers, but the engine could not be told; run it again.
"""
)
@click.argument("hosts", nargs=-1, required=True, metavar="HOST...")
@access.engine_options
@config
@as_json
def command(hosts: tuple[str, ...], reach: access.Reach, config: Path | None, as_json: bool) -> int:
    """Revoke hosts: nothing that they said until now counts any more, on no host of the fleet.

    Bans that would not have come without them are opened, and bans that they opened are closed
    again. Harmless to repeat: then what they said until then counts for nothing either.
    """
    access.need_root("revoke")
    from tidegate.daemon.clock import now_micros
    from tidegate.fleet.engine.access import engine_of
    from tidegate.fleet.trust.desk import locked, open_desk
    from tidegate.fleet.trust.post import Post

    folder, spec = Path(paths(config).fleet), access.spec(config, reach)
    _check(open_desk(folder), hosts)
    with closing(engine_of(spec, access.TIMEOUT)) as engine:
        post = Post(engine)
        now = now_micros()
        time = _until(post, now)
        with locked(folder):
            desk = open_desk(folder)
            written = desk.revoke(dict.fromkeys(hosts), time, now)
        try:
            post.publish(written)
            post.forget(hosts)
            lacking = post.complete(desk.papers())
        except FleetError as error:
            raise FleetError(
                f"{', '.join(hosts)}: revoked in the desk's papers, but the other hosts do not"
                f" know it yet: {error}\nrun the same again as soon as the engine answers"
            ) from error
    for host in dict.fromkeys(hosts):
        if as_json:
            emit({"v": 1, "host": host, "revoked": True, "until": _iso(time), "papers": lacking})
        else:
            click.echo(f"{host}: revoked; what it caused until {_iso(time)} is taken back")
    if not as_json:
        say(
            "It may still know the engine's password: give the other hosts another one, or remove"
            " its own user there (ACL DELUSER)."
        )
    return 0


def _check(desk: Desk, hosts: tuple[str, ...]) -> None:
    """Only who is or was a member; not the desk, which nobody could enrol again."""
    known = [*desk.roster.members, *desk.roster.revoked]
    for host in hosts:
        if host == desk.identity.host:
            raise OperatorError(
                f"{host} is the desk itself: to give the fleet up, stop Tidegate on its hosts and"
                " found another one"
            )
        if host not in known:
            near = get_close_matches(host, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise OperatorError(f"{host}: never was a member of this fleet{hint}")


def _until(post: Post, now: Micros) -> Micros:
    """Until when what they said counts for nothing: now, by our clock or by the engine's, whichever
    is later. An engine that is far ahead is not believed, it is no judge of anything."""
    try:
        engines = post.time()
    except FleetError:
        return now  # publishing says it, and why
    if note := access.clock_note(now, engines):
        say(f"NOTE  {note}; then revoke again")
    return max(now, min(engines, now + access.SKEW))


def _iso(time: Micros) -> str:
    from datetime import datetime

    return datetime.fromtimestamp(time / 1_000_000).astimezone().isoformat(" ", "seconds")
