"""One transaction by the nft program: how layouts get into the kernel.

Touches the kernel's packet filter through `nft -f -`; needs CAP_NET_ADMIN. Limits: text in, nothing
out; whoever gives it an address writes that from packed bits, since nft asks DNS about others.
"""

from __future__ import annotations

import os
import shutil
import subprocess

from tidegate.errors import GateError

_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
_PATIENCE = 120.0  # seconds; a million elements take about ten


def run_nft(text: str) -> None:
    """One transaction by the nft program. Raises GateError with what nft said, in one line."""
    path = f"{os.environ.get('PATH', '')}:{_PATH}"
    program = shutil.which("nft", path=path)
    if program is None:
        raise GateError("nft is not installed: install the package nftables")
    try:
        done = subprocess.run(
            [program, "-f", "-"],
            input=text.encode("ascii"),
            capture_output=True,
            env={"PATH": path, "LC_ALL": "C"},
            check=False,
            timeout=_PATIENCE,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GateError(f"nft could not be run: {error}") from error
    if done.returncode:
        raise GateError(_complaint(done.stderr.decode("utf-8", "replace")))


def _complaint(text: str) -> str:
    """What nft said, in one line, with what to do about it where we know."""
    if "Operation not permitted" in text:
        return "no permission to change the packet filter: the process needs CAP_NET_ADMIN"
    first = next((line for line in text.splitlines() if "rror" in line), text.strip()[:200])
    return f"nft refused the layout: {first}"
