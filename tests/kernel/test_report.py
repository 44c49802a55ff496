"""`tidegate list --by` and `tidegate report` with a real daemon, a real attacker and real packets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import pytest
from tests.kernel.conftest import ban, now, unban
from tests.kernel.daemon import FAST, SOURCE, Daemon, until, virus
from tests.kernel.namespaces import ATTACKERS, ATTACKERS6, HOST, HOST6, World

from tidegate.gate.netfilter import Change, Netfilter
from tidegate.gate.nftables import NftablesGate

pytestmark = pytest.mark.kernel

WEB = """
[source.web]
file = "{folder}/log/error.log"
detectors = ["modsecurity"]
start = "beginning"
"""
ONE, TWO = ATTACKERS[:2]


@pytest.fixture
def daemon(world: World, public_folder: Path) -> Iterator[Daemon]:
    """A daemon in the mail host of a world."""
    with ExitStack() as stack:
        made = Daemon(public_folder, world.host)
        stack.callback(made.close)
        made.write_policy(FAST, SOURCE + WEB)
        yield made


def denied(address: str, site: str, uri: str) -> str:
    moment = datetime.now()
    return (
        f"[{moment:%a %b %d %H:%M:%S.%f %Y}] [:error] [pid 712:tid 14049] [client {address}:40112]"
        f" [client {address}] ModSecurity: Access denied with code 403 (phase 2). Operator GE"
        ' matched 5 at TX:anomaly_score. [file "/etc/crs/949.conf"] [line "93"] [id "949110"]'
        ' [msg "Inbound Anomaly Score Exceeded"] [severity "CRITICAL"]'
        f' [hostname "{site}"] [uri "{uri}"] [unique_id "YVW7KjiK"]\n'
    )


def refused(address: str, mailbox: str) -> str:
    return (
        f"{datetime.now():%Y-%m-%d %H:%M:%S} H=mx.example.com (x) [{address}] F=<a@example.com>"
        f" rejected RCPT <{mailbox}>: Unrouteable address\n"
    )


def rows(daemon: Daemon, by: str) -> list[tuple[str, int, int]]:
    """What `tidegate list --by` prints: target, events, subjects."""
    said = daemon.verb("list", "--by", by)
    assert said.returncode == 0, said.stderr
    head, *lines = said.stdout.splitlines()
    assert head == "TARGET\tKINDS\tEVENTS\tPER MINUTE\tSUBJECTS\tLAST"
    cells = [line.split("\t") for line in lines]
    return [(one[0], int(one[2]), int(one[4])) for one in cells]


def test_what_is_under_attack_and_what_was_done(world: World, daemon: Daemon) -> None:
    daemon.start()
    assert daemon.verb("list", "--by", "target").stdout == "No abuse within the last ten minutes.\n"
    web = daemon.log.with_name("error.log")
    web.write_text(
        "".join(denied(f"203.0.113.{n}", "Shop.example", f"/login.php?try={n}") for n in range(9))
        + denied(ONE, "blog.example", "/xmlrpc.php")
    )
    daemon.append(refused(TWO, "Info@example.org") * 3)
    daemon.append("".join(virus(ONE) for _ in range(16)))
    until("the ban", lambda: (ONE, (25,)) in daemon.closed())
    until("both logs", lambda: daemon.ask("/status").get("lines") == 29)

    assert rows(daemon, "site") == [("site shop.example", 9, 9), ("site blog.example", 1, 1)]
    assert rows(daemon, "page")[0] == ("page shop.example/login.php", 9, 9)
    assert rows(daemon, "mailbox") == [("mailbox info@example.org", 3, 1)]
    assert rows(daemon, "target")[0] == ("service exim", 19, 2)
    said = daemon.verb("list", "--by", "target", "--limit", "2", "--json").stdout
    assert [json.loads(line)["events"] for line in said.splitlines()] == [19, 10]

    with world.host.listen(25):
        assert world.attacker.cut_off(HOST, 25, ONE)
        assert world.attacker.reaches(HOST, 25, TWO)
    report = json.loads(daemon.verb("report", "--since", "1h", "--json").stdout)
    assert (report["bans"], report["in_force"], report["refused"]) == (1, 1, {})
    (scope,) = report["kernel"]
    assert (scope["ports"], scope["rules"]) == ([25], ["virus-senders"])
    dropped = scope["packets"]
    assert dropped >= 1
    assert scope["bytes"] >= 40 * dropped
    assert report["rates"]["before"] == 1.6
    assert [(one["subject"], one["events"]) for one in report["sources"]] == [(ONE, 16)]

    # Counters begin anew with the processes; the report does not.
    assert daemon.verb("unban", ONE).returncode == 0
    assert daemon.stop() == 0
    daemon.start()
    report = json.loads(daemon.verb("report", "--json").stdout)
    assert report["kernel"][0]["packets"] >= dropped
    assert (report["good"]["unbanned"], report["standing"]) == (1, 0)
    assert report["rates"]["followed"] == 1
    table = daemon.verb("report").stdout
    assert "1 ban of 1 subject" in table
    assert f"opened by a person\t{ONE}\t" in table
    paper = daemon.verb("report", "--md").stdout
    assert "\n## Bans by rule\n\n| RULE | BANS |" in paper
    assert "| virus-senders | 1 | 1 | 0 |" in paper


def test_wrong_words_are_told(daemon: Daemon) -> None:
    daemon.start()
    said = daemon.verb("report", "--since", "yesterday")
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr.startswith("tidegate: since: expected a duration such as ")
    assert daemon.verb("list", "--by", "moon").returncode == 2


def test_drops_are_counted_by_set(world: World, gate: NftablesGate) -> None:
    assert gate.dropped() == []
    with world.host.inside():
        gate.apply([ban(ONE, 25), ban("2001:db8:1::/64"), ban(TWO, 25)], now())
    world.attacker.send(HOST, 25, ONE, b"x" * 100)
    world.attacker.send(HOST, 25, TWO, b"x" * 100)
    world.attacker.send(HOST, 26, TWO, b"x" * 100)
    world.attacker.send(HOST6, 26, ATTACKERS6[0], b"x" * 100)
    told = {(one.name, one.ports): (one.packets, one.bytes) for one in gate.dropped()}
    assert told == {("ban4_32_25", (25,)): (2, 256), ("ban6_64", ()): (1, 148)}
    with world.host.inside():
        gate.apply([unban(ONE)], now())
    assert sum(one.packets for one in gate.dropped()) == 3


def test_counters_are_read_without_the_elements(netfilter: Netfilter) -> None:
    """However many there are: what the kernel answers is as long as for an empty set."""
    gate = NftablesGate()
    try:
        gate.apply([ban("192.0.2.7", 25)], now())
        keys = [n.to_bytes(4) for n in range(1 << 24, (1 << 24) + 50_000)]
        assert netfilter.transact([Change("put", "ban4_32_25", keys)]) == []
        asked: list[int] = []
        ask = netfilter._netlink.ask

        def counted(*words: object, **options: object) -> list[bytes]:
            found = ask(*words, **options)  # type: ignore[arg-type]
            asked.append(sum(map(len, found)))
            return found

        netfilter._netlink.ask = counted  # type: ignore[method-assign]
        ((sets, packets, size),) = netfilter.counters("banned")
        assert ("ban4_32_25" in sets, packets, size) == (True, 0, 0)
        assert asked[0] < 2000
        assert netfilter.counters("nothing") == []
    finally:
        gate.close()
