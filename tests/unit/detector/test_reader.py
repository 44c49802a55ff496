"""A pack file read: what it holds, and every fault told with file, detector and key."""

from __future__ import annotations

import pytest
from tests.unit.detector.making import DOOR

from tidegate.detector.reader import read_pack
from tidegate.errors import PackError

HEAD = 'name = "door"\nprograms = ["doord"]\n'
GOOD = r"""
[[detector]]
name = "wrong-key"
kind = "wrong_key"
literals = ["wrong key"]
pattern = 'wrong key by <addr>'
match = [{ line = "wrong key by 192.0.2.7", subject = "192.0.2.7" }]
"""


def told(text: str) -> str:
    with pytest.raises(PackError) as caught:
        read_pack(text.encode(), "door.toml")
    assert all(line.startswith("door.toml: ") for line in caught.value.faults)
    return "\n".join(caught.value.faults)


def test_a_whole_pack() -> None:
    text = r"""
name = "door"
about = "A door"
reference = "https://example.org/door"
programs = ["doord", "door/*"]
journal = [["_COMM=doord", "_UID=0"], ["_SYSTEMD_UNIT=door.service"]]
files = ["/var/log/door.log"]
ports = [25, 465]
prefix = '(?:visit (?P<session>\w+): )?'
[macros]
client = 'by \[<addr>\]'
[[detector]]
name = "wrong-key"
about = "Somebody tried a key"
kind = "wrong_key"
class = "abuse"
weight = 3
literals = ["wrong key"]
pattern = 'wrong key <client>'
match = [{ line = "wrong key by [192.0.2.7]", subject = "192.0.2.7", session = "" }]
reject = ["a key"]
[[detector]]
name = "opened"
kind = "opened"
class = "success"
literals = ["opened for"]
pattern = 'opened for <host>'
match = [{ line = "opened for example.org", subject = "example.org" }]
"""
    pack = read_pack(text.encode(), "door.toml")
    assert (pack.name, pack.about, pack.origin) == ("door", "A door", "door.toml")
    assert pack.programs == ("doord", "door/*")
    assert pack.journal == (("_COMM=doord", "_UID=0"), ("_SYSTEMD_UNIT=door.service",))
    assert (pack.files, pack.ports) == (("/var/log/door.log",), (25, 465))
    wrong, opened = pack.detectors
    assert (wrong.name, wrong.kind.name, wrong.kind.klass) == (
        "door.wrong-key",
        "door.wrong_key",
        "abuse",
    )
    assert (wrong.kind.weight, wrong.kind.detector, wrong.kind.pack) == (
        3,
        "door.wrong-key",
        "door",
    )
    assert wrong.pattern.startswith(rb"(?:visit (?P<session>\w+): )?(?:wrong key by \[(?P<addr>")
    assert (wrong.host, wrong.slot, wrong.literals) == (False, True, (b"wrong key",))
    assert (wrong.match[0].line, wrong.match[0].expect["subject"]) == (
        "wrong key by [192.0.2.7]",
        "192.0.2.7",
    )
    assert wrong.reject == ("a key",)
    assert (opened.host, opened.kind.weight) == (True, 0)


