"""The path of a packet, and who is behind its end on this host.

Touches nothing. Limits: addresses packed, ports 0 where the protocol has none.
"""

from __future__ import annotations

from typing import Literal, NamedTuple


class Path(NamedTuple):
    """From whom to whom a packet goes; addresses packed. `here`: one end is this host; `forged`: it
    began here under an address that is not this host's."""

    way: Literal["in", "out"]
    here: bool
    forged: bool
    interface: int
    protocol: int
    source: bytes
    destination: bytes
    source_port: int
    port: int


class Who(NamedTuple):
    """Whose the end on this host is: a user's number where that is known, and the program."""

    user: int | None
    program: str


NOBODY = Who(None, "")
