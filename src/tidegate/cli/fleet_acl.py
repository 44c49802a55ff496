"""`tidegate fleet acl`: users of the engine with no more rights than they need, as an ACL file.

Touches the shipped `packaging/fleet/tidegate.acl`, only to read, and the kernel's random numbers.
Limits: prints; whoever runs the engine puts it there.
"""

from __future__ import annotations

import re
import secrets

import click

from tidegate.cli.common import as_json, emit, say
from tidegate.errors import OperatorError
from tidegate.fleet.trust.desk import checked_name

_OWN_KEYS = "~{{tg:*}}h:{0} ~{{tg:*}}[pwdsa]* ~{{tg:decisions}}* ~{{tg:journal}}* ~{{tg:plan}}*"
"""What a host has to reach: its own record, what all count, what all say. Not others' records."""
_SHARED = "tidegate"


@click.command(
    epilog="""\b
Examples:
  tidegate fleet acl > /etc/redis/tidegate.acl             one user for all hosts, one to load functions
  tidegate fleet acl web2 web3 >> /etc/redis/tidegate.acl  a user for each: none counts in another's name
"""  # noqa: E501
)
@click.argument("hosts", nargs=-1, metavar="[HOST...]")
@as_json
def command(hosts: tuple[str, ...], as_json: bool) -> int:
    """Users for the engine, with new passwords that nobody chose, as its `aclfile` takes them.

    Without HOST: `tidegate` for all hosts, `tidegate-admin` to load functions, and nobody else.
    With HOSTs: for each a user of its name, who can count in no other's name and is easy to remove.
    """
    from tidegate.daemon.service import shipped

    text = shipped("fleet/tidegate.acl")
    lines = [line for line in text.splitlines() if line.startswith("user ")]
    if hosts:
        (shared,) = [line for line in lines if line.startswith(f"user {_SHARED} ")]
        lines = [
            shared.replace(f"user {_SHARED} ", f"user {_user(host)} ").replace(
                "~{tg:*", _OWN_KEYS.format(host), 1
            )
            for host in dict.fromkeys(hosts)
        ]
    for line in lines:
        user, password = line.split()[1], secrets.token_hex(24)
        line = re.sub(r" >\S+", f" >{password}", line)
        if as_json:
            emit({"v": 1, "user": user, "password": password if ">" in line else "", "line": line})
        else:
            click.echo(line)
    if not as_json:
        say("The words behind > are the passwords: each goes, alone, into a file of mode 0600.")
    return 0


def _user(host: str) -> str:
    if host in ("default", _SHARED, f"{_SHARED}-admin"):
        raise OperatorError(
            f"{host}: a user of this name is there already; name the host otherwise"
        )
    return checked_name(host)