def test_the_test_pack_is_sound() -> None:
    assert [each.slot for each in read_pack(DOOR.encode(), "x").detectors] == [True] * 5


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("programs", "programms", "programms: unknown key; did you mean programs?"),
        ("programs", "bare = 0\nprograms", "bare: expected true or false"),
        ("programs", 'bare = "no"\nprograms', "bare: expected true or false"),
        ("programs", "programms", "programs: missing"),
        ('"doord"', '"door d"', "programs: expected a list of program names, not 'door d'"),
        ('["doord"]', '"doord"', "programs: expected a list"),
        ('"door"', '"Door"', "name: expected small letters"),
        ('"door"', "7", "name: expected a text"),
        ('name = "door"', 'name = "door"\nfoo = 1', "foo: unknown key; "),
        ('name = "door"', 'name = "door"\nports = [0]', "ports: expected whole numbers"),
        ('name = "door"', 'name = "door"\nports = [true]', "ports: expected whole numbers"),
        ('name = "door"', 'name = "door"\njournal = ["_COMM=x"]', "journal: expected lists of"),
        ('name = "door"', 'name = "door"\njournal = [[]]', "journal: expected lists of"),
        (
            'name = "door"',
            'name = "door"\njournal = [["SYSLOG_IDENTIFIER=x"]]',
            "journal: expected lists of trusted",
        ),
        ('name = "door"', 'name = "door"\nmacros = { addr = "x" }', "macros.addr: expected"),
        ('name = "door"', 'name = "door"\nmacros = { x = 1 }', "macros.x: expected"),
        (
            'name = "door"',
            'name = "door"\nprefix = "<a>"\nmacros = { a = "<b>", b = "<a>" }',
            "detector door.wrong-key: pattern: macros contain each other",
        ),
        ('"wrong-key"', '"Wrong Key"', "name: expected small letters"),
        ('"wrong_key"', '"wrong-key"', "detector door.wrong-key: kind: expected small letters"),
        ('kind = "wrong_key"', "", "detector door.wrong-key: kind: missing"),
        ("literals", "literal", "literal: unknown key; did you mean literals?"),
        ("literals", "class = 'bad'\nliterals", "class: expected abuse, success or notice"),
        ("literals", "weight = -1\nliterals", "weight: expected a whole number from 0 to 1000"),
        ("literals", "weight = true\nliterals", "weight: expected a whole number"),
        ("literals", "weight = 1.5\nliterals", "weight: expected a whole number"),
        ('["wrong key"]', "[]", "literals: expected at least one"),
        ('["wrong key"]', '["key "]', "literals: expected at least 5 bytes"),
        ('["wrong key"]', '["wrong\\nkey"]', "literals: expected at least 5 bytes and no newline"),
        ('["wrong key"]', "[7]", "literals: expected a list of texts"),
        ("by <addr>'", "by <addr'", "pattern: expected <addr> or <host>"),
        ("by <addr>'", "(?:by <addr>)*'", "pattern: nested quantifiers"),
        ("pattern", "reject = [1]\npattern", "reject: expected a list of lines"),
        (', subject = "192.0.2.7"', "", "match: expected a subject with every line"),
        ('line = "wrong key by 192.0.2.7", ', "", "match: expected { line"),
        ("match = [{", "match = ['x', {", "match: expected { line"),
        (
            '[{ line = "wrong key by 192.0.2.7", subject = "192.0.2.7" }]',
            "[]",
            "match: expected at",
        ),
        ("literals", "session = 'begins'\nliterals", "session: expected opens, ends or joins"),
        ("literals", "session = 'joins'\nliterals", "pattern: expected no slot"),
    ],
)
def test_faults(old: str, new: str, said: str) -> None:
    text = HEAD + GOOD
    assert old in text
    assert said in told(text.replace(old, new, 1 if old != '"door"' else -1))


def test_every_fault_is_told_at_once() -> None:
    text = (
        HEAD
        + GOOD.replace("wrong_key", "wrong-key")
        + GOOD.replace('"wrong-key"', '"b"').replace("<addr>", "(")
    )
    said = told(text).splitlines()
    assert len(said) == 2
    assert "detector door.wrong-key: kind" in said[0]
    assert "detector door.b: pattern: expected a regular expression" in said[1]


def test_each_detector_has_its_own_name() -> None:
    assert "name: expected each detector to have its own" in told(HEAD + GOOD + GOOD)


def test_a_pack_without_detectors() -> None:
    assert "detector: expected at least one" in told(HEAD + "detector = []\n")
    assert "detector: missing" in told(HEAD)
    assert "detector 1: expected a table" in told(HEAD + "detector = [7]\n")


def test_what_is_no_toml() -> None:
    assert "expected TOML" in told("name = \n")
    with pytest.raises(PackError, match="expected UTF-8: byte 8"):
        read_pack(b'name = "\xff"', "door.toml")


def test_a_pack_kept_apart_may_look_for_short_words() -> None:
    short = HEAD.replace("programs", "apart = true\nprograms") + GOOD.replace("wrong key", "wkey")
    pack = read_pack(short.encode(), "door.toml")
    assert (pack.apart, pack.detectors[0].literals) == (True, (b"wkey",))
    assert "expected at least 4 bytes" in told(short.replace("wkey", "key"))
    assert "expected at least 5 bytes" in told(short.replace("apart = true", ""))
    assert "apart: expected true or false" in told(short.replace("apart = true", "apart = 1"))


def test_a_slot_for_any_subject() -> None:
    pack = read_pack((HEAD + GOOD.replace("<addr>", "<subject>")).encode(), "door.toml")
    assert [(one.wide, one.host, one.slot) for one in pack.detectors] == [(True, False, True)]


def test_tested_packs_need_no_judgement() -> None:
    text = HEAD + GOOD.replace("wrong key by <addr>", "(?:wrong key by <addr>)*")
    assert read_pack(text.encode(), "door.toml", judge=False).detectors
