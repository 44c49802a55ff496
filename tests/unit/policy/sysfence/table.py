"""Inputs with sysfence's verdict on each, and what the lenient reading makes of it.

`strict` and `lenient`: the condition as it is understood, with the braces that a reader needs, or
None where it is refused; `says`: what the lenient reading remarks on, or refuses it with ("" for
nothing at all). Users that exist: root, www-data.
"""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    text: str
    strict: str | None
    lenient: str | None
    says: str = ""


def cond(text: str, strict: str | None, lenient: str | None, says: str = "") -> Row:
    """A row about a condition."""
    return Row(f'if "x" {{ {text} }} log', strict, lenient, says)


def same(text: str, understood: str = "") -> Row:
    """A condition that both take."""
    return cond(text, understood or text, understood or text)


def act(text: str, strict: bool, lenient: bool, says: str = "") -> Row:
    """A row about an action."""
    found = "la1 > 8"
    return Row(
        f'if "x" {{ la1 > 8 }} {text}', found if strict else None, found if lenient else None, says
    )


A, B, C, D = "la1 > 1", "la5 > 2", "la15 > 3", "memfree < 4M"

SPELLINGS = [
    *(Row(f'{word} "x" {{ {A} }} log', A, A) for word in ("when", "on", "rule", "IF", "Rule")),
    *(act(f"{word} 'a'", True, True) for word in ("exec", "execute", "invoke", "RUN")),
    *(act(f"run {word} 'a'", True, True) for word in ("onlyonce", "ONCE")),
    *(act(f"log {word} 60", True, True) for word in ("step", "stepping")),
    *(same(f"{A} {word} {B}", f"{A} and {B}") for word in ("and", "andalso", "&&", "AND")),
    *(same(f"{A} {word} {B}", f"{A} or {B}") for word in ("or", "orelse", "||", "Or")),
    *(same(f"la1 {word} 8", f"la1 {sign} 8") for word, sign in (
        ("=", "=="), ("==", "=="), ("!=", "!="), ("<>", "!="), ("<", "<"), (">", ">"),
        ("<=", "<="), ("=<", "<="), (">=", ">="), ("=>", ">="),
    )),
    *(same(f"{word} > 8", f"la{minutes} > 8") for minutes in (1, 5, 15)
      for word in (f"load{minutes}", f"loadavg{minutes}", f"LA{minutes}")),
    *(same(f"{word} > 8k", f"{name} > 8k") for name, words in (
        ("memfree", "freemem freememory"), ("memused", "usedmem usedmemory"),
        ("swapfree", "freeswap"), ("swapused", "usedswap"),
    ) for word in words.split()),
    *(same(f'{word} "/var" > 8G', f'{name} "/var" > 8G') for name, words in (
        ("spacefree", "freespace"), ("spaceavail", "availspace spaceavailable availablespace"),
        ("spaceused", "usedspace"),
    ) for word in words.split()),
    *(same(f"{word} > 8", "nproc > 8") for word in ("numproc", "procnum", "processes")),
    *(cond(f"nproc {word} > 8", *[f"nproc {state} > 8"] * 2, "here they are counted") for state, words in (
        ("stopped", "stop traced"), ("sleeping", "sleep"), ("uninterruptible", "unint io"),
        ("zombie", "defunct"),
    ) for word in words.split()),
]  # fmt: skip

