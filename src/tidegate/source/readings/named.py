"""Names of readings taken apart: `disk.free(/var)` is a family and an argument.

Touches nothing. Limits: whether there is such a reading is said by `catalogue`.
"""

from __future__ import annotations

from tidegate.errors import SourceError

SLOPES = {
    "disk.full-in": "disk.available",
    "inodes.full-in": "inodes.free",
    "queue.clear-in": "queue",
}
"""What is derived from a slope, and from whose: the sampler hands over the latter."""


def split(name: str) -> tuple[str, str | None]:
    """Family and argument (None: it has none); quotes are taken off. Raises SourceError."""
    family, bracket, rest = name.partition("(")
    if not bracket:
        return family, None
    if not rest.endswith(")"):
        raise SourceError(f'"{name}": the closing bracket is missing')
    argument = rest[:-1].strip()
    if len(argument) >= 2 and argument[0] == argument[-1] and argument[0] in "\"'":
        quote = argument[0]
        argument = argument[1:-1].replace("\\" + quote, quote).replace("\\\\", "\\")
    return family, argument


def sampled(name: str) -> str:
    """The reading whose samples stand for this one: of a slope, what it is the slope of."""
    family, bracket, rest = name.partition("(")
    return SLOPES.get(family, family) + bracket + rest
