"""Guards beside what else there is: rules about abuse, pools of hosts, a new policy, the terminal."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.kernel.daemon import SOURCE, until, virus
from tests.kernel.namespaces import ATTACKERS, World
from tests.kernel.pretended import Pretended, pretended

pytestmark = pytest.mark.kernel

LADDER = """
[guard.web]
close = { when = "la1 >= 10", at-least = "1s" }
open = { when = "la1 <= 2", at-least = "1s" }
ladder = [
  { throttle = { ports = [25], rate = "20/m", burst = 3 } },
  { stop = "apache2", after = "1s" },
]
"""
RULE = """
[rule.virus-senders]
on = ["exim.malware"]
more-than = 15
within = "5m"
when.high = { more-than = 2 }
ban = { ports = [25], ladder = ["1h"] }
"""
POOL = """
pool = "web"
[pool.web]
peers = ["up(tcp://192.0.2.1:8080)"]
min-healthy = 1
"""


@pytest.fixture
def here(world: World, public_folder: Path) -> Iterator[Pretended]:
    """A daemon with an apache2 of its own, which runs."""
    with pretended(world, public_folder) as made:
        made.host.service("apache2")
        yield made


OTHERS = """
[guard.leak]
restart = { service = "apache2", when = "swapused >= 100T", wait = "5m", at-most = "2/day" }
[guard.lost]
close = "disk.available(/nonexistent) < 5% or la1 >= 99"
open = "la1 <= 2"
command = { close = ["touch", "{folder}/never"], open = ["rm", "-f", "{folder}/never"] }
[guard.quiet]
mode = "observe"
close = "la1 >= 9"
open = "la1 <= 2"
service = "apache2"
"""


def test_the_tide_of_a_closed_guard_tightens_a_rule_and_the_ban_says_so(here: Pretended) -> None:
    here.guards(LADDER.partition("  { stop")[0] + "]\n" + RULE, SOURCE)
    calm, rough = ATTACKERS[:2]
    here.start()
    here.append("".join(virus(calm) for _n in range(15)))
    here.wait_read(15)
    assert here.closed() == {}, "at low tide fifteen are none too many"
    here.load(11)
    here.wait_state(web="closed")
    assert "tide     high; closed: web" in here.verb("status").stdout
    here.append("".join(virus(rough) for _n in range(3)))
    until("the ban", lambda: (rough, (25,)) in here.closed())
    assert (calm, (25,)) not in here.closed()
    assert (
        "3 are enough at tide high; else more than 15 within 5m" in here.verb("why", rough).stdout
    )
    here.load(1)
    here.wait_state(web="open")
    until("low tide", lambda: "tide     low" in here.verb("status").stdout)
    here.append("".join(virus(ATTACKERS[2]) for _n in range(3)))
    here.wait_read(21)
    assert set(here.closed()) == {(rough, (25,))}, "low again"
    listed = here.verb("list").stdout
    assert listed.startswith("SUBJECT\tPORTS\tBY\tCOUNT\tLEFT\tUNTIL\n")
    assert "GATE" not in listed


def test_what_a_terminal_shows_fits_and_says_what_to_do(here: Pretended) -> None:
    here.guards(LADDER + RULE + OTHERS, SOURCE)
    here.start()
    here.append("".join(virus(ATTACKERS[0]) for _n in range(16)))
    here.load(11)
    here.wait_state(web_throttle="closed", web_stop="closed")
    until("the ban", lambda: (ATTACKERS[0], (25,)) in here.closed())
    note = "Anna looks into it, see ticket 4711"
    assert here.verb("hold", "leak", "--note", note).returncode == 0
    until("what is observed", lambda: ("close", "quiet") in here.moves())
    for words in (
        "list", "guard list", "history", "why leak", "hold web.stop", "resume web.stop", "status",
        "report",
    ):  # fmt: skip
        shown = here.terminal(*words.split())
        assert max(map(len, shown.splitlines())) <= 90, shown  # a path is never broken
        assert sum(len(line) > 80 for line in shown.splitlines()) <= 1, shown
    listed = here.terminal("guard", "list")
    assert "  web.stop: closed for " in listed
    assert "    apache2 is stopped (stopped in " in listed
    assert "    held by root (uid 0) since " in listed
    assert "its guard does not run it until: tidegate resume leak" in " ".join(listed.split())
    assert "its guard would have closed it; it only observes" in listed
    assert "disk.available(/nonexistent) is unknown: /nonexistent" in listed
    status = here.terminal("status")
    assert "  web                  enforce, throttle closed; stop closed\n" in status
    assert "  lost                 enforce, lost open; UNKNOWN: disk.avail" in status
    assert "more: tidegate guard list" in status
    assert not (here.folder / "never").exists(), "what is unknown closes nothing"
    both = here.terminal("list")
    assert both.index("SUBJECT") < both.index("\n\nGATE ")
    why = here.terminal("why", "web.stop")
    assert why.endswith(
        "To open: tidegate open web.stop\n"
        "To keep its guard from closing it again: tidegate hold web.stop\n"
    )
    opened = here.terminal("open", "web.stop")
    assert "it is left alone until its open condition holds, or for 1h" in opened
    assert "\n  To keep its guard from closing it: tidegate hold web.stop\n" in opened
    assert "To let its guard act again: tidegate resume web.stop" in here.terminal(
        "why", "web.stop"
    )
    report = here.verb("report")
    assert "guards: 2 closings of 2 gates, 0 minutes" in report.stdout
    assert "\nweb.throttle\t1, now too\t0\tguard 1\t0\t0\t0\t0\t" in report.stdout
    assert "\nquiet\t0\t0\t\t0\t0\t1\t0\t" in report.stdout


def test_a_policy_that_only_observes_closes_nothing_unless_a_person_says_so(
    here: Pretended,
) -> None:
    here.guards(LADDER, 'mode = "observe"\n')
    here.start()
    here.load(11)
    until("both", lambda: [row["state"] for row in here.history()] == ["observed"] * 2)
    assert here.host.runs("apache2")
    assert here.verb("list").stdout == "Nothing is closed.\n"
    assert "; closed: " not in here.verb("status").stdout
    assert here.states() == {"web.throttle": "open", "web.stop": "open"}
    assert here.verb("close", "web.stop").returncode == 0, "as with a ban"
    until("apache2 to be stopped", lambda: not here.host.runs("apache2"))
    assert here.verb("open", "web.stop").returncode == 0
    until("apache2 to be started", lambda: here.host.runs("apache2"))


def test_reload_while_closed_keeps_it_closed_and_a_new_limit_opens_it(here: Pretended) -> None:
    here.guards(LADDER)
    here.start()
    here.load(11)
    here.wait_state(web_throttle="closed", web_stop="closed")
    stopped = here.host.calls("apache2")
    here.guards(LADDER.replace("20/m", "30/m"))
    assert here.verb("reload").returncode == 0
    here.wait_state(web_throttle="closed", web_stop="closed")
    assert "30 new connections" in here.verb("list").stdout
    assert here.host.calls("apache2") == stopped, "nobody has stopped it twice"
    assert len(here.moves()) == 2
    here.guards(LADDER.replace("la1 >= 10", "la1 >= 30").replace("la1 <= 2", "la1 <= 20"))
    assert here.verb("reload").returncode == 0
    until("apache2 to be started", lambda: here.host.runs("apache2"))
    here.wait_state(web_stop="open")


def test_who_starts_a_service_by_hand_is_left_alone_and_told_how_to_go_on(here: Pretended) -> None:
    here.guards(LADDER)
    here.start()
    here.load(11)
    here.wait_state(web_throttle="closed", web_stop="closed")
    here.host.start("apache2")
    here.wait_state(web_stop="taken")
    listed = here.verb("guard", "list").stdout
    assert "  web.stop: left alone: a person opened it" in listed
    assert "    its guard decides again at " in listed
    why = here.verb("why", "web.stop").stdout
    assert "open web.stop by person: a person opened it; it is left alone until" in why
    assert why.endswith("To let its guard act again: tidegate resume web.stop\n")
    assert here.host.runs("apache2")
    assert "web.throttle" in here.verb("list").stdout
    assert "web.stop" not in here.verb("list").stdout
    assert here.verb("resume", "web.stop").returncode == 0
    until("it to be stopped again", lambda: not here.host.runs("apache2"))


def test_check_names_what_overlaps(here: Pretended) -> None:
    here.guards(LADDER.replace("la1 >= 10", "la1 >= 10 or la5 >= 6"))
    checked = here.verb("check", "--config", str(here.policy))
    assert checked.returncode == 0
    assert "close and open can hold together (la5 >= 6 while la1 <= 2)" in checked.stderr
    here.guards(LADDER.replace("la1 <= 2", "la1 <= 12").replace("la1 >= 10", "la1 > 12"))
    checked = here.verb("check", "--config", str(here.policy))
    assert "nothing lies between close and open" in checked.stderr


@pytest.mark.parametrize("peer", ["down", "unknown"])
def test_the_last_member_of_a_pool_is_throttled_and_not_stopped(here: Pretended, peer: str) -> None:
    probe = "tcp://127.0.0.1:8080" if peer == "down" else "smtp://no-such-host.invalid:25"
    pool = POOL.replace("tcp://192.0.2.1:8080", probe)
    here.guards(LADDER + pool)
    here.start()
    here.load(11)
    here.wait_state(web_throttle="closed")
    until("it to be said", lambda: ("warn", "web.stop") in here.moves())
    why = here.verb("why", "web.stop").stdout
    assert "web.stop is left open: pool web needs 1" in why
    assert here.host.runs("apache2")
    assert here.states() == {"web.throttle": "closed", "web.stop": "open"}
    assert here.moves().count(("warn", "web.stop")) == 1
    listed = here.verb("guard", "list").stdout
    assert "    its guard would close it, but pool web needs 1 in service, and up(" in listed
    if peer == "down":
        return
    assert "unknown" in why


def test_with_a_peer_that_is_well_it_is_stopped_and_comes_back_when_the_peer_goes(
    here: Pretended,
) -> None:
    assert here.space is not None
    with closing(here.space.listen(8080, socket.AF_INET)):
        here.guards(LADDER + POOL.replace("192.0.2.1", "127.0.0.1"))
        here.start()
        here.load(11)
        here.wait_state(web_throttle="closed", web_stop="closed")
        assert not here.host.runs("apache2")
    until("apache2 to come back", lambda: here.host.runs("apache2"), 120)
    here.wait_state(web_throttle="closed", web_stop="open")
    assert "its pool needs it" in here.verb("why", "web.stop").stdout


def test_when_the_last_guard_leaves_the_policy_all_is_opened_and_told(here: Pretended) -> None:
    here.guards(LADDER + RULE, SOURCE)
    here.start()
    here.load(11)
    here.wait_state(web_throttle="closed", web_stop="closed")
    here.guards(RULE, SOURCE)
    assert here.verb("reload").returncode == 0
    until("apache2 to be started", lambda: here.host.runs("apache2"))
    until(
        "every move to be settled",
        lambda: (
            [(row["action"], row["state"]) for row in here.history()]
            == [("close", "applied")] * 2 + [("open", "applied")] * 2
        ),
    )
    here.append("".join(virus(ATTACKERS[0]) for _n in range(3)))
    here.wait_read(3)
    assert here.closed() == {}, "the tide is low again"
