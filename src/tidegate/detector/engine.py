"""The engine: blocks of lines in, batches of events out.

Touches nothing: time comes with the data.
Limits: lines over 32 KiB are cut, still matched, and counted.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from datetime import tzinfo

from tidegate import subject as subjects
from tidegate.detector import line as lines
from tidegate.detector.definition import Detector, Pack
from tidegate.detector.scanner import EngineName, choose
from tidegate.detector.timestamps import Stamps
from tidegate.model import MINUTE, Batch, Block, Event, Micros, Subject, Success

LONGEST = 32 * 1024
_AHEAD = MINUTE
_SUBJECTS = 65_536


class Engine:
    """Detects events. Holds caches and nothing that changes a result; one thread only."""

    def __init__(
        self,
        packs: Sequence[Pack],
        *,
        zone: tzinfo,
        engine: EngineName = "auto",
        detectors: Collection[str] | None = None,
    ) -> None:
        self._detectors: list[tuple[Detector, Pack, re.Pattern[bytes]]] = [
            (detector, pack, re.compile(b"(?:" + detector.pattern + rb")\Z"))
            for pack in packs
            for detector in pack.detectors
            if detectors is None or pack.name in detectors or detector.name in detectors
        ]
        self._literals = sorted(
            {literal for detector, _, _ in self._detectors for literal in detector.literals}
        )
        self._scanner = choose(engine, self._literals)
        self.engine = self._scanner.name
        self._stamps = Stamps(zone)
        self._shapes = [re.compile(shape.header()) for shape in lines.SHAPES]
        self._journal = re.compile(lines.JOURNAL.header())
        self._programs = {
            pack.name: re.compile(
                b"|".join(re.escape(p).replace(r"\*", ".*").encode() for p in pack.programs)
            )
            for pack in packs
        }
        self.disabled: tuple[str, ...] = ()

    def detect(self, block: Block, *, fields: bool = False) -> Batch:
        """The events in a block, in line order."""
        batch = Batch(block.source, block.origin)
        data = block.data
        self._stamps.arrive(block.arrival)
        batch.lines = data.count(b"\n")
        done = -1
        hits = self._scanner.scan(data)
        position = 0
        while position < len(hits):
            end = hits[position][0]
            start = data.rfind(b"\n", 0, end) + 1
            stop = data.find(b"\n", end)
            stop = len(data) if stop < 0 else stop
            seen = set()
            while position < len(hits) and hits[position][0] <= stop:
                seen.add(self._literals[hits[position][1]])
                position += 1
            batch.hits += 1
            self._line(block, batch, start, min(stop, start + LONGEST), stop, seen, fields)
        return batch

    def _line(self, block, batch, start, stop, whole, seen, fields):  # type: ignore
        data = block.data
        if data[stop - 1] == 13:
            stop -= 1
        program = pid = stamp = None
        begin = start
        if block.framing == "journal":
            if not data.startswith(b"MESSAGE=", start):
                return
            entry = data.rfind(b"\n\n", 0, start) + 2 if b"\n\n" in data[:start] else 0
            close = data.find(b"\n\n", start)
            part = b"\n" + data[entry : close if close >= 0 else len(data)]

            def field(name):
                at = part.find(b"\n" + name + b"=")
                return part[at + len(name) + 2 :].split(b"\n", 1)[0] if at >= 0 else None

            program = field(b"SYSLOG_IDENTIFIER")
            pid = field(b"_PID") or field(b"SYSLOG_PID")
            real = field(b"__REALTIME_TIMESTAMP")
            time = int(real) if real else None
            begin = self._journal.match(data, start + 8, stop).end()
        else:
            for shape in self._shapes:
                m = shape.match(data, start, stop)
                if m:
                    g = m.groupdict()
                    program, pid = g.get("_program"), g.get("_pid")
                    stamp = g.get("_stamp") or g.get("_own")
                    begin = m.end()
                    break
            time = self._stamps.read(stamp) if stamp else None
        if time is None:
            time = block.arrival
        elif time > block.arrival + _AHEAD:
            time = block.arrival
            batch.clamped += 1
        count = 1
        m = lines.REPEATED.match(data, begin, stop)
        if m:
            count = int(m[1])
            begin = m.end()
            if data[stop - 1 : stop] == b"]":
                stop -= 1
        taken = None
        for detector, pack, rx in self._detectors:
            if pack.name == taken or not seen.intersection(detector.literals):
                continue
            if program is not None and not self._programs[pack.name].fullmatch(program):
                continue
            m = rx.match(data, begin, stop)
            if not m:
                continue
            g = m.groupdict()
            who = Subject("")
            if g.get("addr") is not None:
                text = g["addr"].decode("latin-1")
                who = subjects.of_host(text) if detector.host else subjects.of_address(text)
                if who is None:
                    continue
            elif detector.slot and detector.kind.klass != "notice":
                continue
            taken = pack.name
            session = g.get("session") or pid or b""
            batch.last_time = max(batch.last_time, time)
            kind = detector.kind
            if kind.klass == "success":
                old = batch.successes.get(who)
                off = block.offset + start
                batch.successes[who] = (
                    Success(count, off, time, time)
                    if old is None
                    else Success(
                        old.count + count,
                        old.first_offset,
                        min(old.first_time, time),
                        max(old.last_time, time),
                    )
                )
                if not fields:
                    continue
            values = (
                {k: v.decode("utf-8", "backslashreplace") for k, v in g.items() if v is not None}
                if fields
                else {}
            )
            batch.events.append(
                Event(
                    time,
                    kind,
                    who,
                    count,
                    session.decode("latin-1"),
                    block.offset + start,
                    whole - start,
                    values,
                )
            )
