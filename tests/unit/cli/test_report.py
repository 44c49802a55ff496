"""The report as a table and as Markdown: every number has its place, hostile names stay text."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from tidegate.cli import list as list_verb
from tidegate.cli import report

RATES = {"followed": 2, "before": 1.6, "during": 0.25, "after": None}
ANSWER = {
    "v": 1, "time": "2026-08-21T12:00:00+00:00", "since": "2026-08-14T12:00:00+00:00",
    "bans": 3, "subjects": 2, "in_force": 1, "standing": 1, "minutes": 61, "rates": RATES,
    "rules": [{
        "rule": "virus|x", "bans": 3, "subjects": 2, "standing": 1, "minutes": 61, "good": 1,
        "spared": 4, "observed": 5, "refused": 6, "rates": RATES,
    }],
    "kernel": [{"ports": [25], "packets": 1, "bytes": 2048, "bans": 3, "per_ban": 0.3,
                "rules": ["virus|x"]},
               {"ports": [], "packets": 0, "bytes": 0, "bans": 0, "per_ban": None, "rules": []}],
    "good": {"banned": 1, "subjects": ["192.0.2.7"], "spared": {"allowlist": 4}, "unbanned": 1,
             "unbans": [{"time": "2026-08-21T11:00:00+00:00", "subject": "192.0.2.8",
                         "by": "anna\x1b[2J"}]},
    "refused": {"the set is full": 6},
    "sources": [{"subject": "192.0.2.7", "events": 48, "bans": 3, "minutes": 61,
                 "rules": ["virus|x"], "last": "2026-08-21T11:00:00+00:00"}],
    "gates": [{"gate": "web.stop", "guard": "web", "closings": 2, "closed_now": True, "minutes": 7,
               "by": {"guard": 1, "anna": 1}, "restarts": 3, "warnings": 1, "given_up": 1,
               "observed": 0, "refused": 0, "last": "2026-08-21T11:00:00+00:00"}],
}  # fmt: skip


class Answering:
    """A daemon that gives one answer."""

    def __init__(self, answer: object) -> None:
        self.answer = answer
        self.asked: list[object] = []

    def get(self, *words: object) -> object:
        self.asked.append(words)
        return self.answer

    def lines(self, *words: object) -> object:
        self.asked.append(words)
        return self.answer


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")

    def call(module, answer, *words):
        daemon = Answering(answer)
        monkeypatch.setattr(module, "client", lambda _socket: daemon)
        done = CliRunner().invoke(module.command, words)
        assert done.exception is None, done.exception
        return done.output, daemon.asked

    return call


def test_tables(run):
    said, asked = run(report, ANSWER, "--since", "24h")
    assert asked == [("/report", {"since": "24h"})]
    assert "3 bans of 2 subjects, 61 minutes closed in all; 1 still in force" in said
    assert "1.6 before, 0.25 during, - afterwards (2 followed)" in said
    assert "1 packet (2.0 KiB) dropped in the kernel" in said
    assert "1 ban of those with a good record, 1 opened by a person, 4 spared" in said
    assert "6 decisions refused" in said
    assert "virus|x\t3\t2\t1\t61\t1.6\t0.25\t-\t1\t4\t5\t6" in said
    assert "25\t1\t2.0 KiB\t3\t0.3\tvirus|x" in said
    assert "all\t0\t0 B\t0\t-\t" in said
    assert "192.0.2.7\t48\t3\t61\tvirus|x\t" in said
    assert "opened by a person\t192.0.2.8\tanna\\x1b[2J" in said
    assert "spared\tallowlist\t4 times" in said
    assert "the set is full\t6" in said


def test_markdown_has_whole_tables_whatever_names_hold(run):
    said, _asked = run(report, ANSWER, "--md")
    lines = said.splitlines()
    assert lines[0].startswith("# From ")
    assert "## Bans by rule" in lines
    assert "| virus\\|x | 3 | 2 | 1 | 61 | 1.6 | 0.25 | - | 1 | 4 | 5 | 6 |" in lines
    assert "\x1b" not in said
    for line in lines:
        if line.startswith("|") and "---" in line:
            columns = line.count("---")
            head = lines[lines.index(line) - 1]
            assert head.count("|") == columns + 1


def test_of_nothing(run):
    empty = ANSWER | {
        "bans": 0, "rules": [], "kernel": [], "sources": [], "refused": {}, "in_force": None,
        "good": {"banned": 0, "subjects": [], "spared": {}, "unbanned": 0, "unbans": []},
    }  # fmt: skip
    for words in ((), ("--md",)):
        said, _asked = run(report, empty, *words)
        assert "Nobody was banned." in said
        assert "None was touched." in said
        assert "Refused by" not in said


def test_json_is_the_answer(run):
    said, _asked = run(report, ANSWER, "--json")
    assert json.loads(said) == ANSWER


TARGET = {
    "v": 1, "what": "page", "target": "shop.example/\x1b[2J", "kinds": ["a.b", "c.d"],
    "events": 40, "at_most": 44, "looked_at": 10, "per_minute": 30, "minutes": [],
    "subjects": 3, "last": "2026-08-21T11:00:00+00:00",
}  # fmt: skip


def test_targets(run):
    said, asked = run(list_verb, [TARGET, TARGET | {"looked_at": 40}], "--by", "page")
    assert asked == [("/targets", {"by": "page", "limit": "20"})]
    head, estimated, sure = said.splitlines()
    assert head == "TARGET\tKINDS\tEVENTS\tPER MINUTE\tSUBJECTS\tLAST"
    assert estimated.startswith("page shop.example/\\x1b[2J\ta.b, c.d\t~40\t~30\t3\t")
    assert "\t40\t30\t3\t" in sure
    assert run(list_verb, [], "--by", "site")[0] == "No abuse within the last ten minutes.\n"
    assert json.loads(run(list_verb, [TARGET], "--by", "page", "--json")[0]) == TARGET


def test_gates_of_guards_have_their_table(run):
    output, _asked = run(report, ANSWER)
    assert "  guards: 2 closings of 1 gate, 7 minutes, 3 restarts or runs, 1 warning\n" in output
    assert (
        "web.stop\t2, now too\t7\tguard 1, anna 1\t3, given up 1\t1\t0\t0\t2026-08-21 11:00:00+00:00\n"
        in output
    )
    output, _asked = run(report, ANSWER | {"gates": []})
    assert "Gates of guards" not in output
