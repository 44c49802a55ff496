"""The events that the other hosts of a fleet have kept, for a plan.

Touches the host's key and the engine's password, as root, and the engine. Limits: only where this
host may publish; who does not answer is left out, and that is said.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tidegate.chronicle.stretch import Stretch
from tidegate.daemon.clock import now_micros
from tidegate.daemon.forecast import Seen
from tidegate.errors import FleetError, OperatorError
from tidegate.model import SECOND, Micros, Subject
from tidegate.policy.models import Policy

TIMEOUT = 10.0


def gather(
    policy: Policy, mine: Seen, since: Micros, wait: Micros, most: int
) -> tuple[list[Seen], list[str], tuple[Subject, ...]]:
    """This host's events and all others', what is missing of those, and where members are."""
    from tidegate.fleet import wire
    from tidegate.fleet.engine.access import engine_of
    from tidegate.fleet.plan import gathering
    from tidegate.fleet.trust import keys
    from tidegate.fleet.trust.admission import Remembering
    from tidegate.fleet.trust.members import May, Roster
    from tidegate.fleet.wire import Kind, Message

    folder = Path(policy.paths.fleet)
    identity, signer = keys.load_identity(folder), keys.load(folder)
    mine.host = identity.host
    assert policy.fleet is not None

    def seal(kind: Kind, body: bytes, now: Micros) -> bytes:
        message = Message(kind, identity.host, wire.sequence(1, now // SECOND), now, body)
        return wire.seal(message, identity.fleet, signer.sign)

    with closing(engine_of(policy.fleet, TIMEOUT)) as engine:
        verify = Remembering(keys.verify)
        try:
            roster = gathering.members(engine, Roster(identity.fleet, identity.desk, verify))
            if not roster.may(identity.host, May.PUBLISH):
                raise OperatorError(
                    f"{identity.host} may not ask the other hosts what they saw: plan where"
                    " policies are published from, or give --own"
                )
            names = sorted(roster.members.keys() - {identity.host})
            found = [mine]
            notes: list[str] = []
            for answer in gathering.gather(
                engine, roster, seal, names, since, most, wait / SECOND, now_micros, _ticking()
            ):
                stretches = [Stretch(data) for data in answer.stretches]
                found.append(Seen(answer.host, stretches))
                notes += [f"{answer.host}: {one}" for one in answer.left_out]
        except FleetError as error:
            raise FleetError(f"{error}\nto plan with this host's events alone: --own") from error
    return found, notes, roster.addresses()


def _ticking() -> Callable[[int, int], None]:
    """Progress, on a terminal."""
    if not sys.stderr.isatty():
        return lambda _done, _of: None

    def tick(done: int, of: int) -> None:
        end = "\n" if done == of else "\r"
        sys.stderr.write(f"{done} of {of} hosts have sent what they saw{end}")
        sys.stderr.flush()

    return tick
