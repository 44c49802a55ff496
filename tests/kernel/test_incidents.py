"""Incidents of a whole daemon: found in its ledger, noted, published, kept over a kill."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree as Tree

import pytest
from tests.kernel.daemon import FAST, Daemon, daemons, until, virus

pytestmark = pytest.mark.kernel

GUARD = """
[guard.web]
close = "trouble >= 1"
open = "trouble < 1"
refuse = { ports = [8080] }
[reading.trouble]
file = "{folder}/trouble"
every = "1s"
"""
WORMS = [f"192.0.2.{n}" for n in range(1, 13)]


@pytest.fixture
def daemon(public_folder: Path) -> Iterator[Callable[..., Daemon]]:
    """Makes daemons in a namespace of their own; all of them end with the test."""
    with daemons(public_folder, "incidents", FAST) as make:
        yield make


def attacked(here: Daemon) -> None:
    """A worm from twelve addresses, one after the other."""
    for address in WORMS:
        here.append("".join(virus(address) for _ in range(16)))
    until("twelve bans", lambda: len(here.closed()) == len(WORMS))


def test_a_flood_of_bans_is_one_incident_from_status_to_feed(daemon):
    here = daemon().start()
    assert here.verb("incident", "list").stdout == "There was no incident.\n"
    attacked(here)
    (row,) = [
        json.loads(line) for line in here.verb("incident", "list", "--json").stdout.splitlines()
    ]
    assert row["title"] == "12 subjects kept out of port 25 (rule virus-senders)"
    short = row["id"][:8]
    assert f"INCIDENT {row['title']}" in here.verb("status").stdout
    assert "1 incident, 1 of them open" in here.verb("report").stdout

    noted = here.verb(
        "incident", "note", short, "worm at 192.0.2.1;\n we called /srv/crm/7 \x1b[2J"
    )
    assert noted.returncode == 0, noted.stderr
    assert noted.stdout.startswith(f"{short}: noted by root (uid 0), ")
    page = here.verb("incident", "show", short, "--md").stdout
    assert "| 192.0.2.1 | kept out | " in page
    assert "> worm at 192.0.2.1;" in page
    assert "\x1b" not in page
    public = here.verb("incident", "show", short, "--md", "--public").stdout
    assert "192.0.2." not in public
    assert "/srv" not in public
    assert "uid" not in public
    assert "worm at address-" in public

    here.verb("unban", "192.0.2.3")
    assert "root (uid 0) opened 192.0.2.3 again" in here.verb("incident", "show", short).stdout
    before = here.verb("incident", "feed", "--atom").stdout
    assert b"192.0.2." not in before.encode()
    entry = Tree.fromstring(before).find("{http://www.w3.org/2005/Atom}entry")
    assert entry is not None

    here.pair()
    here.kill("watcher")
    until("a new watcher", lambda: here.ask("/status").get("lines") is not None)
    again = here.verb("incident", "feed", "--atom").stdout
    assert again == before, "ids and pseudonyms stay, and nothing was forgotten"
    assert "> worm at" in here.verb("incident", "show", short, "--md").stdout


def test_a_gate_that_a_guard_closes_is_an_incident_with_its_minutes(daemon):
    here = daemon(FAST + GUARD.replace("{folder}", "/nonexistent"))
    (here.folder / "trouble").write_text("1\n")
    here.write_policy(FAST + GUARD.replace("{folder}", str(here.folder)))
    here.start()
    began = time.time()
    row = until("an incident", lambda: next(iter(here.rows("/incidents")), None))
    assert row["title"] == "port 8080 closed by guard web"
    assert row["state"] == "open"
    page = here.verb("incident", "show", row["id"]).stdout
    assert "It is closed now; it opens by itself as soon as trouble < 1." in page
    assert "tidegate open web" in page
    (here.folder / "trouble").write_text("0\n")
    here.verb("open", "web")
    until("its end", lambda: here.rows("/incidents")[0]["state"] == "over")
    page = here.verb("incident", "show", row["id"]).stdout
    assert "It is open again; in all it was closed for " in page
    assert "root (uid 0) opened web again after" in page
    answer = json.loads(here.verb("incident", "minutes", "--json").stdout)
    (one,) = answer["rows"]
    assert (one["service"], one["what"], one["for"]) == ("port 8080", "closed", "everybody")
    assert 0 < one["microseconds"] <= (time.time() - began + 5) * 1_000_000


def test_who_may_only_read_may_not_note(daemon):
    here = daemon().start()
    attacked(here)
    (row,) = here.rows("/incidents")

    def drop() -> None:
        os.setgroups([4])  # adm: may read
        os.setgid(65534)
        os.setuid(65534)

    done = here.verb("incident", "note", row["id"], "mine", preexec_fn=drop)
    assert done.returncode == 3
    assert "tidegate-admin" in done.stderr
    assert here.ask("/incident", id=row["id"])["updates"] == []
