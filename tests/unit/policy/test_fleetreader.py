"""The fleet, out of the policy: what the text means, every fault with what to do, and notes."""

from __future__ import annotations

import pytest

from tidegate.errors import PolicyError
from tidegate.fleet import wire
from tidegate.fleet.counting import functions
from tidegate.fleet.trust import claims
from tidegate.model import DAY, SECOND
from tidegate.policy import fleetreader
from tidegate.policy.fleet import FleetSpec
from tidegate.policy.loader import Loaded, read
from tidegate.policy.models import Rule

WHOLE = """
[fleet]
engine = ["rediss://s1:26379", "rediss://[2001:db8::1]:26379", "rediss://s1:26379"]
kind = "sentinel"
name = "mymaster"
user = "tidegate"
password-file = "/etc/tidegate/fleet.password"
ca = "/etc/ssl/fleet.pem"
read = "replica"
count = "host"
accept = { min-hosts = 2, bans = false }
"""
HERE = '[fleet]\nengine = "unix:/run/redis/redis-server.sock"\n'


def rule(keys: str, name: str = "one", *, fleet: str = HERE) -> Loaded:
    written = f'[rule."{name}"]\non = ["exim.malware"]\n{keys}\n'
    ban = "" if "quarantine" in keys else "ban = { ports = [25] }\n"
    return read([("a.toml", fleet + written + ban)])


def one(loaded: Loaded) -> Rule:
    return loaded.policy.rules[0]


def faults(text: str) -> str:
    with pytest.raises(PolicyError) as caught:
        read([("a.toml", text)])
    return str(caught.value)


def test_everything_said() -> None:
    assert read([("a.toml", WHOLE)]).policy.fleet == FleetSpec(
        engines=("rediss://s1:26379", "rediss://[2001:db8::1]:26379"),
        kind="sentinel",
        name="mymaster",
        user="tidegate",
        password_file="/etc/tidegate/fleet.password",
        ca="/etc/ssl/fleet.pem",
        read="replica",
        count="host",
        min_hosts=2,
        bans=False,
    )


def test_little_said() -> None:
    loaded = read([("a.toml", HERE)])
    assert loaded.policy.fleet == FleetSpec(("unix:/run/redis/redis-server.sock",))
    assert loaded.notes == ()


def test_no_fleet() -> None:
    assert read([("a.toml", "")]).policy.fleet is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[fleet]\n", 'fleet: "engine" is missing'),
        ('[fleet]\nengine = "redis:6379"\n', 'expected "unix:/run'),
        ('[fleet]\nengine = "redis://u:secret@h:1"\n', "an address without user and password"),
        ('[fleet]\nengine = "redis://h:0"\n', 'expected "unix:/run'),
        ('[fleet]\nengine = "redis://h:99999"\n', 'expected "unix:/run'),
        ('[fleet]\nengine = "unix:redis.sock"\n', 'expected "unix:/run'),
        ('[fleet]\nengine = []\n', 'expected "unix:/run'),
        ('[fleet]\nengine = ["redis://a", "redis://b"]\n', "expected one address; several are"),
        (HERE + 'kind = "cluster"\n', "a cluster is reached by redis:// or rediss:// only"),
        (HERE + 'read = "replica"\n', "fleet.read: replicas are only known with"),
        (HERE + 'name = "mymaster"\n', "fleet.name: only sentinels know a name"),
        ('[fleet]\nengine = "redis://a"\nkind = "sentinel"\n', '"name" is missing'),
        (HERE + 'ca = "/x"\n', "fleet.ca: goes with rediss://"),
        (HERE + "accept = { min-hosts = 0 }\n", "fleet.accept.min-hosts: expected a whole number"),
        (HERE + "accept = { min-host = 2 }\n", 'did you mean "min-hosts"?'),
        (HERE + 'password = "x"\n', 'did you mean "password-file"?'),
    ],
)  # fmt: skip
def test_faults_say_what_to_do(text: str, said: str) -> None:
    assert said in faults(text)


def test_a_password_in_the_clear_is_worth_a_look() -> None:
    (note,) = read([("a.toml", '[fleet]\nengine = "redis://db1"\n')]).notes
    assert "redis://db1: password and addresses go in clear" in note
    assert read([("a.toml", '[fleet]\nengine = "redis://127.0.0.1:6380"\n')]).notes == ()


