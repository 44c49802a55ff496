"""A full spool: a real exim with a spool of 24 MiB under a flood of mail that it accepts.

A guard throttles the heaviest senders, then defers new mail with 421, and opens again when the
spool has drained. Touches what `stage` and `exim` touch, and mounts a tmpfs in the story's folder.
Limits: mail is delivered slowly on purpose; the guard's least times are shorter than by default.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from tests.story import exim, stage
from tests.story.crowd import addresses

MAIL = "203.0.113.1"
LIGHT = "203.0.113.11"
HEAVY = list(addresses("198.51.100.1", 12))
SPOOL = 24 << 20
SIZE, HANDS, PAUSE = 100_000, 2, 1.0
"""Of one heavy sender: bytes of a message, connections at a time, seconds between two of one."""
EVERY, UNIT = 6.0, 3.0
SLOTS = 60
FLOOD_FOR, DRAIN_WITHIN, OPEN_WITHIN = 70, 180, 300
LOW, LEAST = 16 << 20, 10 << 20
THROTTLED = f"disk.available({{spool}}) < {LOW >> 20}M or disk.full-in({{spool}}) < 10s"
REFUSED = f"disk.available({{spool}}) < {LEAST >> 20}M or queue(exim) > 200"
POLICY = f"""
[guard.spool]
longest-damped = "10s"
ladder = [
  {{{{ throttle = {{{{ ports = [25], rate = "30/m", burst = 3 }}}}, when = "{THROTTLED}" }}}},
  {{{{ refuse = {{{{ ports = [25], answer = "421" }}}}, when = "{REFUSED}" }}}},
]
close = {{{{ when = "disk.available({{spool}}) < {LOW >> 20}M", at-least = "5s" }}}}
open = {{{{ when = "disk.available({{spool}}) > 18M and queue(exim) < 60", at-least = "5s" }}}}

