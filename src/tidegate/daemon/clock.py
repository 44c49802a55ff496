"""The wall clock, in one place.

Touches the clock. Only the daemon and the verbs read it; the core is told.
Limits: it may jump; what must not depend on that uses the kernel's timeouts.
"""

from __future__ import annotations

import time

from tidegate.model import Micros


def now_micros() -> Micros:
    """Microseconds since the epoch, UTC."""
    return time.time_ns() // 1000
