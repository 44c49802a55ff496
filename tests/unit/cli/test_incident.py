"""Incidents on a terminal, as Markdown and as Atom: whole, and hostile text stays text."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree as Tree

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tidegate.cli import incident
from tidegate.cli.incident_feed import ATOM, XHTML, atom
from tidegate.cli.incident_page import escaped, markdown, plain

HOSTILE = "</li><script>alert(1)</script> \x1b[2J *b* [x](http://x) | `c` & # \u202e \x00"
VIEW = {
    "v": 1, "id": "abcd000000000001", "title": "2 sources cut off (rule outward-scan)",
    "state": "open", "sort": "cut", "start": "2026-11-22T03:12:45+00:00", "end": None,
    "closings": 2, "subjects": 2, "mistakes": 1, "public": False,
    "updated": "2026-11-22T03:20:00+00:00",
    "summary": ["Since 2026-11-22 03:12:45+00:00 2 sources were cut off.", "2 are still cut off."],
    "affected": {
        "subjects": 2, "services": ["outward"], "gates": [], "owners": ["customer-7"],
        "rows": [
            {"who": "198.51.100.4", "what": "cut off", "services": ["outward"],
             "from": "2026-11-22T03:12:45+00:00", "until": "2026-11-22T03:22:45+00:00",
             "closed": True, "opened_early": False, "owners": ["customer-7"],
             "id": "abcd000000000001", "by": "rule"},
            {"who": "uid:33", "what": "cut off", "services": ["outward"],
             "from": "2026-11-22T03:13:45+00:00", "until": "2026-11-22T03:16:45+00:00",
             "closed": False, "opened_early": True, "owners": [], "id": "x", "by": "rule"},
        ],
        "left_out": 3,
    },
    "done": ["2 times somebody was cut off, for 10m"],
    "admitted": [{"time": "2026-11-22T03:16:45+00:00", "text": "anna opened uid:33 again"}],
    "updates": [
        {"time": "2026-11-22T03:20:00+00:00", "by": "anna\x1b (uid 1000)", "text": f"{HOSTILE}\n# second"}
    ],
    "beside": [{"id": "beef000000000001", "title": "port 25"}],
    "decisions": ["abcd000000000001", "abcd000000000002"], "decisions_left_out": 1,
    "next": [{"what": "let 198.51.100.4 back now", "command": "tidegate release 198.51.100.4"}],
    "lines": ["scan \x1b uid:33"],
    "urn": "urn:uuid:edbb907d-adfc-5be4-b944-570760c4ed06",
}  # fmt: skip
FEED = {"v": 1, "id": "urn:uuid:00bb907d-adfc-5be4-b944-570760c4ed06", "public": True,
        "updated": "2026-11-22T03:20:00+00:00", "incidents": [VIEW]}  # fmt: skip
MINUTES = {"v": 1, "month": "2026-11", "from": "2026-11-01T00:00:00+00:00",
           "to": "2026-11-22T00:00:00+00:00", "kept_since": "2026-11-10T00:00:00+00:00",
           "rows": [{"service": "apache2.service", "what": "closed", "for": "everybody",
                     "minutes": 4.5, "microseconds": 270000000, "closings": 2, "subjects": 0}]}  # fmt: skip


class Answering:
    """A daemon with an answer for each path."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    def get(self, *words: object) -> object:
        self.asked.append(words)
        return {"/incident": VIEW, "/feed": FEED, "/minutes": MINUTES}[str(words[0])]

    def lines(self, *words: object) -> object:
        self.asked.append(words)
        return iter([VIEW])

    def post(self, *words: object) -> object:
        self.asked.append(words)
        return VIEW


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")

    def call(*words, stdin=""):
        daemon = Answering()
        monkeypatch.setattr(incident, "client", lambda _socket: daemon)
        done = CliRunner().invoke(incident.command, words, input=stdin)
        assert done.exception is None, done.exception
        return done.stdout, daemon.asked[0]

    return call


def test_the_list(run):
    text, asked = run("list", "--limit", "7")
    assert text.splitlines()[1].split("\t") == [
        "abcd0000", "open", "2026-11-22 03:12:45+00:00", "-",
        "2 sources cut off (rule outward-scan)",
    ]  # fmt: skip
    assert asked == ("/incidents", {"limit": "7", "public": "0"})
    assert json.loads(run("list", "--json", "--public")[0])["id"] == VIEW["id"]


def test_the_page(run):
    text, asked = run("show", "abcd")
    assert asked == ("/incident", {"id": "abcd", "public": "0"})
    assert text.startswith("2 sources cut off (rule outward-scan)\nOpen since 2026-11-22 03:12:45")
    assert "\x1b" not in text
    assert "let 198.51.100.4 back now: tidegate release 198.51.100.4" in text
    assert "2026-11-22 03:16:45+00:00, opened early" in text
    assert "… and 3 more closings" in text
    assert "seen: scan \\x1b uid:33" in text
    assert json.loads(run("show", "abcd", "--json", "--public")[0])["id"] == VIEW["id"]


