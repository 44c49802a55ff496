"""Quarantine and probation as people read them: how it stands, until when, what then, what to do."""

from __future__ import annotations

import pwd

import pytest
from click.testing import CliRunner

from tidegate.cli import allow, history, quarantine, release, report, status, unban, whom, why
from tidegate.cli import list as list_verb
from tidegate.cli.confined import outward

CUT = {
    "v": 1, "id": "a", "time": "2026-08-21T12:00:00+00:00", "action": "quarantine",
    "subject": "uid:33", "rule": "outward-scan", "ports": [],
    "until": "2026-08-21T12:10:00+00:00", "count": 1, "step": 0, "mode": "enforce", "spared": "",
    "by": "rule", "note": "", "reason": "at least 1 within 1m: outward.scan", "collateral": False,
    "watched": "2026-08-21T13:10:00+00:00", "state": "applied", "detail": "", "settled": None,
    "left": 540, "confined": "cut off", "next": "1h",
    "evidence": [{"time": "2026-08-21T12:00:00+00:00", "file": "outward", "offset": 7,
                  "line": "… scan uid:33: 14 new destinations in 0.2s \x1b[2J"}],
}  # fmt: skip
BACK = CUT | {
    "action": "release", "confined": "on probation", "rule": "", "by": "anna (uid 1000)",
    "note": "patched", "next": None, "evidence": [], "until": CUT["time"], "count": 0,
}  # fmt: skip
WHY = {
    "v": 1, "subject": "uid:33", "banned": [], "quarantined": [CUT], "earlier": [BACK],
    "protected": "not an address", "spared_outward": "", "tallies": [],
}  # fmt: skip
OUTWARD = {
    "mode": "enforce", "state": "ok", "cut_off": 1, "on_probation": 2, "capped": 3,
    "most_capped": [{"subject": "uid:33", "what": "destinations", "packets": 4711, "bytes": 9}],
    "filters": [{"name": "slammer", "packets": 310, "bytes": 9}],
    "refused": {"192.0.2.7": "it would hit the gateway"},
}  # fmt: skip


class Daemon:
    """Gives one answer, and remembers what was asked."""

    def __init__(self, answer: object) -> None:
        self.answer = answer
        self.asked: list[tuple[object, ...]] = []

    def get(self, *words: object) -> object:
        self.asked.append(words)
        return self.answer

    lines = post = get


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setattr(whom.pwd, "getpwnam", _named)
    monkeypatch.setattr(whom.pwd, "getpwuid", _numbered)
    whom.source_text.cache_clear()

    def call(module, answer, *words):
        daemon = Daemon(answer)
        monkeypatch.setattr(module, "client", lambda _socket: daemon)
        done = CliRunner().invoke(module.command, words, standalone_mode=False)
        return done.output, daemon.asked, done

    yield call
    whom.source_text.cache_clear()


def _named(name: str) -> pwd.struct_passwd:
    if name != "www-data":
        raise KeyError(name)
    return pwd.struct_passwd((name, "x", 33, 33, "", "/", "/bin/sh"))


def _numbered(uid: int) -> pwd.struct_passwd:
    if uid != 33:
        raise KeyError(uid)
    return pwd.struct_passwd(("www-data", "x", 33, 33, "", "/", "/bin/sh"))


def test_list_shows_them_apart_from_bans(run):
    ban = CUT | {"action": "ban", "subject": "192.0.2.8", "ports": [25]}
    del ban["confined"]
    said, _asked, _done = run(list_verb, [CUT, ban, BACK])
    bans, sources = said.split("\n\n")
    assert "192.0.2.8" in bans
    assert "uid:33" not in bans
    cut, back = sources.splitlines()[1:]
    assert cut.split("\t")[:3] == ["uid:33 (www-data)", "cut off", "outward-scan"]
    assert cut.split("\t")[-1].startswith("probation until 2026-08-21")
    assert back.split("\t")[1:3] == ["on probation", "anna (uid 1000)"]
    assert back.split("\t")[-1] == "free"
    assert "Nothing is closed" not in run(list_verb, [CUT])[0]


def test_list_by_source_says_whose_packets_are_kept_back(run):
    capped = [{"what": "destinations", "packets": 4711, "bytes": 9}]
    empty = {"confined": None, "until": None, "by": "", "packets": 4711, "capped": capped}
    cut = empty | {"confined": "cut off", "until": CUT["until"], "by": "worm", "capped": []}
    rows = [{"subject": "uid:33", **empty}, {"subject": "192.0.2.7", **cut}]
    said, asked, _done = run(list_verb, rows, "--by", "source", "--limit", "2")
    assert asked == [("/sources", {"limit": "2"})]
    first, second = said.splitlines()[1:]
    assert first == "uid:33 (www-data)\t4,711\tdestinations 4,711\tcapped\t-\t-"
    assert second.startswith("192.0.2.7\t4,711\t-\tcut off\tworm\t2026-08-21")
    assert run(list_verb, [], "--by", "source")[0] == "Nobody's packets are kept back.\n"