GROUPING = [
    same(f"{A} and {B} and {C}"),
    cond(
        f"{A} and {B} or {C}",
        f"{A} and {{ {B} or {C} }}",
        f"{A} and {{ {B} or {C} }}",
        "from the right",
    ),
    cond(
        f"{A} or {B} and {C}",
        f"{A} or {{ {B} and {C} }}",
        f"{A} or {{ {B} and {C} }}",
        "from the right",
    ),
    cond(
        f"{A} and {B} or {C} and {D}",
        f"{A} and {{ {B} or {{ {C} and {D} }} }}",
        f"{A} and {{ {B} or {{ {C} and {D} }} }}",
        "write the braces",
    ),
    same(f"{{ {A} and {B} }} or {C}"),
    same(f"{A} and {{ {B} or {C} }}"),
    same(f"{{ {A} or {B} }} and {{ {C} or {D} }}"),
    same(f"{{ {A} }}", A),
    same(f"{{ {{ {A} }} and {B} }}", f"{A} and {B}"),
    same("{ " * 49 + A + " }" * 49, A),
    cond("{ " * 60 + A + " }" * 60, None, None, "no more than 50 deep"),
    cond(
        f"{A} {B}", None, None, f"write {{ {A} and {B} }} if all of it must hold, {{ {A} or {B} }}"
    ),
    cond(f"{A}\n{B}\n{C}", None, None, f"{{ {A} and {B} and {C} }}"),
    cond(f"{A} or {B} {C}", None, None, "neither and nor or before la15"),
    cond(f"{{ {A} }} {{ {B} }}", None, None, "neither and nor or before {"),
    cond(f"{A} and", None, None, "expected a comparison"),
    cond(f"{A} and or {B}", None, None, "expected a comparison"),
    cond("", None, None, "expected a comparison"),
    cond(f"not {A}", None, None, "there is no not"),
    cond("8 < la1", None, None, "write la1 > 8"),
    cond("la1 la5 > 8", None, None, "expected one of <"),
    cond("la1 > la5", None, None, "expected a number"),
    cond("load > 8", None, None, "did you mean load"),
    cond("cpu > 8", None, None, "one of la1 la5"),
    Row(
        f'if "x" {{ {A} }} or {{ {B} }} log',
        None,
        f"{A} or {B}",
        "all of the condition are missing",
    ),
    Row(f'if "x" {{ {A} }} {{ {B} }} log', None, None, f"{{ {A} and {B} }}"),
    same(" or ".join([A] * 200)),
    cond(" or ".join([A] * 201), None, None, "no more than 200 comparisons"),
    Row(f'if "x" {{ {" and ".join([A] * 201)} log', None, None, "no more than 200 comparisons"),
]

BLANKS = [
    Row(f'if "x" {{{A} }} log', None, A, "read as { la1"),
    Row(f'if "x" {{ {A}}} log', None, A, "read as 1 }"),
    Row(f'if "x" {{ {A} }}log', None, A, "read as } log"),
    Row(f'if "x"{{ {A} }} log', A, A),
    Row('if "x" { la1>1 } log', None, A, "read as la1 > 1"),
    Row('if "x" { la1 >1 } log', None, A, "read as > 1"),
    Row('if "x" { la1> 1 } log', None, A, "read as la1 >"),
    Row('if "x"{la1>1}run"a"', None, A, "read as { la1 > 1 } run"),
    Row(f'if "x" {{ {A} }} run"a"', None, A, 'read as run "a"'),
    Row(f'if"x" {{ {A} }} log', None, A, 'read as if "x"'),
    Row(f"if 'x' {{ {A} }} run 'a'log", A, A),
    Row(f'if "x" {{ {A}&&{B} }} log', None, f"{A} and {B}", "read as 1 && la5"),
    Row(f'\tif\n"x"\r\n{{ {A}\f}}\vlog', A, A),
    Row(f'if "x" {{\u00a0{A} }} log', None, A, "U+00A0 is no blank"),
    Row(f'\ufeffif "x" {{ {A} }} log', None, A, "U+FEFF is no blank"),
    Row(f'if "x" ( {A} ) log', None, A, "( is read as {"),
    Row('if "x" { la1 ≥ 1 } log', None, "la1 >= 1", "≥ is read as >="),
    Row('if "x" { la1 &gt;= 1 } log', None, "la1 >= 1", "&gt;= is read as >="),
]

BRACES = [
    Row(f'if "x" {{ {A} log', None, A, "} is missing, for the { at 1:8"),
    Row(f'if "x" {A} }} log', None, A, "{ is missing"),
    Row(f'if "x" {A} log', None, A, "} is missing"),
    Row(
        f'if "x" {{ {A} or {{ {B} and {C} }} log', None, f"{A} or {{ {B} and {C} }}", "} is missing"
    ),
    Row(f'if "x" {{ {A} or {{ {B} and {C} log', None, f"{A} or {{ {B} and {C} }}", "} is missing"),
    Row(f'if "x" {{ {A} }} }} log', None, A, "closes nothing"),
    Row(f'if "x" {{ {A}', None, None, "the file ends"),
]