[paths]
state = "{{folder}}/state"
run = "{{folder}}/run"
off = "{{folder}}/off"
gates = "{{folder}}/gates"
"""
# What is accepted waits for one queue runner, which needs a third of a second for each message:
# so a mailbox that is slower than the flood. exim's own refusal of mail for a full disk is off.
SLOWLY = (
    exim.CONFIGURATION.replace(
        "message_body_visible = 2000",
        "queue_only\nqueue_run_max = 1\ncheck_spool_space = 0\ncheck_spool_inodes = 0\n"
        "message_body_visible = 2000",
    )
    + '  transport_filter = /bin/sh -c "sleep 0.25; exec cat"\n'
)
FULL = ("No space left", "ENOSPC", "Disk quota", "spool file")


class Look(NamedTuple):
    """The spool at one moment."""

    at: float
    free: int
    closed: frozenset[str]


class Play:
    """Those who play, and what was seen of the spool."""

    def __init__(self, line: stage.Timeline, stack: ExitStack) -> None:
        self.line = line
        self.folder = stack.enter_context(stage.folder())
        self.spool = self.folder / "spool"
        self.spool.mkdir()
        words = ["-t", "tmpfs", "-o", f"size={SPOOL},mode=0755", "tidegate-story", str(self.spool)]
        subprocess.run(["mount", *words], check=True)
        stack.callback(subprocess.run, ["umount", "--lazy", str(self.spool)], check=True)
        self.hosts = stack.enter_context(stage.Hosts(MAIL, "203.0.113.2", LIGHT))
        self._people()
        self.exim = stack.enter_context(
            exim.Exim(self.hosts.mail, self.folder, MAIL, SLOTS, SLOWLY)
        )
        python = [self.hosts.attacker, sys.executable, "-m"]
        self.light = stack.enter_context(
            stage.Background(*python, "tests.story.crowd", "senders", MAIL, LIGHT, "1")
        )
        self.heavy = stack.enter_context(
            stage.Background(
                *python, "tests.story.spool_crowd",
                MAIL, HEAVY[0], str(len(HEAVY)), str(SIZE), str(HANDS),
            )
        )  # fmt: skip
        self.config = self.folder / "tidegate.toml"
        self.looks: list[Look] = []
        self.closed: frozenset[str] = frozenset()
        stage.wait_for("exim", lambda: b"listening for SMTP" in self.exim.log.read_bytes())

    def _people(self) -> None:
        subprocess.run(
            ["ip", "-n", self.hosts.mail, "route", "add", "198.51.100.0/24", "dev", "eth0"],
            check=True,
        )
        batch = "".join(f"address add {one}/32 dev eth0\n" for one in HEAVY)
        words = ["ip", "-n", self.hosts.attacker, "-batch", "-"]
        subprocess.run(words, input=batch, text=True, check=True)

    def guard(self, stack: ExitStack) -> None:
        """Start the daemon, for which the spool lies where this host's exim has it."""
        self.config.write_text(POLICY.format(folder=self.folder, spool=self.spool))
        log = self.folder / "daemon.log"
        there = self.folder / "there"
        there.write_text(
            f'#!/bin/sh\nmount --bind {self.spool} /var/spool/exim4 || exit 1\nexec "$@"\n'
        )
        words = ["unshare", "--mount", "--propagation", "private", "/bin/sh", str(there)]
        stack.enter_context(
            stage.Background(
                self.hosts.mail, *words, *stage.TIDEGATE, "run", "--config", str(self.config),
                log=log,
            )
        )  # fmt: skip
        answers = lambda: stage.tidegate("status", config=self.config).returncode == 0  # noqa: E731
        try:
            stage.wait_for("the daemon", answers)
        except stage.StoryError as failure:
            raise stage.StoryError(f"{failure}:\n{log.read_text()}") from None

    def during(self, seconds: float, every: float, until=lambda: False) -> bool:
        """Look at the spool all the time, and say every so often how it stands; whether it came to
        be so in time."""
        end, told, asked = time.monotonic() + seconds, 0.0, 0.0
        while (now := time.monotonic()) < end:
            if now - asked > 0.5:
                asked, was, self.closed = now, self.closed, self._closed()
                for gate in sorted(self.closed ^ was):
                    verb = "CLOSES" if gate in self.closed else "opens"
                    self.line.tell(f"{gate} {verb}: {self._stand()}")
                if until():
                    return True
            self.looks.append(Look(now, free(self.spool), self.closed))
            if now - told > every:
                told = now
                self.line.tell(f"  {self._stand()}")
            time.sleep(0.02)
        return False

    def _stand(self) -> str:
        heard = self.heavy.ask("count")["heard"]
        return (
            f"{free(self.spool) / (1 << 20):4.1f} MiB free, {self.exim.queued():3d} queued;"
            f" heavy senders: {heard.get('250', 0)} accepted, {heard.get('421', 0)} times 421,"
            f" {heard.get('0', 0)} times no answer"
        )

    def _closed(self) -> frozenset[str]:
        """Gates that are closed in the kernel: their ports stand in their sets."""
        words = [*stage.inside(self.hosts.mail), "nft", "-j", "list", "table", "inet", "tidegate"]
        done = subprocess.run(words, capture_output=True, text=True)
        rows = json.loads(done.stdout)["nftables"] if done.returncode == 0 else []
        return frozenset(
            found["name"].removeprefix("closed_")
            for row in rows
            if (found := row.get("set", {})).get("name", "").startswith("closed_")
            and found.get("elem")
        )


def free(spool: Path) -> int:
    """Bytes that exim may still write."""
    found = os.statvfs(spool)
    return found.f_bavail * found.f_frsize


