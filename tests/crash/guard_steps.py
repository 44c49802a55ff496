"""Holds a daemon at one step of a closing or an opening, so that somebody can be killed just there.

Touches the classes of this process (call `install` after the fork that becomes the daemon) and a
folder of step files: one that is armed is renamed to `reached`, and its process waits for `go`.
Limits: each step is held once; scripts hold themselves by the same files (`SHELL`).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from tidegate.daemon import guarding, wiring
from tidegate.gate.nftables import NftablesGate
from tidegate.gate.remote import RemoteGate
from tidegate.gate.switches import groups, haproxy, keepalived, lease, record, registry, switch
from tidegate.gate.switches.kinds import Ran, Tools
from tidegate.gate.switches.record import Records
from tidegate.gate.switches.remote import RemoteSwitches
from tidegate.ledger.sqlite import SqliteLedger
from tidegate.model import SECOND

PATIENCE = 60.0
SHELL = (
    'mv "{steps}/$1" {steps}/reached 2>/dev/null && until [ -e {steps}/go ]; do sleep 0.02; done'
)
"""What a script does at the step `$1`."""

Named = Callable[..., Iterable[str]]


def install(steps: Path) -> None:
    """From now on every step can be held: `before NAME`, `after NAME`."""
    _around(SqliteLedger, "intend", steps, _Ledger.intend)
    _around(SqliteLedger, "settle", steps, _Ledger.settle)
    for target, name, verb in (
        (RemoteSwitches, "want", "want"),
        (RemoteGate, "switch", "ask"),
        (NftablesGate, "switch", "switch"),
    ):
        _around(target, name, steps, _Difference(verb))
    _around(Records, "write", steps, lambda _records, one: [f"record {one.stage} {one.gate}"])
    _around(Records, "remove", steps, lambda _records, gate: [f"forget {gate}"])
    for terms, kind in registry.kinds(Tools(lambda *_words, **_options: Ran(0, ""))).items():
        for name in ("close", "open"):
            _around(type(kind), name, steps, _constant(f"{name} {terms.__name__.lower()}"))
    _around(groups, "write", steps, lambda path, _value: [f"write {path.name}"])
    _around(haproxy, "_command", steps, lambda _terms, line: [f"say {' '.join(line.split()[:2])}"])
    _around(keepalived, "_write", steps, lambda path, _value: [f"write {path.name}"])
    _around(lease.Leases, "put", steps, _constant("tell agent"))


def hasten(seconds: float) -> None:
    """A closing lasts for so long unless it is renewed; what follows from that is as much shorter."""
    for module in [one for name, one in sys.modules.items() if name.startswith("tidegate.")]:
        if hasattr(module, "LEASE"):
            module.LEASE = int(seconds * SECOND)
    record._AHEAD = int(2 * seconds * SECOND)
    guarding.RENEW_EVERY = switch.RENEW_AFTER = SECOND
    lease.MARGIN = 2.0


def quicken() -> None:
    """What people do is noticed within a second; examples of detectors are tried elsewhere."""
    switch.LOOK_EVERY = SECOND // 2
    wiring.prove = lambda _packs, _engine: None


def _around(target: Any, name: str, steps: Path, named: Named) -> None:
    act = getattr(target, name)

    def held(*words: Any, **options: Any) -> Any:
        names = list(named(*words, **options))
        for one in names:
            _hold(steps, f"before {one}")
        done = act(*words, **options)
        for one in names:
            _hold(steps, f"after {one}")
        return done

    setattr(target, name, held)


def _hold(steps: Path, name: str) -> None:
    try:
        os.rename(steps / name, steps / "reached")
    except FileNotFoundError:
        return
    deadline = time.monotonic() + PATIENCE
    while not (steps / "go").exists() and time.monotonic() < deadline:
        time.sleep(0.005)


def _constant(name: str) -> Named:
    return lambda *_words, **_options: [name]


class _Ledger:
    """What a decision is about, for when it is settled."""

    known: Mapping[str, str] = {}

    @classmethod
    def intend(cls, _ledger: object, decisions: Iterable[Any], **_options: Any) -> list[str]:
        names = {one.id: f"{one.action} {one.subject.removeprefix('gate:')}" for one in decisions}
        cls.known = {**cls.known, **names}
        return [f"intend {name}" for name in names.values()]

    @classmethod
    def settle(cls, _ledger: object, outcomes: Iterable[Any]) -> list[str]:
        return [f"settle {cls.known[one.id]}" for one in outcomes if one.id in cls.known]


class _Difference:
    """Which gates are closed, or opened, compared with what was said before."""

    def __init__(self, verb: str) -> None:
        self._verb, self._before = verb, frozenset[str]()

    def __call__(self, _self: object, closed: Mapping[str, int], _now: int) -> list[str]:
        before, self._before = self._before, frozenset(closed)
        return [f"{self._verb} close {one}" for one in sorted(self._before - before)] + [
            f"{self._verb} open {one}" for one in sorted(before - self._before)
        ]
