"""What may leave, out of the policy: what the text means, every fault with its place, and notes."""

from __future__ import annotations

import os
import pwd

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.errors import PolicyError
from tidegate.model import HOUR, MINUTE, SECOND
from tidegate.policy.loader import Loaded, cross_check, read
from tidegate.policy.models import OUTWARD, BanTerms, SourceSpec
from tidegate.policy.outward import Filter, OutwardSpec, Owner, Rate
from tidegate.policy.tables import Reader

KINDS = ["exim.malware", "outward.irc", "outward.scan", "outward.signature", "inward.guessing",
         "inward.syn_flood"]  # fmt: skip
PACKS = ["exim", "outward", "inward"]
ROUTER = """
[outward]
mode = "observe"
sources = ["uids", "lan0", "192.0.2.0/24", "2001:db8::/48"]
customers = ["198.51.100.0/28", "2001:db8:ffff:7::/64"]
destinations = 12
remember = "30s"
syn = "50/s burst 70"
udp = "100/s"
smtp = "off"
busy = ["root", "uid:0033", "192.0.2.25", "2001:db8::25", "192.0.2.64/26", "192.0.2.65"]
irc = false
[outward.filter.slammer]
protocol = "udp"
port = 1434
length = 404
[notify.noc]
mail = "noc@example.org"
[owner.customer-7]
addresses = ["198.51.100.0/28"]
uids = ["root", "uid:33"]
vhosts = ["Shop.example"]
notify = ["noc"]
"""
RULE = """
[rule.scan]
on = ["outward.scan", "outward.signature"]
at-least = 1
within = "1m"
quarantine = { ladder = ["10m", "1h"] }
"""


def loaded(text: str) -> Loaded:
    return cross_check(read([("a.toml", text)]), KINDS, PACKS)


def faults(text: str) -> str:
    with pytest.raises(PolicyError) as caught:
        loaded(text)
    return str(caught.value)


def test_everything_said() -> None:
    policy = loaded(ROUTER + RULE).policy
    assert policy.outward == OutwardSpec(
        mode="observe",
        uids=True,
        networks=("192.0.2.0/24", "2001:db8::/48"),
        customers=("2001:db8:ffff:7::/64", "198.51.100.0/28"),
        interfaces=("lan0",),
        destinations=12,
        remember=30 * SECOND,
        syn=Rate(50, SECOND, 70),
        udp=Rate(100, SECOND, 400),
        smtp=None,
        busy=("uid:0", "uid:33", "192.0.2.25", "192.0.2.64/26", "2001:db8::25"),
        irc=False,
        filters=(Filter("slammer", "udp", 1434, 404),),
    )
    mine = Owner("customer-7", ("198.51.100.0/28",), (0, 33), ("shop.example",), ("noc",))
    assert policy.owners == (mine,)


def test_nothing_said() -> None:
    policy = loaded("").policy
    assert (policy.outward, policy.owners, policy.sources) == (None, (), ())
    least = loaded('[outward]\nsources = ["uids"]\n').policy.outward
    assert least == OutwardSpec(uids=True)
    filters = loaded('[outward.filter.x]\nprotocol = "udp"\nport = 9\nlength = 60\n').policy.outward
    assert filters == OutwardSpec(filters=(Filter("x", "udp", 9, 60),))


def test_the_source_of_our_findings_is_there_by_itself() -> None:
    more = '[source.a]\nfile = "/x"\n'
    policy = loaded('[outward]\nsources = ["uids"]\n' + more).policy
    assert policy.sources == (SourceSpec("a", ("/x",)), OUTWARD)
    assert (OUTWARD.name, OUTWARD.detectors) == ("outward", ("outward", "inward"))
    said = faults('[source.outward]\nfile = "/x"\n')
    assert said.startswith("a.toml:1: source.outward: this name is taken")


@pytest.mark.parametrize(
    ("written", "rate"),
    [
        ("50/s", Rate(50, SECOND, 200)),
        ("20/m", Rate(20, MINUTE, 80)),
        ("20 / hour burst 5", Rate(20, HOUR, 5)),
        ("off", None),
    ],
)
def test_rates(written: str, rate: Rate | None) -> None:
    found = loaded(f'[outward]\nsources = ["uids"]\nsyn = "{written}"\n').policy.outward
    assert found is not None
    assert found.syn == rate


