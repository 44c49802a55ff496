"""The packs' detectors as regular expressions for ripgrep: the same lines, found in one pass.

Touches the shipped packs only. What costs a scanner most is taken off, in ripgrep's favour: groups
are not captured, wide bounds (`{1,253}`) become `+`, and look-arounds, which its engine lacks, go.
Limits: a detector with back-references or conditions can't be said and is left out, by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from tidegate.detector.pack import Pack, load_packs
from tidegate.detector.pattern import SLOTS

ADDRESS = "[0-9A-Fa-f.:]+"
STAMP = {
    "exim": r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?(?: [+-]\d{4})? ",
    "syslog": r"[A-Z][a-z][a-z] [ \d]\d \d\d:\d\d:\d\d \S+ ",
}

_TOKEN = re.compile(
    r"""(?P<escape>\\.)
    |(?P<klass>\[\^?\]?(?:\\.|[^\]\\])*\])
    |(?P<look>\(\?<?[=!])
    |(?P<condition>\(\?\(|\(\?P=)
    |(?P<named>\(\?P<\w+>|\(\?>)
    |(?P<possessive>(?<=[*+?}])\+)
    |(?P<bound>\{(?P<least>\d*),(?P<most>\d+)\})
    |(?P<open>\()
    |(?P<close>\))
    |(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
WIDE = 8


class UnsayableError(ValueError):
    """A pattern that ripgrep's engine has no words for."""


def plain(pattern: str) -> str:
    """A Python pattern without captures, look-arounds and wide bounds."""
    for slot in SLOTS.values():
        pattern = pattern.replace(slot, ADDRESS)
    parts: list[str] = []
    skipped = 0  # how many groups deep inside a look-around
    for token in _TOKEN.finditer(pattern):
        kind = token.lastgroup if token.lastgroup not in ("least", "most") else "bound"
        if kind == "condition":
            raise UnsayableError(pattern)
        if kind == "look" or (skipped and kind in ("open", "named")):
            skipped += 1
        elif skipped:
            skipped -= kind == "close"
        else:
            parts.append(_said(kind or "", token))
    return "".join(parts)


def _said(kind: str, token: re.Match[str]) -> str:
    if kind == "named":
        return "(?:"
    if kind == "possessive":
        return ""
    if kind == "bound" and int(token["most"]) > WIDE:
        least = int(token["least"] or 0)
        return ("*", "+")[least] if least < 2 else f"{{{least},}}"
    if kind == "escape":
        return {r"\Z": "$", r"\A": "^"}.get(token[0], token[0])
    return token[0]


def _programs(pack: Pack) -> str:
    names = (re.escape(name).replace(r"\*", r"[\w./-]+") for name in pack.programs)
    return f"(?:{'|'.join(names)})" if pack.programs else r"[\w./-]+"


def for_ripgrep(kind: str, packs: Iterable[Pack] | None = None) -> tuple[list[str], list[str]]:
    """Every detector of every pack as a whole-line pattern for this kind of log; those left out.

    `kind`: exim (its own stamp first), sshd (RFC 3164 header) or journal (`MESSAGE=`).
    """
    said, left_out = [], []
    for pack in load_packs() if packs is None else packs:
        if kind == "journal":
            header = "MESSAGE="
        else:
            tag = rf"{STAMP['syslog']}{_programs(pack)}(?:\[\d+\])?: "
            header = f"(?:{STAMP['exim']}|{tag})" if pack.name == "exim" else tag
        for detector in pack.detectors:
            try:
                said.append(f"^{header}(?:{plain(detector.pattern.decode('latin-1'))})$")
            except UnsayableError:
                left_out.append(detector.name)
    return said, left_out
