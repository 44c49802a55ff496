"""Which readings are taken for those that are derived: a slope needs samples of its height.

Touches nothing. Limits: the slope itself is the watcher's.
"""

from __future__ import annotations

SLOPES = {
    "disk.full-in": "disk.available",
    "inodes.full-in": "inodes.free",
    "queue.clear-in": "queue",
}
"""What is derived from a slope, and from whose: the sampler hands over the latter."""


def sampled(name: str) -> str:
    """The reading whose samples stand for this one: of a slope, what it is the slope of."""
    family, bracket, rest = name.partition("(")
    return SLOPES.get(family, family) + bracket + rest