def test_the_page_in_markdown(run):
    text, _asked = run("show", "abcd", "--md")
    assert text.startswith("# 2 sources cut off (rule outward-scan)\n\n**Open since")
    assert "    tidegate release 198.51.100.4" in text
    assert "    scan \\x1b uid:33" in text
    assert "| 198.51.100.4 | cut off | 2026-11-22 03:12:45+00:00 |" in text
    assert r"> \</li\>\<script\>alert(1)\</script\> \\x1b\[2J" in text
    assert r"> \# second" in text
    assert "`abcd000000000001` `abcd000000000002` and 1 more" in text
    assert not re.search(r"(?<!\\)<script|(?<!\\)\]\(", text)
    for raw in ("\x1b", "\x00", "\u202e"):
        assert raw not in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("- x", r"\- x"),
        ("+ x", r"\+ x"),
        ("1. x", r"1\. x"),
        ("12) x", r"12\) x"),
        ("===", r"\==="),
    ],
)
def test_no_line_begins_a_list_or_a_heading(text, shown):
    assert escaped(text) == shown


@given(st.text(max_size=200))
def test_what_is_escaped_is_one_line_without_markup(text):
    shown = escaped(text)
    assert shown.isprintable()
    assert not re.search(r"(?<!\\)(?:\\\\)*[`*_\[\]<>|&#!~]", shown)


def test_a_quiet_page():
    empty = VIEW | {"updates": [], "admitted": [], "beside": [], "next": [], "decisions": [],
                    "state": "over", "end": "2026-11-22T03:22:45+00:00"}  # fmt: skip
    text = "\n".join(markdown(empty))
    assert "Nothing that we know of." in text
    assert "**Over; from " in text
    assert "nothing that we know of" in "\n".join(plain(empty))
    assert "Over; 2026" in "\n".join(plain(empty | {"end": empty["start"]}))


def test_a_note(run):
    text, asked = run("note", "abcd", "known")
    assert asked == ("/note", {"incident": "abcd", "text": "known"})
    assert text == "abcd0000: noted by anna\\x1b (uid 1000), 2026-11-22 03:20:00+00:00\n"
    assert run("note", "abcd", "-", stdin="two\nlines\n")[1][1]["text"] == "two\nlines\n"
    assert json.loads(run("note", "abcd", "x", "--json")[0])["id"] == VIEW["id"]


def test_minutes(run):
    text, asked = run("minutes", "--month", "2026-11", "--public")
    assert asked == ("/minutes", {"month": "2026-11", "public": "1"})
    assert text.splitlines()[1].split("\t") == [
        "apache2.service", "closed", "everybody", "4.5", "2", "-",
    ]  # fmt: skip
    assert json.loads(run("minutes", "--json")[0]) == MINUTES


# -- the feed --------------------------------------------------------------------------------------

DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
ONCE = {"id", "title", "updated"}
MANY = {"author", "category", "contributor", "link", "entry"}


def valid(data: bytes) -> Tree.Element:
    """Raise AssertionError where the feed breaks RFC 4287 §4.1.1 to §4.1.3 or §3.3."""
    root = Tree.fromstring(data)
    assert root.tag == f"{{{ATOM}}}feed"
    for element in (root, *root.findall(f"{{{ATOM}}}entry")):
        names = [child.tag.removeprefix(f"{{{ATOM}}}") for child in element]
        assert all("{" not in name for name in names)
        for name in names:
            assert names.count(name) == 1 or name in MANY, name
        assert set(names) >= ONCE
        for name in ("updated", "published"):
            for child in element.findall(f"{{{ATOM}}}{name}"):
                assert DATE.fullmatch(child.text or ""), child.text
        assert re.fullmatch(r"[a-z][a-z0-9+.-]*:\S+", element.findtext(f"{{{ATOM}}}id") or "")
        for content in element.findall(f"{{{ATOM}}}content"):
            assert content.get("type") == "xhtml"
            assert [child.tag for child in content] == [f"{{{XHTML}}}div"]
            assert not (content.text or "").strip()
    assert root.findtext(f"{{{ATOM}}}author/{{{ATOM}}}name"), "entries have none of their own"
    ids = [one.text for one in root.iter(f"{{{ATOM}}}id")]
    assert len(ids) == len(set(ids))
    return root


def test_the_feed_is_valid_and_holds_everything(run):
    text, asked = run("feed", "--atom", "--url", "https://status.example.org/a.atom?x=1&y=2")
    assert asked == ("/feed", {"public": "1"}), "what is published is public unless one says so"
    root = valid(text.encode())
    assert text.startswith("<?xml version='1.0' encoding='utf-8'?>\n<feed")
    assert root.find(f"{{{ATOM}}}link").attrib == {
        "rel": "self", "href": "https://status.example.org/a.atom?x=1&y=2",
    }  # fmt: skip
    entry = root.find(f"{{{ATOM}}}entry")
    assert entry.findtext(f"{{{ATOM}}}title") == "2 sources cut off (rule outward-scan) (open)"
    said = "".join(entry.find(f"{{{ATOM}}}content").itertext())
    assert "</li><script>alert(1)</script>" in said, "text, not markup"
    assert not [one for one in root.iter() if "script" in one.tag]
    assert "2 are still cut off." in said
    assert "anna opened uid:33 again" in said
    assert run("feed", "--private")[1] == ("/feed", {"public": "0"})
    assert json.loads(run("feed", "--json")[0])["id"] == FEED["id"]


def test_an_empty_feed_is_valid():
    valid(atom(FEED | {"incidents": []}, "None"))


@given(st.text(st.characters(), max_size=100))
def test_any_text_gives_a_valid_feed(text):
    hostile = VIEW | {
        "title": text, "summary": [text], "done": [text],
        "updates": [{"time": VIEW["start"], "by": text, "text": text}],
    }  # fmt: skip
    valid(atom(FEED | {"incidents": [hostile]}, text, text))
