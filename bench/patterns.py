"""The packs' detectors as regular expressions for ripgrep: the same lines, found in one pass.

Touches the shipped packs only. What costs a scanner most is taken off, in ripgrep's favour: groups
are not captured, wide bounds (`{1,253}`) become `+`; look-arounds and conditions, which its engine
lacks, go, and a back-reference stands for any text. Limits: it may find a few lines more, and an
address with a zone (`fe80::1%eth0`) not at all. ripgrep is given the packs for mail and ssh only,
Tidegate has all of them on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from tidegate.detector.pack import Pack, load_packs
from tidegate.detector.pattern import SLOTS

ADDRESS = {
    "addr": "[0-9A-Fa-f.:]+", "host": "[0-9A-Za-z_.:-]+", "subject": "[0-9A-Za-z_.:@/-]+",
}  # fmt: skip
STAMP = {
    "exim": r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?(?: [+-]\d{4})? ",
    "syslog": r"[A-Z][a-z][a-z] [ \d]\d \d\d:\d\d:\d\d \S+ ",
}

_TOKEN = re.compile(
    r"""(?P<escape>\\.)
    |(?P<klass>\[\^?\]?(?:\\.|[^\]\\])*\])
    |(?P<look>\(\?<?[=!])
    |(?P<condition>\(\?\(\w+\))
    |(?P<again>\(\?P=\w+\))
    |(?P<named>\(\?P<\w+>|\(\?>)
    |(?P<possessive>(?<=[*+?}])\+)
    |(?P<bound>\{(?P<least>\d*),(?P<most>\d+)\})
    |(?P<open>\()
    |(?P<close>\))
    |(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
WIDE = 8


def plain(pattern: str) -> str:
    """A Python pattern without captures, look-arounds and wide bounds."""
    for name, slot in SLOTS.items():
        pattern = pattern.replace(slot, ADDRESS[name])
    parts: list[str] = []
    groups: list[str] = []  # the kinds of the groups that are open
    for token in _TOKEN.finditer(pattern):
        kind = token.lastgroup if token.lastgroup not in ("least", "most") else "bound"
        assert kind is not None
        if kind in ("look", "condition", "named", "open"):
            groups.append(kind)
        hidden = "look" in groups
        if kind == "close" and groups.pop() == "condition" and not hidden:
            parts.append(")?")  # what is only there on a condition may be missing
        elif not hidden:
            parts.append(_said(kind, token))
    return "".join(parts)


def _said(kind: str, token: re.Match[str]) -> str:
    if kind in ("named", "condition"):
        return "(?:"
    if kind == "again":
        return ".*"
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


PACKS = ("exim", "sshd", "postfix", "dovecot")


def for_ripgrep(kind: str, packs: Iterable[Pack] | None = None) -> list[str]:
    """Every detector of the packs (default: `PACKS`) as a whole-line pattern for this kind of log.

    `kind`: exim (its own stamp first), sshd (RFC 3164 header) or journal (`MESSAGE=`).
    """
    said = []
    chosen = [pack for pack in load_packs() if pack.name in PACKS] if packs is None else packs
    for pack in chosen:
        if kind == "journal":
            header = "MESSAGE="
        else:
            tag = rf"{STAMP['syslog']}{_programs(pack)}(?:\[\d+\])?: "
            header = f"(?:{STAMP['exim']}|{tag})" if pack.name == "exim" else tag
        messages = (plain(detector.pattern.decode("latin-1")) for detector in pack.detectors)
        said += [f"^{header}(?:{message})$" for message in messages]
    return said
