"""A mail server that takes everything and writes each mail to a file; run as a program of its own.

Touches the folder it is given and port 25 of localhost. Only for tests: one client at a time.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path


def serve(folder: Path) -> None:
    """Until it is ended."""
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", 25))
    server.listen(8)
    (folder / "ready").touch()
    number = 0
    while True:
        client, _address = server.accept()
        client.settimeout(20)
        with client, client.makefile("rwb", buffering=0) as talk:
            number += _one(talk, folder, number)


def _one(talk: object, folder: Path, number: int) -> int:
    """One session; how many mails it brought."""
    envelope: list[str] = []
    brought = 0
    _say(talk, "220 sink ESMTP")
    while line := talk.readline().decode("utf-8", "replace").rstrip("\r\n"):  # type: ignore[attr-defined]
        word = line[:4].upper()
        if word == "DATA":
            _say(talk, "354 go on")
            data = b""
            while (row := talk.readline()) not in (b".\r\n", b""):  # type: ignore[attr-defined]
                data += row.removeprefix(b".")  # RFC 5321 §4.5.2: a dot in front is doubled
            path = folder / f"{number + brought:04}.new"
            path.write_bytes("\n".join(envelope).encode() + b"\n\n" + data)
            path.rename(path.with_suffix(".mail"))
            brought += 1
            envelope = []
        elif word in ("MAIL", "RCPT"):
            envelope.append(line)
        _say(talk, "221 bye" if word == "QUIT" else "250 ok")
        if word == "QUIT":
            break
    return brought


def _say(talk: object, words: str) -> None:
    talk.write(f"{words}\r\n".encode())  # type: ignore[attr-defined]


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