@pytest.mark.parametrize(
    ("keys", "shared"),
    [
        ('at-least = 3\nwithin = "1m"', True),
        ('at-least = 3\nwithin = "1m"\ndistinct = "user"', True),
        ('score-over = 3\nhalf-life = "1h"', True),
        ('at-least = 3\nwithin = "1m"\ncount = "host"', False),
        ('at-least = 3\nwithin = "1m"\nreset-on = "sshd.auth_ok"', False),
        ('score-over = 3\ndecay = "1/hour"', False),
        ('at-least = 3\nwithin = "1m"\nquarantine = { for = "1m" }', False),
    ],
)
def test_the_fleet_counts_where_it_can(keys: str, shared: bool) -> None:
    loaded = rule(keys)
    assert one(loaded).shared is shared
    assert loaded.notes == ()
    assert one(rule(keys, fleet="")).shared is False
    alone = one(rule(keys, fleet=HERE + 'count = "host"\n'))
    assert alone.shared is False


def test_a_rule_outranks_the_section() -> None:
    fleet = HERE + 'count = "host"\n'
    assert one(rule('at-least = 3\nwithin = "1m"\ncount = "fleet"', fleet=fleet)).shared


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ('at-least = 1026\nwithin = "1m"', "the fleet counts to 1025 at most"),
        ('at-least = 3\nwithin = "31d"', "within 30d at most"),
        ('at-least = 3\nwithin = "1m"\nreset-on = "sshd.auth_ok"', "begin a count anew (reset-on)"),
        ('at-least = 3\nwithin = "1m"\nquarantine = { for = "1m" }', "where it leaves"),
        ('score-over = 3\ndecay = "1/hour"', "points that fade evenly"),
        ('score-over = 3\ndecay = "1/hour"\ncompat = "modsecurity"', "fade in steps"),
        ('score-over = 65536\nhalf-life = "1h"', "65535 points"),
        ('score-over = 3\nhalf-life = "31d"', "a half-life from 1s to 30d"),
    ],
)
def test_saying_fleet_where_it_cannot_is_a_fault(keys: str, why: str) -> None:
    with pytest.raises(PolicyError) as caught:
        rule(keys + '\ncount = "fleet"')
    assert "rule.one.count: " in str(caught.value)
    assert why in str(caught.value)
    assert 'expected count = "host"' in str(caught.value)


def test_points_that_are_taken_off_are_each_hosts_own() -> None:
    text = (
        HERE
        + """
[rule.one]
on = { "exim.malware" = 2, "exim.delivered" = -1 }
score-over = 3
half-life = "1h"
ban = { ports = [25] }
"""
    )
    assert one(read([("a.toml", text)])).shared is False
    assert "can't take points off" in faults(text + 'count = "fleet"\n')


def test_without_a_fleet_it_is_said_that_the_host_counts_alone() -> None:
    loaded = rule('at-least = 3\nwithin = "1m"\ncount = "fleet"', fleet="")
    (note,) = loaded.notes
    assert "rule.one.count: there is no [fleet], so this host counts alone" in note
    assert one(loaded).shared is False


@pytest.mark.parametrize("name", ["x" * 64, "a.b_c-d", "-one", "." * 3])
def test_whatever_the_fleet_counts_has_a_name_it_takes(name: str) -> None:
    found = one(rule('at-least = 3\nwithin = "1m"', name))
    assert found.shared is bool(wire.RULE.fullmatch(name))


@pytest.mark.parametrize(
    "keys",
    [
        'at-least = 1025\nwithin = "30d"',
        'at-least = 256\nwithin = "1m"\ndistinct = "user"',
        'score-over = 65535\nhalf-life = "30d"',
        'score-at-least = 1\nhalf-life = "1s"',
    ],
)
def test_at_the_edge_engine_and_claims_take_it_unchanged(keys: str) -> None:
    found = one(rule(keys))
    assert found.shared
    terms = functions.terms_of(found, wire.mark(found))
    need = found.score.limit if found.score else found.threshold
    span = found.score.span if found.score else found.within
    assert (terms.need, terms.within) == (need, span)
    assert claims.terms_of(found).limit == need


def test_bounds_are_those_of_the_engine() -> None:
    assert fleetreader.MOST_COUNTED == functions.NEED == wire.MAX_ENTRIES
    assert functions.SPAN == fleetreader.LONGEST == 30 * DAY
    assert SECOND == 1000 * functions._MILLI