def test_what_is_written_by_default_is_what_holds_by_default() -> None:
    text = '[outward]\nsources = ["uids"]\nsyn = "50/s"\nudp = "100/s"\nsmtp = "20/m"\n'
    assert loaded(text).policy.outward == OutwardSpec(uids=True)


OUT = "[outward]\n"
USERS = '[outward]\nsources = ["uids"]\n'
NETS = '[outward]\nsources = ["192.0.2.0/24"]\n'
FILTER = "[outward.filter.x]\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("outward = 7\n", "a.toml:1: outward: expected a table"),
        (OUT, 'a.toml:1: outward: nobody to look at: "sources" is missing'),
        (OUT + "sources = []\n", "a.toml:1: outward: nobody to look at"),
        (USERS + "destination = 3\n", 'outward.destination: unknown key; did you mean "destin'),
        (USERS + "destinations = 0\n", "a.toml:3: outward.destinations: expected a whole number"),
        (USERS + 'mode = "off"\n', 'a.toml:3: outward.mode: expected "enforce" or "observe"'),
        (USERS + 'remember = "2h"\n', "a.toml:3: outward.remember: expected a duration from 1s to"),
        (USERS + "remember = 10\n", "outward.remember: expected a duration from 1s to 1h"),
        (USERS + 'syn = "50"\n', "a.toml:3: outward.syn: expected so many per second, minute"),
        (USERS + 'syn = "4/30m"\n', 'or "20/m burst 40", or "off"; found'),
        (USERS + 'udp = "0/s"\n', "outward.udp: expected so many"),
        (OUT + 'sources = "uids"\n', "a.toml:2: outward.sources: expected a list such as"),
        (OUT + 'sources = ["192.0.2.300"]\n', 'expected "uids", names of interfaces, or addresses'),
        (OUT + 'sources = ["0.0.0.0/0"]\n', "or a part of the Internet, not all of it"),
        (OUT + 'sources = ["2001:db8::1"]\n', "or IPv6 networks of a /64 or wider"),
        (OUT + 'customers = ["lan0"]\n', "a.toml:2: outward.customers: expected addresses and"),
        (USERS + 'busy = ["192.0.2.300"]\n', "a.toml:3: outward.busy: expected users by name or"),
        (USERS + 'busy = ["uid:x"]\n', "users by name or uid:N, addresses and networks; 'uid:x'"),
        (USERS + 'busy = ["uid:4294967295"]\n', "outward.busy: expected users by name"),
        (USERS + "busy = [33]\n", "outward.busy: expected a list such as"),
        (
            NETS + 'customers = ["192.0.2.0/23"]\n',
            "a.toml:2: outward.sources: customers has 192.0.2.0/23 as a whole, so no address of"
            " 192.0.2.0/24 would ever count by itself",
        ),
        (
            NETS + 'busy = ["192.0.0.0/16"]\n',
            "a.toml:3: outward.busy: 192.0.0.0/16 leaves nobody of 192.0.2.0/24 in sources",
        ),
        (FILTER + "port = 9\nlength = 404\n", 'a.toml:1: outward.filter.x: "protocol" is missing'),
        (FILTER + 'protocol = "udp"\n', 'a.toml:1: outward.filter.x: "port" is missing, such as po'),
        (FILTER + 'protocol = "icmp"\nport = 9\n', 'expected one of "udp", "tcp"; found'),
        (
            FILTER + 'protocol = "tcp"\nport = 22\n',
            "a.toml:1: outward.filter.x: drops the packets that open every connection to port 22",
        ),
        (
            FILTER + 'protocol = "tcp"\nport = 22\nlength = 60\n',
            "a.toml:4: outward.filter.x.length: drops the packets that open every connection",
        ),
        (
            FILTER + 'protocol = "udp"\nport = 53\n',
            "outward.filter.x: drops everything to UDP port 53, without which a host has no names",
        ),
        (
            FILTER
            + 'protocol = "udp"\nport = 9\nlength = 60\n'
            + FILTER.replace("x", "y")
            + 'protocol = "udp"\nport = 9\nlength = 60\n',
            "a.toml:5: outward.filter.y: says the same as outward.filter.x",
        ),
        ('[outward.filter."a b"]\n', "outward.filter.a b: expected a name of letters"),
        ("[outward.filter.a-b]\n", "outward.filter.a-b: expected a name of letters, digits and _, at"),
        ("[outward]\nfilter = 7\n", "outward.filter: expected a table, found 7"),
        ("[owner.x]\n", 'a.toml:1: owner.x: owns nothing; expected "addresses", "uids" or "vhosts"'),
        (
            '[owner.x]\nvhosts = ["a.example"]\nnotify = "noc"\n',
            "a.toml:3: owner.x.notify: there is no [notify.noc]",
        ),
        ('[owner.x]\nvhosts = ["a b"]\n', "a.toml:2: owner.x.vhosts: expected names of web hosts"),
        ('[owner.x]\nuids = ["192.0.2.1"]\n', "owner.x.uids: expected users by name or number"),
        (
            '[owner.x]\naddresses = ["192.0.2.0/24"]\n[owner.y]\naddresses = ["192.0.2.9"]\n',
            "a.toml:4: owner.y.addresses: 192.0.2.9 lies in 192.0.2.0/24 of owner.x; expected one",
        ),
        (
            '[owner.x]\nuids = ["uid:33"]\n[owner.y]\nuids = ["uid:033"]\n',
            "a.toml:4: owner.y.uids: uid:33 is owner.x's; expected one owner",
        ),
        (
            '[owner.x]\nvhosts = ["A.example"]\n[owner.y]\nvhosts = ["a.example"]\n',
            "owner.y.vhosts: a.example is owner.x's",
        ),
    ],
)  # fmt: skip
def test_faults(text: str, said: str) -> None:
    assert said in faults(text)


