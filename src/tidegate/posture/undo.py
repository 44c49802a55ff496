"""Undoing a recorded plan: mounts as they were, fstab and drop-ins byte for byte as they were.

Touches what the record names, and the record, which goes last. It looks at all of it first and
refuses before it touches anything. Limits: after a boot a place may be a mount of its own that was
none; that one stays until the next boot, without our flags.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from tidegate.errors import WorldError
from tidegate.posture import kernel, mounts
from tidegate.posture.host import Host
from tidegate.posture.mounts import Mount
from tidegate.posture.plan import FileStep, MountStep
from tidegate.posture.record import Record, Records, sync, write_whole
from tidegate.posture.units import DROP_IN

Told = Callable[[str], None]


def undo(host: Host, records: Records, told: Told, *, keep: bool = False) -> Record | None:
    """Undo what is recorded, and what that was; None where nothing is. `keep`: the files stay as
    somebody has made them since. Raises WorldError, mostly before anything is touched."""
    with records.alone():
        record = records.read()
        if record is None:
            records.remove()  # what a run left that was killed before it had recorded anything
        else:
            restore(host, records, record, told, keep=keep)
        return record


def restore(
    host: Host, records: Records, record: Record, told: Told, *, keep: bool = False
) -> None:
    """Put back what this record says, as far as it was done. Twice is harmless."""
    changed = [] if keep else [one for one in record.plan.files if _foreign(one)]
    if changed:
        raise WorldError(_advice(records, changed))
    there = host.proc / "self" / "mountinfo"
    for step in record.plan.mounts:
        _refuse_if_used(mounts.read(there), step)
    records.write(record.at("undoing"))
    for file in () if keep else reversed(record.plan.files):  # first, since it is what may fail
        told(f"restoring {file.path}")
        _put_back(file)
    for step in reversed(record.plan.mounts):
        _unmount(there, step, told)
    records.remove()


def _foreign(step: FileStep) -> bool:
    """Whether somebody else changed it since."""
    try:
        found: bytes | None = Path(step.path).read_bytes()
    except FileNotFoundError:
        found = None
    except OSError as error:
        raise WorldError(f"{step.path}: {error.strerror}; nothing was changed") from error
    return found not in (step.before, step.after)


def _advice(records: Records, changed: Sequence[FileStep]) -> str:
    names = ", ".join(one.path for one in changed)
    return (
        f"{names}: changed by somebody since, so nothing was undone. As it was before it is in"
        f" {records.folder}: take out by hand what tidegate harden put in, then:"
        " tidegate harden --undo --keep-files"
    )


def _refuse_if_used(live: Sequence[Mount], step: MountStep) -> None:
    top = mounts.self_bind(live, step.path) if step.do == "bind" else None
    if top is None:
        return
    ours, more = set[int](), {top.number}
    while more:
        ours |= more
        more = {one.number for one in live if one.parent in ours} - ours
    before = {(one.point, one.device, one.root) for one in live if one.number not in ours}
    for one in live:
        again = (one.point, one.device, one.root) in before
        if one.number in ours and one != top and not again:
            raise WorldError(
                f"{one.point} is mounted below {step.path} since; nothing was undone:"
                f" umount {one.point}, then again: tidegate harden --undo"
            )


def _unmount(there: Path, step: MountStep, told: Told) -> None:
    live = mounts.read(there)
    top = mounts.at(live, step.path)
    if top is None:
        return
    if step.do == "bind" and mounts.self_bind(live, step.path):
        told(f"unmounting {step.path}")
        kernel.detach(step.path)
        return
    kept = set(top.options) - set(step.added)
    if kept != set(top.options):
        told(f"mounting {step.path} without {','.join(step.added)}")
        kernel.set_options(step.path, kept)
    if step.do == "bind":
        told(f"{step.path} is a {top.kind} now, and stays one until the next boot")


def _put_back(step: FileStep) -> None:
    path = Path(step.path)
    try:
        with suppress(FileNotFoundError):  # left by a run that was killed
            path.with_name(f".{path.name}.tidegate").unlink()
        if step.before is not None:
            if path.read_bytes() != step.before:
                found = path.stat()
                owner = (found.st_uid, found.st_gid)
                write_whole(path, step.before, found.st_mode & 0o7777, owner)
            return
        path.unlink(missing_ok=True)
        if path.name == DROP_IN:
            with suppress(OSError):  # others have something there
                path.parent.rmdir()
        with suppress(FileNotFoundError):
            sync(path.parent)
    except OSError as error:
        raise WorldError(f"{path}: {error.strerror}") from error
