"""What each process does after the master forked it: load as root, give up root, work.

Touches what its role touches. Everything is imported and opened before privilege is dropped, so
that an interpreter or checkout which others can't read does no harm.
Limits: the keeper never reads a log; the watcher never touches the firewall, nor a service.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from setproctitle import setproctitle

from tidegate import distress
from tidegate.control.peer import Access
from tidegate.control.server import ControlServer
from tidegate.daemon import garbage
from tidegate.daemon.privilege import (
    CAP_DAC_READ_SEARCH,
    CAP_NET_ADMIN,
    CAP_SYS_PTRACE,
    Identity,
    die_with_parent,
    drop,
    had,
)
from tidegate.errors import OperatorError
from tidegate.gate.charter import Charter

if TYPE_CHECKING:
    from tidegate.daemon.watcher import Watcher
    from tidegate.fleet.port import Fleet
    from tidegate.policy.models import Policy

log = logging.getLogger("tidegate")

Alive = Callable[[bytes], None]


def keeper(
    end: socket.socket, config: Path | None, trusted: bool, to: Identity, master: int
) -> None:
    """Own the table: check every request by the root-owned policy, and carry it out."""
    from tidegate.daemon.charter import charter_of
    from tidegate.daemon.clock import now_micros
    from tidegate.daemon.published import load
    from tidegate.gate.keeper import serve
    from tidegate.gate.knocks import Knocks
    from tidegate.gate.nftables import NftablesGate
    from tidegate.gate.outward.nftables import NftablesOutward
    from tidegate.gate.smtp421 import Responder

    setproctitle("tidegate: keeper")
    first = [load(config, trusted=trusted).policy]  # while we may still read everything
    off = Path(first[0].paths.off)
    if first[0].guarded:
        distress.lock()
    drop(to, keep=(CAP_NET_ADMIN,))
    die_with_parent(master)

    def charter() -> Charter:
        return charter_of(first.pop() if first else load(config, trusted=trusted).policy)

    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the watcher tells when to read it again
    garbage.seldom()
    serve(
        end, NftablesGate(), charter,
        now=now_micros, off_file=off, listen=Knocks, responder=Responder(setproctitle),
        outward=NftablesOutward(),
    )  # fmt: skip


def switches(end: socket.socket, config: Path | None, trusted: bool, master: int) -> None:
    """Stop and start services, drain balancers, run commands: those named in policy, as root."""
    from tidegate.daemon.clock import now_micros
    from tidegate.daemon.halting import tools
    from tidegate.daemon.published import load
    from tidegate.gate.switches.keeper import serve

    setproctitle("tidegate: service keeper")
    first = [load(config, trusted=trusted).policy]
    folder, off = Path(first[0].paths.gates), Path(first[0].paths.off)
    distress.lock(stays_root=True)
    die_with_parent(master)

    def policy() -> Policy:
        return first.pop() if first else load(config, trusted=trusted).policy

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    garbage.seldom()
    serve(end, policy, folder, now=now_micros, off_file=off, tools=tools(folder))


def sampler(
    end: socket.socket, config: Path | None, trusted: bool, to: Identity | None, master: int
) -> None:
    """Take readings, and run the commands that take the administrator's own."""
    from tidegate.daemon.published import load
    from tidegate.source.readings.catalogue import preload
    from tidegate.source.readings.sampler import serve

    preload()
    setproctitle("tidegate: sampler")
    first = [load(config, trusted=trusted).policy]
    if to is not None:
        distress.lock()
        drop(to, keep=(CAP_DAC_READ_SEARCH,))
        die_with_parent(master)

    def policy() -> Policy:
        return first.pop() if first else load(config, trusted=trusted).policy

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    garbage.seldom()
    serve(end, policy)


def meter(
    end: socket.socket, config: Path | None, trusted: bool, to: Identity, master: int
) -> None:
    """Listen to the kernel about what leaves: connections, packets that caps kept back, and which
    program is behind them."""
    from tidegate.daemon.host import own
    from tidegate.daemon.published import load
    from tidegate.source.traffic.meter import serve
    from tidegate.source.traffic.owners import Owners

    setproctitle("tidegate: meter")
    first = [load(config, trusted=trusted).policy]
    if first[0].guarded:
        distress.lock()
    drop(to, keep=had(CAP_NET_ADMIN, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH))
    die_with_parent(master)

    def policy() -> Policy:
        return first.pop() if first else load(config, trusted=trusted).policy

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    garbage.seldom()
    serve(end, policy, own, Owners())


def fleet(
    end: socket.socket, config: Path | None, trusted: bool, to: Identity, master: int
) -> None:
    """Talk to the other hosts through the engine: count, claim, believe, tell the watcher."""
    from tidegate.daemon.published import load
    from tidegate.fleet.engine.access import login_of
    from tidegate.fleet.process import serve
    from tidegate.fleet.trust import keys

    setproctitle("tidegate: fleet")
    first = [load(config, trusted=trusted).policy]
    folder, spec = Path(first[0].paths.fleet), first[0].fleet
    if spec is None:
        raise OperatorError("[fleet] is gone from the policy: restart tidegate")
    # Only root may read these, and no other start may have had this epoch.
    who, signer, login = keys.load_identity(folder), keys.load(folder), login_of(spec)
    epoch = keys.next_epoch(folder)
    if first[0].guarded:
        distress.lock()
    drop(to)
    die_with_parent(master)

    def policy() -> Policy:
        return first.pop() if first else load(config, trusted=trusted).policy

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    garbage.seldom()
    serve(end, policy, signer, who, epoch, login)


