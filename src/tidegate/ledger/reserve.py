"""Room on the disk set aside in good time, so that on a full one what must be written still can be.

Touches one file beside the ledger's, `….reserve`, and asks its file system how much is free.
Limits: it helps for a few writes, then the disk is full for us too; it is filled up again when
there is twice as much room as that takes. What is given up is there for other programs as well.
"""

from __future__ import annotations

import os
from contextlib import suppress

SIZE = 512 << 10
STEP = 64 << 10
"""Given up at a time: what one write about guards needs, several times over."""


class Reserve:
    """The room beside one ledger."""

    def __init__(self, path: str) -> None:
        self.path = path

    def keep(self) -> None:
        """Set it aside, or what is missing of it, where that leaves others at least as much."""
        with suppress(OSError):
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                held = os.fstat(descriptor).st_size
                disk = os.fstatvfs(descriptor)
                if held < SIZE and disk.f_bavail * disk.f_frsize >= 2 * (SIZE - held):
                    os.posix_fallocate(descriptor, held, SIZE - held)
            finally:
                os.close(descriptor)

    def spend(self) -> bool:
        """Give up some of it; False where there is nothing left."""
        try:
            held = os.stat(self.path).st_size
            if held:
                os.truncate(self.path, max(0, held - STEP))
        except OSError:
            return False
        return held > 0
