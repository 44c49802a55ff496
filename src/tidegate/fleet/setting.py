"""What a member is made of: who it is, its key, the number of this start, its bounds.

Touches nothing. Limits: plain values; what the policy says comes later, and may change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tidegate.fleet.trust.claiming import KEPT
from tidegate.fleet.trust.keys import Identity
from tidegate.fleet.trust.members import Verify
from tidegate.fleet.trust.trust import Quotas
from tidegate.model import Subject

Sign = Callable[[bytes], bytes]
"""The signature of these bytes by the host's key, as `keys.Signer.sign`."""


@dataclass(frozen=True, slots=True)
class Setting:
    """How a member is made. `epoch`: the number of this start, see `keys.next_epoch`. `verify`:
    `admission.Remembering(keys.verify)`. `shards`: 1, in a cluster `functions.SHARDS`. `guarded`:
    whom nobody closes for, as the engine."""

    identity: Identity
    sign: Sign
    epoch: int
    verify: Verify
    shards: int = 1
    guarded: tuple[Subject, ...] = ()
    quotas: Quotas = field(default_factory=Quotas)
    kept: int = KEPT
