"""Visitors of a web server, from many addresses: `python -m tests.story.visitors PORT HOST`.

Touches the network of the namespace it is started in. Reads orders on standard input, one JSON list
a line, and answers each with one JSON object. Limits: at most 400 at a time, each a thread.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from dataclasses import dataclass, field

PATIENCE = 60.0


@dataclass
class Group:
    """Visitors of one kind; `served`, `refused` and `slowest` (seconds) count since last asked."""

    served: int = 0
    refused: int = 0
    slowest: float = 0.0
    stop: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def visit(address: str, there: tuple[str, int], path: str, patience: float) -> bool:
    """One request from this address, to its end; whether it was served."""
    ask = f"GET {path} HTTP/1.0\r\nHost: www.example.org\r\n\r\n".encode()
    try:
        with socket.create_connection(there, patience, (address, 0)) as connection:
            connection.sendall(ask)
            answer = b""
            while part := connection.recv(65536):
                answer += part
    except OSError:
        return False
    return answer.startswith(b"HTTP/1.1 200")


def visiting(
    group: Group, address: str, there: tuple[str, int], path: str, pause: float, patience: float
) -> None:
    """Again and again, until told to stop."""
    while not group.stop.is_set():
        began = time.monotonic()
        fine = visit(address, there, path, patience)
        with group.lock:
            group.served += fine
            group.refused += not fine
            group.slowest = max(group.slowest, time.monotonic() - began)
        group.stop.wait(pause if fine else max(pause, 0.2))


def main() -> None:
    """Take orders: `start NAME ADDRESSES TIMES PATH PAUSE PATIENCE`, `count NAME`, `stop NAME`."""
    there = sys.argv[2], int(sys.argv[1])
    groups: dict[str, Group] = {}
    for line in sys.stdin:
        verb, name, *more = json.loads(line)
        answer: dict[str, object] = {}
        if verb == "start":
            addresses, times, path, pause, patience = more
            group = groups[name] = Group()
            for address in addresses * times:
                words = (group, address, there, path, pause, patience)
                group.threads.append(threading.Thread(target=visiting, args=words, daemon=True))
            for thread in group.threads:
                thread.start()
        group = groups[name]
        if verb == "stop":
            group.stop.set()
        with group.lock:
            answer = {"served": group.served, "refused": group.refused, "slowest": group.slowest}
            group.served = group.refused = 0
            group.slowest = 0.0
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
