"""Pressure (PSI): for which share of the time tasks waited for cpu, memory, input and output.

Touches /proc/pressure. `some`: one task at least waited; `full`: all that had work. In percent,
over 10 seconds, or 60 or 300 where the name says so.
Limits: kernels before 4.20, and those that want psi=1 at boot, have none: then it is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tidegate.errors import SourceError
from tidegate.source.readings.taking import Held, Places, Shared, Taken, Taker

RESOURCES = ("cpu", "memory", "io")
_SPANS = {"": "avg10", "60": "avg60", "300": "avg300"}
_NAME = re.compile(r"psi\.(cpu|memory|io)\.(some|full)(60|300)?")
_ABSENT = "this kernel shows no pressure (/proc/pressure); booting with psi=1 may switch it on"


class Pressure:
    """The three files, each read once a look."""

    def __init__(self, places: Places) -> None:
        self._files = {
            name: Shared(_reader(Held(f"{places.proc}/pressure/{name}"))) for name in RESOURCES
        }

    def taker(self, name: str) -> Taker | None:
        """The taker of `psi.RESOURCE.some` and so on; None where the name is none of these."""
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        shared = self._files[found[1]]
        line, key = found[2].encode(), _SPANS[found[3] or ""].encode()

        def take(look: int) -> Taken:
            shares = shared.at(look).get(line)
            if shares is None:  # cpu: only since Linux 5.13
                return Taken(None, why=f"this kernel has no {found[2]!r} pressure for {found[1]}")
            return Taken(shares[key])

        return Taker(take)


def _reader(held: Held) -> Callable[[], dict[bytes, dict[bytes, float]]]:
    def read() -> dict[bytes, dict[bytes, float]]:
        try:
            data = held.read()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise SourceError(_ABSENT) from error
        except OSError as error:
            # psi=0 leaves the files there, and refuses to open or to read them
            raise SourceError(f"{_ABSENT} ({error.strerror})") from error
        lines = {}
        for line in data.splitlines():
            kind, *pairs = line.split()
            lines[kind] = {
                key: float(value) for key, _, value in (pair.partition(b"=") for pair in pairs)
            }
        return lines

    return read
