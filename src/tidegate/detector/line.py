"""Line headers: stamp, host, program and process id in front of a message, in every known form.

Touches nothing. Forms exclude each other by construction, so the order they are tried in is free.
Limits: a program without a process id is only believed behind a host and an unmistakable stamp.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from tidegate.detector.lean import lean
from tidegate.detector.tree import first_bytes
from tidegate.model import Micros


def _maybe(text: str) -> str:
    """Taken where it stands, so that a header reads in one way only.

    Not `(?:…)?+`: before 3.11.5 a possessive group that fails swallows bytes (CPython gh-106052).
    """
    return f"(?:{text}|(?!{text}))"


# Stamps. Their shape only: values are judged by `timestamps`, an impossible one is no stamp at all.
_ZONE = _maybe(r" ?(?:Z|[+-][0-9]{2}:?[0-9]{2})(?= )")
_FRACTION = r"(?:[.,][0-9]{1,9})?"
_ISO_T = rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T[0-9:]{{8}}{_FRACTION}{_ZONE}"
_ISO_BLANK = rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}} [0-9:]{{8}}{_FRACTION}{_ZONE}"
_MONTH = r"[JFMASOND][aepuco][nbrylgptvc]"
_BSD = rf"{_MONTH} {{1,2}}[0-9]{{1,2}} (?:[0-9]{{4}} )?[0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}{_FRACTION}"
_TAI = r"@[0-9a-f]{24}"
_EPOCH = r"\[?[0-9]{10}(?:\.[0-9]{1,9})?\]?(?= )"
_PRI = r"(?:<[0-9]{1,3}>)?"

# The rest of a syslog header, behind the stamp (RFC 3164 §4.1; BSD, busybox and Solaris variants).
_FACILITY = r"[a-z][a-z0-9]{1,8}\.[a-z]{3,7}"
_NODE = r"[0-9A-Za-z_.:-]++(?<!:) ++"
_HOST = rf"(?:<[0-9.]{{1,5}}> )?{_NODE}(?:{_FACILITY} ++)?"
_PROGRAM = r"[0-9A-Za-z_][0-9A-Za-z_./@+-]*+"
_PID = r"\[(?P<_pid>[0-9]{1,10})\]"
_SOLARIS = _maybe(rf"\[ID [0-9]{{1,10}} {_FACILITY}\] ")  # syslogd's message ids
_UPTIME = _maybe(r"(?:kernel: )?\[ *+[0-9]{1,10}\.[0-9]{6}\] ++")  # the kernel's clock since boot
_OWN = rf"(?:(?P<_own>{_ISO_BLANK}|{_ISO_T}) ++|(?!(?:{_ISO_BLANK}|{_ISO_T}) ))"
_AFTER = _SOLARIS + _UPTIME + _OWN


def _tag(program: str, *, bare: bool = True) -> str:
    """`host program[pid]: `, `program[pid]: `; with `bare` also `host program: `, `[program]: `."""
    if not bare:
        return rf"(?:{_NODE})?(?P<_program>{program}){_PID}:? ++"
    return (
        rf"(?P<_host>{_HOST})?(?P<_bracket>\[)?(?P<_program>{program})"
        rf"(?(_bracket)\]:|(?:{_PID}:?|(?(_host):|(?!)))) ++"
    )


def _unnamed(text: str) -> str:
    """The same without captures, for use in a look-ahead (conditions get names of their own)."""
    text = re.sub(r"\(\?P<_(?:program|pid|own)>", "(?:", text)
    return text.replace("_host", "_host_ahead").replace("_bracket", "_bracket_ahead")


_BOM = _maybe(r"\xef\xbb\xbf")
_STRUCTURED = r'(?:-|(?:\[(?:[^\]"\n]|"(?:[^"\\\n]|\\.)*")*\])+)'  # RFC 5424 §6.3


def _rfc5424(program: str, *, named: bool) -> str:
    app = rf"(?P<_program>{program})" if named else "-"
    stamp = rf"(?:(?P<_stamp>{_ISO_T})|-)"
    pid = r"(?:(?P<_pid>[0-9]{1,10})|[!-~]{1,128})"
    return (
        rf"<[0-9]{{1,3}}>1 {stamp} [!-~]{{1,255}} {app} {pid} [!-~]{{1,32}} {_STRUCTURED}"
        rf"(?: {_BOM}|\Z){_AFTER}"
    )


_SECOND = _maybe(rf"{_BSD} ++")
_LEVEL = _maybe(rf"{_FACILITY}: {_SECOND}")  # OpenBSD and s6 loggers: `auth.info: `


class Shape(NamedTuple):
    """A header form as the text of a pattern, `{program}` standing for the program's name.

    Groups: `_stamp`, `_own` (the program's own stamp), `_program`, `_pid`; each may be missing.
    `swift` is for lines of this form only, though not all of them, and cheap: its first group is
    the stamp, which must turn out to be valid. "" where there is none.
    """

    name: str
    text: str
    swift: str = ""

    def header(self, program: str = _PROGRAM, *, swift: bool = False) -> bytes:
        """The header, anchored by use of `match`, for programs of this pattern only."""
        return (self.swift if swift else self.text).replace("{program}", program).encode("latin-1")


# The swift forms: what most lines look like, without what only some have.
_SWIFT_TAG = (
    r"[0-9A-Za-z_.:-]++(?<!:) ++(?P<_program>{program})(?:\[(?P<_pid>[0-9]{1,10})\])?: ++"
    r"(?![\[0-9 ]|kernel: )"  # what _AFTER begins with
)
_SWIFT_ISO = r"(?P<_stamp>[0-9]{{4}}-.{{5}}{}[^ ]{{8,23}}+) (?! |Z |[-+][0-9])"
_SWIFT_BSD = rf"(?P<_stamp>{_MONTH} .{{11}}) (?! )"


def _pair(
    name: str, stamp: str, *, bare: bool = True, level: str = "", swift: str = ""
) -> tuple[Shape, Shape]:
    start = rf"{_PRI}(?P<_stamp>{stamp}) ++{level}"
    ahead = rf"(?!{_unnamed(_tag(_PROGRAM, bare=bare))})"
    if level:
        ahead_swift = rf"(?!{_FACILITY}: ){ahead}"
    elif not bare:
        ahead_swift = r"(?![0-9A-Za-z_.:/@+-]++(?: ++[0-9A-Za-z_./@+-]++)?\[[0-9])"
    else:
        ahead_swift = ahead
    return (
        Shape(
            f"{name} tag",
            start + _tag("{program}", bare=bare) + _AFTER,
            swift and swift + (_SWIFT_TAG if bare else _SWIFT_TAG.replace(")?: ", "): ")),
        ),
        Shape(name, start + ahead, swift and swift + ahead_swift),
    )


SHAPES = (
    *_pair("iso-blank", _ISO_BLANK, bare=False, swift=_SWIFT_ISO.format(" ")),
    *_pair("bsd", _BSD, swift=_SWIFT_BSD),
    *_pair("iso-t", _ISO_T, level=_LEVEL, swift=_SWIFT_ISO.format("T")),
    *_pair("tai64n", _TAI),
    *_pair("epoch", _EPOCH),
    Shape("rfc5424 tag", _rfc5424("{program}", named=True)),
    Shape("rfc5424", _rfc5424("-", named=False)),
    Shape(
        "tag",
        rf"(?!{_ISO_T}|{_EPOCH})(?:{_HOST})?(?P<_program>{{program}}){_PID}: ++{_AFTER}",
    ),
    Shape(
        "audit",  # auditd's own log: the message keeps its `type=`
        r"(?=(?:node=[!-~]{1,255} )?type=[0-9A-Z_]{1,40} msg=audit\("
        r"(?P<_stamp>[0-9]{10}(?:\.[0-9]{1,9})?):)",
    ),
)
"""Every form with a header, each excluding the others; a line in none of them is all message."""

OWN_STAMP = Shape("own stamp", _AFTER)
"""What may precede the message in a journal entry, whose header stands in fields of its own."""

_REPEATED = re.compile(rb"message repeated ([0-9]{1,9}) times: \[ ?").match
NOT_REPEATED = rb"(?!message repeated )"


class Header(NamedTuple):
    """What stands before the message, which is [begin, stop).

    `form` numbers its shape (-1: none); `time` is known where no stamp is needed (the journal);
    `repeated` is the count of `message repeated N times`, else 0.
    """

    form: int
    begin: int
    stop: int
    stamp: bytes | None
    program: bytes | None
    pid: bytes | None
    time: Micros | None = None
    repeated: int = 0


class _Form(NamedTuple):
    """A shape compiled, with the numbers of its groups (0: has none)."""

    number: int
    match: Callable[[bytes, int, int], re.Match[bytes] | None]
    stamp: int
    own: int
    program: int
    pid: int


@lru_cache(maxsize=1)
def _forms() -> tuple[tuple[_Form, ...], ...]:
    """For each byte that a line can begin with, the forms that can begin so."""
    beginning: list[list[_Form]] = [[] for _ in range(256)]
    for number, shape in enumerate(SHAPES):
        compiled = re.compile(lean(shape.header()))
        groups = (compiled.groupindex.get(part, 0) for part in _PARTS)
        form = _Form(number, compiled.match, *groups)
        first = first_bytes(shape.header())
        for byte in range(256):
            if first >> byte & 1:
                beginning[byte].append(form)
    return tuple(map(tuple, beginning))


_PARTS = ("_stamp", "_own", "_program", "_pid")


def read_header(data: bytes, start: int, stop: int) -> Header:
    """The header of the line [start, stop)."""
    for number, match, stamp, own, program, pid in _forms()[data[start]]:
        found = match(data, start, stop)
        if found is not None:
            when = (found[stamp] if stamp else None) or (found[own] if own else None)
            name, process = found[program] if program else None, found[pid] if pid else None
            header = Header(number, found.end(), stop, when, name, process)
            break
    else:
        header = Header(-1, start, stop, None, None, None)
    if data.startswith(b"message repeated ", header.begin):
        return _inner(header, data)
    return header


def _inner(header: Header, data: bytes) -> Header:
    """The header with `message repeated N times: [ … ]` taken apart."""
    begin, stop = header.begin, header.stop
    found = _REPEATED(data, begin, stop)
    if found is None:
        return header
    stop -= data.endswith(b"\r", begin, stop)
    stop -= data.endswith(b"]", begin, stop)
    return header._replace(begin=found.end(), stop=stop, repeated=int(found[1]) or 1)
