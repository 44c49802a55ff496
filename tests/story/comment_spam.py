"""Comment spam, December 2010: 15 points for pharmacy spam, 3 fade a day, over 15 the web closes.

First the page's own numbers, replayed on the log's own clock; then live, with packets, where a day
takes two seconds. Touches what `stage` touches. Limits: Apache's error log is played, not Apache.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.story import stage

WEB, BOT, READER = "203.0.113.1", "203.0.113.66", "203.0.113.80"
DAY = 2
"""Seconds that a day takes when the story is played live."""

RULE = """
mode = "enforce"

[rule.comment-spam]
on = [
    {{ kind = "modsecurity.*", weight = 15, where = {{ id = [300040, 300061], file = "30_asl_antispam.conf" }} }},
]
score-over = 15
decay = "3/{day}"
knock = 3
ban = {{ ports = [80, 443] }}
"""
SOURCE = """
[source.apache]
file = "{folder}/log/error.log"
detectors = ["modsecurity"]

[paths]
state = "{folder}/state"
run = "{folder}/run"
off = "{folder}/off"
"""
SPAM = (
    "[{stamp}] [error] [client {address}] ModSecurity: Access denied with code 403 (phase 2)."
    ' Pattern match "(?:buy[-_ ]?(cheap)?[-_ ]?(?:xanax|levitra))" at ARGS:comment.'
    ' [file "/etc/modsecurity2/30_asl_antispam.conf"] [line "194"] [id "{rule}"] [rev "10"]'
    ' [msg "WAF Rules: Spam: Pharmacy"] [data "xanax"] [severity "CRITICAL"]'
    ' [hostname "gallery.example.org"] [uri "/gallery/img_5993.jpg.php"] [unique_id "x{n}"]\n'
)
DEBUG = (
    "[23/Dec/2010:11:39:45 +0800] [][rid#b339b670][/gallery/img_5993.jpg.php][1] Access denied with"
    ' code 403 (phase 2). Pattern match "x" at ARGS:comment. [id "300061"]\n'
)
FIRST = datetime(2010, 12, 23, 3, 39, 45, tzinfo=UTC)  # 11:39:45 +0800, as the page has it
SECOND = datetime(2010, 12, 23, 3, 43, 16, tzinfo=UTC)


def spam(moment: datetime, address: str = BOT, n: int = 1, rule: str = "300061") -> str:
    """A line of Apache's error log."""
    return SPAM.format(stamp=f"{moment:%a %b %d %H:%M:%S %Y}", address=address, n=n, rule=rule)


def replayed(folder: Path, *lines: str) -> list[dict]:
    """What `tidegate replay` decides about these lines."""
    policy, log = folder / "replay.toml", folder / "replayed.log"
    policy.write_text(RULE.format(day="day"))
    log.write_text("".join(lines))
    done = stage.tidegate("replay", "--config", str(policy), "--json", str(log))
    if done.returncode:
        raise stage.StoryError(done.stderr)
    return [json.loads(row) for row in done.stdout.splitlines()]


def story(line: stage.Timeline, stack: ExitStack) -> str:
    """The timeline, top to bottom; the verdict."""
    folder = stack.enter_context(stage.folder())
    line.tell(
        "The rule: 15 points for pharmacy spam, 3 fade a day, over 15 closes ports 80 and 443"
    )
    _by_the_log(line, folder)
    why_not = stage.real_gate()
    if why_not:
        line.tell(f"({why_not}: the live part is left out)")
        return "Comment spam: the scores are as the page has them; no packet was stopped."
    _live(line, stack, folder)
    return (
        "Comment spam: the second pharmacy comment closed the web for its sender, for five days to"
        " the second, and for longer as it kept trying; everybody else read on."
    )


