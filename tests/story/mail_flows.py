"""The mail flows again: a real exim under a flood of viruses and bounces, without and with Tidegate.

500 worms try again and again, relays return what the worms sent in our users' names, and twenty
good servers want to deliver. Touches what `stage` and `exim` touch. Limits: time is scaled (said
where it is); the worms are many and polite enough for two processor cores; IPv4 only.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import tomllib
from collections import Counter
from contextlib import ExitStack

from tests.story import exim, measures, stage
from tests.story.crowd import addresses
from tests.story.measures import Part

MAIL = "203.0.113.1"
GOOD = list(addresses("203.0.113.11", 20))
RELAYS = list(addresses("192.0.2.1", 40))
WORMS = list(addresses("198.18.0.1", 500))
CROWDS = (("senders", GOOD), ("worms", WORMS), ("bounces", RELAYS))

SLOTS = 30
EVERY, UNIT = 2.0, 1.0
LINES = {"worms": (0.2, 0.9), "bounces": (0.1, 0.3)}
"""Of a kind of flood: how long a session's line takes, and the pause until the next; seconds."""
CALM_FOR, FLOOD_FOR, CLOSING_WITHIN, SHUT_FOR, CLOSED_FOR = 10, 18, 55, 12, 40
DRAIN_WITHIN, OPEN_WITHIN = 120, 200
SLACK = 0.8
"""Good mail a minute with Tidegate is not below this share of what it is without."""
SCALE = (
    f"scaled: a ban lasts {CLOSED_FOR} s in place of 10 m, good mail is tried again after n² seconds"
    f" (qmail: n² · 400 s), a virus takes {LINES['worms'][0]} s on its line; counts and windows of"
    " the rules are as shipped"
)
SHIPPED = tomllib.loads((stage.REPOSITORY / "src/tidegate/policy/shipped.toml").read_text())["rule"]
RULES = ("virus-senders", "virus-senders-slow")
PATIENCE = min(SHIPPED[name]["more-than"] for name in RULES)
POLICY = """
[source.exim]
file = "{log}"
detectors = ["exim"]

[paths]
state = "{folder}/state"
run = "{folder}/run"
off = "{folder}/off"
"""


def policy(folder, log) -> str:
    """The rules as shipped, with shorter bans; the source and the paths of the story."""
    text = POLICY.format(folder=folder, log=log)
    for name in RULES:
        rule = dict(SHIPPED[name])
        ports = rule.pop("ban")["ports"]
        keys = "".join(f"{key} = {json.dumps(value)}\n" for key, value in rule.items())
        text += f'\n[rule.{name}]\n{keys}ban = {{ ports = {ports}, ladder = ["{CLOSED_FOR}s"] }}\n'
    return text


