"""What is under attack, as rows of a table: for `tidegate list --by` and the end of `replay`.

Touches nothing: it makes text of the daemon's answers, or of the core's own rows.
Limits: hostile names are made printable by whoever prints them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tidegate.cli.common import local
from tidegate.evidence.targets import Row
from tidegate.text import printable

BY = ("target", "site", "page", "mailbox", "user", "port", "service")

TITLE = ("TARGET", "KINDS", "EVENTS", "PER MINUTE", "SUBJECTS", "LAST")


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """One row of the answer to GET /targets."""
    about = "~" if row["looked_at"] < row["events"] else ""
    return (
        f"{row['what']} {row['target']}",
        ", ".join(row["kinds"]),
        f"{about}{row['events']}",
        f"{about}{row['per_minute']}",
        str(row["subjects"]),
        local(row["last"]),
    )


def summary(rows: Sequence[Row], most: int = 10) -> Iterator[str]:
    """The heaviest targets of a recording, a line each, below a line that says what they are."""
    if rows:
        yield "What it was aimed at:"
    for row in rows[:most]:
        about = "~" if row.looked < row.events else ""
        who = "1 subject" if row.subjects == 1 else f"{row.subjects} subjects"
        yield f"  {about + str(row.events):>9}  {row.what} {printable(row.target)} ({who})"
