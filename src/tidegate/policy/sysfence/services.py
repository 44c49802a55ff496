"""Which service a command stops, starts or restarts, where it does nothing else.

Touches nothing; a command is only looked at. Known: /etc/init.d/X, /etc/rc.d/init.d/X, service X,
rc-service X, invoke-rc.d X, systemctl VERB X. Limits: with pipes, quotes or variables in it, it is
a command like any other.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from tidegate.model import SECOND, Micros

Verb = Literal["stop", "start", "restart"]

_QUIET = re.compile(r"\s*(?:(?:[12]?|&)>>?\s*/dev/null|2>&1)(?=\s|;|&|$)")
_SCRIPT = re.compile(r"/etc/(?:init\.d|rc\.d/init\.d|rc\.d)/([A-Za-z0-9][\w@.:-]*)", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][\w@.:-]*", re.ASCII)
_SLEEP = re.compile(r"(\d{1,6})([sm]?)", re.ASCII)
_VERBS: dict[str, Verb] = {
    "stop": "stop", "start": "start", "restart": "restart", "try-restart": "restart",
    "condrestart": "restart",
}  # fmt: skip
_MANAGERS = ("service", "rc-service", "invoke-rc.d")


class Does(NamedTuple):
    """What a command does to a service; `pause`: how long it waits between stop and start."""

    verb: Verb
    service: str
    pause: Micros = 0


def does(script: str) -> Does | None:
    """What a command does to one service; None where it does anything else."""
    parts = re.split(r"&&|[;&\n]", _QUIET.sub("", script))
    acts: list[Does | Micros] = []
    for part in parts:
        if not part.strip():
            continue
        act = _act(part.split())
        if act is None:
            return None
        acts.append(act)
    if len(acts) > 1:
        return _stop_and_start(acts)
    return acts[0] if acts and isinstance(acts[0], Does) else None


def _stop_and_start(acts: list[Does | Micros]) -> Does | None:
    first, *between, last = acts
    if not (isinstance(first, Does) and isinstance(last, Does)) or first.service != last.service:
        return None
    pauses = [pause for pause in between if isinstance(pause, int)]
    if (first.verb, last.verb) != ("stop", "start") or len(pauses) != len(between):
        return None
    return Does("restart", first.service, sum(pauses))


def _act(words: list[str]) -> Does | Micros | None:
    """One command: what it does to a service, or how long it waits."""
    if words[0].rpartition("/")[2] == "sudo":
        words = words[1:]
    program = words[0].rpartition("/")[2] if words else ""
    plain = [word for word in words[1:] if not word.startswith("-")]
    if program == "sleep" and len(words) == 2 and (time := _SLEEP.fullmatch(words[1])):
        return int(time[1]) * (60 if time[2] == "m" else 1) * SECOND
    if words and (script := _SCRIPT.fullmatch(words[0])) and len(words) == 2:
        return _known(words[1], script[1])
    if program in _MANAGERS and len(plain) == 2:
        return _known(plain[1], plain[0])
    if program == "systemctl" and len(plain) == 2:
        return _known(plain[0], plain[1])
    return None


def _known(verb: str, service: str) -> Does | None:
    if verb not in _VERBS or not _NAME.fullmatch(service):
        return None
    return Does(_VERBS[verb], service.removesuffix(".service"))