NAMES = [
    Row(f'if "" {{ {A} }} log', A, A),
    Row(f"if 'it''s' {{ {A} }} log", None, None, "expected"),
    Row(f"if {{ {A} }} log", None, A, "the name is missing"),
    Row(f"if high load {{ {A} }} log", None, A, 'read as "high load"'),
    Row(f"if on log {{ {A} }} log", None, A, 'read as "on log"'),
    Row(f'if "a\nb" {{ {A} }} log', A, A),
    Row(f'if "a\\"b" {{ {A} }} log', A, A),
    Row(f'if "a" "b" {{ {A} }} log', None, None, "expected a comparison"),
    Row(f"if \u201cx\u201d {{ {A} }} run \u2018a\u2019", None, A, 'read as "x"'),
    Row(f'if "x {{ {A} }} log', None, None, "never closed"),
]

LOADS = [
    *(same(f"la1 > {number}") for number in (
        "8.00", "+8", ".5", "5.", "8e0", "0x8", "0X1.8p3", "1E+2",
    )),
    cond("la1 > inf", "la1 > inf", "la1 > inf", "never holds"),
    cond("la1 < INFINITY", "la1 < INFINITY", "la1 < INFINITY", "always holds"),
    cond("la1 > nan", "la1 > nan", "la1 > nan", "never holds"),
    cond("la1 > 1e300", "la1 > 1e300", "la1 > 1e300", "never holds"),
    cond("la1 > 0x1p99999", "la1 > 0x1p99999", "la1 > 0x1p99999", "never holds"),
    cond("la1 > -0x1p99999", "la1 > -0x1p99999", "la1 > -0x1p99999", "always holds"),
    cond("la1 > -1", "la1 > -1", "la1 > -1"),
    *(cond(f"la1 > {text}", None, None, "without a unit") for text in (
        "8M", "8k", "80%", "eight", "8x", "0x", '"8"', "1_0",
    )),
    cond("la1 > 8,5", None, None, "expected"),
    Row('if "x" { la1 > 8#c\n} log', "la1 > 8", "la1 > 8"),
]  # fmt: skip

SIZES = [
    *(same(f"memused > {size}") for size in ("0", "8", "8k", "8M", "8G", "+8M", "007")),
    *(cond(f"memused > {text}", None, f"memused > {read}", f"read as {read}") for text, read in (
        ("8K", "8k"), ("8m", "8M"), ("8g", "8G"), ("8T", "8T"), ("8t", "8T"), ("2.5M", "2.5M"),
        ("8MB", "8M"), ("8KiB", "8k"), ("8 M", "8M"),
    )),
    cond("memused > 90%", None, "memused > 90%", "a share of the whole"),
    cond("memused > 90 %", None, "memused > 90%", "a share of the whole"),
    cond('spacefree "/var" < 5%', None, 'spacefree "/var" < 5%', "a share of the whole"),
    *(cond(f"memused > {text}", None, None, "expected a size") for text in (
        "0x10", "1e6", "8.5", "M", "8P", "-", "8MM",
    )),
    Row('if "x" { memused > 8M#c\n} log', "memused > 8M", "memused > 8M"),
]  # fmt: skip