def test_why_explains_with_its_lines_and_says_what_probation_is_and_how_to_let_back(run):
    said, asked, _done = run(why, WHY, "www-data")
    assert asked == [("/why", {"address": "www-data", "user": "uid:33"})]
    assert "uid:33 (www-data): cut off until 2026-08-21" in said
    assert "Then on probation until" in said
    assert "one more offence cuts it off at once for 1h" in said
    assert "Rule outward-scan: 1 counted, at least 1 within 1m: outward.scan." in said
    assert "outward:7: … scan uid:33: 14 new destinations" in said
    assert "\x1b" not in said
    assert "To let it back, on probation: tidegate release uid:33\n" in said
    assert "tidegate release uid:33 --trust" in said
    assert "can't be banned" not in said
    assert "release by anna (uid 1000): applied" in said


def test_why_of_who_is_on_probation(run):
    said, _asked, _done = run(why, WHY | {"quarantined": [BACK], "earlier": [CUT]}, "uid:33")
    assert "let back, and on probation until" in said
    assert "By anna (uid 1000)" in said
    assert "patched" in said
    assert "To let it back" not in said
    assert "To free it for good, once it is clean: tidegate release uid:33 --trust" in said


def test_why_of_who_is_not_cut_off(run):
    nobody = WHY | {"quarantined": [], "earlier": [], "spared_outward": "busy"}
    said, _asked, _done = run(why, nobody, "uid:33")
    assert said == "uid:33 (www-data) is not cut off.\n  It can't be cut off: busy.\n"


def test_status_counts(run):
    lines = list(outward(OUTWARD))
    assert lines == [
        "outward  enforce; 1 cut off, 2 on probation, 3 capped",
        f"         kept back most: {whom.source_text('uid:33')} destinations (4,711 packets)",
        "         filter slammer: 310 packets dropped",
        "WARNING  192.0.2.7 could not be cut off: it would hit the gateway",
    ]
    assert "enforce: the keeper is gone;" in next(
        iter(outward(OUTWARD | {"state": "the keeper is gone"}))
    )


def test_history_names_users_and_shows_no_ports(run):
    said, asked, _done = run(history, [CUT], "www-data")
    assert asked[0][1]["user"] == "uid:33"
    row = said.splitlines()[1].split("\t")
    assert row[1:5] == ["quarantine", "uid:33 (www-data)", "-", "outward-scan"]


@pytest.mark.parametrize(
    ("module", "path", "words", "body"),
    [
        (quarantine, "/quarantine", ("www-data", "--for", "2h", "--note", "bot"),
         {"subject": "www-data", "user": "uid:33", "for": "2h", "note": "bot"}),
        (quarantine, "/quarantine", ("192.0.2.7",),
         {"subject": "192.0.2.7", "user": "", "for": "1h", "note": ""}),
        (release, "/release", ("192.0.2.7", "--trust"),
         {"subject": "192.0.2.7", "user": "", "trust": True, "note": ""}),
        (release, "/release", ("--all",), {"all": True, "trust": False, "note": ""}),
        (unban, "/unban", ("www-data",), {"subject": "www-data", "user": "uid:33", "note": ""}),
        (allow, "/allow", ("www-data",),
         {"subject": "www-data", "user": "uid:33", "for": "1d", "note": ""}),
    ],
)  # fmt: skip
def test_orders(run, module, path, words, body):
    said, asked, done = run(module, {"v": 1, "results": [CUT]}, *words)
    assert asked == [(path, body)]
    assert done.return_value == 0
    assert "quarantine uid:33 (www-data): done until 2026-08-21" in said
    assert "then on probation until" in said


def test_what_became_of_a_release(run):
    assert ": done, on probation until" in run(release, {"results": [BACK]}, "uid:33")[0]
    free = BACK | {"watched": None}
    assert run(release, {"results": [free]}, "uid:33")[0] == "release uid:33 (www-data): done\n"
    assert run(release, {"results": []}, "--all")[0] == "Nobody is cut off.\n"
    _said, _asked, done = run(release, {"results": [], "notes": ["it is free"]}, "uid:33")
    assert (done.stderr, done.return_value) == ("it is free\n", 1)
    refused = CUT | {"state": "refused", "detail": "no such source"}
    assert run(quarantine, {"results": [refused]}, "uid:33")[2].return_value == 1


@pytest.mark.parametrize("words", [(), ("uid:33", "--all")])
def test_a_release_needs_one_or_all(run, words):
    done = run(release, {}, *words)[2]
    assert "expected either SUBJECT or --all" in str(done.exception)


def test_the_report_tells_of_quarantines(run):
    found = {
        "quarantines": 3, "sources": 2, "again": 1, "minutes": 70, "released": 1, "observed": 2,
        "longest": [{"subject": "uid:33", "times": 2, "minutes": 70, "by": ["worm"],
                     "cut_off_now": True, "last": CUT["time"]}],
    }  # fmt: skip
    rates = {"before": None, "during": None, "after": None, "followed": 0}
    answer = {
        "good": {"banned": 0, "spared": {}, "unbanned": 0, "subjects": [], "unbans": []},
        "in_force": 0, "bans": 0, "subjects": 0, "minutes": 0, "rates": rates, "kernel": [],
        "gates": [], "refused": {}, "rules": [], "sources": [], "outward": found,
        "since": CUT["time"], "time": CUT["until"],
    }  # fmt: skip
    said = run(report, answer)[0]
    assert "3 quarantines of 2 sources, 1 of them more than once; 70 minutes cut off" in said
    assert "1 let back by a person, 2 only observed" in said
    assert "uid:33 (www-data)\t2\t70\tcut off\tworm" in said
    assert status.command is not None