def test_there_are_bounds() -> None:
    many = ", ".join(f'"10.{n >> 8}.{n & 255}.0/24"' for n in range(1025))
    said = faults(OUT + f"sources = [{many}]\n")
    assert "a.toml:2: outward.sources: expected at most 1024 of them" in said
    filters = [f'[outward.filter.f{n}]\nprotocol = "udp"\nport = {n}\nlength = 60\n'
               for n in range(1, 66)]  # fmt: skip
    assert "outward.filter: expected at most 64 filters" in faults("".join(filters))
    assert loaded("".join(filters[1:])).policy.outward is not None


def test_a_customer_is_the_narrowest_network_that_names_it() -> None:
    text = OUT + 'sources = ["192.0.2.0/24", "192.0.2.7", "10.0.0.0/8"]\n'
    text += 'customers = ["10.2.0.0/16", "192.0.2.16/28", "10.2.3.0/24"]\n'
    found = loaded(text).policy.outward
    assert found is not None
    assert found.networks == ("10.0.0.0/8", "192.0.2.0/24")
    assert found.customers == ("192.0.2.16/28", "10.2.3.0/24", "10.2.0.0/16")


def test_an_owner_may_name_an_address_twice() -> None:
    text = '[owner.x]\naddresses = ["192.0.2.0/24", "192.0.2.7"]\n'
    assert loaded(text).policy.owners[0].addresses == ("192.0.2.0/24", "192.0.2.7")


# -- users ----------------------------------------------------------------------------------------


def test_users_are_known_by_their_numbers() -> None:
    me = pwd.getpwuid(os.getuid())
    policy = loaded(USERS + f'busy = ["{me.pw_name}", "uid:{me.pw_uid}"]\n').policy
    assert policy.outward is not None
    assert policy.outward.busy == (f"uid:{me.pw_uid}",)


def test_a_user_that_is_not_here_is_noted_and_passed_over() -> None:
    text = USERS + 'busy = ["no-such-user", "uid:4200000000"]\n' + RULE
    found = loaded(text + '[owner.x]\nuids = ["nor-this"]\n')
    assert found.policy.outward is not None
    assert found.policy.outward.busy == ("uid:4200000000",)
    assert found.policy.owners == (Owner("x"),)
    assert found.notes == (
        "a.toml:3: outward.busy: no-such-user: no such user on this host; passed over",
        "a.toml:11: owner.x.uids: nor-this: no such user on this host; passed over",
    )


# -- rules ----------------------------------------------------------------------------------------


