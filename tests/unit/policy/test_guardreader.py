"""Guards out of the policy: what the text means, and every fault on one line with place and key."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.errors import PolicyError
from tidegate.model import DAY, HOUR, MINUTE, SECOND
from tidegate.policy.guards import (
    Agent,
    Capture,
    Command,
    Compare,
    Freeze,
    GuardSpec,
    Haproxy,
    Held,
    Keepalived,
    NoticeSpec,
    Or,
    Pool,
    Properties,
    ReadingSpec,
    Refuse,
    Restart,
    Service,
    Throttle,
)
from tidegate.policy.loader import load, read
from tidegate.policy.tables import Reader

APACHE = """
[guard.apache]
close = { when = "la1 >= 10 or la5 >= 6" }
open = "la1 <= 2"
service = "apache2.service"
"""
LADDER = """
[guard.apache]
close = { when = "la1 >= 10", for = "30s", at-least = "2m" }
open = { when = "la1 <= 2", at-least = "3m" }
pool = "mail"
notify = ["admins"]
ladder = [
  { throttle = { ports = [443, 80], rate = "20/m", burst = 7 }, when = "la1 >= 6" },
  { haproxy = { socket = "/run/haproxy/admin.sock", backend = "imap", server = "node1", weight = "25%" }, after = "10s" },
  { agent = { listen = "127.0.0.1:7777" } },
  { keepalived = { file = "/run/tidegate/vrrp.load", value = -50 } },
  { refuse = { ports = [25], answer = "421" } },
  { properties = { unit = "apache2.service", MemoryHigh = "512M", CPUWeight = 20 } },
  { freeze = "apache2.service" },
  { stop = { service = "apache2.service", within = "5m" }, name = "halt" },
  { command = { close = ["/sbin/drain", "now"], open = ["/sbin/undrain"], timeout = "10s" } },
]
[pool.mail]
peers = ["up(smtp://192.0.2.2:25)", "up(SMTP://192.0.2.3:25)"]
min-healthy = 2
[notify.admins]
mail = "root"
"""


def guards(text: str) -> tuple[GuardSpec, ...]:
    return read([("p.toml", text)]).policy.guards


def faults(text: str) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        read([("p.toml", text)])
    return list(caught.value.faults)


def notes(text: str) -> tuple[str, ...]:
    return read([("p.toml", text)]).notes


def test_one_gate_has_the_guard_s_name() -> None:
    (guard,) = guards(APACHE)
    assert guard.close == Or((Compare("la1", ">=", 10.0), Compare("la5", ">=", 6.0)))
    assert guard.open == Compare("la1", "<=", 2.0)
    assert [(gate.name, gate.terms) for gate in guard.gates] == [
        ("apache", Service("apache2.service"))
    ]
    assert (guard.stated_close, guard.stated_open) == ("la1 >= 10 or la5 >= 6", "la1 <= 2")
    assert (guard.tide, guard.capture, guard.mode) == ("high", Capture(), "enforce")


def test_a_ladder_of_every_kind() -> None:
    (guard,) = guards(LADDER)
    assert guard.close == Held(Compare("la1", ">=", 10.0), 30 * SECOND)
    assert guard.stated_close == "(la1 >= 10) for 30s"
    assert (guard.least_closed, guard.least_open) == (2 * MINUTE, 3 * MINUTE)
    drain, undrain = ("/sbin/drain", "now"), ("/sbin/undrain",)
    assert [(step.gate.name, step.gate.terms) for step in guard.steps] == [
        ("apache.throttle", Throttle((80, 443), 20, MINUTE, 7)),
        ("apache.haproxy", Haproxy("/run/haproxy/admin.sock", "imap", "node1", 25)),
        ("apache.agent", Agent("127.0.0.1:7777")),
        ("apache.keepalived", Keepalived("/run/tidegate/vrrp.load", -50)),
        ("apache.refuse", Refuse((25,), "421")),
        ("apache.properties", Properties("apache2.service", (("CPUWeight", "20"), ("MemoryHigh", "512M")))),
        ("apache.freeze", Freeze("apache2.service")),
        ("apache.halt", Service("apache2.service", 5 * MINUTE)),
        ("apache.command", Command(drain, undrain, 10 * SECOND)),
    ]  # fmt: skip
    assert [step.when for step in guard.steps[:2]] == [Compare("la1", ">=", 6.0), None]
    assert [step.after for step in guard.steps[:2]] == [30 * SECOND, 10 * SECOND]
    # What leaves the service in place takes no member out of the pool.
    out = [step.gate.name.partition(".")[2] for step in guard.steps if step.gate.pool]
    assert out == ["agent", "keepalived", "refuse", "freeze", "halt", "command"]


def test_what_guards_need() -> None:
    more = """
