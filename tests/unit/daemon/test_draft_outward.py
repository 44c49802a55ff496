"""What leaves, drafted: looked at only, who is busy here left alone, and enforced by one word."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from tests.unit.daemon.hosts import NOW, Host

from tidegate.daemon import draft_outward
from tidegate.daemon.draft import Draft, draft
from tidegate.daemon.senders import Sender, busy, forwards, tracks
from tidegate.daemon.survey import survey
from tidegate.detector.pack import load_packs
from tidegate.policy.loader import Loaded, cross_check, read
from tidegate.policy.outward import OutwardSpec

TEXT = resources.files("tidegate.policy").joinpath("shipped.toml").read_text("utf-8")
PACKS = load_packs()
KINDS = sorted({one.kind.name for pack in PACKS for one in pack.detectors})
RULES = {"outward"}


def users(*names: str) -> str:
    return "".join(f"{name}:x:{100 + n}:100::/:/bin/false\n" for n, name in enumerate(names))


COUNT = "proc/sys/net/netfilter/nf_conntrack_count"


def made(host: Host, before: str = "", *, fresh: bool = False, tracked: int = 12) -> Draft:
    host.file(COUNT, f"{tracked}\n")
    shipped = read([("shipped", TEXT)]).policy
    here = survey((), shipped, NOW, root=str(host.root), environ={}, pid=1)
    return draft(here, shipped, TEXT, before, fresh=fresh)


def loaded(found: Draft) -> Loaded:
    return cross_check(read([("draft", found.text)]), KINDS, [pack.name for pack in PACKS])


def test_it_is_looked_at_and_who_is_busy_left_alone(tmp_path: Path) -> None:
    host = Host(tmp_path).process(10, "exim4").process(11, "unbound").process(12, "squid")
    host.file("etc/passwd", users("root", "Debian-exim", "unbound", "www-data"))
    found = made(host)
    for user, why in (("root", "is never cut off"), ("Debian-exim", "running: exim4")):
        assert f'    "{user}",'.ljust(36) + f"# {why}\n" in found.text
    assert '"unbound",' in found.text
    assert "proxy" not in found.text
    policy = loaded(found).policy
    assert policy.outward is not None
    assert (policy.outward.mode, policy.outward.uids) == ("observe", True)
    assert {rule.name for rule in policy.rules if rule.ban.outward} >= RULES
    assert [one.name for one in policy.sources if one.outward] == ["outward"]
    assert not any("outward: caps hold" in note for note in loaded(found).notes)


def test_who_tracks_nothing_yet_decides_whether_that_is_worth_it(tmp_path: Path) -> None:
    host = Host(tmp_path).process(10, "exim4").file("etc/passwd", users("root", "Debian-exim"))
    found = made(host, tracked=0)
    assert draft_outward.UNTRACKED in found.text
    policy = loaded(found).policy
    assert policy.outward is None
    assert not any(rule.ban.outward for rule in policy.rules)
    began = found.text.index("# [outward]")
    section, rest = found.text[began:].partition("\n\n")[::2]
    taken = found.text[:began] + section.replace("# ", "", 1).replace("\n# ", "\n") + "\n\n" + rest
    again = made(host, taken, tracked=0)
    assert set(again.rules) == RULES
    after = loaded(again).policy.outward
    assert after is not None
    assert (after.mode, after.uids, after.busy[0]) == ("observe", True, "uid:0")
    assert '\n    "Debian-exim",' in again.text


def test_whether_connections_are_tracked(tmp_path: Path) -> None:
    host = Host(tmp_path)
    assert not tracks(str(host.root))
    for written, found in (("0\n", False), ("", False), ("3\n", True)):
        assert tracks(str(host.file(COUNT, written).root)) == found


def test_one_word_enforces_it(tmp_path: Path) -> None:
    found = made(Host(tmp_path))
    text = found.text.replace('\nmode = "observe"\nsources', '\nmode = "enforce"\nsources')
    assert read([("draft", text)]).policy.outward == OutwardSpec(uids=True, busy=("uid:0",))


def test_a_router_is_told_what_it_could_name(tmp_path: Path) -> None:
    host = Host(tmp_path).file("proc/sys/net/ipv4/ip_forward", "1\n")
    assert '# sources = ["uids", "lan0"]\n' in made(host).text
    host.routes(("eth1", "10.1.0.0", "0.0.0.0", "255.255.0.0"))
    line = next(one for one in made(host).text.splitlines() if one.startswith("# sources = "))
    assert read(
        [("draft", f"[outward]\n{line.removeprefix('# ')}\n")]
    ).policy.outward == OutwardSpec(uids=True, networks=("10.1.0.0/16",))
    assert "# sources" not in made(Host(tmp_path / "other")).text


def test_a_policy_that_is_there_gets_the_rules_only_if_it_looks_at_what_leaves(
    tmp_path: Path,
) -> None:
    host = Host(tmp_path)
    without = made(host, '[limits]\nkeep = "7d"\n')
    assert (without.text, without.rules) == ('[limits]\nkeep = "7d"\n', ())
    mine = '[outward]\nsources = ["uids"]\n'
    added = made(host, mine)
    assert set(added.rules) == RULES
    assert added.text.startswith(mine)
    assert made(host, added.text).text == added.text
    assert "[outward]" in made(host, mine, fresh=True).text
    assert draft_outward.ABOUT in made(host, mine, fresh=True).text


def test_only_users_that_there_are(tmp_path: Path) -> None:
    host = Host(tmp_path)
    programs = {"exim4", "exim", "transmission-daemon", "named", "bash"}
    assert busy(programs, str(host.root)) == ()
    host.file("etc/passwd", users("exim", "debian-transmission", "named"))
    assert busy(programs, str(host.root)) == (
        Sender("exim", "running: exim"),
        Sender("named", "running: named"),
        Sender("debian-transmission", "running: transmission-daemon"),
    )


def test_whether_others_pass_through(tmp_path: Path) -> None:
    host = Host(tmp_path).file("proc/sys/net/ipv4/ip_forward", "0\n")
    assert not forwards(str(host.root))
    host.file("proc/sys/net/ipv6/conf/all/forwarding", "1\n")
    assert forwards(str(host.root))