class Play:
    """Those who play: exim, the crowds, what is written down of the parts."""

    def __init__(self, line: stage.Timeline, stack: ExitStack) -> None:
        self.line = line
        self.folder = stack.enter_context(stage.folder())
        self.hosts = stack.enter_context(stage.Hosts(MAIL, "203.0.113.2"))
        self._people()
        self.exim = stack.enter_context(exim.Exim(self.hosts.mail, self.folder, MAIL, SLOTS))
        self.crowd = {
            kind: stack.enter_context(
                stage.Background(
                    self.hosts.attacker, sys.executable, "-m", "tests.story.crowd",
                    kind, MAIL, members[0], str(len(members)),
                )
            )
            for kind, members in CROWDS
        }  # fmt: skip
        self.config = self.folder / "tidegate.toml"
        self.parts: dict[str, Part] = {}
        self.shut_out = 0
        stage.wait_for("exim", lambda: b"listening for SMTP" in self.exim.log.read_bytes())

    def _people(self) -> None:
        mail, outside = ["ip", "-n", self.hosts.mail], ["ip", "-n", self.hosts.attacker]
        for network in ("198.18.0.0/15", "192.0.2.0/24"):
            subprocess.run([*mail, "route", "add", network, "dev", "eth0"], check=True)
        batch = "".join(
            f"address add {one}/32 dev eth0\n" for _kind, members in CROWDS for one in members
        )
        subprocess.run([*outside, "-batch", "-"], input=batch, text=True, check=True)

    def begin(self, name: str) -> Part:
        """A part begins."""
        self.parts[name] = Part(name, time.monotonic(), self.exim.size())
        return self.parts[name]

    def end(self, *parts: Part) -> None:
        """Parts end, all at the same moment."""
        for part in parts:
            part.end, part.stop = time.monotonic(), self.exim.size()

    def during(self, part: Part, seconds: float, until=lambda: False) -> None:
        """Let it play for so long, or until it is so; says every four seconds how it stands."""
        at, before = self.exim.size(), self.crowd["senders"].ask("count")["done"]
        told = asked = time.monotonic()
        while (now := time.monotonic()) < part.begin + seconds:
            time.sleep(0.25)
            if now - asked > 2:  # asking starts a process, which the flood would feel
                asked = now
                if until():
                    return
            if now - told > 4:
                told = now
                seen = Counter(row.what for row in self.exim.lines(at))
                at, count = self.exim.size(), self.crowd["senders"].ask("count")
                self.line.tell(
                    f"  {part.name}: {count['done'] - before:3d} good messages delivered,"
                    f" {count['waiting']:3d} wait; {seen['viruses']:4d} viruses and"
                    f" {seen['bounces']:3d} bounces refused, {seen['busy']:5d} times “too many connections”"
                )
                before = count["done"]

    def flood(self, on: bool) -> None:
        """The worms and the relays begin, or stop."""
        for kind, how in LINES.items():
            self.crowd[kind].ask("start", *how) if on else self.crowd[kind].ask("stop")

    def drain(self) -> None:
        """Wait until every good message that was deferred has arrived."""
        senders = self.crowd["senders"]
        empty = lambda: senders.ask("count")["waiting"] == 0  # noqa: E731
        stage.wait_for("the deferred mail", empty, DRAIN_WITHIN, 0.1)

    def closed_for(self) -> Counter[str]:
        """Subject → how often it was closed for, by Tidegate's own account."""
        told = stage.tidegate("history", "--json", "--limit", "10000", config=self.config)
        rows = map(json.loads, told.stdout.splitlines())
        return Counter(row["subject"] for row in rows if row["action"] == "ban")


def story(line: stage.Timeline, stack: ExitStack) -> str:
    """The timeline, top to bottom; the verdict."""
    if why_not := stage.real_gate() or exim.missing():
        return f"Mail flows: not played, since {why_not}."
    play = Play(line, stack)
    line.tell(
        f"exim at {MAIL}, {SLOTS} connections at once; {len(GOOD)} good servers with a message"
        f" every {EVERY:.0f} s each; {len(WORMS)} worms; {len(RELAYS)} relays that return bounces"
    )
    line.tell(SCALE)
    play.crowd["senders"].ask("start", EVERY, UNIT)
    calm = play.begin("calm")
    play.during(calm, CALM_FOR)
    play.end(calm)
    line.tell("THE FLOOD, without Tidegate")
    play.flood(True)
    without = play.begin("flood")
    play.during(without, FLOOD_FOR)
    play.end(without)
    play.flood(False)
    play.crowd["senders"].ask("stop")
    play.drain()
    line.tell("the flood pauses, and what was deferred arrives")
    _with_tidegate(play, stack)
    done = play.crowd["senders"].ask("report")["done"]
    closed_for = play.closed_for()
    _check(play, done, closed_for)
    return _verdict(play, done, closed_for)


def _with_tidegate(play, stack):
    line = play.line
    play.config.write_text(policy(play.folder, play.exim.log))
    log = play.folder / "daemon.log"
    stack.enter_context(
        stage.Background(
            play.hosts.mail, *stage.TIDEGATE, "run", "--config", str(play.config), log=log
        )
    )
    answers = lambda: stage.tidegate("status", config=play.config).returncode == 0  # noqa: E731
    try:
        stage.wait_for("the daemon", answers)
    except stage.StoryError as failure:
        raise stage.StoryError(f"{failure}:\n{log.read_text()}") from None
    line.tell(f"THE FLOOD AGAIN, with `tidegate run` and the shipped rules {' and '.join(RULES)}")
    play.crowd["senders"].ask("start", EVERY, UNIT)
    play.flood(True)
    tide, closing = play.begin("with Tidegate"), play.begin("closing")
    everyone = lambda: len(play.closed_for()) >= len(WORMS)  # noqa: E731
    play.during(closing, CLOSING_WITHIN, everyone)
    shut = play.begin("shut")
    play.shut_out = len(play.closed_for())
    line.tell(f"closed for {play.shut_out} addresses; {shut.begin - tide.begin:.0f} s of flood")
    play.during(shut, SHUT_FOR)
    play.end(tide, closing, shut)
    play.crowd["senders"].ask("stop")
    play.drain()
    play.flood(False)
    line.tell("what was deferred has arrived, and the flood is over")
    status = stage.tidegate("status", config=play.config).stdout.splitlines()
    bounces = [row.strip() for row in status if "backscatter" in row]
    line.expect(bounces != [], f"`tidegate status` says: {' '.join(bounces)}")
    told = stage.tidegate("why", WORMS[0], config=play.config).stdout.splitlines()
    for row in told[:4]:
        line.tell(f"  | {row[:110]}")
    listed = lambda: stage.tidegate("list", "--json", config=play.config).stdout  # noqa: E731
    stage.wait_for("the end of the bans", lambda: not listed(), OPEN_WITHIN, 0.5)
    stage.wait_for("an empty table", lambda: not _in_the_kernel(play.hosts.mail), OPEN_WITHIN, 0.2)
    line.tell("every ban has ended by itself, and the table is empty")


