"""The whole tree of errors, on one page.

Touches nothing. Every error that Tidegate raises on purpose is one of these.
Limits: anything else that is raised is a bug; the daemon contains it where DESIGN says and says so.

    TidegateError
    ├── OperatorError      the user's input is wrong; exit 2, one line, no traceback
    │   ├── PolicyError    a policy file: file, key, what was expected
    │   └── PackError      a detector pack: file, detector, what was expected
    └── WorldError         the world refused (permission, kernel, disk); exit 3
        ├── SourceError    a source can't be read just now: degraded, tried again
        ├── GateError      the kernel or the keeper refused; carries the offending element
        │   └── GoneError  the keeper itself is gone: all start anew
        ├── LedgerError    the ledger can't be written just now
        ├── ControlError   the daemon does not answer on its socket
        └── FleetError     the fleet's engine can't be reached, or makes no sense
"""

from __future__ import annotations

from collections.abc import Sequence


class TidegateError(Exception):
    """Root of the tree; never raised itself."""

    exit_code = 3


class OperatorError(TidegateError):
    """The user's input is wrong. One line a fault: file, key, what was expected."""

    exit_code = 2


class PolicyError(OperatorError):
    """One or more faults in policy files; `faults` lists every one, each a full line."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


class PackError(OperatorError):
    """One or more faults in a detector pack; `faults` lists every one, each a full line."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


class WorldError(TidegateError):
    """The world refused: retry, degrade or undo, and say it once."""


class SourceError(WorldError):
    """A source can't be read just now."""


class GateError(WorldError):
    """A gate refused; `element` names the offending subject where the kernel told it."""

    def __init__(self, message: str, element: str | None = None) -> None:
        super().__init__(message)
        self.element = element


class GoneError(GateError):
    """The keeper is gone, and refused nothing: what was asked may be done or not."""


class LedgerError(WorldError):
    """The ledger can't be read or written just now."""


class ControlError(WorldError):
    """The daemon does not answer on its control socket."""


class FleetError(WorldError):
    """The fleet's engine can't be reached just now, or what it says makes no sense."""