def story(line: stage.Timeline, stack: ExitStack) -> str:
    """The timeline, top to bottom; the verdict."""
    if why_not := stage.real_gate() or exim.missing():
        return f"A full spool: not played, since {why_not}."
    play = Play(line, stack)
    line.tell(
        f"exim at {MAIL} with a spool of {SPOOL >> 20} MiB; {len(HEAVY)} heavy senders of messages"
        f" of {SIZE // 1000} kB; a light one with a small message every {EVERY:.0f} s"
    )
    if "--unguarded" not in sys.argv:
        play.guard(stack)
    play.light.ask("start", EVERY, UNIT)
    line.tell("THE FLOOD")
    play.heavy.ask("start", PAUSE)
    play.during(FLOOD_FOR, 4)
    over = time.monotonic()
    play.heavy.ask("stop")
    line.tell("the flood is over")
    if play.config.exists():
        told = stage.tidegate("why", "spool.throttle", config=play.config).stdout.splitlines()
        for row in told[:3]:
            line.tell(f"  | {row[:110]}")
        line.expect(
            "most often 198.51.100." in "".join(told), "`tidegate why` names who was cut most"
        )
    drained = lambda: play.exim.queued() < 10 and not play.closed  # noqa: E731
    opened = play.during(OPEN_WITHIN, 15, drained)
    play.light.ask("stop")
    empty = lambda: play.light.ask("count")["waiting"] == 0  # noqa: E731
    stage.wait_for("the light sender's mail", empty, DRAIN_WITHIN, 0.2)
    stage.wait_for("an empty queue", lambda: play.exim.queued() == 0, DRAIN_WITHIN, 0.5)
    line.expect(opened, "every gate has opened by itself")
    return _check(play, over)


def _check(play: Play, over: float) -> str:
    expect = play.line.expect
    least = min(look.free for look in play.looks)
    expect(least > 0, f"the spool was never full: at least {least / (1 << 20):.1f} MiB were free")
    log = play.exim.log.read_text("utf-8", "replace") + play.exim.panicked()
    full = [row for row in log.splitlines() if any(word in row for word in FULL)]
    expect(not full, f"exim never ran out of space{'; '.join(full[:2])}")
    accepted = set(play.heavy.ask("report")["accepted"])
    light = play.light.ask("report")["done"]
    mailbox = play.exim.mailbox()
    lost = (accepted | {row["name"] for row in light}) - mailbox.keys()
    expect(
        not lost, f"{len(accepted)} messages were accepted from heavy senders, and all delivered"
    )
    expect(mailbox.total() == len(mailbox), "and none twice")
    late = sum(row["tries"] > 1 for row in light)
    expect(
        bool(light) and all(row["code"] == 250 for row in light),
        f"{len(light)} messages of the light sender, {late} of them deferred once or more, all delivered",
    )
    closed = Counter(gate for look in play.looks for gate in look.closed)
    steps = ("spool.throttle", "spool.refuse")
    expect(all(closed[gate] for gate in steps), "both steps of the ladder were closed for a while")
    heard = play.heavy.ask("count")["heard"]
    expect(heard.get("421", 0) > 0, f"heavy senders heard 421 {heard.get('421', 0)} times")
    flood = [look for look in play.looks if look.at < over]
    alone = [
        row
        for row in light
        if row["born"] < over and _only_throttled(flood, row["born"] - 6, row["born"] + 4)
    ]
    expect(
        bool(alone) and all(row["tries"] == 1 for row in alone),
        f"while heavy senders were only throttled, each of {len(alone)} light messages went at once",
    )
    return (
        f"A full spool: {len(accepted)} heavy messages and {len(light)} light ones were accepted, and"
        f" every one was delivered; never less than {least / (1 << 20):.1f} of {SPOOL >> 20} MiB were free."
    )


def _only_throttled(looks: list[Look], begin: float, end: float) -> bool:
    """Whether from one moment to another the throttle was closed, and nothing above it."""
    return all(look.closed == {"spool.throttle"} for look in looks if begin <= look.at <= end)


def main() -> int:
    """Play it."""
    return stage.play("A full spool: a flood of mail that is accepted", story)


if __name__ == "__main__":
    sys.exit(main())
