"""Whatever stands in a file, both readers come to an end, and agree where sysfence takes it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from tidegate.policy.sysfence import grammar, repair, understand
from tidegate.policy.sysfence.lexer import SPELLINGS, Refused
from tidegate.policy.sysfence.written import policy_text

USERS = {"root"}.__contains__
WORDS = some.sampled_from(
    [*SPELLINGS, "8", "0x8p1", "inf", "nan", "64M", "64m", "90%", "-1", '"a b"', "'x\\'y'", '"/var"',
     "{", "}", "(", ")", "#c\n", "#", '"', "'", "\u201c", "\u2019", "apache2", ";", "&gt;=", "\n", "\0", "\udcff"]
)  # fmt: skip
TEXTS = some.one_of(
    some.text(max_size=80),
    some.lists(some.tuples(WORDS, some.sampled_from(["", " ", " ", " ", "\n"])), max_size=40).map(
        lambda parts: "".join(word + blank for word, blank in parts)
    ),
)

LIMITS = some.sampled_from(["8", "+2", "0x1p4", "1e3", "inf", "nan"])
SIZES = some.sampled_from(["8", "+2", "64k", "64M", "2G", "-1"])
SIGNS = some.sampled_from([word for word, (kind, _) in SPELLINGS.items() if kind == "compare"])


def spelt(*kinds: str) -> some.SearchStrategy[str]:
    return some.sampled_from([word for word, (kind, _) in SPELLINGS.items() if kind in kinds])


def joined(*parts: some.SearchStrategy[str]) -> some.SearchStrategy[str]:
    return some.tuples(*parts).map(" ".join)


COMPARISONS = some.one_of(
    joined(spelt("load"), SIGNS, LIMITS),
    joined(spelt("memory"), SIGNS, SIZES),
    joined(spelt("space"), some.sampled_from(['"/"', "'/a b'"]), SIGNS, SIZES),
    joined(spelt("nproc"), some.sampled_from(["", "0", '"root" , 5']), SIGNS, SIZES),
    joined(spelt("nproc"), spelt("state"), SIGNS, SIZES),
)
CONDITIONS = some.recursive(
    COMPARISONS,
    lambda inner: some.one_of(
        joined(inner, spelt("and", "or"), inner), inner.map("{{ {} }}".format)
    ),
    max_leaves=8,
)
STRINGS = some.sampled_from(
    ["''", '"a"', "'a\nb'", "'\\''", '"service a stop"', "'service a start;'"]
)
ONCE = some.one_of(some.just(""), spelt("once"))
RUNS = joined(spelt("run"), ONCE, STRINGS)
LOGS = joined(spelt("log"), ONCE)
ACTIONS = some.one_of(RUNS, LOGS, joined(RUNS, LOGS), joined(LOGS, RUNS))
STEPS = some.sampled_from(["", "step 5", "stepping 60", "step -1"])
RULES = joined(
    spelt("if"), some.sampled_from(['"x"', "''", '"a\nb"']), CONDITIONS.map("{{ {} }}".format),
    ACTIONS, STEPS,
)  # fmt: skip
FILES = some.lists(RULES, max_size=4).map("\n".join)


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_no_text_makes_a_reader_fail(text: str) -> None:
    for reading in ("lenient", "strict"):
        outcome = understand("g", [("f", text)], reading, USERS)  # type: ignore[arg-type]
        assert all(said.startswith("f:") for said in (*outcome.notes, *outcome.faults))
        policy_text(outcome.found).encode()
    repair.repaired(text, USERS)


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_what_sysfence_takes_is_taken_leniently_with_the_same_tree(text: str) -> None:
    try:
        rules, _remarks = grammar.read(text, USERS)
    except Refused:
        return
    assert repair.read(text, USERS) == (rules, _remarks, [])


@settings(max_examples=300, deadline=None)
@given(FILES)
def test_files_by_the_grammar_are_taken_by_both_and_need_no_repair(text: str) -> None:
    rules, _remarks = grammar.read(text, USERS)
    again, said, refused = repair.repaired(text, USERS)
    assert refused == []
    assert again == rules
    assert said == []


@settings(max_examples=100, deadline=None)
@given(FILES, some.sampled_from(["lenient", "strict"]))
def test_names_are_given_once(text: str, reading: str) -> None:
    outcome = understand("g", [("f", text)], reading, USERS)  # type: ignore[arg-type]
    names = [one.spec.name for one in outcome.found]
    assert len(set(names)) == len(names)
    assert all(len(name) <= 64 and name.startswith("g.") for name in names)


@pytest.mark.parametrize(
    "part",
    ['\\"\n', "'\\'\n", '"\n', "if\n", "if ", 'if "a" ', "run x\n", 'if "x" { la1 > 1 } run a\n',
     "{ ", 'if "x" { { { ', "la1 > 1 and ", "# \n", "\u2018", "\u201c\n", ' \\"\nif "', "}", "&gt;", "nproc 1 , "],
)  # fmt: skip
def test_a_long_file_of_nonsense_is_read_in_one_go(part: str) -> None:
    """Each of these took as long as the square of its length, or would have."""
    outcome = understand("", [("f", part * (60_000 // len(part)))], "lenient", USERS)
    assert outcome.found == ()
    assert len(outcome.faults) <= 60_000