[reading.lag]
command = ["lag", "--seconds"]
every = "1m"
[reading."rsync.age"]
file = "/run/age"
timeout = "1s"
[notify.hook]
webhook = "https://example.org/hook"
at-most = "2/30m"
[notify.own]
command = ["/usr/local/bin/tell"]
[notify.far]
mail = "admins@example.org"
from = "tidegate@example.org"
"""
    policy = read([("p.toml", LADDER + more)]).policy
    assert policy.pools == (
        Pool("mail", ("up(smtp://192.0.2.2:25)", "up(smtp://192.0.2.3:25)"), 2),
    )
    assert policy.readings == (
        ReadingSpec("lag", ("lag", "--seconds"), every=MINUTE),
        ReadingSpec("rsync.age", file="/run/age", timeout=SECOND),
    )
    assert policy.notices == (
        NoticeSpec("admins", mail="root"),
        NoticeSpec("hook", webhook="https://example.org/hook", most=2, within=30 * MINUTE),
        NoticeSpec("own", command=("/usr/local/bin/tell",)),
        NoticeSpec("far", mail="admins@example.org", sender="tidegate@example.org"),
    )
    assert policy.notices[0].within == HOUR


def test_a_restart_is_a_guard_without_open() -> None:
    text = (
        'restart = { service = "zope", when = "swapused >= 256M", wait = "1m", at-most = "3/day" }'
    )
    (guard,) = guards(f"[guard.zope]\n{text}")
    assert guard.close == Compare("swapused", ">=", float(256 << 20))
    assert [(gate.name, gate.terms) for gate in guard.gates] == [
        ("zope", Restart("zope", MINUTE, 3, DAY))
    ]
    assert (guard.stated_close, guard.tide) == ("swapused >= 256M", "low")


def test_a_warning_needs_no_gate_and_leaves_the_tide() -> None:
    (guard,) = guards("[guard.w]\nwarn = { when = 'la1 >= 8', for = '1m' }\ncapture = false")
    assert guard.warn == Held(Compare("la1", ">=", 8.0), MINUTE)
    assert (guard.steps, guard.tide, guard.capture) == ((), "low", None)


def test_steps_that_say_themselves_when_need_no_close() -> None:
    text = "[guard.s]\nladder = [{ throttle = { ports = [80] }, when = 'la1 > 6' }, { stop = 'a', when = 'la1 > 9' }]"
    (guard,) = guards(text)
    assert guard.close is None
    assert [step.gate.name for step in guard.steps] == ["s.throttle", "s.stop"]


def test_a_missing_open_has_its_patience() -> None:
    text = APACHE.replace('open = "la1 <= 2"', 'open = { after = "5m", at-least = "0s" }')
    (guard,) = guards(text)
    assert (guard.open, guard.patience, guard.least_open) == (None, 5 * MINUTE, 0)


def test_what_is_kept_of_the_moment() -> None:
    text = (
        APACHE + 'capture = { commands = [["mysql", "-e", "SHOW"]], timeout = "9s", size = "1MiB" }'
    )
    assert guards(text)[0].capture == Capture((("mysql", "-e", "SHOW"),), 9 * SECOND, 1 << 20)


def test_switches_of_a_guard() -> None:
    more = 'tide = "flood"\nflaps = 5\nlongest-damped = "4m"\nmode = "observe"\nenabled = false\n'
    (guard,) = guards(APACHE + more)
    assert (guard.tide, guard.flaps, guard.longest_damped) == ("flood", 5, 4 * MINUTE)
    assert (guard.mode, guard.enabled) == ("observe", False)


SERVICE = 'service = "apache2.service"'


def apache(old: str, new: str) -> str:
    assert old in APACHE
    return APACHE.replace(old, new)


def ladder(old: str, new: str) -> str:
    assert old in LADDER
    return LADDER.replace(old, new)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        # Conditions: the column stands in the text of the condition.
        (apache("la1 >= 10 or", "la1 >= 10M or"), "p.toml:3: guard.apache.close.when: column 8: expected a plain number such as 10 for la1; found 10M"),
        (apache("la1 >= 10 or", "la1 >= 10"), "p.toml:3: guard.apache.close.when: column 11: expected and or or before 'la5'"),
        (apache("la1 <= 2", "loaf <= 2"), "p.toml:4: guard.apache.open: column 1: there is no reading 'loaf'; did you mean 'la1'?"),
        (apache("la1 <= 2", "load <= 2"), "p.toml:4: guard.apache.open: column 1: there is no reading 'load'; did you mean 'la1'?"),
        (apache("la1 <= 2", "rtt(a) <= 5M"), "p.toml:4: guard.apache.open: column 11: expected a time such as 500ms, 30s or 2h for rtt; found 5M"),
        (apache('{ when = "la1 >= 10 or la5 >= 6" }', "10"), "p.toml:3: guard.apache.close: expected a table, found 10"),
        (apache('"la1 >= 10 or la5 >= 6"', "10"), "p.toml:3: guard.apache.close.when: expected a text; found 10"),
        (apache("when =", "if ="), "p.toml:3: guard.apache.close.if: unknown key; known keys: when, for, at-least"),
        (apache('{ when = "la1 >= 10 or la5 >= 6" }', '{ for = "1m" }'), 'p.toml:3: guard.apache.close: "when" is missing, such as when = "la1 >= 10"'),
        (apache("6\" }", "6\", for = 30 }"), 'p.toml:3: guard.apache.close.for: expected a time such as "0s", "30s" or "5m"; found 30'),
        (apache('"la1 <= 2"', '{ when = "la1 < 2", after = "1m" }'), "p.toml:4: guard.apache.open.after: after goes without when: so long after close has ended"),
        # What can't be meant.
        (apache("or la5 >= 6", "and la1 < 2"), "p.toml:3: guard.apache.close: la1 >= 10 and la1 < 2 can never hold, so nothing would ever be closed"),
        (apache("la1 <= 2", "la1 < 2 and la1 > 3"), "p.toml:4: guard.apache.open: la1 < 2 and la1 > 3 can never hold, so it would stay closed for ever"),
        (apache("la1 >= 10 or la5 >= 6", "la1 >= 2").replace("<= 2", ">= 10"), "p.toml:4: guard.apache.open: open (la1 >= 10) holds only where close (la1 >= 2) does, and close wins, so it would never open; expected what holds when it is calm: la1 < 2, or better with a gap"),
        (apache("la1 >= 10 or la5 >= 6", "la1 >= 0"), "p.toml:3: guard.apache.close: la1 >= 0 always holds, so it would never open"),
        (apache("la1 >= 10 or la5 >= 6", "memused > 100%"), "p.toml:3: guard.apache.close: memused > 100% can never hold, so nothing would ever be closed"),
        ("[guard.w]\nwarn = 'la1 < 0'", "p.toml:2: guard.w.warn: la1 < 0 can never hold, so nobody would ever be warned"),
        (ladder('when = "la1 >= 6"', 'when = "la1 >= 6 and la1 < 5"'), "p.toml:8: guard.apache.ladder.1.when: la1 >= 6 and la1 < 5 can never hold, so this step is never taken by it"),
        # What goes with what.
        ("[guard.x]", 'p.toml:1: guard.x: expected "close" with a gate, "restart", "warn" or "sysfence"'),
        (apache('open = "la1 <= 2"\n' + SERVICE, ""), "p.toml:2: guard.apache: nothing to close; name a service, a gate or a ladder, or write warn instead of close"),
        (apache('close = { when = "la1 >= 10 or la5 >= 6" }\n', ""), 'p.toml:2: guard.apache: "close" is missing, such as close = { when = "la1 >= 10" }'),
        (apache(SERVICE, SERVICE + '\nfreeze = "a.service"'), 'p.toml:2: guard.apache: "freeze" and "service": expected one gate, or a ladder of them'),
        (apache(SERVICE, 'restart = { service = "a", when = "la1 > 3" }'), "p.toml:3: guard.apache.close: a restart has its own condition, restart.when"),
        ("[guard.w]\nwarn = 'la1 > 8'\nopen = 'la1 < 2'", "p.toml:3: guard.w.open: there is no close that it could end"),
        (apache(SERVICE, SERVICE + "\nreading = 'strict'"), "p.toml:6: guard.apache.reading: reading goes with sysfence"),
        (apache(SERVICE, SERVICE + "\npool = 'none'"), "p.toml:6: guard.apache.pool: there is no [pool.none]"),
        (apache(SERVICE, SERVICE + "\nnotify = 'none'"), "p.toml:6: guard.apache.notify: there is no [notify.none]"),
        (apache(SERVICE, SERVICE + "\ntide = 'ebb'"), 'p.toml:6: guard.apache.tide: expected one of "low", "high", "flood"; found \'ebb\''),
        (apache(SERVICE, SERVICE + "\nservise = 'x'"), 'p.toml:6: guard.apache.servise: unknown key; did you mean "service"?'),
        (apache('"la1 <= 2"', '{ after = "soon" }'), 'p.toml:4: guard.apache.open.after: expected a time such as "0s", "30s" or "5m"; found \'soon\''),
        (apache('6" }', '6", for = "1 m" }'), "p.toml:3: guard.apache.close.for: expected a time"),
        # Gates.
        (apache(SERVICE, "freeze = '/sys/../x'"), "p.toml:5: guard.apache.freeze: expected a unit such as \"apache2.service\"; found '/sys/../x'"),
        (apache(SERVICE, "throttle = { ports = [80], rate = '20/parsec' }"), "found '20/parsec'"),
        (ladder("/run/haproxy/admin.sock", "admin.sock"), "guard.apache.ladder.2.haproxy.socket: expected the path of a socket, or an address with a port; found 'admin.sock'"),
        (ladder(', MemoryHigh = "512M", CPUWeight = 20', ""), "guard.apache.ladder.6.properties: expected properties such as CPUWeight"),
        (ladder('"512M"', "[512]"), "guard.apache.ladder.6.properties: expected properties such as CPUWeight = \"20\"; MemoryHigh = [512] is none"),
        (apache(SERVICE, 'service = "../x"'), "p.toml:5: guard.apache.service: expected a unit such as \"apache2.service\"; found '../x'"),
        (apache(SERVICE, "service = { unit = 'x' }"), "p.toml:5: guard.apache.service: expected a unit such as \"apache2.service\", or { service = \"zope\", within = \"5m\" }; found {'unit': 'x'}"),
        (apache(SERVICE, "throttle = { rate = '20/m' }"), 'p.toml:5: guard.apache.throttle: "ports" is missing'),
        (apache(SERVICE, "throttle = { ports = [] }"), "p.toml:5: guard.apache.throttle.ports: expected the ports that are meant, such as [80, 443]; found []"),
        (apache(SERVICE, "throttle = { ports = [80], rate = '20' }"), "p.toml:5: guard.apache.throttle.rate: expected so many per time, such as \"20/m\", \"4/hour\" or \"2/day\"; found '20'"),
        (apache(SERVICE, "throttle = 5"), "p.toml:5: guard.apache.throttle: expected a table, found 5"),
        (apache(SERVICE, "command = { close = ['x'] }"), 'p.toml:5: guard.apache.command: "open" is missing'),
        (apache(SERVICE, "command = { close = 'x y', open = ['x'] }"), "p.toml:5: guard.apache.command.close: expected a command as a list of words, such as [\"/usr/local/sbin/drain\", \"mail\"]; found 'x y'"),
        (ladder("weight = \"25%\"", "weight = \"125%\""), "p.toml:9: guard.apache.ladder.2.haproxy.weight: expected a percentage such as \"25%\"; found '125%'"),
        (ladder('backend = "imap", ', ""), 'p.toml:9: guard.apache.ladder.2.haproxy: "backend" is missing'),
        (ladder("127.0.0.1:7777", "7777"), "p.toml:10: guard.apache.ladder.3.agent.listen: expected an address with a port, such as \"127.0.0.1:7777\"; found '7777'"),
        (ladder("value = -50", "value = 0"), "p.toml:11: guard.apache.ladder.4.keepalived.value: 0 is what it is while open; expected another"),
        (ladder('"421"', '"450"'), 'p.toml:12: guard.apache.ladder.5.refuse.answer: expected one of "reset", "421"; found \'450\''),
        (ladder("CPUWeight = 20", "cpu = 20"), "p.toml:13: guard.apache.ladder.6.properties: expected properties such as CPUWeight = \"20\"; cpu = 20 is none"),
        (ladder('name = "halt"', 'nam = "halt"'), 'p.toml:15: guard.apache.ladder.8.nam: unknown key; did you mean "name"?'),
        (ladder('name = "halt"', 'freeze = "x"'), "p.toml:15: guard.apache.ladder.8: expected one kind of gate of throttle, haproxy, agent, keepalived, refuse, properties, freeze, service, stop, command"),
        (ladder('name = "halt"', 'name = "freeze"'), 'p.toml:7: guard.apache.ladder: two gates are named "apache.freeze"; give one of them a name = "…"'),
        (LADDER + '[guard."apache.freeze"]\nclose = "la1 > 3"\nservice = "x"', 'two gates are named "apache.freeze"'),
        ("[guard.x]\nclose = 'la1 > 3'\nladder = []", "p.toml:3: guard.x.ladder: expected a list of gates, such as [{ throttle = { ports = [80] } }]"),
        ("[guard.x]\nclose = 'la1 > 3'\nladder = [3]", "p.toml:3: guard.x.ladder.1: expected a table, found 3"),
        ("[guard.x]\nrestart = { service = 'x' }", 'p.toml:2: guard.x.restart: "when" is missing'),
        ("[guard.x]\nrestart = { service = 'x', when = 'la1 >' }", "p.toml:2: guard.x.restart.when: column 6: expected a limit such as 10 after >"),
        (apache(SERVICE, SERVICE + "\ncapture = { commands = ['mysql'] }"), "p.toml:6: guard.apache.capture.commands: expected at most 16 commands, each a list of words, such as [[\"ss\", \"-s\"]]; found ['mysql']"),
        (apache(SERVICE, "service = 'tidegate'"), "p.toml:5: guard.apache.service: tidegate is tidegate itself, which would have to open it"),
        (apache(SERVICE, "freeze = 'tidegate.service'"), "p.toml:5: guard.apache.freeze: tidegate.service is tidegate itself, which would have to open it"),
        (apache(SERVICE, "freeze = '/sys/fs/cgroup/system.slice/tidegate.service'"), "is tidegate itself"),
        (apache(SERVICE, "freeze = '/sys/fs/cgroup/system.slice/'"), "/sys/fs/cgroup/system.slice/ has tidegate in it, which would have to open it; name one service"),
        (apache(SERVICE, "freeze = '/sys/fs/cgroup'"), "/sys/fs/cgroup has tidegate in it"),
        (apache(SERVICE, "freeze = '/'"), "/ has tidegate in it"),
        (apache(SERVICE, "service = 'init.scope'"), "init.scope has tidegate in it"),
        ("[guard.x]\nrestart = { service = 'tidegate', when = 'la1 > 3' }", "p.toml:2: guard.x.restart: tidegate is tidegate itself"),
        # What guards need.
        (ladder('"up(smtp://192.0.2.2:25)", ', '"up(smtp)", '), "p.toml:19: pool.mail.peers: up expects an address such as smtp://192.0.2.25:25"),
        (ladder("min-healthy = 2", "min-healthy = 3"), "p.toml:20: pool.mail.min-healthy: with 3 of 3 always in service nothing could ever be closed; expected at most 2"),
        (ladder("peers", "# peers").replace("min-healthy = 2", ""), 'p.toml:18: pool.mail: "peers" is missing, such as peers = ["up(smtp://192.0.2.2:25)"]'),
        (ladder('mail = "root"', 'mail = "-v root"'), "p.toml:22: notify.admins.mail: expected an address such as \"root\" or \"admins@example.org\"; found '-v root'"),
        (ladder('mail = "root"', ""), 'p.toml:21: notify.admins: expected one of "mail", "webhook" and "command"'),
        (ladder('mail = "root"', 'webhook = "ftp://x/yyyyyyyy"'), "p.toml:22: notify.admins.webhook: expected an address such as \"https://example.org/hook\""),
        (ladder('mail = "root"', 'command = ["x"]\nfrom = "a"'), "p.toml:23: notify.admins.from: from goes with mail"),
        ("[reading.lag]", 'p.toml:1: reading.lag: expected one of "command" and "file"'),
        ("[reading.lag]\nfile = 'x'", "p.toml:2: reading.lag.file: expected an absolute path; found 'x'"),
        ("[reading.lag]\nfile = '/x'\ncommand = ['y']", 'p.toml:1: reading.lag: expected one of "command" and "file"'),
        ("[reading.la1]\nfile = '/x'", "p.toml:1: reading.la1: la1 is known already; expected a name of its own"),
        ("[reading.not]\nfile = '/x'", "p.toml:1: reading.not: not is known already"),
        ("[reading.Lag]\nfile = '/x'", "p.toml:1: reading.Lag: expected a name of small letters, digits, dots, - and _"),
        ("guard = 3", "p.toml:1: guard: expected a table, found 3"),
        ("[guard.'a b']\nwarn = 'la1 > 3'", "guard.a b: expected a name of letters, digits, dots, - and _"),
        ("[guard]\nx = 3", "p.toml:2: guard.x: expected a table, found 3"),
        ("reading = 3\n[guard.x]\nwarn = 'la1 > 3'", "p.toml:1: reading: expected a table, found 3"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_line(text: str, said: str) -> None:
    found = faults(text)
    assert any(said in fault for fault in found), "\n".join(found)
    assert not any("\n" in fault for fault in found)


def test_one_bad_guard_hides_no_other_s_faults() -> None:
    text = APACHE.replace("la1 <= 2", "x1 <= 2") + APACHE.replace("apache]", "b]").replace(
        "10", "1M"
    )
    assert [fault.partition(": column")[0] for fault in faults(text)] == [
        "p.toml:4: guard.apache.open",
        "p.toml:8: guard.b.close.when",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (APACHE, "p.toml:4: guard.apache.open: close and open can hold together (la5 >= 6 while la1 <= 2): close wins then, and it opens as soon as close has ended"),
        (apache("or la5 >= 6", ""), ""),
        (apache("or la5 >= 6", "").replace("<= 2", "< 10"), "nothing lies between close and open"),
        (apache("or la5 >= 6", "").replace("<= 2", ">= 2"), "close and open both ask for a high la1: it stays closed where that is low"),
        (apache("la1 >= 10 or la5 >= 6", "memfree < 20").replace("la1 <= 2", "memfree > 1G"), "p.toml:3: guard.apache.close.when: column 11: memfree < 20 means bytes; megabytes would be 20M"),
        (apache("la1 >= 10 or la5 >= 6", "not up(tcp://a:1)").replace("la1 <= 2", "up(tcp://a:1)"), ""),
        (ladder("ports = [25]", "ports = [22]"), "p.toml:12: guard.apache.ladder.5.refuse: port 22 too: new logins by SSH are held back while it is closed"),
        (apache("or la5 >= 6", "").replace(SERVICE, "service = 'ssh.service'"), "p.toml:5: guard.apache.service: ssh.service is closed: then nobody can log in anew from elsewhere"),
        (apache("or la5 >= 6", "").replace(SERVICE, "properties = { unit = 'ssh.service', CPUWeight = 20 }"), ""),
        (apache("or la5 >= 6", "").replace(SERVICE, "properties = { unit = '/system.slice/web', CPUWeight = 20 }"), ""),
        (APACHE + "enabled = false", ""),
        ("[guard.x]\nclose = 'la1 > 9'\nladder = [{ stop = 'x' }, { throttle = { ports = [80] } }]", "p.toml:3: guard.x.ladder: x.throttle takes less away than x.stop, and comes after it"),
    ],
)  # fmt: skip
def test_what_is_worth_a_look_is_noted_and_holds(text: str, said: str) -> None:
    found = notes(text)
    assert any(said in note for note in found) if said else found == ()


def test_check_show_knows_the_line_of_every_value() -> None:
    loaded = read([("p.toml", LADDER)])
    assert loaded.values["guard.apache.close"] == {"when": "la1 >= 10", "for": "30s", "at-least": "2m"}  # fmt: skip
    assert all(loaded.place(key).startswith("p.toml:") for key in loaded.values)
    assert loaded.place("guard.apache.ladder.3.agent.listen") == "p.toml:10"


def test_later_files_change_single_keys_of_a_guard() -> None:
    later = '[guard.apache]\nopen = "la1 <= 1"\nenabled = false\n'
    (guard,) = read([("a.toml", APACHE), ("b.toml", later)]).policy.guards
    assert (guard.open, guard.enabled) == (Compare("la1", "<=", 1.0), False)


SYSFENCE = 'if "load" {\n  la1 > 10.0\n} run once "logger high"\n'


def test_sysfence_s_files_are_read_where_they_stand(tmp_path: Path) -> None:
    rules, policy = tmp_path / "sysfence.conf", tmp_path / "p.toml"
    rules.write_text(SYSFENCE)
    policy.write_text(f"[guard.old]\nsysfence = ['{rules}']\nmode = 'observe'\n")
    loaded = load(policy)
    (trigger,) = loaded.policy.triggers
    assert (trigger.when, trigger.run_once, trigger.mode) == (Compare("la1", ">", 10.0), True, "observe")  # fmt: skip
    rules.write_text(SYSFENCE.replace("10.0", "11.0"))
    assert load(policy).policy.hash != loaded.policy.hash
    rules.unlink()
    with pytest.raises(PolicyError, match=r"guard\.old\.sysfence: .*can't be read"):
        load(policy)


def test_sysfence_s_files_are_trusted_as_the_policy_is(tmp_path: Path) -> None:
    rules, policy = tmp_path / "sysfence.conf", tmp_path / "p.toml"
    rules.write_text(SYSFENCE)
    policy.write_text(f"[guard.old]\nsysfence = ['{rules}']\n")
    rules.chmod(0o666)
    with pytest.raises(PolicyError) as caught:
        load(policy, trusted=True)
    assert any(str(rules) in fault for fault in caught.value.faults)


PAIR = """
if "stop" { la1 > 1.0 } run "/etc/init.d/apache2 stop"
if "start" { la1 < 0.5 } run "/etc/init.d/apache2 start"
"""


def test_keys_beside_sysfence_hold_for_all_its_guards(tmp_path: Path) -> None:
    rules = tmp_path / "sysfence.conf"
    rules.write_text(PAIR)
    beside = "tide = 'flood'\nflaps = 4\nnotify = ['admins']\n[notify.admins]\nmail = 'root'\n"
    policy = read([("p.toml", f"[guard.old]\nsysfence = ['{rules}']\n{beside}")]).policy
    (guard,) = policy.guards
    assert (guard.name, guard.tide, guard.flaps) == ("old.apache2", "flood", 4)
    assert (guard.notify, guard.capture) == (("admins",), Capture())


def test_sysfence_s_rules_can_be_switched_off(tmp_path: Path) -> None:
    rules = tmp_path / "sysfence.conf"
    rules.write_text(SYSFENCE + PAIR)
    text = f"[guard.old]\nsysfence = ['{rules}']\nenabled = false\n"
    policy = read([("p.toml", text)]).policy
    assert ([guard.enabled for guard in policy.guards], policy.triggers) == ([False], ())


def test_haproxy_by_address_and_a_control_group() -> None:
    text = apache(SERVICE, "haproxy = { socket = '127.0.0.1:9999', backend = 'b', server = 's' }")
    assert guards(text)[0].gates[0].terms == Haproxy("127.0.0.1:9999", "b", "s")
    assert guards(apache(SERVICE, "freeze = '/sys/fs/cgroup/a'"))[0].gates[0].terms == Freeze(
        "/sys/fs/cgroup/a"
    )


def test_sysfence_goes_with_nothing_else(tmp_path: Path) -> None:
    rules = tmp_path / "sysfence.conf"
    rules.write_text(SYSFENCE)
    text = APACHE + f"sysfence = ['{rules}']\n"
    said = "the rules are read from the files of sysfence"
    assert sum(said in fault for fault in faults(text)) == 3


_KEYS = st.sampled_from(
    ["guard", "pool", "reading", "notify", "x", "close", "open", "warn", "ladder", "service",
     "throttle", "ports", "when", "for", "restart", "capture", "properties", "unit", "peers", "mail"]
)  # fmt: skip
_VALUES = st.recursive(
    st.booleans() | st.integers() | st.text(max_size=8) | st.floats() | st.just("la1 > 3"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(_KEYS, _VALUES, max_size=5), st.dictionaries(_KEYS, _VALUES, max_size=5))
def test_any_table_gives_guards_or_faults(
    data: dict[str, object], guard: dict[str, object]
) -> None:
    reader = Reader(data | {"guard": {"x": guard}})
    reader.policy(("p",), "x")
    assert all(isinstance(said, str) for _key, said in reader.faults)


def test_a_guard_that_is_off_needs_no_process_and_no_gate() -> None:
    text = 'enabled = false\nclose = "la1 >= 10"\nopen = "la1 <= 2"\nservice = "apache2"\n'
    off = read([("policy", f"[guard.web]\n{text}")]).policy
    assert (off.gates, off.guarded, off.has_switches) == ((), False, False)
    on = read([("policy", f"[guard.web]\n{text}".replace("enabled = false\n", ""))]).policy
    assert ([gate.name for gate in on.gates], on.guarded, on.has_switches) == (["web"], True, True)
