"""A host that the worm has: `python -m tests.story.worm OWN…`, asked in JSON lines.

Sends datagrams of 376 bytes (404 with their headers) to UDP port 1434 at addresses by chance, as
fast as it can. Touches the network of its namespace, in which every address is the story's.
Limits: the nearest thing to another machine is the lowest priority on this one.
"""

from __future__ import annotations

import json
import os
import random
import select
import socket
import sys
import time

PAYLOAD, PORT = 376, 1434
_BURST, _SNDBUFFORCE = 100, 32
_NEVER = frozenset({0, 10, 127, 192, 198})
"""First bytes left out: this host's own, those of the story's own networks."""


def main() -> None:
    """Orders: `start`, `stop`, `count`; each is answered with all it sent and when it began."""
    os.nice(19)
    chance = random.Random(int(sys.argv[1]))
    firsts = [n for n in range(1, 224) if n not in _NEVER]
    channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    # On one machine a full uplink would hold its senders up: here they never hear of it.
    channel.setsockopt(socket.SOL_SOCKET, _SNDBUFFORCE, 1 << 28)
    data, sent, refused, began, runs = bytes(PAYLOAD), 0, 0, 0.0, False
    while True:
        if select.select([sys.stdin], [], [], 0 if runs else None)[0]:
            line = sys.stdin.readline()
            if not line:
                return
            (verb,) = json.loads(line)
            if verb != "count":
                runs = verb == "start"
                began = time.monotonic() if runs else began
            print(json.dumps({"sent": sent, "refused": refused, "began": began}), flush=True)
        for _number in range(_BURST if runs else 0):
            a, b = divmod(chance.getrandbits(30), 1 << 22)
            address = f"{firsts[a % len(firsts)]}.{b >> 14 & 255}.{b >> 7 & 127}.{b & 127}"
            try:
                channel.sendto(data, (address, PORT))
                sent += 1
            except OSError:
                refused += 1


if __name__ == "__main__":
    main()
