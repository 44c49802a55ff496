"""An IRC server as a bot's master runs one: `python -m tests.story.ircd PORT`, asked in JSON lines.

Touches the network of its namespace. Orders: `bots` (how many are in the channel), `say TEXT` (to
all of them). Limits: NICK, USER, JOIN and PONG are all that it understands.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
from contextlib import suppress

CHANNEL = "#owned"


class Bot:
    """One who has called; in the channel once it joined."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection, self.rest = connection, b""
        self.nick, self.joined = "", False

    def heard(self) -> bool:
        """Whether it is still there."""
        try:
            data = self.connection.recv(4096)
        except OSError:
            return False
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            words = line.decode("ascii", "replace").split()
            if words[:1] == ["NICK"]:
                self.nick = words[1]
            elif words[:1] == ["USER"]:
                self.say(f":irc.example 001 {self.nick} :welcome")
            elif words[:1] == ["JOIN"]:
                self.joined = True
                self.say(f":{self.nick} JOIN {CHANNEL}")
        return bool(data)

    def say(self, text: str) -> None:
        """One line to it."""
        with suppress(OSError):
            self.connection.sendall(text.encode() + b"\r\n")


def main() -> None:
    """Serve until standard input ends."""
    server = socket.create_server(("", int(sys.argv[1])))
    chooser = selectors.DefaultSelector()
    chooser.register(server, selectors.EVENT_READ)
    chooser.register(sys.stdin, selectors.EVENT_READ)
    bots: dict[object, Bot] = {}
    print("{}", flush=True)
    while True:
        for key, _events in chooser.select():
            if key.fileobj is server:
                connection = server.accept()[0]
                bots[connection] = Bot(connection)
                chooser.register(connection, selectors.EVENT_READ)
            elif key.fileobj is sys.stdin:
                line = sys.stdin.readline()
                if not line:
                    return
                verb, *text = json.loads(line)
                inside = [bot for bot in bots.values() if bot.joined]
                for bot in inside if verb == "say" else ():
                    bot.say(f":master!m@irc.example PRIVMSG {CHANNEL} :{text[0]}")
                print(json.dumps({"bots": len(inside)}), flush=True)
            elif not bots[key.fileobj].heard():
                chooser.unregister(key.fileobj)
                bots.pop(key.fileobj).connection.close()


if __name__ == "__main__":
    main()
