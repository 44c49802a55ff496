"""The people of the stories: servers on the mail host, and those who connect to them.

Touches sockets of the namespace it is started in. Speaks JSON lines on standard input and output.
Limits: started by `stage.Background` only.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import threading
import time


def serve(*ports: str) -> None:
    """Accept on every port (TCP), and note when the last datagram came (UDP)."""
    chooser = selectors.DefaultSelector()
    last: dict[int, float] = {}
    for number in map(int, ports):
        tcp = socket.create_server(("", number), backlog=128)
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("", number))
        chooser.register(tcp, selectors.EVENT_READ, "tcp")
        chooser.register(udp, selectors.EVENT_READ, number)
    chooser.register(sys.stdin, selectors.EVENT_READ, "stdin")
    while True:
        for key, _events in chooser.select():
            if key.data == "stdin":
                line = sys.stdin.readline()
                if not line:
                    return
                print(json.dumps({"last_sent": last}), flush=True)
            elif key.data == "tcp":
                connection, _peer = key.fileobj.accept()
                connection.sendall(b"220 mail.example.com ESMTP\r\n")
                connection.close()
            else:
                data, _peer = key.fileobj.recvfrom(64)
                last[key.data] = float(data)


class Pulse(threading.Thread):
    """Sends the time to a UDP port every half millisecond: the last one that arrives tells when it shut."""

    def __init__(self, source: str, target: str, port: int) -> None:
        super().__init__(daemon=True)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((source, 0))
        self._to = (target, port)
        self.beating = True

    def run(self) -> None:
        while self.beating:
            self._socket.sendto(repr(time.monotonic()).encode(), self._to)
            time.sleep(0.0005)


def connect(target: str) -> None:
    """Answer `["connect", source, port]` and `["pulse", source, port, on]`."""
    pulses: dict[tuple[str, int], Pulse] = {}
    for line in sys.stdin:
        verb, source, port, *rest = json.loads(line)
        if verb == "connect":
            try:
                with socket.create_connection((target, port), 0.4, (source, 0)) as connection:
                    answer = {"alive": connection.recv(64).startswith(b"220")}
            except OSError as error:
                answer = {"alive": False, "why": type(error).__name__}
        else:
            if rest[0]:
                pulses[source, port] = Pulse(source, target, port)
                pulses[source, port].start()
            else:
                pulses.pop((source, port)).beating = False
            answer = {}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    {"serve": serve, "connect": connect}[sys.argv[1]](*sys.argv[2:])
