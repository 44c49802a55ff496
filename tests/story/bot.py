"""The bot in /var/tmp, 2009: uploaded through an old Joomla, orders over IRC, floods.

A real program, put there and run by the web server's user in namespaces: capped and named within
two seconds, its host's visitors served all the while; and with /var/tmp hardened it does not start.
Limits: needs a C compiler; addresses are those for documentation, and the bot takes no others.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack

from tests.story.provider import Watch
from tests.story.stage import StoryError, Timeline, folder, play, real_gate, wait_for
from tests.story.webhost import FOLDER, PLACE, VICTIM, WWW_DATA, WebHost, compiler

TITLE = "The bot in /var/tmp: capped, named, and then not even started"
NAMED_WITHIN = 2.0
SUBJECT = f"uid:{WWW_DATA}"
POLICY = f"""
[paths]
state = "{FOLDER}/state"
run = "{FOLDER}/run"
off = "{FOLDER}/off"
detectors = "{FOLDER}/detectors"
gates = "{FOLDER}/gates"

[outward]
sources = ["uids"]
busy = ["root"]

[rule.bot]
on = ["outward.scan", "outward.syn_flood", "outward.udp_flood", "outward.signature"]
at-least = 1
within = "1m"
quarantine = {{ ladder = ["1h"] }}
"""
FLOODS = {
    "udp": (f"!udp {VICTIM} 53 4", f"{VICTIM}:53/udp", 400 + 100 * 6),
    "tcp": (f"!syn {VICTIM} 80 4", f"{VICTIM}:80/tcp", 200 + 50 * 6),
    "scan": ("!scan 198.18.0.1 1434 4", ":1434/udp", 10),
}
"""The order, what is to stand in the evidence, and what the caps let out in six seconds: packets,
of the scan destinations."""


def named(host: WebHost, aim: str) -> str:
    """The line of evidence that names user, program and destination; "" until there is one."""
    for row in host.rows("/history", limit="10"):
        if row.get("action") != "quarantine" or row.get("subject") != SUBJECT:
            continue
        for one in row.get("evidence", ()):
            if PLACE in one["line"] and aim in one["line"]:
                return str(one["line"])
    return ""


def flood(timeline: Timeline, host: WebHost, watch: Watch, sort: str) -> None:
    """The bot is started, ordered to flood, capped, named and cut off."""
    order, aim, most = FLOODS[sort]
    bot = host.infect()
    wait_for("the bot to join", host.bots)
    timeline.tell(f"{PLACE} runs as www-data, and is in its master's channel")
    host.arrived()
    began = time.monotonic()
    host.order(order)
    line = wait_for("the evidence", lambda: named(host, aim), 20, 0.02)
    took = time.monotonic() - began
    cut = watch.first(SUBJECT, began)
    timeline.expect(
        took <= NAMED_WITHIN,
        f"{order}: named with user, program and destination {took * 1000:.0f} ms after the order"
        + (f", cut off in the kernel after {(cut - began) * 1000:.0f} ms" if cut else ""),
    )
    timeline.tell(f"  | {line[:240]}")
    time.sleep(5)
    arrived = host.arrived().get(sort, 0)
    what = "destinations were reached" if sort == "scan" else "packets reached the victim"
    timeline.expect(arrived <= most, f"in the four seconds {arrived} {what}; the caps allow {most}")
    timeline.expect(
        host.served(), "a visitor of the web server, which is the same user's, is served"
    )
    bot.__exit__()


def story(timeline: Timeline, stack: ExitStack) -> str:
    """Play it; the verdict."""
    here = stack.enter_context(folder())
    host = WebHost(here)
    stack.callback(host.close)
    host.people()
    host.drop()
    host.tidegate(POLICY)
    watch = Watch(host.space, "tidegate_outward", "cut_.*")
    stack.callback(watch.close)
    timeline.tell("a web host with `tidegate run`; a bot was uploaded as www-data")

    flood(timeline, host, watch, "udp")
    timeline.expect(
        host.ask("/status")["events"].get("outward.irc", 0) > 0, "that it speaks IRC was seen, too"
    )
    for line in host.verb("why", "www-data").stdout.splitlines()[:5]:
        timeline.tell(f"  | {line[:160]}")
    host.verb("release", "www-data", "--trust", "--note", "for the next act")
    flood(timeline, host, watch, "tcp")
    host.verb("release", "www-data", "--trust", "--note", "for the next act")
    flood(timeline, host, watch, "scan")

    before = host.mounts.state()
    done = host.mounts.harden("--apply", check=False)
    timeline.expect(done.returncode == 0, "`tidegate harden --apply`")
    bot = host.infect()
    code = bot.process.wait(20)
    said = (here / "bot.log").read_text().strip()
    timeline.expect(code != 0 and "denied" in said, f"the bot does not start: {said}")
    done = host.mounts.harden("--undo", check=False)
    timeline.expect(
        done.returncode == 0 and host.mounts.state() == before,
        "`tidegate harden --undo`: mounts and fstab are byte for byte as they were",
    )
    host.verb("release", "www-data", "--trust", "--note", "for the last act")
    host.infect()
    try:
        wait_for("the bot to join", host.bots)
    except StoryError:
        timeline.expect(False, "and so the bot starts again: it was the mount that stopped it")
    timeline.tell("  ok  and so the bot starts again: it was the mount that stopped it")
    return "The bot was capped at once, named within two seconds, and on a hardened host never ran."


def main() -> int:
    """Play the story; the exit code."""
    if why := real_gate() or ("" if compiler() else "no C compiler"):
        print(f"{TITLE}: not here: {why}")
        return 0
    return play(TITLE, story)


if __name__ == "__main__":
    sys.exit(main())
