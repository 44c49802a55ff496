"""Small servers on the loopback that say one thing, and hostile ones.

Touches threads and sockets, ended by `close`. Limits: one connection after the other.
"""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

Talk = Callable[[socket.socket], None]


@contextmanager
def serving(talk: Talk, family: int = socket.AF_INET) -> Iterator[int]:
    """The port of a server that does `talk` with whoever connects, then hangs up."""
    server = socket.socket(family, socket.SOCK_STREAM)
    server.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
    server.listen(8)
    stopping = threading.Event()

    def work() -> None:
        while True:
            client, _place = server.accept()
            if stopping.is_set():
                client.close()
                return
            client.settimeout(5)
            with client, suppress(OSError):
                talk(client)

    thread = threading.Thread(target=work)
    thread.start()
    port = server.getsockname()[1]
    try:
        yield port
    finally:
        stopping.set()
        socket.create_connection(server.getsockname()[:2]).close()
        thread.join(10)
        server.close()


def saying(*words: bytes) -> Talk:
    """Say the first, and each next one after something was heard."""

    def talk(client: socket.socket) -> None:
        for word in words:
            client.sendall(word)
            client.recv(4096)

    return talk


def answering(answer: bytes, heard: list[bytes] | None = None) -> Talk:
    """Hear a request, then say this."""

    def talk(client: socket.socket) -> None:
        got = client.recv(4096)
        if heard is not None:
            heard.append(got)
        client.sendall(answer)

    return talk


def certificate(folder: Path, name: str) -> Path:
    """A certificate for `name` that nobody has signed but itself, with its key in the same file."""
    path = folder / "certificate.pem"
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    names = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    files = ["-keyout", str(path), "-out", str(folder / "half.pem")]
    subprocess.run([*words.split(), *names, *files], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + (folder / "half.pem").read_bytes())
    return path


def secured(path: Path, talk: Talk) -> Talk:
    """The same inside TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)

    def spoken(client: socket.socket) -> None:
        with context.wrap_socket(client, server_side=True) as inner:
            talk(inner)

    return spoken