def _in_the_kernel(space):
    """Addresses that the kernel drops; what has no end is the mark of a set, not a ban."""
    words = [*stage.inside(space), "nft", "-j", "list", "table", "inet", "tidegate"]
    rows = json.loads(subprocess.check_output(words))["nftables"]
    sets = [row["set"] for row in rows if row.get("set", {}).get("name", "").startswith("ban")]
    return [one for found in sets for one in found.get("elem", ()) if isinstance(one, dict)]


def _check(play, done, closed_for):
    """By counts: nothing is lost, nobody good is closed for, every worm that was convicted is."""
    expect = play.line.expect
    stage.wait_for("the mailbox", lambda: play.exim.queued() == 0)
    accepted = sum(row.what == "accepted" for row in play.exim.lines())
    mailbox, sent = play.exim.mailbox(), {row["name"] for row in done}
    expect(
        mailbox.total() == accepted, f"{accepted} messages accepted, {mailbox.total()} delivered"
    )
    retried = sum(row["tries"] > 1 for row in done)
    expect(
        sent == set(mailbox) and all(row["code"] == 250 for row in done),
        f"{len(sent)} good messages sent, {retried} of them more than once, and all have arrived",
    )
    expect(not play.exim.panicked(), f"exim's panic log is empty{play.exim.panicked()}")
    begin = play.parts["with Tidegate"].start
    viruses = Counter(row.address for row in play.exim.lines(begin) if row.what == "viruses")
    guilty = {address for address, count in viruses.items() if count > PATIENCE}
    expect(not closed_for.keys() & set(GOOD), f"none of {len(GOOD)} good servers was closed for")
    expect(not closed_for.keys() & set(RELAYS), f"none of {len(RELAYS)} relays was closed for")
    expect(
        bool(guilty) and closed_for.keys() == guilty,
        f"of {len(WORMS)} worms {len(guilty)} got through more than {PATIENCE} times, and were closed for",
    )
    rates = {name: measures.rate(part, done) for name, part in play.parts.items()}
    expect(
        rates["with Tidegate"] >= SLACK * rates["flood"],
        f"{rates['with Tidegate']:.0f} good messages a minute, {rates['flood']:.0f} without Tidegate",
    )


def _verdict(play, done, closed_for):
    worms = len(closed_for.keys() & set(WORMS))
    told = []
    for name, text in (
        ("calm", "in calm"),
        ("flood", "in the flood without Tidegate"),
        ("with Tidegate", "in the flood with it"),
        ("shut", f"in its last {SHUT_FOR} s, {play.shut_out} worms being closed for"),
    ):
        part = play.parts[name]
        middle, most = measures.delay(part, done)
        told.append(
            f"{measures.rate(part, done):.0f} {text} (delay {middle:.2g} s, p95 {most:.2g} s)"
        )
    served, lines = zip(
        *(measures.share(play.exim, play.parts[name], set(RELAYS)) for name in ("flood", "shut")),
        strict=True,
    )
    return (
        f"Mail flows, good messages a minute: {', '.join(told)}; in all {worms} of {len(WORMS)}"
        f" worms were closed for and nobody else. Null senders made {served[0]:.0%} of the sessions"
        f" served and {lines[0]:.0%} of the log's lines without Tidegate, {served[1]:.0%} and"
        f" {lines[1]:.0%} in those last {SHUT_FOR} s: it leaves innocent relays alone."
    )


def main() -> int:
    """Play it."""
    return stage.play("Mail flows: a real exim, 500 worms, and what others bounce", story)


if __name__ == "__main__":
    sys.exit(main())
