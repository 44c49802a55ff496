"""What was found and what would be done, as sections of lines for people and as rows of JSON.

Touches the user database (names of uids). Names of files and commands are other people's words, and
made harmless here. Limits: long lists are cut for people, never in JSON.
"""

from __future__ import annotations

import pwd
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from tidegate.posture.fstab import WORDS
from tidegate.posture.host import FLAGS
from tidegate.posture.judge import Elsewhere, Verdict
from tidegate.posture.plan import Plan
from tidegate.posture.programs import Found
from tidegate.posture.survey import Findings
from tidegate.text import printable, well_formed

MOST_LINES = 40
Row = dict[str, Any]

LIMITS = (
    "noexec keeps what lies there from being started or loaded: programs, ./script, ld.so FILE,"
    " preloaded libraries.",
    "It does not stop an interpreter that reads a file (sh FILE, perl FILE, php FILE), nor what a"
    " program makes in memory and starts from there (memfd_create), nor other folders a user may"
    " write to.",
    "What runs from there already goes on until it ends; services with a /tmp of their own"
    " (PrivateTmp) and containers take part once they are started anew.",
)
BREAKS = (
    "It may break what unpacks itself there and runs: installers, builds, Java with native"
    " libraries (give it -Djava.io.tmpdir=DIR and -Djna.tmpdir=DIR elsewhere).",
    "apt's preconfiguring with debconf before 1.5.81 (Debian 11 and older) runs scripts from /tmp:"
    ' say APT::ExtractTemplates::TempDir "/var/cache/apt"; in a file of /etc/apt/apt.conf.d.',
)
_WHYS = {
    "place": "its file lies there",
    "memory": "it is in memory alone (memfd)",
    "deleted": "its file lay there and was deleted",
    "script": "an interpreter runs this file, which noexec does not stop",
    "replaced": "its file was deleted, mostly by an upgrade: start it anew",
}


class Section(NamedTuple):
    """A heading and its lines."""

    title: str
    lines: list[str]


def sections(found: Findings) -> Iterator[Section]:
    """What was found, for people; only what there is something to say of."""
    mounts = [_mount_line(one) for one in found.verdicts]
    mounts += [_elsewhere_line(one) for one in _shortened(found.elsewhere)]
    yield Section("Mounts", [f"not judged: {found.trouble}"] if found.trouble else mounts)
    listed = [*found.suspects, *(one for one in found.running if one.why == "replaced")]
    yield Section(
        "Programs that run from there, from memory, or from a deleted file",
        _cut([_program_line(one) for one in listed]) or ["none"],
    )
    doors = [
        f"{one.service} listens on {_ends(one.address, one.port)}/{one.protocol}, open to"
        f" {'the world' if one.reach == 'world' else 'its network'} unless a firewall is before it"
        + (f" (pid {one.pid}, {printable(one.program)})" if one.pid else "")
        for one in found.open
    ]
    yield Section("Databases that others can reach", doors or ["none"])
    yield Section("Security updates (CIS 1.2.2.1)", list(_update_lines(found)))
    trees = [
        f"{printable(one.path)}: {one.kind} {one.version}, of {user(one.uid)}: {one.why}"
        for one in found.old_trees
    ]
    known = len(found.web.trees)
    fine = [f"none is old ({known} found)" if known else "none found"]
    cut = [found.web.cut] if found.web.cut else []
    yield Section("Old Joomla and WordPress", (_cut(trees) or fine) + cut)


