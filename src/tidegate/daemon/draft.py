"""The draft: a policy for this host, as text that people read and change.

Touches nothing: made of a survey, the shipped policy's text and the policy that is there. What a
person wrote stays as it is; the draft only adds. Limits: one source a service; where several logs
of a service exist only one is read, so that nothing counts twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

from tidegate import subject as subjects
from tidegate.daemon.draft_guards import guard_texts
from tidegate.daemon.draft_text import Source, added, parsed, texts, whole
from tidegate.daemon.survey import Log, Service, Survey
from tidegate.model import Subject
from tidegate.policy.models import Policy
from tidegate.prefixes import PrefixSet

_HEADER = re.compile(r"^\[+\s*([A-Za-z0-9_.-]+)\s*\]+\s*(?:#.*)?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Draft:
    """A policy text. `sources`, `rules`, `guards`: what is new in it; `silent`: services whose log
    was not found; `idle`: services that no rule counts; `allowed`: (subject, why) that were added.
    """

    text: str
    sources: tuple[Source, ...]
    rules: tuple[str, ...]
    allowed: tuple[tuple[Subject, str], ...]
    silent: tuple[Service, ...]
    idle: tuple[str, ...]
    guards: tuple[str, ...] = ()


def draft(
    found: Survey,
    shipped: Policy,
    shipped_text: str,
    before: str = "",
    *,
    observe: bool = False,
    fresh: bool = False,
) -> Draft:
    """A policy for the host that `found` describes.

    `shipped`: with every `*` in its rules written out. `before`: the policy that is there ("" if
    none); `fresh`: of it keep [allow] and mode only. Raises PolicyError where it can't be read.
    """
    present = parsed(before)
    kept = {} if fresh else present
    outward = {"outward"} if "outward" in kept or (found.tracks and not kept) else set()
    counted = {kind.partition(".")[0] for rule in shipped.rules if rule.enabled
               for kind in rule.kinds}  # fmt: skip
    covered = {name.partition(".")[0] for source in kept.get("source", {}).values()
               for name in texts(source.get("detectors"))}  # fmt: skip
    idle = tuple(one.pack for one in found.services if one.pack not in counted)
    wanted = [one for one in found.services if one.pack in counted and one.pack not in covered]
    sources = tuple(_sources(found, wanted, shipped, kept.get("source", {})))
    read = {pack for source in sources for pack in source.detectors}
    silent = tuple(one for one in wanted if one.pack not in read)
    seen = read | covered | outward
    rules = _rules(shipped, shipped_text, seen, kept.get("rule", {}), found.ssh_ports)
    allowed = _allowed(found, texts(present.get("allow", {}).get("addresses")))
    guards = guard_texts(found.workloads, kept.get("guard", {}))
    mode = "observe" if observe else str(present.get("mode", "enforce"))
    if kept:
        text = added(before, found, sources, rules, allowed, mode, guards)
    else:
        had = texts(present.get("allow", {}).get("addresses"))
        text = whole(found, sources, rules, allowed, had, mode, silent, idle, guards)
    return Draft(text, sources, tuple(rules), tuple(allowed), silent, idle, tuple(guards))


# -- sources --------------------------------------------------------------------------------------


def _sources(
    found: Survey, services: Sequence[Service], shipped: Policy, taken: Mapping[str, Any]
) -> Iterator[Source]:
    """One source for the journal of each service, one for each log or set of logs."""
    together: dict[tuple[str, tuple[str, ...]], list[Service]] = {}
    for one in services:
        logs = _logs(found, one, shipped)
        if logs is None:
            continue
        name = next((log.source for log in logs if log.source), one.pack)
        files = tuple(log.path for log in logs)
        key = (name, files) if files else (one.pack, ())
        for other, paths in together:
            if name == other and files:  # one source of the shipped policy, in several folders
                key = (name, tuple(dict.fromkeys((*paths, *files))))
                together[key] = together.pop((other, paths))
                break
        together.setdefault(key, []).append(one)
    used = set(taken)
    for (name, files), members in together.items():
        free = name
        while free in used:
            free = f"{free}-2"
        used.add(free)
        packs = tuple(one.pack for one in members)
        yield Source(free, packs, files, tuple(_notes(members, files, found)))


def _logs(found: Survey, one: Service, shipped: Policy) -> list[Log] | None:
    """The logs to read ([]: the journal); None if nothing is known to be written anywhere."""
    journal = one.journal and found.journal
    preferred = any(source.journal is not None and source.enabled and one.pack in source.detectors
                    for source in shipped.sources)  # fmt: skip
    if journal and preferred:
        return []
    own = [log for log in one.logs if not log.shared]
    stated = [log for log in own if log.source]
    if own:
        return stated or own[:1]
    shared = [log for log in one.logs if log.fresh] or ([] if journal else list(one.logs))
    if shared:
        return shared[:1]
    return [] if journal else None


def _notes(members: Sequence[Service], files: Sequence[str], found: Survey) -> Iterator[str]:
    for one in members:
        ports = f"; listens on {', '.join(map(str, one.ports))}" if one.ports else ""
        yield f"{one.pack}: {', '.join(one.because[:2])}{ports}"
    logs = {log.path: log for one in members for log in one.logs}
    if not files and any(log.shared for log in logs.values()):
        yield "The log files have the same lines, but in the journal nobody can forge them."
    for path in files:
        if not logs[path].readable:
            yield f"Not readable yet: setfacl -m u:tidegate-watch:r {path}"
        elif not logs[path].fresh:
            yield f"Nothing was written to {path} in the last week."
    others = [log.path for log in logs.values()
              if not log.shared and not any(fnmatch(log.path, path) for path in files)]  # fmt: skip
    if files and others:
        yield f"Also here, not read, so that nothing counts twice: {', '.join(others)}"


# -- rules ----------------------------------------------------------------------------------------


def _rules(
    shipped: Policy,
    text: str,
    packs: set[str],
    taken: Mapping[str, Any],
    ssh_ports: tuple[int, ...],
) -> dict[str, str]:
    """The shipped rules that count what these packs see, by name: the text with its comment."""
    fitting = {rule.name for rule in shipped.rules
               if any(kind.partition(".")[0] in packs for kind in rule.kinds)}  # fmt: skip
    fitting |= {name.rpartition(".")[0] for name in fitting}  # a rule for each service, taken apart
    found = {}
    for header, part in _sections(text):
        name = header.removeprefix("rule.")
        if header.startswith("rule.") and name in fitting and name not in taken:
            if ssh_ports and ssh_ports != (22,):
                ports = ", ".join(map(str, ssh_ports))
                part = part.replace("ports = [22]", f"ports = [{ports}]")
            found[name] = part
    return found


def _sections(text: str) -> Iterator[tuple[str, str]]:
    """Each table of a policy with the comment directly above it, up to the next one's."""
    starts = []
    for header in _HEADER.finditer(text):
        start = header.start()
        while (before := text.rfind("\n", 0, max(start - 1, 0)) + 1) < start:
            if not text.startswith("#", before):
                break
            start = before
        starts.append((header[1], start))
    for (name, start), (_next, stop) in zip(starts, [*starts[1:], ("", len(text))], strict=True):
        part = text[start:stop].rstrip("\n")
        while (last := part.rpartition("\n\n"))[1] and not _says(last[2]):
            part = last[0].rstrip("\n")  # a heading over what follows
        yield name, part + "\n"


def _says(paragraph: str) -> bool:
    return any(line and not line.startswith("#") for line in paragraph.splitlines())


# -- who is allowed -------------------------------------------------------------------------------


def _allowed(found: Survey, had: Sequence[str]) -> list[tuple[Subject, str]]:
    """Whom to add to [allow]: people who are logged in, own networks; not who is there already."""
    there = PrefixSet(subject for one in had if (subject := _exactly(one)))
    added = []
    for one in (*found.people, *found.networks):
        network = subjects.network(one.subject)
        if one.sure and network is not None and not there.holds(network):
            added.append((one.subject, one.why))
    return added


def _exactly(text: str) -> Subject | None:
    return subjects.parse(f"{text}/128" if ":" in text and "/" not in text else text)
