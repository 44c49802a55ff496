"""A child process that writes to us: started without a shell, read without waiting.

Touches one process and two pipes. Its environment is empty but for PATH and the C locale.
Limits: of what it says on standard error the last 4 KiB are kept.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
from collections.abc import Sequence

from tidegate.source.port import MAX_BLOCK

MAX_SAID = 4096


class Child:
    """Runs `arguments` (an absolute path first). Raises OSError if that can't be started."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.said = ""
        self._process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd="/",
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            process_group=0,
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._out = self._process.stdout.fileno()
        self._error = self._process.stderr.fileno()
        for descriptor in self.fds():
            os.set_blocking(descriptor, False)
        with contextlib.suppress(OSError):  # fewer wake-ups while catching up; not vital
            fcntl.fcntl(self._out, fcntl.F_SETPIPE_SZ, MAX_BLOCK)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def fds(self) -> tuple[int, int]:
        """Its standard output and standard error."""
        return self._out, self._error

    def read(self) -> bytes | None:
        """What it wrote, at most 1 MiB; None if there is nothing now, b"" once it is over."""
        self._listen()
        try:
            return os.read(self._out, MAX_BLOCK)
        except BlockingIOError:
            return None

    def _listen(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while said := os.read(self._error, MAX_SAID):
                self.said = (self.said + said.decode("utf-8", "replace"))[-MAX_SAID:]

    def stop(self) -> int:
        """End it, take its last words, give the pipes back; its exit code."""
        self._process.terminate()
        try:
            code = self._process.wait(1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._listen()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe:
                pipe.close()
        return code
