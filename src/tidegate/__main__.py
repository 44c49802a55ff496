"""The `tidegate` command, and `python -m tidegate`: in haste where people ask a host in trouble.

Touches the priority of this process, as root and for verbs that are over soon, before anything
is imported: with a load of hundreds that is most of the time. Limits: none of its own.
"""

import os
import sys

HASTY = frozenset(
    {"off", "on", "open", "close", "hold", "resume", "guard", "why", "list", "status", "incident"}
    | {"ban", "unban", "allow", "quarantine", "release", "top"}
)
HASTE = -15


def enter() -> None:
    """The entry point: goes before others, and hands over to the command line."""
    if os.geteuid() == 0 and not HASTY.isdisjoint(sys.argv[1:2]):
        try:  # noqa: SIM105 - contextlib would have to be imported
            os.setpriority(os.PRIO_PROCESS, 0, HASTE)
        except OSError:
            pass
    from tidegate.cli import main

    main()


if __name__ == "__main__":
    enter()
