"""Tells systemd how we are (sd_notify(3)): READY=1, WATCHDOG=1, STATUS=….

Touches the datagram socket that NOTIFY_SOCKET names, if any. Never fails the caller.
Limits: no file descriptors are passed.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress


def notify(message: str) -> None:
    """Send one message; silently nothing where nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.connect("\0" + address[1:] if address[0] == "@" else address)
        channel.send(message.encode())
