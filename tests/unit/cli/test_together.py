"""What the verbs of one host say where it is in a fleet: who closed, who counted, who will hear."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from tests.unit.cli.test_confined import Daemon

from tidegate.cli import ban, status, unban, why
from tidegate.cli import list as list_verb

THEIRS = {
    "v": 1, "id": "a", "time": "2026-08-21T12:00:00+00:00", "action": "ban",
    "subject": "192.0.2.7", "rule": "guessing", "ports": [25], "until": "2026-08-21T12:10:00+00:00",
    "count": 0, "step": 0, "mode": "enforce", "spared": "", "by": "fleet:web1", "note": "",
    "reason": "rule guessing on web1", "collateral": False, "state": "applied", "detail": "",
    "settled": None, "evidence": [],
}  # fmt: skip
LINE = {"host": "web1", "rule": "guessing", "time": THEIRS["time"], "file": "/var/log/auth.log",
        "line": "Failed password \x1b[2J"}  # fmt: skip
WHY = {
    "v": 1, "subject": "192.0.2.7", "banned": [THEIRS], "quarantined": [], "earlier": [],
    "protected": "", "spared_outward": "", "tallies": [],
}  # fmt: skip
FLEET = {
    "state": "joined", "detail": "", "host": "web2", "engine": "redis://192.0.2.9:6379",
    "members": 3, "skew": 0, "lag": 0, "spool": 0, "dropped": 0, "refused": {}, "digest": "",
    "said": 1, "heard": 2, "standing": 4, "cost": 0.0, "troubles": [], "rules": ["guessing"],
}  # fmt: skip


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")

    def ran(verb, answer, *words):
        daemon = Daemon(answer)
        monkeypatch.setattr(verb, "client", lambda _socket: daemon)
        done = CliRunner().invoke(verb.command, words, standalone_mode=False)
        assert done.exception is None, done.output
        return done.output, daemon.asked

    return ran


@pytest.mark.parametrize("verb", [ban, unban])
def test_an_order_is_for_all_hosts_unless_it_says_local(run, verb):
    answer = {"results": [THEIRS], "fleet": ""}
    said, ((_path, body),) = run(verb, answer, "192.0.2.7")
    assert "local" not in body
    assert said.count("\n") == 1
    _said, ((_path, body),) = run(verb, {"results": [THEIRS]}, "192.0.2.7", "--local")
    assert body["local"] is True


def test_who_orders_hears_that_the_others_do_not_yet(run):
    later = "the other hosts hear of it later: engine unix:/x does not answer"
    said, _asked = run(unban, {"results": [THEIRS], "fleet": later}, "192.0.2.7")
    assert said.endswith(later + "\n")


def test_why_shows_what_other_hosts_counted(run):
    told = WHY | {"fleet": {"answered": True, "lines": [LINE]}}
    said, _asked = run(why, told, "192.0.2.7")
    assert "  By rule guessing on web1, at 2026-08-21 12:00:00+00:00.\n" in said
    assert "Counted by other hosts:\n  web1 /var/log/auth.log (guessing): Failed password" in said
    assert "\x1b" not in said
    said, _asked = run(why, WHY | {"fleet": {"answered": False, "lines": []}}, "192.0.2.7")
    assert "The other hosts could not be asked: see tidegate fleet status\n" in said
    person = THEIRS | {"rule": "", "reason": "by hand on web1", "note": "anna (uid 1000): worm"}
    said, _asked = run(why, WHY | {"banned": [person]}, "192.0.2.7")
    assert "  By by hand" not in said
    assert "  By hand on web1 (anna (uid 1000): worm), at 2026" in said
    row = {"rule": "guessing", "stated": "at least 5", "count": 3}
    said, _asked = run(why, WHY | {"tallies": [row, row | {"together": True}]}, "192.0.2.7")
    counting = "  Counting: 3 towards guessing (at least 5)"
    assert f"{counting}.\n{counting} here; all hosts count together.\n" in said


def test_the_list_says_which_host_closed(run):
    said, _asked = run(list_verb, [THEIRS | {"left": 60}])
    assert said.splitlines()[1].startswith("192.0.2.7\t25\tfleet:web1\t-\t")


def test_status_says_how_the_conversation_is():
    assert status._fleet(FLEET) == (
        "fleet    joined: 3 hosts by redis://192.0.2.9:6379, 4 bans of others;"
        " more: tidegate fleet status"
    )
    away = FLEET | {"state": "away", "detail": "engine unix:/x does not answer"}
    assert status._fleet(away) == (
        "fleet    away: engine unix:/x does not answer; this host counts and decides alone"
    )
    worse = status._fleet(FLEET | {"spool": 7, "refused": {"web9 forged": 2, "web8 replay": 1}})
    assert ", 7 counts wait, 3 messages refused;" in worse
