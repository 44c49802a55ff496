"""SOBIG.F, August 2003: more than 15 viruses in 5 minutes, and port 25 closes for that host.

Plays the main job live: two hosts, real packets, an exim log, `tidegate run`. Touches what `stage`
touches. Limits: the ban lasts 8 seconds here, so that its end can be seen; the rule is the story's.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

from tests.story import stage

MAIL, WORM, CUSTOMER = "203.0.113.1", "203.0.113.66", "203.0.113.80"
CLOSED_FOR = 8
POLICY = """
[source.exim]
file = "{folder}/log/mainlog"
detectors = ["exim"]

[rule.virus-senders]
on = ["exim.malware"]
more-than = 15
within = "5m"
ban = {{ ports = [25], ladder = ["{closed}s"] }}

[paths]
state = "{folder}/state"
run = "{folder}/run"
off = "{folder}/off"
"""
VIRUS = (
    "{stamp} 1tSoBg-{n:06d}000-00aB H=(dell-xp) [{address}] F=<big@boss.example>"
    " rejected after DATA: This message contains a virus (W32/Sobig.F@mm)\n"
)
GOOD = (
    "{stamp} 1tGood-{n:06d}000-00aB <= anna@customer.example H=mail.customer.example [{address}]"
    " P=esmtps X=TLS1.3:TLS_AES_256_GCM_SHA384:256 S=2213 id=x@customer.example\n"
)


class Player:
    """Writes the exim main log as exim would, a line at a time."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o755)
        self._file = path.open("a")
        self._file.flush()
        path.chmod(0o644)
        self._n = 0

    def write(self, template: str, address: str) -> float:
        """One line; the moment it was handed to the kernel."""
        self._n += 1
        stamp = f"{datetime.now():%Y-%m-%d %H:%M:%S}"
        line = template.format(stamp=stamp, n=self._n, address=address)
        moment = time.monotonic()
        self._file.write(line)
        self._file.flush()
        return moment


def story(line: stage.Timeline, stack: ExitStack) -> str:
    """The timeline, top to bottom; the verdict."""
    why_not = stage.real_gate()
    folder = stack.enter_context(stage.folder())
    policy = folder / "tidegate.toml"
    policy.write_text(POLICY.format(folder=folder, closed=CLOSED_FOR))
    player = Player(folder / "log" / "mainlog")
    hosts = None
    if why_not:
        line.tell(f"({why_not}: the in-memory gate stands in for the firewall)")
    else:
        hosts = stack.enter_context(stage.Hosts(MAIL, WORM, CUSTOMER))
        line.tell(
            f"two hosts: mail host {MAIL}; on the other side a worm {WORM}, a customer {CUSTOMER}"
        )
    space = hosts.mail if hosts else None
    log = folder / "daemon.log"
    daemon = stage.Background(space, *stage.TIDEGATE, "run", "--config", str(policy), log=log)
    stack.enter_context(daemon)
    try:
        stage.wait_for(
            "the daemon", lambda: stage.tidegate("status", config=policy).returncode == 0
        )
    except stage.StoryError as failure:
        raise stage.StoryError(f"{failure}:\n{log.read_text()}") from None
    line.tell(
        "`tidegate run` follows the exim log: more than 15 viruses in 5 minutes close port 25"
    )
    if hosts:
        _with_packets(line, stack, hosts, player, policy)
        return "SOBIG.F: the sixteenth virus closed port 25 for its sender alone, and it opened by itself."
    _in_memory(line, player, policy)
    return f"SOBIG.F: the sixteenth virus was convicted; no packet was stopped, since {why_not}."


def _with_packets(line, stack, hosts, player, policy):
    python = sys.executable
    peers = str(Path(__file__).with_name("peers.py"))
    server = stack.enter_context(stage.Background(hosts.mail, python, peers, "serve", "25", "80"))
    client = stack.enter_context(stage.Background(hosts.attacker, python, peers, "connect", MAIL))

    def alive(source: str, port: int) -> bool:
        return client.ask("connect", source, port)["alive"]

    stage.wait_for("the mail host", lambda: alive(CUSTOMER, 25))
    for n in range(1, 16):
        line.expect(
            alive(WORM, 25), f"virus {n:2d} from {WORM}: connects, is refused, is written down"
        )
        player.write(VIRUS, WORM)
        time.sleep(0.1)
        if n % 5 == 0:
            line.expect(alive(CUSTOMER, 25), f"a customer, {CUSTOMER}, delivers mail")
            player.write(GOOD, CUSTOMER)
    time.sleep(0.5)
    line.expect(alive(WORM, 25), "fifteen are not more than fifteen: the worm still connects")
    client.ask("pulse", WORM, 25, True)
    time.sleep(0.2)
    written = player.write(VIRUS, WORM)
    line.tell("virus 16 is written down")
    banned = lambda: WORM in stage.tidegate("list", config=policy).stdout  # noqa: E731
    stage.wait_for("the ban", banned, step=0.01)
    client.ask("pulse", WORM, 25, False)
    last = server.ask("last")["last_sent"]["25"]
    line.tell(f"THE BLOCK. From line to drop: {max(0.0, last - written) * 1000:.1f} ms")
    line.expect(not alive(WORM, 25), "port 25 is dead for the worm")
    line.expect(alive(WORM, 80), "port 80 is alive for the worm: the smallest action that stops it")
    line.expect(alive(CUSTOMER, 25), "the customer delivers mail as before")
    _why(line, policy)
    began = time.monotonic()
    stage.wait_for("the end of the ban", lambda: alive(WORM, 25), CLOSED_FOR * 5, 0.1)
    line.tell(
        f"THE BAN HAS ENDED by itself, in the kernel ({time.monotonic() - began:.1f} s later)"
    )
    line.expect(alive(WORM, 25), "port 25 is alive again")


def _in_memory(line, player, policy):
    def closed() -> bool:
        return WORM in stage.tidegate("list", config=policy).stdout

    for n in range(1, 16):
        player.write(VIRUS, WORM)
        line.tell(f"virus {n:2d} from {WORM} is refused and written down")
    time.sleep(1)
    line.expect(not closed(), "fifteen are not more than fifteen: nothing is closed")
    player.write(VIRUS, WORM)
    line.tell("virus 16 is written down")
    stage.wait_for("the ban", closed)
    line.tell("THE BLOCK, in memory only: port 25 would be closed")
    _why(line, policy)
    stage.wait_for("the end of the ban", lambda: not closed(), CLOSED_FOR * 5, 0.2)
    line.tell("THE BAN HAS ENDED by itself")


def _why(line, policy):
    told = stage.tidegate("why", WORM, config=policy).stdout.splitlines()
    for row in (*told[:3], f"  … and {len(told) - 4} more lines", told[-1]):
        line.tell(f"  | {row[:110]}")


def main() -> int:
    """Play it."""
    return stage.play(
        "SOBIG.F: more than 15 viruses in 5 minutes",
        story,
    )


if __name__ == "__main__":
    sys.exit(main())
