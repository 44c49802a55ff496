"""Heavy senders before a small spool: each keeps sending large messages that the host accepts.

Touches sockets of the namespace it is started in. Speaks JSON lines on standard input and output.
Limits: started by `stage.Background` only; one message for each connection, its size fixed.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter

from tests.story.crowd import KNOWN, addresses, talk

LINE = "All the news that fits the spool, and then some more of it, line after line.\r\n"


class Heavy:
    """So many senders, each with so many connections at a time."""

    def __init__(self, target: str, sources: list[str], size: int, hands: int) -> None:
        self._target, self._sources, self._hands = target, sources, hands
        self._body = LINE * (size // len(LINE))
        self._tasks: list[asyncio.Task[None]] = []
        self._born: Counter[str] = Counter()
        self._accepted: list[str] = []
        self._heard: Counter[int] = Counter()

    async def start(self, pause: float) -> dict:
        """Begin: `pause` seconds between two messages of one hand."""
        self._tasks = [
            asyncio.create_task(self._one(source, pause))
            for source in self._sources
            for _hand in range(self._hands)
        ]
        return {}

    async def _one(self, source: str, pause: float) -> None:
        while True:
            self._born[source] += 1
            name = f"{source}-{self._born[source]}"
            letter = f"Message-ID: <{name}@heavy.example>\r\nSubject: news\r\n\r\n{self._body}"
            code = await talk(self._target, source, "news@heavy.example", KNOWN, letter, 0.0)
            self._heard[code] += 1
            if code == 250:
                self._accepted.append(name)
            await asyncio.sleep(pause)

    async def stop(self) -> dict:
        """End, each after what it is just sending."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        return {}

    async def count(self) -> dict:
        """How often which code was heard; 0: no connection came about."""
        return {"heard": {str(code): number for code, number in self._heard.items()}}

    async def report(self) -> dict:
        """The names of the messages that were accepted."""
        return {"accepted": self._accepted}


async def main(target: str, first: str, number: str, size: str, hands: str) -> None:
    """Do what standard input says, line by line, until it ends."""
    crowd = Heavy(target, list(addresses(first, int(number))), int(size), int(hands))
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        verb, *words = json.loads(line)
        print(json.dumps(await getattr(crowd, verb)(*words)), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
