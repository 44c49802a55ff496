"""The crowd before a mail host: worms, bouncing relays and good senders, each from its own address.

Touches sockets of the namespace it is started in. Speaks JSON lines on standard input and output.
Limits: started by `stage.Background` only; one message for each connection.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator

PORT = 25
NOBODY = 0
CONNECT_WITHIN, TALK_WITHIN = 3.0, 20.0
# In two halves, so that no scanner takes this file for what the text only imitates.
EICAR = r"X5O!P%@AP[4\PZX54(P^)7CC)7}$" + "EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
VIRUS = f"Subject: Re: Details\r\n\r\nPlease see the attached file for details.\r\n{EICAR}\r\n"
KNOWN = "anna@example.com"


async def reply(reader: asyncio.StreamReader) -> int:
    """The code of the server's next answer; NOBODY once it has hung up."""
    while line := await reader.readline():
        if line[3:4] != b"-":
            return int(line[:3])
    return NOBODY


async def talk(
    target: str, source: str, sender: str, recipient: str, body: str, line: float
) -> int:
    """Try to deliver one message over a line that takes so many seconds; the last code heard.

    A refusal ends the conversation; NOBODY where no connection came about or it broke.
    """
    try:
        async with asyncio.timeout(CONNECT_WITHIN):
            reader, writer = await asyncio.open_connection(target, PORT, local_addr=(source, 0))
    except OSError:
        return NOBODY
    try:
        async with asyncio.timeout(TALK_WITHIN):
            code = await reply(reader)
            if code == 220:
                await asyncio.sleep(line)
            said = ("HELO x.example", f"MAIL FROM:<{sender}>", f"RCPT TO:<{recipient}>", "DATA")
            for command in (*said, body + "."):
                if code >= 400 or code == NOBODY:
                    return code
                writer.write(f"{command}\r\n".encode())
                code = await reply(reader)
            writer.write(b"QUIT\r\n")
            return code
    except OSError:
        return NOBODY
    finally:
        writer.close()


class Flood:
    """Those who never stop: a worm or a bouncing relay at every address."""

    def __init__(self, target: str, sources: list[str], kind: str) -> None:
        self._target, self._sources, self._kind = target, sources, kind
        self._tasks: list[asyncio.Task[None]] = []
        self._chance = random.Random(kind)
        self.heard: Counter[int] = Counter()

    async def start(self, line: float, pause: float) -> dict:
        """Begin: sessions over lines of `line` seconds, about `pause` seconds between two."""
        self._tasks = [asyncio.create_task(self._one(one, line, pause)) for one in self._sources]
        return {}

    async def _one(self, source: str, line: float, pause: float) -> None:
        await asyncio.sleep(self._chance.uniform(0, pause))
        while True:
            if self._kind == "worms":
                letter = ("big@boss.example", KNOWN, VIRUS)
            else:  # who knows whose name the worm forged: nobody here
                letter = ("", f"user{self._chance.randrange(9999)}@example.com", "")
            self.heard[await talk(self._target, source, *letter, line)] += 1
            await asyncio.sleep(self._chance.uniform(0.5, 1.5) * pause)

    async def stop(self) -> dict:
        """End; how often which code was heard since the beginning of all."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        return {"heard": {str(code): number for code, number in self.heard.items()}}


class Senders:
    """Mail servers that send a small message every so often, and what was deferred again later.

    A message has its own times, as qmail gives it: its birth and n² of a unit, for n = 0, 1, 2 …
    """

    def __init__(self, target: str, sources: list[str], _kind: str) -> None:
        self._target, self._sources = target, sources
        self._writers: list[asyncio.Task[None]] = []
        self._letters: list[asyncio.Task[None]] = []
        self._chance = random.Random("senders")
        self._born: Counter[str] = Counter()
        self._waiting: set[str] = set()
        self._done: list[dict] = []

    async def start(self, every: float, unit: float) -> dict:
        """Begin to write: each sender a message every so many seconds."""
        self._writers = [asyncio.create_task(self._write(s, every, unit)) for s in self._sources]
        return {}

    async def _write(self, source: str, every: float, unit: float) -> None:
        await asyncio.sleep(self._chance.uniform(0, every))
        while True:
            self._born[source] += 1
            name = f"{source}-{self._born[source]}"
            self._waiting.add(name)
            self._letters.append(asyncio.create_task(self._deliver(source, name, unit)))
            await asyncio.sleep(every)

    async def _deliver(self, source: str, name: str, unit: float) -> None:
        born = time.monotonic()
        body = f"Message-ID: <{name}@good.example>\r\nSubject: hello\r\n\r\nHow are you?\r\n"
        for attempt in range(1, 1000):
            code = await talk(self._target, source, "bob@good.example", KNOWN, body, 0.0)
            if code == 250 or code >= 500:
                break
            await asyncio.sleep(max(0.0, born + attempt**2 * unit - time.monotonic()))
        self._waiting.discard(name)
        row = {"name": name, "born": born, "done": time.monotonic(), "tries": attempt, "code": code}
        self._done.append(row)

    async def stop(self) -> dict:
        """Write nothing new; what was deferred is still tried again."""
        for task in self._writers:
            task.cancel()
        return {}

    async def report(self) -> dict:
        """Every message that found an end, and how many still wait."""
        return {"done": self._done, "waiting": len(self._waiting)}

    async def count(self) -> dict:
        """How many found an end, and how many still wait."""
        return {"done": len(self._done), "waiting": len(self._waiting)}


def addresses(first: str, number: int) -> Iterator[str]:
    """So many addresses from the first one on; none that ends in 0 or 255."""
    a, b, c, d = map(int, first.split("."))
    place = (a << 24) + (b << 16) + (c << 8) + d
    while number:
        if place & 255 not in (0, 255):
            yield ".".join(str(place >> shift & 255) for shift in (24, 16, 8, 0))
            number -= 1
        place += 1


async def main(kind: str, target: str, first: str, number: str) -> None:
    """Do what standard input says, line by line, until it ends."""
    crowd = (Senders if kind == "senders" else Flood)(
        target, list(addresses(first, int(number))), kind
    )
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        verb, *words = json.loads(line)
        print(json.dumps(await getattr(crowd, verb)(*words)), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