def test_a_rule_that_quarantines() -> None:
    rule = loaded(ROUTER + RULE).policy.rules[0]
    assert rule.ban == BanTerms(ladder=(10 * MINUTE, HOUR), outward=True)
    once = RULE.replace('ladder = ["10m", "1h"]', 'for = "5m"')
    assert loaded(ROUTER + once).policy.rules[0].ban == BanTerms((), (5 * MINUTE,), outward=True)
    usual = loaded(ROUTER + RULE.replace('ladder = ["10m", "1h"]', "")).policy.rules[0].ban
    assert usual == BanTerms(outward=True)


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ('ban = { ports = [25] }\nquarantine = { for = "5m" }',
         'a.toml:2: rule.scan: expected only one of "ban" and "quarantine"'),
        ("", '"ban" is missing, such as ban = { ports = [25] }'),
        ('quarantine = { for = "5m", ladder = ["1m"] }',
         'a.toml:6: rule.scan.quarantine: expected only one of "for" and "ladder"'),
        ("quarantine = { ports = [25] }",
         "a.toml:6: rule.scan.quarantine.ports: unknown key"),
        ("quarantine = true", "a.toml:6: rule.scan.quarantine: expected a table, found True"),
    ],
)  # fmt: skip
def test_faults_of_such_rules(terms: str, said: str) -> None:
    assert said in faults(RULE.replace('quarantine = { ladder = ["10m", "1h"] }', terms))


# -- what is allowed and yet worth a look -----------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (USERS + RULE, []),
        (RULE, ["a.toml:3: rule.scan.on: only [outward] sees outward.scan, and there is none"]),
        (RULE + "enabled = false\n", []),
        (USERS, ["a.toml:1: outward: caps hold, but no rule that counts outward.* has quarantine"]),
        (USERS + RULE + "enabled = false\n", ["a.toml:1: outward: caps hold, but no rule"]),
        (
            USERS + RULE + RULE.replace("quarantine = { ladder", "ban = { ports = [], ladder")
            .replace("rule.scan", "rule.b"),
            ["a.toml:14: rule.b.ban: keeps out whom outward.scan names, who is inside already"],
        ),
        (
            USERS + RULE.replace('"outward.scan"', '"*.malware"'),
            ["a.toml:8: rule.scan.quarantine: cuts off whom exim.malware names, if they are among"],
        ),
        (
            RULE.replace('"outward.scan", "outward.signature"', '"exim.malware"'),
            ["a.toml:6: rule.scan.quarantine: there is no [outward] that could cut anybody off"],
        ),
        (
            USERS + RULE.replace('"outward.signature"', '"inward.syn_flood"'),
            ["a.toml:5: rule.scan.on: inward.syn_flood is about a service as a whole"],
        ),
        (
            USERS + RULE + '[source.x]\nfile = "/x"\ndetectors = ["exim", "outward"]\n',
            ["a.toml:11: source.x.detectors: whoever may write to this source can have others cut"],
        ),
        (
            '[source.x]\nnetflow = "0.0.0.0:2055"\nexporters = ["192.0.2.1"]\n'
            + RULE.replace("quarantine = { ladder", "ban = { ports = [], ladder")
            .replace('"outward.scan", "outward.signature"', '"inward.guessing"'),
            [],
        ),
        (
            NETS + 'busy = ["root"]\n' + RULE,
            ['a.toml:3: outward.busy: root needs no exception: users are no sources here ("uids"'],
        ),
        (
            FILTER + 'protocol = "udp"\nport = 1434\n' + RULE,
            ["a.toml:1: outward.filter.x: without length: every packet to UDP port 1434 is dropped"],
        ),
    ],
)  # fmt: skip
def test_notes(text: str, said: list[str]) -> None:
    found = loaded(text).notes
    assert [one[: len(start)] for one, start in zip(found, said, strict=True)] == said


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8)
    | st.sampled_from(["uids", "root", "192.0.2.0/24", "::/64", "5/s", "uid:7", "udp"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["sources", "busy", "filter", "port", "x", "uids"]), inner,
                      max_size=4),
    max_leaves=8,
)  # fmt: skip


@given(table=st.dictionaries(st.sampled_from(["outward", "owner", "rule"]), VALUES))
def test_no_table_breaks_the_reader(table: dict[str, object]) -> None:
    Reader(table).policy((), "")
