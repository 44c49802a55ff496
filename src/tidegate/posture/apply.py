"""Applying a plan: recorded first, then the files, then the live mounts; all of it or nothing.

Touches fstab, systemd's drop-ins, the mounts of the own namespace, and the folder of the record.
Limits: killed in the middle it leaves what it did, and a record that `undo` (or the next `apply`)
undoes it by; mounts of other namespaces stay as they are until what runs there is started anew.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from tidegate.errors import OperatorError, TidegateError, WorldError
from tidegate.posture import kernel, mounts
from tidegate.posture.host import FLAGS, Host
from tidegate.posture.judge import judge, table
from tidegate.posture.plan import FileStep, MountStep, Plan, plan
from tidegate.posture.record import Record, Records, write_whole
from tidegate.posture.undo import restore

Told = Callable[[str], None]


def apply(host: Host, records: Records, told: Told, *, tmpfs: bool = False) -> Plan:
    """Do what is to be done on this host; what was done (empty: nothing was missing).

    Raises WorldError or OperatorError, and then nothing is changed.
    """
    with records.alone():
        earlier = records.read()
        if earlier is not None and earlier.stage != "applied":
            told(f"an earlier run of {earlier.time} was cut off; what it did is undone first")
            restore(host, records, earlier, told)
            earlier = None
        known = table(host)
        made = plan(host, known, judge(host, known), tmpfs=tmpfs)
        if not made:
            return made
        if earlier is not None:
            raise OperatorError(
                f"applied on {earlier.time} already, and something is missing again;"
                " tidegate harden --undo first, then --apply"
            )
        record = Record(made, "applying", datetime.now(UTC).isoformat(timespec="seconds"))
        records.write(record)
        try:
            _carry_out(host, made, told)
            records.write(record.at("applied"))
        except (TidegateError, OSError, KeyboardInterrupt) as error:
            raise _gone_back(host, records, record, told, error) from error
        return made


def _carry_out(host: Host, made: Plan, told: Told) -> None:
    for file in made.files:
        told(f"writing {file.path}")
        put(file)
    for step in made.mounts:
        told(f"mounting {step.path} {','.join(FLAGS)}")
        mount(host, step)


def put(step: FileStep) -> None:
    """Write that file anew, unless somebody was quicker."""
    path = Path(step.path)
    try:
        owner, mode = None, 0o644
        if step.before is None:
            path.parent.mkdir(mode=0o755, exist_ok=True)
            if path.exists():
                raise WorldError(f"{path} is there all of a sudden; try again")
        else:
            if path.read_bytes() != step.before:
                raise WorldError(f"{path} was changed by somebody else just now; try again")
            found = path.stat()
            owner, mode = (found.st_uid, found.st_gid), found.st_mode & 0o7777
        write_whole(path, step.after, mode, owner)
    except OSError as error:
        hint = "; is it immutable (lsattr)?" if error.errno == errno.EPERM else ""
        raise WorldError(f"{path}: {error.strerror}{hint}") from error


def mount(host: Host, step: MountStep) -> None:
    """Bring about that live mount, and see that it is so."""
    there = host.proc / "self" / "mountinfo"
    top = mounts.at(before := mounts.read(there), step.path)
    if not os.path.isdir(step.path):
        raise WorldError(f"{step.path} is not there any more")
    if top is not None:
        kernel.set_options(step.path, {*top.options, *FLAGS})
    else:
        over = mounts.covering(before, step.path)
        kernel.bind(step.path, FLAGS, over.options if over else ())
    now = mounts.at(mounts.read(there), step.path)
    if now is None or set(FLAGS) - set(now.options):
        raise WorldError(f"{step.path} was mounted, but not with {','.join(FLAGS)}")


def _gone_back(
    host: Host, records: Records, record: Record, told: Told, error: BaseException
) -> TidegateError:
    """What to say after a failure: everything is as it was, or how to make it so."""
    why = str(error) or type(error).__name__
    try:
        restore(host, records, replace(record, stage="undoing"), told)
    except TidegateError as stuck:
        return WorldError(
            f"{why}; and it could not all be undone: {stuck}. Once that is put right:"
            " tidegate harden --undo"
        )
    return WorldError(f"{why}; everything is as it was")