def librarian(
    end: socket.socket, config: Path | None, trusted: bool, to: Identity, master: int
) -> None:
    """Verify what the fleet has published, and keep it on the shelf, which is this user's."""
    from tidegate.daemon.published import anchor, load
    from tidegate.fleet.journal.librarian import serve

    setproctitle("tidegate: librarian")
    policy = load(config, trusted=trusted).policy
    known = anchor(policy.paths.fleet, trusted)
    if known is None:
        raise OperatorError(f"{policy.paths.fleet}: this host is of no fleet any more")
    drop(to)
    die_with_parent(master)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    garbage.seldom()
    serve(end, known.shelf(policy.paths), known.host)


def watcher(
    ends: Mapping[str, socket.socket],
    alive: Alive,
    config: Path | None,
    observe: bool,
    trusted: bool,
    to: Identity | None,
    master: int,
    apart: str = "",
) -> None:
    """Read, decide, remember; ask the keepers (or, without them, their twins in memory) to act.
    `apart`: why nobody talks to the fleet, where policy has one."""
    from tidegate.daemon import chronicling
    from tidegate.daemon.watcher import Watcher
    from tidegate.daemon.wiring import Wiring, open_sources, planned, unmetered
    from tidegate.detector.budget import CpuBudget
    from tidegate.fleet.journal.librarian import Library
    from tidegate.fleet.port import MemoryFleet
    from tidegate.gate.memory import MemoryGate
    from tidegate.gate.remote import RemoteGate
    from tidegate.gate.switches.memory import MemorySwitches
    from tidegate.gate.switches.remote import RemoteSwitches
    from tidegate.ledger.sqlite import SqliteLedger
    from tidegate.source.readings.memory import MemoryReadings
    from tidegate.source.readings.remote import RemoteReadings
    from tidegate.source.traffic.port import MemoryTraffic
    from tidegate.source.traffic.remote import RemoteTraffic

    found = planned(config, observe=observe, trusted=trusted, budget=CpuBudget())
    policy = found.loaded.policy
    if to is not None:
        if policy.guarded:
            distress.lock()
        drop(to)
        die_with_parent(master)
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    gate = RemoteGate(ends["keeper"]) if "keeper" in ends else MemoryGate()
    traffic = RemoteTraffic(ends["meter"]) if "meter" in ends else MemoryTraffic(unmetered(policy))
    ledger = SqliteLedger(*_kept(policy))
    wiring = Wiring(
        config=config,
        plan=found,
        pipeline=found.pipeline(),
        sources=open_sources(found, ledger, traffic, gate),
        ledger=ledger,
        gate=gate,
        gate_kind="nftables" if "keeper" in ends else "in memory (nothing is closed)",
        switches=RemoteSwitches(ends["switches"]) if "switches" in ends else MemorySwitches(),
        readings=RemoteReadings(ends["sampler"]) if "sampler" in ends else MemoryReadings(),
        traffic=traffic,
        fleet=_fleet(ends) if "fleet" in ends else MemoryFleet(apart or _LOST),
        library=Library(ends["librarian"]) if "librarian" in ends else None,
        control=ControlServer(
            os.path.join(policy.paths.run, "watcher", "control.sock"),
            mode=0o666,  # who may do what is decided by peer credentials, not by the file
            access=_access(),
        ),
        wake_fd=wake_read,
        observe=observe,
        trusted=trusted,
        events=chronicling.folder(policy),
    )
    wiring.control.start()
    daemon = Watcher(wiring, alive, setproctitle)
    _heed_signals(daemon, wake_write)
    garbage.seldom()
    garbage.give_back()
    daemon.run()


def _fleet(ends: Mapping[str, socket.socket]) -> Fleet:
    """The conversation with the fleet's process."""
    from tidegate.fleet.remote import RemoteFleet

    return RemoteFleet(ends["fleet"])


_LOST = "its process does not live: mend what it said in the log, then restart tidegate"


def _kept(policy: Policy) -> tuple[str, int, int]:
    """Where the ledger is, for how long a decision is kept, and in how many bytes."""
    limits = policy.limits
    return os.path.join(policy.paths.state, "ledger.sqlite"), limits.keep, limits.ledger_bytes


def _heed_signals(daemon: Watcher, wake: int) -> None:
    """SIGTERM and SIGINT end it, SIGHUP has it read its policy anew; either wakes its loop."""

    def stop(_number: int, _frame: object) -> None:
        daemon.stopping = True

    def reload(_number: int, _frame: object) -> None:
        daemon.reload_asked = True

    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGHUP, reload)


def _access() -> Access:
    """Whoever runs the daemon without root may also act on it."""
    own = os.geteuid()
    return Access(read_uids=frozenset({own}), act_uids=frozenset({own} if own else ()))
