"""Conditions: precedence, units, spellings, every fault with its column, and there and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.model import MINUTE, SECOND
from tidegate.policy.expressions import (
    ExpressionError,
    both,
    either,
    parse,
    parse_noted,
    readings_of,
    text_of,
    words,
)
from tidegate.policy.guards import And, Compare, Condition, Held, Not, Or
from tidegate.policy.readings import CATALOGUE, canonical, reading_of

OWN = frozenset({"lag", "rsync.age"})
LA1, LA5 = Compare("la1", ">=", 10.0), Compare("la5", ">=", 6.0)
MEM = Compare("memfree", "<", 20.0 * (1 << 20))


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("la1 >= 10", LA1),
        ("la1>=10", LA1),
        ("  load1   =>10.0 ", LA1),
        ("LA1 ≥ 10", LA1),
        ("la1 >= 10 or la5 >= 6", Or((LA1, LA5))),
        ("la1 >= 10 || la5 >= 6", Or((LA1, LA5))),
        ("la1 >= 10 AND la5 >= 6", And((LA1, LA5))),
        ("la1 >= 10&&la5 >= 6", And((LA1, LA5))),
        ("la1 >= 10 or la5 >= 6 and memfree < 20M", Or((LA1, And((LA5, MEM))))),
        ("la1 >= 10 and la5 >= 6 or memfree < 20M", Or((And((LA1, LA5)), MEM))),
        ("(la1 >= 10 or la5 >= 6) and memfree < 20M", And((Or((LA1, LA5)), MEM))),
        ("not la1 >= 10 and la5 >= 6", And((Not(LA1), LA5))),
        ("not (la1 >= 10 and la5 >= 6)", Not(And((LA1, LA5)))),
        ("!la1 >= 10 or la5 >= 6", Or((Not(LA1), LA5))),
        ("not not la1 >= 10", Not(Not(LA1))),
        ("la1 >= 10 for 30s or la5 >= 6", Or((Held(LA1, 30 * SECOND), LA5))),
        ("(la1 >= 10 or la5 >= 6) for 1m30s", Held(Or((LA1, LA5)), 90 * SECOND)),
        ("not la1 >= 10 for 1m", Not(Held(LA1, MINUTE))),
        ("la1 >= 10 and (la5 >= 6 and memfree < 20M)", And((LA1, LA5, MEM))),
        ("la1 <> 10", Compare("la1", "!=", 10.0)),
        ("la1 = 10", Compare("la1", "==", 10.0)),
        ("la1 =< 10", Compare("la1", "<=", 10.0)),
        ("memused >= 90%", Compare("memused", ">=", 90.0, True)),
        ("memfree < 20971520", MEM),
        ("memfree < 20480k", MEM),
        ("memfree < 20MiB", MEM),
        ("memfree < 20MB", MEM),
        ("swapfree < 2.5G", Compare("swapfree", "<", 2.5 * (1 << 30))),
        ("psi.memory.full > 10%", Compare("psi.memory.full", ">", 10.0)),
        ("psi.memory.full > 10", Compare("psi.memory.full", ">", 10.0)),
        ("loss(192.0.2.1) > 5%", Compare("loss(192.0.2.1)", ">", 5.0)),
        ("rtt(192.0.2.1) > 250ms", Compare("rtt(192.0.2.1)", ">", 0.25)),
        ("disk.full-in(/var) < 2h30m", Compare("disk.full-in(/var)", "<", 9000.0)),
        ("interface.in(eth0) > 10M/s", Compare("interface.in(eth0)", ">", 10.0 * (1 << 20))),
        ("listen.overflows > 5/s", Compare("listen.overflows", ">", 5.0)),
        ('disk.free( "/var/spool" ) < 1G', Compare("disk.free(/var/spool)", "<", float(1 << 30))),
        ("disk.free('/a) b') < 1G", Compare('disk.free("/a) b")', "<", float(1 << 30))),
        ("processes (state=zombie, user=root) > 5", Compare("processes(user=root,state=zombie)", ">", 5.0)),
        ("up(http://[2001:db8::1]:80/x?a=b)", Compare("up(http://[2001:db8::1]:80/x?a=b)", "==", 1.0)),
        ("not up(tcp://192.0.2.1:25)", Not(Compare("up(tcp://192.0.2.1:25)", "==", 1.0))),
        ("up(tcp://192.0.2.1:25) == 0", Compare("up(tcp://192.0.2.1:25)", "==", 0.0)),
        ("lag > 30", Compare("lag", ">", 30.0)),
        ("lag > 1m", Compare("lag", ">", 60.0)),
        ("rsync.age > 1M", Compare("rsync.age", ">", float(1 << 20))),
        ("lag < -5", Compare("lag", "<", -5.0)),
    ],
)  # fmt: skip
def test_what_a_text_means(text: str, means: Condition) -> None:
    assert parse(text, OWN) == means


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        ("", 1, "expected a condition such as la1 >= 10"),
        ("   ", 4, "expected a condition"),
        ("la1", 4, "expected a comparison such as la1 >= 10"),
        ("la1 >=", 7, "expected a limit such as 10 after >="),
        ("la1 >= or la5 > 3", 8, "expected a limit"),
        ("la1 >= 10M", 8, "expected a plain number such as 10 for la1; found 10M"),
        ("la1 >= 90%", 8, "no %, since it has no whole"),
        ("lag >= 90%", 8, "nobody knows of what"),
        ("la1 >= 1e3", 8, "expected a plain number"),
        ("queue(exim) > 10k", 15, "expected a plain number"),
        ("rtt(a.example) > 5M", 18, "expected a time such as 500ms, 30s or 2h for rtt; found 5M"),
        ("memfree < 5m", 11, "expected a size such as 256M or 90% for memfree; found 5m"),
        ("memfree < 20 M", 14, "write 20M, without a blank in it"),
        ("up(tcp://a:1) > 2", 17, "expected 1 (it answers) or 0"),
        ("10 <= la1", 1, "expected a reading first, then its limit: la1 >= 10"),
        ("la1 > la5", 7, "la1 can only be compared with a number"),
        ("la1 >= 3 la5 > 2", 10, "expected and or or before 'la5'"),
        ("la1 >= 3 4", 10, "expected and or or before 4"),
        ("la1 >= 3 or", 12, "expected a reading such as la1"),
        ("or la1 >= 3", 1, "expected a reading such as la1"),
        ("(la1 > 3", 1, "this ( is never closed"),
        ("la1 > 3)", 8, "this ) has no ( before it"),
        ("()", 2, "expected a reading such as la1"),
        ("(la1 > 3 la5 > 2)", 10, "expected and, or or ) before 'la5'"),
        ("disk.free(/ > 2", 10, "disk.free( is not closed"),
        ("disk.free > 2", 1, "disk.free needs to know of what; such as disk.free(/var)"),
        ("disk.free(var) > 2G", 1, "disk.free expects an absolute path such as /var; found 'var'"),
        ("la1(3) > 2", 1, "la1 takes no argument; write la1"),
        ("laa1 > 2", 1, "there is no reading 'laa1'; did you mean 'la1'?"),
        ("log > 2", 1, "there is no reading 'log'; did you mean 'lag'?"),
        ("frobnicate > 2", 1, "a table [reading.frobnicate] would make one"),
        ("la1 & la5", 5, "'&' means nothing here; write and"),
        ("{la1 > 3}", 1, "'{' means nothing here; write ("),
        ("la1 > 3 for", 12, "expected a time after for, such as 30s or 5m"),
        ("la1 > 3 for ever", 13, "expected a time after for"),
        ("la1 > 3 for 30", 13, "expected a time after for"),
        ("la1 > 3 for 0s", 13, "longer than 0s"),
        ("la1 > 3\0", 8, "means nothing here"),
        ("memfree / 2 < 1G", 9, "'/' means nothing here: nothing is calculated"),
        ("not " * 33 + "la1 > 3", 129, "more than 32 levels"),
        ("(" * 40, 33, "more than 32 levels"),
        ("la1 > 3 or " * 400 + "la1 > 3", 2000, "longer than 2000 characters"),
    ],
)
def test_faults_have_a_column_and_say_what_to_write(text: str, column: int, said: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text, OWN)
    assert (caught.value.column, said in caught.value.said) == (column, True), caught.value
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "noted"),
    [
        ("memfree < 20", "column 11: memfree < 20 means bytes; megabytes would be 20M"),
        ("rtt(a) > 2", "column 10: rtt(a) > 2 means seconds"),
        ("interface.in(eth0) > 100", "column 22: interface.in(eth0) > 100 means bytes per second"),
        ("swapused > 0", ""),
        ("rtt(a) > 0", ""),
        ("memfree < 20M", ""),
        ("lag > 20", ""),
    ],
)
def test_numbers_without_a_unit_are_noted(text: str, noted: str) -> None:
    assert parse_noted(text, OWN).notes == ((noted,) if noted else ())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("la1 >= 10 or la5 >= 6", "the load of the last minute is at least 10, or the load of the last 5 minutes is at least 6"),
        ("not la1 >= 10", "the load of the last minute is less than 10"),
        ("memused > 90%", "the used memory (without buffers and cache) is more than 90% of all memory"),
        ("swapused >= 256M", "the used swap is at least 256 MiB"),
        ("interface.in(eth0) > 10M/s", "the rate of bytes received by eth0 is more than 10 MiB/s"),
        ("listen.overflows > 3", "the rate of connections that no service took in time is more than 3 per second"),
        ("disk.full-in(/var) < 2h", "the time until the space of /var is used up is less than 2 hours"),
        ("rtt(a) > 1s", "the round trip to a is more than 1 second"),
        ("up(smtp://a:25) for 1m", "smtp://a:25 answers for 1 minute without a break"),
        ("not up(smtp://a:25)", "smtp://a:25 does not answer"),
        ("up(smtp://a:25) < 1", "whether smtp://a:25 answers (1 or 0) is less than 1"),
        ("processes > 90%", "the number of processes is more than 90% of all process ids"),
        ("processes(user=a|b,state=io) > 3", "the number of processes with user a or b and state uninterruptible is more than 3"),
        ("connections(443) > 3", "the number of TCP connections with port 443 is more than 3"),
        ("connections > 3", "the number of TCP connections is more than 3"),
        ("la1 > 3 and (la5 > 2 or lag > 7)", "the load of the last minute is more than 3, and (the load of the last 5 minutes is more than 2, or the reading lag is more than 7)"),
        ("not (la1 > 3 and la5 > 2)", "it is not so that (the load of the last minute is more than 3, and the load of the last 5 minutes is more than 2)"),
    ],
)  # fmt: skip
def test_in_words(text: str, said: str) -> None:
    assert words(parse(text, OWN)) == said


def test_the_text_shows_the_parentheses_that_people_do_not_know() -> None:
    assert text_of(parse("la1>1 or la5>2 and la15>3")) == "la1 > 1 or (la5 > 2 and la15 > 3)"
    assert text_of(parse("!(la1>1 and la5>2) for 90s")) == "not ((la1 > 1 and la5 > 2) for 1m30s)"
    assert text_of(parse("memfree<1024 or rtt(a)>.25s or psi.io.full>5")) == (
        "memfree < 1k or rtt(a) > 250ms or psi.io.full > 5%"
    )


def test_readings_of() -> None:
    assert readings_of(parse("la1 > 1 or not (la5 > 2 and la1 > 3) for 5s")) == ("la1", "la5")


_ARGUMENTS = {
    "PATH": st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=12)
    .filter(lambda text: text.isprintable())
    .map(lambda text: "/" + text),
    "MTA": st.sampled_from(["exim", "postfix"]),
    "FILTER": st.sampled_from(["user=www-data", "state=zombie", "user=a|b,state=running|zombie"]),
    "UNIT": st.sampled_from(["apache2.service", "zope", "/run/x.pid", "a@b.service"]),
    "PORT": st.integers(1, 65535).map(str),
    "DEVICE": st.sampled_from(["eth0", "br-1.5", "lo"]),
    "HOST": st.sampled_from(["192.0.2.1", "2001:db8::1", "a.example.org"]),
    "URL": st.sampled_from(["smtp://a:25", "http://a/x?y", "tcp://[2001:db8::1]:25", "imap://a"]),
}
_AMOUNTS = {
    "flag": st.sampled_from([0.0, 1.0]),
    "seconds": st.integers(0, 10**9).map(lambda ms: ms / 1000),
    "bytes": st.integers(0, 1 << 50).map(float) | st.integers(0, 1 << 12).map(lambda n: n * 2.0**20),
    "any": st.integers(-(10**9), 10**9).map(lambda n: n / 100),
}  # fmt: skip
_NUMBERS = st.integers(0, 10**8).map(lambda n: n / 100)


@st.composite
def compares(draw: st.DrawFn) -> Compare:
    known = CATALOGUE[draw(st.sampled_from(sorted(CATALOGUE)))]
    argument = None
    if known.argument and (known.argument[0] != "[" or draw(st.booleans())):
        argument = draw(_ARGUMENTS[known.argument.strip("[]")])
    reading = draw(st.just(canonical(known.name, argument)) | st.just("lag"))
    unit, whole = reading_of(reading).unit, reading_of(reading).whole
    percent = bool(whole) and unit != "percent" and draw(st.booleans())
    amount = _NUMBERS if percent else _AMOUNTS.get(unit, _NUMBERS)
    operator = draw(st.sampled_from(["<", "<=", ">", ">=", "==", "!="]))
    return Compare(reading, operator, draw(amount), percent)


def _grown(inner: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
    several = st.lists(inner, min_size=2, max_size=4)
    spans = st.integers(1, 10**8).map(lambda ms: ms * 1000)
    return st.one_of(
        several.map(both), several.map(either), inner.map(Not), st.builds(Held, inner, spans)
    )


@given(st.recursive(compares(), _grown, max_leaves=8))
def test_there_and_back(condition: Condition) -> None:
    text = text_of(condition)
    if len(text) <= 2000:
        again = parse_noted(text, OWN)
        assert again.condition == condition
        assert text_of(again.condition) == text
        assert words(condition)


_PIECES = st.sampled_from(
    [*"()!<>=&|\"' ", "la1", "la5", "10", "6%", "20M", "and", "or", "not", "for", "30s", ">=",
     "disk.free(", "/var)", "up(tcp://a:1)", "lag", "é", "\n"]
)  # fmt: skip


@given(st.lists(_PIECES, max_size=20).map(" ".join) | st.text(max_size=60))
def test_any_text_is_a_condition_or_a_fault_inside_it(text: str) -> None:
    try:
        condition = parse(text, OWN)
    except ExpressionError as error:
        assert 1 <= error.column <= len(text) + 1
    else:
        assert parse(text_of(condition), OWN) == condition