def rows(found: Findings) -> Iterator[Row]:
    """The same for programs: one object for each thing."""
    if found.trouble:
        yield {"v": 1, "what": "trouble", "text": found.trouble}
    for one in found.verdicts:
        yield {
            "v": 1, "what": "mount", "path": one.place.path, "ok": one.well, "why": one.why,
            "separate": one.separate, "mount": one.mount.point if one.mount else None,
            "missing_now": list(one.live), "missing_at_boot": list(one.boot), "at_boot": one.by,
            "cis": [{"item": n, "asks": asks, "ok": ok} for n, asks, ok in one.items()],
        }  # fmt: skip
    for other in found.elsewhere:
        yield {
            "v": 1, "what": "elsewhere", "path": other.path, "pid": other.pid,
            "name": well_formed(other.name), "missing_now": list(other.missing),
        }  # fmt: skip
    for it in found.running:
        yield {
            "v": 1, "what": "program", "why": it.why, "pid": it.process.pid,
            "uid": it.process.uid, "user": user(it.process.uid), "path": well_formed(it.path),
            "name": well_formed(it.process.name), "sha256": it.hash or None,
            "command": [well_formed(word) for word in it.process.command],
        }  # fmt: skip
    for door in found.open:
        yield {"v": 1, "what": "open", **door._asdict()}
    told = found.updates
    yield {
        "v": 1, "what": "updates", "cis": "1.2.2.1", "trouble": told.trouble,
        "lists": told.lists.isoformat() if told.lists else None, "others": told.others,
        "waiting": [
            {"package": o.package, "installed": o.installed, "available": o.available}
            for o in told.waiting
        ],
    }  # fmt: skip
    for tree in found.web.trees:
        yield {
            "v": 1, "what": "web", "kind": tree.kind, "path": well_formed(tree.path),
            "uid": tree.uid, "version": tree.version, "changed": tree.changed.isoformat(),
            "old": tree.why,
        }  # fmt: skip
    if found.web.cut:
        yield {"v": 1, "what": "trouble", "text": found.web.cut}


def plan_lines(made: Plan) -> Iterator[str]:
    """Exactly what `--apply` does."""
    for file in made.files:
        yield f"# write {file.path}:"
        yield from (printable(line) for line in file.diff().splitlines())
    if made.mounts:
        yield "# now, without a restart:"
    for step in made.mounts:
        yield from step.commands()


def plan_rows(made: Plan) -> Iterator[Row]:
    """The same for programs."""
    for file in made.files:
        yield {"v": 1, "what": "file", "path": file.path, "diff": file.diff()}
    for step in made.mounts:
        yield {
            "v": 1, "what": "mount", "path": step.path, "do": step.do, "added": list(step.added),
            "commands": step.commands(),
        }  # fmt: skip


def user(uid: int) -> str:
    """The name of a user, else its number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _mount_line(one: Verdict) -> str:
    path = one.place.path
    if one.why:
        return f"{path} {printable(one.why)}"
    failed = [number for number, _asks, fine in one.items() if not fine]
    items = f" (CIS {', '.join(failed)})" if failed else ""
    if one.well:
        return f"{path}: well, by {one.by}" + items
    said = []
    if one.live:
        said.append(f"now {_may(one.live)} may be used there: no {','.join(one.live)}")
    if one.boot:
        who = "nothing mounts it then" if one.by == "nothing" else one.by
        said.append(f"after the next boot without {','.join(one.boot)} ({who})")
    return f"{path}: {'; '.join(said)}{items}"


def _may(missing: Sequence[str]) -> str:
    return ", ".join(WORDS[one] for one in reversed(FLAGS) if one in missing)


def _elsewhere_line(one: Elsewhere) -> str:
    name = printable(one.name)
    return (
        f"{one.path} in mounts of its own of {name} (pid {one.pid}): without"
        f" {','.join(one.missing)} until it is started anew"
    )


def _shortened(found: Sequence[Elsewhere]) -> list[Elsewhere]:
    """One for each path and name; services have many processes."""
    seen: dict[tuple[str, str], Elsewhere] = {}
    for one in found:
        seen.setdefault((one.path, one.name), one)
    return list(seen.values())[:MOST_LINES]


def _program_line(one: Found) -> str:
    process = one.process
    hashed = f", sha256 {one.hash}" if one.hash else ""
    return (
        f"pid {process.pid} of {user(process.uid)} runs {printable(one.path)}:"
        f" {_WHYS[one.why]}{hashed}"
    )


def _update_lines(found: Findings) -> Iterator[str]:
    told = found.updates
    if told.trouble:
        yield told.trouble
    if told.waiting:
        yield from _cut([f"{o.package} {o.installed} -> {o.available}" for o in told.waiting])
        yield "to install them: apt-get upgrade"
    elif not told.trouble:
        yield f"none waits ({told.others} other updates do)"


def _cut(lines: list[str]) -> list[str]:
    more = len(lines) - MOST_LINES
    return lines if more <= 0 else [*lines[:MOST_LINES], f"and {more} more (see --json)"]


def _ends(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
