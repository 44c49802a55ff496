"""`tidegate fleet init`: this host founds a fleet, and is its desk and its first member.

Touches the engine (functions, papers) and the key folder, as root. Run again it puts right what the
engine lost. Limits: changes no policy; prints the section that belongs into it.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tidegate.cli import fleet_access as access
from tidegate.cli.common import as_json, config, emit, paths, say
from tidegate.errors import FleetError, OperatorError
from tidegate.policy.fleet import FleetSpec

if TYPE_CHECKING:
    from tidegate.fleet.trust.post import Post


@click.command(
    epilog="""\b
Examples:
  sudo tidegate fleet init --engine unix:/run/redis/redis-server.sock
  sudo tidegate fleet init --engine rediss://db1:6380 --ca /etc/tidegate/fleet-ca.pem \\
      --user tidegate --password-file /etc/tidegate/fleet.password \\
      --admin-user tidegate-admin --admin-password-file /root/fleet-admin.password
  sudo tidegate fleet init                  again: whatever the engine has lost is put back
"""
)
@click.option("--host", metavar="NAME", default="", help="What this host is called in the fleet.")
@click.option(
    "--address", "where", multiple=True, metavar="ADDRESS",
    help="Where others meet this host, which is never closed for; may be repeated (default: its"
    " own addresses).",
)  # fmt: skip
@click.option(
    "--new-key", is_flag=True, help="Again, out of a copy: a new key for this host itself."
)
@access.engine_options
@click.option("--admin-user", metavar="NAME", default="", help="Who may load functions there.")
@click.option("--admin-password-file", metavar="FILE", default="", help="That user's password.")
@config
@as_json
def command(
    host: str, where: tuple[str, ...], new_key: bool, reach: access.Reach, admin_user: str,
    admin_password_file: str, config: Path | None, as_json: bool,
) -> int:  # fmt: skip
    """Found a fleet on an engine: a Redis or Valkey (7 or newer) that its hosts can reach.

    Loads Tidegate's functions into the engine, makes the keys of this host and of the desk, and
    prints the [fleet] section for the policy on standard output. Other hosts join with a token:
    tidegate fleet enroll.
    """
    access.need_root("init")
    from tidegate.daemon.clock import now_micros
    from tidegate.fleet.engine.access import engine_of
    from tidegate.fleet.trust import desk as desks
    from tidegate.fleet.trust.post import Post

    folder = Path(paths(config).fleet)
    spec = access.spec(config, reach)
    again = (folder / "fleet").exists()
    if again and (host or where):
        raise OperatorError("--host, --address: this host has founded its fleet already, as it is")
    if new_key and not again:
        raise OperatorError("--new-key: expected at a desk; there is none here yet")
    desk = desks.open_desk(folder) if again else None
    with closing(engine_of(spec, access.TIMEOUT)) as engine:
        post = Post(engine)
        notes = _inspect(post, spec)
        servers = _prepare(spec, admin_user, admin_password_file)
        if desk is None:
            name, here = host or access.own_name(), access.addresses(where)
            desk = desks.found(folder, name, here, now_micros())
        elif new_key:
            with desks.locked(folder):
                post.publish(desk.renew(now_micros()))
        lacking = post.complete(desk.papers())
    own, fleet = desk.identity.host, desk.identity.fleet.hex()
    if as_json:
        emit({
            "v": 1, "fleet": fleet, "host": own, "desk": True, "anew": not again,
            "servers": servers, "papers": lacking, "notes": notes, "policy": access.section(spec),
        })  # fmt: skip
        return 0
    click.echo(f"# {own} of fleet {fleet}\n{access.section(spec)}", nl=False)
    for one in notes:
        put_note(one)
    if again:
        say(f"{own} is the desk of fleet {fleet}; the engine lacked {lacking} of its papers.")
        if new_key:
            say("It has a new key. Next: sudo systemctl restart tidegate")
    else:
        _say_next(own, fleet, folder)
    return 0


def put_note(text: str) -> None:
    """Something to be put right, which stops nothing."""
    say(f"NOTE  {text}")


def _prepare(spec: FleetSpec, user: str, password_file: str) -> int:
    """Load the functions, as somebody who may; into how many servers."""
    from tidegate.fleet.engine.access import engine_of, login_of, read_password
    from tidegate.fleet.trust.post import has_functions, load_functions

    login = login_of(spec)
    if password_file:
        login = login._replace(user=user, password=read_password(Path(password_file)))
    elif user:
        login = login._replace(user=user, password="")
    with closing(engine_of(spec, access.TIMEOUT, login)) as engine:
        found = load_functions(engine)
        if isinstance(found, int):
            return found
        if not has_functions(engine):
            raise FleetError(
                f"the engine does not take our functions: {found}; that needs more rights than"
                " hosts have: --admin-user tidegate-admin --admin-password-file FILE"
            )
    put_note("this user may not load functions; those that are there were left as they are")
    return 0


def _inspect(post: Post, spec: FleetSpec) -> list[str]:
    from tidegate.daemon.clock import now_micros
    from tidegate.fleet.engine import fitness

    (reply,) = post.ask(("INFO",))
    info = fitness.read_info(reply)
    fitness.check(info)
    notes = fitness.notes(info, password=bool(spec.password_file))
    clock = access.clock_note(now_micros(), post.time())
    return [*notes, clock] if clock else notes


def _say_next(own: str, fleet: str, folder: Path) -> None:
    for line in (
        f"{own} has founded fleet {fleet}, and is its desk.",
        f"Keep a copy of {folder} where nobody else gets at it: whoever has desk.key says who is a"
        " member, and without it nobody can be enrolled or revoked.",
        "Next:",
        f"  put the section above into {access.FILE}"
        " (the same command again, with `| sudo tee` and that file)",
        "  sudo systemctl restart tidegate",
        "  sudo tidegate fleet enroll NAME    for each other host",
    ):
        say(line)
