"""`tidegate fleet enroll`: at the desk a token for a host, there the token makes it a member.

Touches the engine, the desk's papers or the key folder, as root. Waits for the other side, and says
for what. Limits: a token is good for one host, once, within an hour; both run at the same time.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tidegate.cli import fleet_access as access
from tidegate.cli.common import as_json, config, emit, left_text, paths, say
from tidegate.errors import FleetError, OperatorError, WorldError
from tidegate.model import SECOND
from tidegate.policy.fleet import FleetSpec

if TYPE_CHECKING:
    from tidegate.fleet.trust.desk import Written
    from tidegate.fleet.trust.keys import Token
    from tidegate.fleet.trust.members import Certificate, May
    from tidegate.fleet.trust.post import Post

_PREFIX = "tgf1-"
_LONGEST_NAME = 63
_LOOK = 0.5
_SAID_AFTER = 10.0
Tell = Callable[[str], None]


@click.command(
    epilog="""\b
Examples:
  sudo tidegate fleet enroll web2           at the desk: prints what to type on web2, and waits
  sudo tidegate fleet enroll web2 web3 web4
  sudo tidegate fleet enroll                at the desk: go on waiting for those with a token
  sudo tidegate fleet enroll web2 --same-key --may-publish         other rights for a member, at once
  sudo tidegate fleet enroll TOKEN --engine rediss://db1:6380      on web2, with its token
  sudo tidegate fleet enroll - --engine rediss://db1:6380 < token  the same, seen in no list of processes

