"""The text of a drafted policy: written whole, or added to the one that a person has.

Touches nothing. What is there stays, line for line; only `addresses` of [allow] and `mode` may be
changed in place. Limits: an [allow] that is not written as `addresses = [ … ]` is left to people.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from tidegate.daemon.draft_guards import ABOUT, HEADING
from tidegate.daemon.draft_outward import HEADING as HEADING_OUTWARD
from tidegate.daemon.draft_outward import outward_text
from tidegate.daemon.survey import Service, Survey
from tidegate.errors import PolicyError
from tidegate.model import Subject

_MODE = re.compile(r'^mode\s*=\s*"[a-z]*"', re.MULTILINE)
_WIDTH = 100


@dataclass(frozen=True, slots=True)
class Source:
    """A source to be: `files`, or the journal where there are none. `notes` go before it."""

    name: str
    detectors: tuple[str, ...]
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def whole(
    found: Survey,
    sources: Sequence[Source],
    rules: Mapping[str, str],
    allowed: Sequence[tuple[Subject, str]],
    had: Sequence[str],
    mode: str,
    silent: Sequence[Service],
    idle: Sequence[str],
    guards: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """A policy where there was none. `had`: addresses that [allow] had already."""
    head = (
        "# What `tidegate init` found on this host. It is yours to change: `tidegate check` says\n"
        "# whether it is right, and with `--show` what holds. `tidegate reload` makes it hold.\n"
        "# Every key: docs/policy.md. Running `tidegate init` again only adds what is new.\n\n"
        + f'mode = "{mode}"'.ljust(33)
        + '# "observe": decide and record, touch nothing\n'
    )
    parts = [head, _allow_text(found, allowed, had)]
    parts.append(f"# {'-' * 4} what is read {'-' * 60}\n")
    parts += [_source_text(source) for source in sources]
    if silent:
        lines = [f"  {one.pack} ({one.because[0]}): {_looked(one)}" for one in silent]
        parts.append(_block("Here, but nothing that could be read was found:", lines))
    if idle:
        parts.append(_block("Here, but no rule counts what they say:", [f"  {', '.join(idle)}"]))
    parts.append(f"# {'-' * 4} what is counted {'-' * 57}\n")
    parts += list(rules.values())
    parts += [HEADING_OUTWARD, outward_text(found)]
    if guards:
        parts += [HEADING, ABOUT, *guards.values()]
    return "\n".join(parts)


def _looked(one: Service) -> str:
    journal = "not in the journal, as there is none here; " if one.journal else ""
    return f"{journal}no {' or '.join(one.looked[:3])}" if one.looked else journal or "no log known"


def added(
    before: str,
    found: Survey,
    sources: Sequence[Source],
    rules: Mapping[str, str],
    allowed: Sequence[tuple[Subject, str]],
    mode: str,
    guards: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The policy that is there, with what is new in [allow] and behind it."""
    text = before if before.endswith("\n") or not before else before + "\n"
    present = parsed(before)
    if mode != present.get("mode", "enforce"):
        stated = f'mode = "{mode}"'
        text = _MODE.sub(stated, text, count=1) if "mode" in present else f"{stated}\n\n{text}"
    if allowed:
        text = _with_allowed(text, found, allowed, present)
    parts = [*map(_source_text, sources), *rules.values()]
    if guards:
        parts += [ABOUT, *guards.values()]
    if parts:
        heading = "# Added by `tidegate init`, as it is here and was not in this policy.\n"
        text = "\n".join([text, heading, *parts])
    return text


def _with_allowed(
    text: str, found: Survey, allowed: Sequence[tuple[Subject, str]], present: Mapping[str, Any]
) -> str:
    had = texts(present.get("allow", {}).get("addresses"))
    if "allow" not in present:
        return text + "\n" + _allow_text(found, allowed, had)
    listed = _listed(text, had)
    if listed is None:
        wanted = ", ".join(f'"{one}"' for one, _why in allowed)
        raise PolicyError([f"[allow]: expected addresses = [ … ]; add by hand: {wanted}"])
    inside = listed[1].rstrip()
    if inside and not inside.endswith(",") and not re.search(r",\s*#[^\n]*$", inside):
        last = inside.splitlines()[-1]
        plain, mark, comment = last.partition("#")
        tail = f"{plain.rstrip()},{'  ' + mark + comment if mark else ''}"
        inside = inside[: len(inside) - len(last)] + tail
    if inside and "\n" not in inside:
        inside = f"\n    {inside.strip()}"
    lines = "".join(f'\n    "{one}",'.ljust(37) + f"# {why}" for one, why in allowed)
    return f"{text[: listed.start()]}addresses = [{inside}{lines}\n]{text[listed.end() :]}"


def _list(words: Sequence[str]) -> str:
    text = "[" + ", ".join(f'"{word}"' for word in words) + "]"
    if len(text) <= _WIDTH - 12:
        return text
    return "[\n" + "".join(f'    "{word}",\n' for word in words) + "]"


def _comments(lines: Sequence[str]) -> list[str]:
    return [f"# {line}" for line in lines]


def _block(title: str, lines: Sequence[str]) -> str:
    return "\n".join(_comments([title, *lines])) + "\n"


def _listed(text: str, had: Sequence[str]) -> re.Match[str] | None:
    """Where `addresses = [ … ]` of [allow] stands; None where it is not written like that."""
    header = re.search(r"^\[allow\]", text, re.MULTILINE)
    form = re.compile(r"^addresses\s*=\s*\[([^\]]*)\]", re.MULTILINE)
    listed = form.search(text, header.end()) if header else None
    try:
        same = listed is not None and tomllib.loads(listed[0]).get("addresses") == had
    except tomllib.TOMLDecodeError:  # a bracket in a comment
        same = False
    return listed if same else None


def _allow_text(found: Survey, allowed: Sequence[tuple[Subject, str]], had: Sequence[str]) -> str:
    rows = [(one, "kept") for one in had] + [(str(one), why) for one, why in allowed]
    lines = ["# Never closed for: your office, your monitoring, your other servers.", "[allow]"]
    if rows:
        lines += ["addresses = ["]
        lines += [f'    "{one}",'.ljust(36) + f"# {why}" for one, why in rows]
        lines += ["]"]
    else:
        lines += ["addresses = []"]
    asked = [one for one in (*found.people, *found.networks) if not one.sure]
    if asked:
        lines += ["# Is any of these yours alone? Strangers may share it:"]
        lines += [f'#   "{one.subject}"'.ljust(36) + f"# {one.why}" for one in asked]
    return "\n".join(lines) + "\n"


def _source_text(source: Source) -> str:
    lines = [*_comments(source.notes), f"[source.{source.name}]"]
    lines.append(f"file = {_list(source.files)}" if source.files else "journal = true")
    lines.append(f"detectors = {_list(source.detectors)}")
    return "\n".join(lines) + "\n"


def parsed(text: str) -> dict[str, Any]:
    """A policy as TOML has it; {} of "". Raises PolicyError."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PolicyError([f"the present policy is not valid TOML: {error}"]) from None


def texts(value: object) -> list[str]:
    """The texts in a value that should be a text or a list of texts."""
    several = value if isinstance(value, list) else [value]
    return [one for one in several if isinstance(one, str)]
