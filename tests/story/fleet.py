"""The fleet: three mail hosts count as one, and what one closes all close, with real packets.

Debian's dovecot and redis-server in network namespaces on one bridge; Tidegate on each host, made
one fleet by the commands that people type. Two wrong passwords at each of three hosts, no host would
close for that: once each counts alone, once all count together. Then a ban and a pardon by hand, a
host that is revoked, an engine that dies. Limits: one kernel and one clock for all; IPv4.
"""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack

from tests.story import stage
from tests.story.fleet_cast import (
    ANNA,
    EVE,
    HOSTS,
    LIMIT,
    MALLORY,
    OSCAR,
    TRENT,
    Play,
    missing,
)

PROMISED, SLACK = 1.0, 5
"""Seconds until a ban holds on all hosts, and for how many times as long a busy host is excused."""


def story(line: stage.Timeline, stack: ExitStack) -> str:
    """The timeline, top to bottom; the verdict."""
    if why_not := missing():
        return f"Fleet: not played, since {why_not}."
    play = Play(line, stack)
    try:
        return _acts(play)
    except stage.StoryError:
        print(play.said())
        raise


def _acts(play: Play) -> str:
    line = play.line
    line.tell("mail1, mail2 and mail3 run dovecot, each with its own log; nothing else is shared")
    play.start_engine()
    for name in HOSTS:
        play.write(name, "fleet")
    play.found("mail1")
    line.tell("`tidegate fleet init` on mail1, `fleet enroll` for mail2 and mail3: they are one")
    play.start(*HOSTS)
    play.joined()
    _alone(play)
    took = _together(play)
    _explained(play)
    by_hand = _by_hand(play)
    _revoked(play)
    _engine_dies(play)
    return (
        f"Fleet: {LIMIT} wrong passwords, two at each host: none is closed where each counts alone;"
        f" where all count together all three shut out {TRENT} {took:.2f} s after the last one."
        f" A ban by hand held on all after {by_hand:.2f} s."
    )


def _alone(play: Play) -> None:
    line = play.line
    play.reload("host")
    line.tell('the rule says count = "host"')
    for host in HOSTS:
        play.guess(EVE, host, LIMIT // 3)
    play.wait_read(EVE, LIMIT // 3)
    line.expect(
        all(play.reaches(EVE, host) for host in HOSTS),
        f"{EVE} has tried two passwords at each of three hosts, and is served by all",
    )


def _together(play: Play) -> float:
    line = play.line
    play.reload("fleet")
    line.tell('the rule says count = "fleet"')
    for host in HOSTS:
        play.guess(TRENT, host, LIMIT // 3)
    took = play.wait_closed(TRENT)
    line.expect(
        took <= PROMISED * SLACK,
        f"{TRENT} has done the same, and all three close {took:.2f} s later; promised: 1 s",
    )
    before = {host: play.dropped(host) for host in HOSTS}
    line.expect(play.shut_out(TRENT), f"{TRENT} is answered by none of them")
    counted = {host: play.dropped(host) - before[host] for host in HOSTS}
    line.expect(
        all(counted.values()),
        "their kernels have dropped its packets: "
        + ", ".join(f"{host} {number}" for host, number in counted.items()),
    )
    line.expect(
        all(play.reaches(who, host) for who in (ANNA, EVE) for host in HOSTS),
        f"{ANNA} and {EVE} are served by all",
    )
    return took


def _explained(play: Play) -> None:
    told = play.guardians["mail3"].verb("why", TRENT).stdout
    for row in told.splitlines()[:14]:
        play.line.tell(f"  | {row[:118]}")
    tries = told.count(f"rip={TRENT}")
    play.line.expect(
        tries >= LIMIT, f"`tidegate why` on mail3 has the lines of all three hosts ({tries})"
    )
    status = play.nodes["mail2"].run(
        "env", f"TIDEGATE_SOCKET={play.guardians['mail2'].folder}/run/watcher/control.sock",
        *stage.TIDEGATE, "fleet", "status", "--json",
    )  # fmt: skip
    hosts = [one["host"] for one in json.loads(status)["hosts"]]
    play.line.expect(hosts == list(HOSTS), f"`tidegate fleet status` on mail2 names {hosts}")


def _by_hand(play: Play) -> float:
    line = play.line
    play.order("mail2", "ban", OSCAR, "--for", "1h", "--note", "spam by hand")
    took = play.wait_closed(OSCAR)
    line.expect(play.shut_out(OSCAR), f"an administrator of mail2 bans {OSCAR}: out on all three")
    play.order("mail3", "unban", OSCAR, "--local")
    play.wait_open(OSCAR, ["mail3"])
    line.expect(
        play.reaches(OSCAR, "mail3") and play.shut_out(OSCAR, ["mail1", "mail2"]),
        "mail3 pardons with --local: served there, and by no other",
    )
    play.order("mail1", "unban", OSCAR)
    play.wait_open(OSCAR)
    line.expect(
        all(play.reaches(OSCAR, host) for host in HOSTS), "mail1 pardons: served by all again"
    )
    play.order("mail1", "ban", OSCAR, "--local")
    play.wait_closed(OSCAR, ["mail1"])
    line.expect(
        play.shut_out(OSCAR, ["mail1"]) and play.reaches(OSCAR, "mail2"),
        "mail1 bans with --local: out there alone",
    )
    return took


def _revoked(play: Play) -> None:
    line = play.line
    play.guess(MALLORY, "mail3", LIMIT)
    play.wait_closed(MALLORY)
    line.tell(f"{MALLORY} has tried {LIMIT} passwords at mail3 alone: out on all three")
    play.fleet("mail1", "revoke", "mail3")
    kept = [host for host in HOSTS if host != "mail3"]
    play.wait_open(MALLORY, kept)
    play.wait_open(TRENT, kept)
    line.expect(
        all(play.reaches(who, host) for who in (MALLORY, TRENT) for host in kept),
        "`tidegate fleet revoke mail3`: what would not have come without it is open again on the"
        " others",
    )
    tries = play.guess_on(MALLORY, kept)
    play.wait_closed(MALLORY, kept)
    line.expect(
        play.shut_out(MALLORY, kept),
        f"who goes on, at one and the other in turn, is out on both after {tries} tries more",
    )


def _engine_dies(play: Play) -> None:
    line = play.line
    play.engine.cut_power()
    line.tell("the engine has lost its power, with all that it knew")
    kept = ["mail1", "mail2"]
    line.expect(play.shut_out(MALLORY, kept), f"{MALLORY} is out as before")
    tries = play.guess_on(EVE, ["mail1"])
    play.wait_closed(EVE, ["mail1"])
    line.expect(
        play.reaches(EVE, "mail2"),
        f"{EVE} is at it again: mail1 counts alone, and shuts it out after {tries} tries more",
    )
    play.engine.boot()
    play.start_engine()
    admin = ["--admin-user", "tidegate-admin",
             "--admin-password-file", str(play.folder / "admin.password")]  # fmt: skip
    play.fleet("mail1", "init", *admin)
    took = play.wait_closed(EVE, kept)
    line.expect(
        play.shut_out(EVE, kept),
        f"the engine is back, empty; `tidegate fleet init` loads the functions, and {EVE} is out on"
        f" mail2, too ({took:.1f} s)",
    )


def main() -> int:
    """Play it."""
    return stage.play("Fleet: three hosts count as one", story)


if __name__ == "__main__":
    sys.exit(main())
