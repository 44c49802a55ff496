"""What each ten packs more cost: the same logs, read with few packs, then with more, then with all.

Touches the folder it is given. Measured inside this process, detection alone, packs added in order
of their names. Limits: packs differ; the figure is the slope over all of them.
"""

from __future__ import annotations

import statistics
import time
from datetime import UTC
from pathlib import Path

from bench import logs
from bench.path import Bench
from bench.report import Figure
from tidegate.detector.definition import Pack
from tidegate.detector.engine import Engine
from tidegate.detector.pack import load_packs
from tidegate.model import Block

LINES = 300_000
STEPS = (2, 12, 42, 82, 132, 182)
ROUNDS = 3


def growth(bench: Bench) -> list[Figure]:
    """CPU seconds per million lines for each ten packs more, on exim and sshd logs at 2 %."""
    bench.say("growth: packs added ten by ten")
    packs = load_packs()
    figures = []
    for kind in ("exim", "sshd"):
        path = bench.folder / f"growth-{kind}.log"
        logs.write(path, logs.Shape(kind, 0.02, False), LINES)
        blocks = _blocks(path)
        path.unlink()
        own = [pack for pack in packs if pack.name in ("exim", "sshd")]
        others = [pack for pack in packs if pack not in own]
        counts = [*(step for step in STEPS if step < len(packs)), len(packs)]
        costs = [_cost([*own, *others[: count - 2]], blocks) for count in counts]
        slope = statistics.linear_regression(counts, costs).slope * 10
        note = f"{costs[0]:.3f} with 2 packs, {costs[-1]:.3f} with all {len(packs)}"
        figures.append(Figure("packs", f"{kind} 2 %, ten more", slope, "s", None, note))
    return figures


def _blocks(path: Path) -> list[bytes]:
    data = path.read_bytes()
    blocks, start = [], 0
    while start < len(data):
        stop = data.rfind(b"\n", start, start + (1 << 20)) + 1
        blocks.append(data[start:stop])
        start = stop
    return blocks


def _cost(packs: list[Pack], blocks: list[bytes]) -> float:
    """CPU seconds per million lines: the median of some rounds, the first of them not counted."""
    engine = Engine(packs, zone=UTC)
    found = []
    for _ in range(ROUNDS + 1):
        before, offset = time.process_time(), 0
        for data in blocks:
            engine.detect(Block("growth", data, offset, logs.END * 1_000_000, 1))
            offset += len(data)
        found.append(time.process_time() - before)
    return statistics.median(found[1:]) / LINES * 1e6