Exit code 1: not all have come while their tokens were good.
"""  # noqa: E501
)
@click.argument("names", nargs=-1, metavar="[TOKEN | NAME...]")
@click.option("--again", is_flag=True, help="Also a member: its new key replaces the old one.")
@click.option("--same-key", is_flag=True, help="Members get these rights at once; no token.")
@click.option("--no-wait", is_flag=True, help="Print tokens only; `enroll` without names waits.")
@click.option(
    "--no-people", is_flag=True, help="Bans and unbans of people on that host stay on that host."
)
@click.option("--may-publish", is_flag=True, help="That host may publish policy to all.")
@click.option(
    "--address", "where", multiple=True, metavar="ADDRESS",
    help="With TOKEN: where others meet this host (default: its own addresses).",
)  # fmt: skip
@access.engine_options
@config
@as_json
def command(
    names: tuple[str, ...], again: bool, same_key: bool, no_wait: bool, no_people: bool,
    may_publish: bool, where: tuple[str, ...], reach: access.Reach, config: Path | None,
    as_json: bool,
) -> int:  # fmt: skip
    """At the desk, with NAMEs: give each host a one-time token, and make it a member when it comes.

    On the host itself, with TOKEN (or - to read it from standard input): ask the desk, and become a
    member. The token tells the host which desk to believe, and the desk which host asks; the engine
    between them learns nothing from it that would let anybody else in.
    """
    from tidegate.fleet.trust.members import May

    access.need_root("enroll")
    spec = access.spec(config, reach)
    folder = Path(paths(config).fleet)
    if len(names) == 1 and _is_token(names[0]):
        if again or same_key or no_wait or no_people or may_publish:
            raise OperatorError("these options are for the desk, and TOKEN is for the host itself")
        return _join(names[0], folder, spec, where, as_json)
    if where or any(map(_is_token, names)):
        raise OperatorError("expected one TOKEN alone, or the NAMEs of hosts without --address")
    may = May.CLAIM
    may |= May(0) if no_people else May.DECIDE
    may |= May.PUBLISH if may_publish else May(0)
    if same_key:
        return _entitle(names, folder, spec, may, as_json)
    return _enrol(dict.fromkeys(names), folder, spec, may, again, not no_wait, as_json)


def _is_token(word: str) -> bool:
    return word == "-" or (word.startswith(_PREFIX) and len(word) > _LONGEST_NAME)


def _entitle(names: Collection[str], folder: Path, spec: FleetSpec, may: May, as_json: bool) -> int:
    from tidegate.daemon.clock import now_micros
    from tidegate.fleet.engine.access import engine_of
    from tidegate.fleet.trust.desk import locked, open_desk
    from tidegate.fleet.trust.post import Post

    with closing(engine_of(spec, access.TIMEOUT)) as engine, locked(folder):
        post, desk = Post(engine), open_desk(folder)
        post.complete(desk.papers())
        for name in names:
            post.publish(desk.entitle(name, may, now_micros()))
            rights = [one.name.lower() for one in type(may) if one in may and one.name]
            if as_json:
                emit({"v": 1, "host": name, "rights": rights})
            else:
                click.echo(f"{name}: may {', '.join(rights)}")
    return 0


def _enrol(
    names: Collection[str], folder: Path, spec: FleetSpec, may: May, again: bool, wait: bool,
    as_json: bool,
) -> int:  # fmt: skip
    from tidegate.daemon.clock import now_micros
    from tidegate.fleet.engine.access import engine_of
    from tidegate.fleet.trust.desk import checked_name, locked, open_desk
    from tidegate.fleet.trust.keys import token_text
    from tidegate.fleet.trust.post import Post

    with closing(engine_of(spec, access.TIMEOUT)) as engine:
        post = Post(engine)
        with locked(folder):
            desk = open_desk(folder)
            known = [one for one in names if checked_name(one) in desk.roster.members]
            if known and not again:
                raise OperatorError(
                    f"{', '.join(known)}: a member already; --again lets a new key of it replace"
                    " the old one, as after it was installed anew"
                )
            post.complete(desk.papers())  # before a token is shown: is the engine there?
            tokens = [desk.give(one, now_micros()) for one in names]
            waiting = dict(desk.tokens.waiting(now_micros()))
        for token in tokens:
            command = f"sudo tidegate fleet enroll {token_text(token)} {access.options(spec)}"
            if as_json:
                emit({"v": 1, "host": token.host, "token": token_text(token), "command": command})
            else:
                click.echo(f"{token.host}: {command}")
        if not wait:
            return 0
        here = {host: until for host, until in waiting.items() if host in names or not tokens}
        if not here:
            say("No token waits for its host: tidegate fleet enroll NAME")
            return 0
        return _Counter(post, folder, may, as_json).serve(here)


class _Counter:
    """Makes members of those who come with a token, until all have come or their time is over."""

    def __init__(self, post: Post, folder: Path, may: May, as_json: bool) -> None:
        self._post, self._folder, self._may, self._as_json = post, folder, may, as_json
        self._owed: dict[str, Written] = {}
        self._vain: set[tuple[str, str]] = set()
        self._late = False

    def serve(self, waiting: dict[str, int]) -> int:
        """`waiting`: until when each token is good. The exit code."""
        from tidegate.daemon.clock import now_micros

        trouble = ""
        try:
            with _progress() as tell:
                while waiting:
                    now = now_micros()
                    for host in [one for one, until in waiting.items() if until <= now]:
                        if host not in self._owed:
                            del waiting[host]
                            self._late = True
                            say(f"{host}: has not come; its token is good no more")
                    try:
                        self._look(waiting)
                        trouble = ""
                    except FleetError as error:
                        trouble = f"{error}; trying again"
                    left = left_text(max(0, (max(waiting.values(), default=now) - now) // SECOND))
                    some = ", ".join(list(waiting)[:5]) + ", ..." * (len(waiting) > 5)
                    tell(trouble or f"waiting for {some}: {left} left")
                    time.sleep(_LOOK if waiting else 0)
        except KeyboardInterrupt:
            say("Tokens stay good for an hour; to go on waiting: sudo tidegate fleet enroll")
            raise
        return int(self._late)

    def _look(self, waiting: dict[str, int]) -> None:
        from tidegate.daemon.clock import now_micros
        from tidegate.fleet.trust.desk import Refused, locked, open_desk
        from tidegate.fleet.trust.post import read_request

        asked = self._post.requests(one for one in waiting if one not in self._owed)
        for host, data in asked.items():
            with locked(self._folder):
                desk = open_desk(self._folder)
                sealed = read_request(data, desk.identity.fleet, host)
                found = desk.admit(sealed, self._may, now_micros()) if sealed else None
            if isinstance(found, Refused) and (host, found.why) not in self._vain:
                self._vain.add((host, found.why))
                say(f"{host}: somebody asked in its name in vain: {found.why}")
            elif found is not None and not isinstance(found, Refused):
                self._owed[host] = found
        for host, written in list(self._owed.items()):
            self._post.publish(written)
            self._post.welcome(host, written.paper)
            del self._owed[host]
            waiting.pop(host, None)
            self._tell(host, written.paper)

    def _tell(self, host: str, paper: bytes) -> None:
        from tidegate.fleet.trust.desk import open_desk

        found = open_desk(self._folder).roster.members[host].certificate
        where = [str(one) for one in found.addresses]
        if self._as_json:
            emit({"v": 1, "host": host, "joined": True, "addresses": where})
        else:
            click.echo(f"{host}: has joined, from {', '.join(where) or 'no address that it named'}")


def _join(word: str, folder: Path, spec: FleetSpec, where: tuple[str, ...], as_json: bool) -> int:
    from tidegate.daemon.clock import now_micros
    from tidegate.fleet.engine.access import engine_of
    from tidegate.fleet.trust import keys
    from tidegate.fleet.trust.desk import key_of
    from tidegate.fleet.trust.post import Post, join_request

    if (folder / "fleet").exists():
        known = keys.load_identity(folder)
        raise OperatorError(
            f"this host is {known.host} of fleet {known.fleet.hex()} already; to join anew, move"
            f" {folder} away"
        )
    token = keys.read_token(sys.stdin.readline() if word == "-" else word)
    here = access.addresses(where)
    with closing(engine_of(spec, access.TIMEOUT)) as engine:
        post = Post(engine)
        now = now_micros()
        if note := access.clock_note(now, post.time()):
            say(f"NOTE  {note}")
        signer = key_of(folder)
        request = join_request(token, signer, here, now)
        found = _ask(post, token, signer.public, request)
    keys.save_identity(folder, keys.Identity(token.fleet, token.desk, token.host))
    text = access.section(spec)
    if as_json:
        emit({
            "v": 1, "fleet": token.fleet.hex(), "host": found.host, "desk": False,
            "addresses": [str(one) for one in found.addresses], "policy": text,
        })  # fmt: skip
        return 0
    click.echo(f"# {found.host} of fleet {token.fleet.hex()}\n{text}", nl=False)
    say(f"{found.host} is a member now. Next: put the section above into {access.FILE}, then")
    say("  sudo systemctl restart tidegate && tidegate fleet status")
    return 0


def _ask(post: Post, token: Token, key: bytes, request: bytes) -> Certificate:
    """Ask until the desk answers, or the token can't be good any more."""
    from tidegate.fleet.trust.desk import TOKEN
    from tidegate.fleet.trust.post import read_welcome

    started, said = time.monotonic(), False
    with _progress() as tell:
        while (passed := time.monotonic() - started) < TOKEN / SECOND:
            post.request(token.host, request)
            found = read_welcome(post.welcomed(token.host), token, key)
            if found is not None:
                return found
            if passed > _SAID_AFTER and not said:
                said = True
                say("The desk does not answer yet: is `tidegate fleet enroll` waiting there?")
            tell(f"asking the desk to let {token.host} in")
            time.sleep(_LOOK)
    raise WorldError("the desk has not answered: its token is good no more, ask for another")


@contextmanager
def _progress() -> Iterator[Tell]:
    """Yields a function that is told what we wait for; shown on a terminal alone."""
    if not sys.stderr.isatty():
        yield lambda _text: None
        return
    from rich.console import Console

    with Console(stderr=True).status("looking") as status:
        yield status.update