def _by_the_log(line: stage.Timeline, folder: Path) -> None:
    line.expect(replayed(folder, spam(FIRST)) == [], "the first hit: 15 points, not over 15")
    (ban,) = replayed(folder, spam(FIRST), spam(SECOND))
    line.expect(ban["ports"] == [80, 443] and ban["count"] == 30, "the second: 30 points, closed")
    free = FIRST + timedelta(days=5)
    line.expect(
        datetime.fromisoformat(ban["until"]) == free,
        f"30 points fade to 15 in five days: free again on {free:%d %b at %H:%M:%S} UTC",
    )
    at = replayed(folder, spam(FIRST), spam(free))
    line.expect(at == [], "a hit at that very second finds the first one gone: 15 again, not over")
    again = replayed(folder, spam(FIRST), spam(SECOND), spam(free - timedelta(seconds=1)))
    line.expect(
        datetime.fromisoformat(again[-1]["until"]) == FIRST + timedelta(days=10),
        "one more a second before that: five days more",
    )
    other = replayed(folder, *(spam(SECOND, n=n, rule="950107") for n in range(50)))
    line.expect(other == [], "fifty hits of another rule give no points")
    debug = replayed(folder, DEBUG * 50)
    line.expect(
        debug == [], "fifty lines of the debug log, as the page shows them: no address to blame"
    )


def _live(line: stage.Timeline, stack: ExitStack, folder: Path) -> None:
    policy, log = folder / "tidegate.toml", folder / "log" / "error.log"
    policy.write_text(RULE.format(day=f"{DAY}s") + SOURCE.format(folder=folder))
    log.parent.mkdir(mode=0o755)
    log.touch(mode=0o644)
    hosts = stack.enter_context(stage.Hosts(WEB, BOT, READER))
    line.tell(f"Live: web host {WEB}, a bot {BOT}, a reader {READER}; a day takes {DAY} s")
    daemon = stage.Background(
        hosts.mail, *stage.TIDEGATE, "run", "--config", str(policy), log=folder / "daemon.log"
    )
    stack.enter_context(daemon)
    stage.wait_for("the daemon", lambda: stage.tidegate("status", config=policy).returncode == 0)
    peers = str(Path(__file__).with_name("peers.py"))
    ports = ("25", "80", "443")
    stack.enter_context(stage.Background(hosts.mail, sys.executable, peers, "serve", *ports))
    client = stack.enter_context(
        stage.Background(hosts.attacker, sys.executable, peers, "connect", WEB)
    )

    def alive(source: str, port: int) -> bool:
        return client.ask("connect", source, port)["alive"]

    def post(n: int) -> None:
        with log.open("a") as file:
            file.write(spam(datetime.now(), n=n))

    stage.wait_for("the web host", lambda: alive(READER, 80))
    post(1)
    time.sleep(0.5)
    line.expect(alive(BOT, 80), "the first comment is refused, its sender is not")
    post(2)
    banned = lambda: BOT in stage.tidegate("list", config=policy).stdout  # noqa: E731
    stage.wait_for("the ban", banned, step=0.01)
    line.tell("THE BLOCK, at the second")
    end = _end(policy)
    line.expect(not alive(BOT, 80) and not alive(BOT, 443), "ports 80 and 443 are dead for the bot")
    line.expect(alive(BOT, 25), "port 25 is alive: the smallest action that stops it")
    line.expect(alive(READER, 80), "the reader reads on")
    longer = stage.wait_for("the knock", lambda: (now := _end(policy)) > end and now - end)
    line.tell(f"  ok  it tried again, which the kernel heard: {longer.total_seconds():.0f} s more")
    for row in stage.tidegate("why", BOT, config=policy).stdout.splitlines()[:4]:
        line.tell(f"  | {row[:110]}")
    began = time.monotonic()
    stage.wait_for("the end of the ban", lambda: not banned(), DAY * 5 * 8, 0.2)
    stage.wait_for("port 80", lambda: alive(BOT, 80), 10, 0.1)
    line.tell(
        f"THE BAN HAS ENDED by itself, its points have faded ({time.monotonic() - began:.1f} s)"
    )


def _end(policy: Path) -> datetime:
    """When the bot's ban will end, as far as is known now."""
    rows = stage.tidegate("list", "--json", config=policy).stdout.splitlines()
    ends = [datetime.fromisoformat(json.loads(row)["until"]) for row in rows]
    return max(ends, default=datetime(1970, 1, 1, tzinfo=UTC))


def main() -> int:
    """Play it."""
    return stage.play("Comment spam: points that fade", story)


if __name__ == "__main__":
    sys.exit(main())
