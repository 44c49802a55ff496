"""A long line between two sites: a process that hands frames on late, and loses some of them.

Touches two interfaces of the network namespace it is started in. It stands where `tc netem` would,
which not every kernel has. Limits: some thousand frames a second; its delay does not jitter, so
frames never overtake each other; which of them are lost is drawn from a seed.

    python -m tests.fleet.longline LEFT RIGHT MILLISECONDS PERCENT SEED

Each line it reads is a question, answered by `PASSED LOST`; it ends when there is nobody to ask.
"""

from __future__ import annotations

import ctypes
import fcntl
import random
import select
import socket
import struct
import sys
import time
from collections import deque
from contextlib import suppress

from tests.kernel.namespaces import Namespace

_EVERY = 0x0003  # ETH_P_ALL
_OURS = 4  # PACKET_OUTGOING: what we sent ourselves
_SIOCETHTOOL = 0x8946
_OFF = (0x17, 0x1F, 0x25)  # ETHTOOL_STXCSUM, _STSO, _SGSO: what a process would have to finish


def plain(space: Namespace, device: str) -> None:
    """Have this interface send whole frames, with checksums: nothing on the way finishes them."""
    with space.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        for feature in _OFF:
            value = bytearray(struct.pack("II", feature, 0))
            at = struct.pack("16sP", device.encode(), _address(value))
            fcntl.ioctl(one.fileno(), _SIOCETHTOOL, at)


def _address(value: bytearray) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(value))


def main(left: str, right: str, milliseconds: str, percent: str, seed: str) -> None:
    """Hand on until nobody asks any more."""
    delay, loss, chance = float(milliseconds) / 1000, float(percent) / 100, random.Random(seed)
    ends = []
    for device in (left, right):
        end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERY))
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        end.bind((device, 0))
        end.setblocking(False)
        ends.append(end)
    waiting: deque[tuple[float, socket.socket, bytes]] = deque()
    passed = lost = 0
    print("ready", flush=True)
    while True:
        pause = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        ready, _, _ = select.select([sys.stdin, *ends], [], [], pause)
        if sys.stdin in ready:
            if not sys.stdin.readline():
                return
            print(passed, lost, flush=True)
        now = time.monotonic()
        for end, other in (ends, ends[::-1]):
            while True:
                try:
                    frame, where = end.recvfrom(65536)
                except BlockingIOError:
                    break
                if where[2] == _OURS:
                    continue
                if chance.random() < loss:
                    lost += 1
                else:
                    waiting.append((now + delay, other, frame))
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _when, end, frame = waiting.popleft()
            with suppress(OSError):  # the other end is down: a frame that is lost
                end.send(frame)
                passed += 1


if __name__ == "__main__":
    main(*sys.argv[1:])