READINGS = [
    cond("swapfree < 8M", "swapfree < 8M", "swapfree < 8M", "without swap sysfence takes"),
    same("swapused > 8M"),
    same("swapfree > 8M"),
    cond("swapused == 0", "swapused == 0", "swapused == 0", "without swap"),
    cond('spacefree "/no" < 8M', 'spacefree "/no" < 8M', 'spacefree "/no" < 8M', "can't be read"),
    same('spaceused "/no" > 8M'),
    same("spacefree '/a b' > 8M", 'spacefree "/a b" > 8M'),
    cond("spacefree /var > 8M", None, 'spacefree "/var" > 8M', "the path has no quotes"),
    cond("spacefree > 8M", None, None, "expected a path"),
    cond('memfree "/var" > 8M', None, None, "expected one of <"),
    same("nproc > 8"),
    same("nproc 0 > 8"),
    same('nproc "root" > 8'),
    same('nproc "root" , 33 > 8'),
    same('nproc "root" | 33 > 8', 'nproc "root" , 33 > 8'),
    cond(
        "nproc 33 sleep | io > 8",
        *["nproc 33 sleeping , uninterruptible > 8"] * 2,
        "since Linux 4.7",
    ),
    cond(
        'nproc "root","www-data" > 8', None, 'nproc "root" , "www-data" > 8', 'read as , "www-data"'
    ),
    cond("nproc www-data > 8", None, 'nproc "www-data" > 8', "has no quotes"),
    cond('nproc "ghost" > 8', None, 'nproc "ghost" > 8', "no user ghost"),
    cond("nproc running , > 8", None, "nproc running > 8", "parts nothing"),
    cond("nproc 33 , > 8", None, "nproc 33 > 8", "parts nothing"),
    cond("nproc run > 8", None, "nproc running > 8", "read as running"),
    cond("nproc running > 8", "nproc running > 8", "nproc running > 8", "since Linux 4.7"),
    cond("nproc sleep io > 8", None, "nproc sleeping , uninterruptible > 8", "a comma is missing"),
    cond("nproc sleep, io > 8", None, "nproc sleeping , uninterruptible > 8", "read as sleep ,"),
    cond("nproc 33 , sleep > 8", None, "nproc 33 sleeping > 8", "parts nothing"),
    cond("nproc sleep 33 > 8", None, None, "expected one of <"),
    cond("nproc eating > 8", None, 'nproc "eating" > 8', "no user eating"),
    cond("nproc > 5%", None, "nproc > 5%", "a share of the whole"),
    cond("nproc 33 > 5%", None, None, "expected a size"),
]

ACTIONS = [
    *(act(text, True, True) for text in (
        "LOG", "log once", "run 'a'", "run once 'a'", "run 'a' log", "run once 'a' log once",
        "log run 'a'", "log once run once 'a'", "run 'a' step 5", "log once step 5", "run ''",
        "run 'a\nb'", "run 'echo \\'hi\\''", "run \"it's\"", "log # c\n", "log step 5#c\n",
    )),
    act("", False, False, "expected run or log"),
    act("step 5", False, False, "expected run or log"),
    act("run", False, False, "expected a command in quotes; the file ends"),
    act("run a b", False, False, "write run 'a b'"),
    act("run it's", False, False, 'write run "it\'s"'),
    act("run 'a' run 'b'", False, False, "put both into one"),
    act("run 'a' 'b'", False, False, "expected another rule"),
    act("run 'a' run 'b' log", False, False, "expected one command"),
    act("log log", False, True, "log is said twice"),
    act("log log once", False, True, "the second is left out"),
    act("log run 'a' log", False, True, "log is said twice"),
    act("once run 'a'", False, True, "read as run once"),
    act("once step 5", False, False, "expected run or log"),
    act("run 'a' once", False, True, "read as run once"),
    act("run 'a' log; ", False, True, "left out"),
    act("step 5 run 'a'", False, False, "expected run or log"),
    act("run 'a' step 5 log", False, True, "step comes last"),
    act("log step 5 step 6", False, False, "one step"),
    act("log step 0", False, True, "every 10 seconds"),
    act("log step -5", True, True, "every 10 seconds"),
    act("log step 4294967296", False, True, "every 10 seconds"),
    act("log step 1m", False, True, "60 seconds"),
    act("log step", False, False, "expected whole seconds"),
    act("log step 5.5", False, False, "expected whole seconds"),
    act("log # c", True, True, "past the end of a file"),
    act("run 'a", False, False, "never closed"),
    act("stop 'a'", False, False, "expected run or log"),
]  # fmt: skip

FILES = [
    Row(f'# only this\nif "x" {{ {A} }} log', A, A),
    Row(f'la1 > 5 if "x" {{ {A} }} log', None, None, "expected a rule"),
    Row(f'if "x" {{ {A} }} log }}', None, None, "expected another rule"),
    Row(f'include "/etc/y"\nif "x" {{ {A} }} log', None, None, "expected a rule"),
]

ROWS = [
    *SPELLINGS, *GROUPING, *BLANKS, *BRACES, *NAMES, *LOADS, *SIZES, *READINGS, *ACTIONS, *FILES,
]  # fmt: skip
