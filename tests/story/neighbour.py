"""Who lives next to an infected host, and what it asks: `python -m tests.story.neighbour …`.

`serve` answers datagrams and connections at every address; `ask TIMES ADDRESS…` sends a datagram each
20 ms and opens a connection each 100 ms (times TIMES), and says how long answers took and what was
lost. Touches
the network of its namespace; JSON lines on standard input. Limits: times are this host's.
"""

from __future__ import annotations

import json
import selectors
import socket
import statistics
import struct
import sys
import threading
import time

PORT = 7
_PKTINFO = 8
_EACH, _CONNECT_EACH, _PATIENCE = 0.02, 0.1, 2.0
_STAMP = struct.Struct("=Id")


def serve() -> None:
    """Echo, until standard input ends."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("", PORT))
    udp.setsockopt(socket.IPPROTO_IP, _PKTINFO, 1)
    tcp = socket.create_server(("", PORT), backlog=512)
    chooser = selectors.DefaultSelector()
    for one in (udp, tcp, sys.stdin):
        chooser.register(one, selectors.EVENT_READ)
    print("{}", flush=True)
    while True:
        for key, _events in chooser.select():
            if key.fileobj is sys.stdin:
                if not sys.stdin.readline():
                    return
            elif key.fileobj is udp:
                data, control, _flags, asker = udp.recvmsg(2048, 128)
                # From the address that it was asked at: struct in_pktinfo.
                source = b"\0" * 4 + control[0][2][8:12] + b"\0" * 4
                answer = (socket.IPPROTO_IP, _PKTINFO, source)
                udp.sendmsg([data], [answer], 0, asker)
            else:
                tcp.accept()[0].close()


class Asker:
    """Asks a few old acquaintances, and now and then somebody new, as people do."""

    def __init__(self, times: float, there: list[str]) -> None:
        self.times, self.there = times, there
        self.lock = threading.Lock()
        self.took: list[float] = []
        self.waiting: dict[int, float] = {}
        self.asked = self.opened = self.failed = 0
        self.slowest = 0.0
        self.channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for work in (self.listen, self.send, self.connect):
            threading.Thread(target=work, daemon=True).start()

    def send(self) -> None:
        """A datagram with the moment in it."""
        number = 0
        while True:
            number += 1
            to = (self.there[number % len(self.there)], PORT)
            sent = time.monotonic()
            with self.lock:
                self.asked += 1
                self.waiting[number] = sent
            self.channel.sendto(_STAMP.pack(number, sent), to)
            time.sleep(_EACH * self.times)

    def listen(self) -> None:
        """Its answer."""
        while True:
            number, sent = _STAMP.unpack(self.channel.recv(2048))
            with self.lock:
                self.waiting.pop(number, None)
                self.took.append(time.monotonic() - sent)

    def connect(self) -> None:
        """A connection, to its end."""
        number = 0
        while True:
            number += 1
            began = time.monotonic()
            try:
                to = (self.there[number % len(self.there)], PORT)
                with socket.create_connection(to, _PATIENCE) as connection:
                    connection.recv(1)
                fine = True
            except OSError:
                fine = False
            with self.lock:
                self.opened += fine
                self.failed += not fine
                self.slowest = max(self.slowest, time.monotonic() - began)
            time.sleep(_CONNECT_EACH * self.times)

    def told(self) -> dict[str, float]:
        """Since last asked; milliseconds. What is under way has `_PATIENCE` to arrive."""
        asked_until = time.monotonic()
        while time.monotonic() < asked_until + _PATIENCE:
            with self.lock:
                if not any(sent <= asked_until for sent in self.waiting.values()):
                    break
            time.sleep(0.01)
        with self.lock:
            took = sorted(self.took)
            late = [number for number, sent in self.waiting.items() if sent <= asked_until]
            for number in late:
                del self.waiting[number]
            found = {
                "asked": self.asked, "lost": len(late),
                "median": 1000 * statistics.median(took) if took else 0.0,
                "p99": 1000 * took[int(len(took) * 0.99)] if took else 0.0,
                "opened": self.opened, "failed": self.failed, "slowest": 1000 * self.slowest,
            }  # fmt: skip
            self.took = []
            self.asked = self.opened = self.failed = 0
            self.slowest = 0.0
        return found


def main() -> None:
    """`serve`, or `ask TIMES ADDRESS…`."""
    if sys.argv[1] == "serve":
        serve()
        return
    asker = Asker(float(sys.argv[2]), sys.argv[3:])
    for _line in sys.stdin:
        print(json.dumps(asker.told()), flush=True)


if __name__ == "__main__":
    main()
