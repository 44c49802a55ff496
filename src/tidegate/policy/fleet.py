"""What the administrator says of the fleet: where its engine is, who is believed, as frozen values.

Touches nothing: the password's file is named here, and read by whoever connects. Read by
`fleetreader` from `[fleet]`. Limits: plain values without behaviour; which rules the fleet counts
stands with each rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

EngineKind = Literal["single", "sentinel", "cluster"]
Scope = Literal["fleet", "host"]
"""Who counts by a rule: all hosts together, or each by itself."""


@dataclass(frozen=True, slots=True)
class FleetSpec:
    """The hosts that count and decide together.

    `engines`: addresses as written, such as `unix:/run/redis/redis-server.sock`,
    `redis://db1:6379` or `rediss://db1:6380`; with `kind` "sentinel" those of sentinels, of the
    primary called `name`, with "cluster" some of its members. `password_file` "": none is asked
    for. `ca` "": the host's own authorities. `read` "replica": decisions are read from replicas.
    `count`: who counts by rules that do not say so themselves, where the fleet can.
    `min_hosts`: so many different hosts have to have counted in what convicts. `bans` False: what
    other hosts decided is not taken over. `policy` False: what the fleet publishes is not taken;
    `commands`: it may also say what root runs here.
    """

    engines: tuple[str, ...]
    kind: EngineKind = "single"
    name: str = ""
    user: str = ""
    password_file: str = ""
    ca: str = ""
    read: Literal["primary", "replica"] = "primary"
    count: Scope = "fleet"
    min_hosts: int = 1
    bans: bool = True
    policy: bool = True
    commands: bool = False
