"""The service keeper: the privileged side for gates that are not in the firewall.

Touches services, balancers and commands through the kinds, its folder of records, and the socket
to the watcher (see `conversation`). Makes the dead man, the spare processes and the timer.
Limits: one watcher; reads no log; a thread for each gate.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tidegate.errors import GateError
from tidegate.gate.switches.conversation import OFF_FILE, Keeper, clock
from tidegate.gate.switches.deadman import KEEPER, DeadMan
from tidegate.gate.switches.kinds import Tools
from tidegate.gate.switches.pool import Pool
from tidegate.gate.switches.record import Records
from tidegate.gate.switches.timer import Timer
from tidegate.model import Micros
from tidegate.policy.models import Policy


def serve(
    connection: socket.socket,
    load_policy: Callable[[], Policy],
    records_folder: Path,
    *,
    now: Callable[[], Micros] = clock,
    off_file: Path = OFF_FILE,
    tools: Callable[[Any], Tools] = Tools,
) -> None:
    """Answer the watcher until it goes. Raises TidegateError where the first policy is faulty, or
    the folder of records can't be trusted."""
    troubles: list[str] = []
    keepers: list[Keeper] = []

    def told(line: str) -> None:
        if keepers:
            keepers[0].trouble(line)
        else:
            troubles.append(line)

    records = Records(records_folder, told)
    dead_man = DeadMan(records_folder, now, tools)  # these two before there are threads of ours
    pool = Pool(told)
    try:
        made = replace(tools(pool), leases=records_folder / "agents")
        timer = Timer(records_folder, made, told)
        keeper = Keeper(
            connection, load_policy, records, made, now=now, off_file=off_file, plan=timer.ensure
        )
        keepers.append(keeper)
        for line in troubles:
            keeper.trouble(line)
        _loop(keeper, records, pool, dead_man, timer)
    finally:
        if keepers:
            keepers[0].close()
        pool.close()
        records.unlock()
        dead_man.close()


def _loop(keeper: Keeper, records: Records, pool: Pool, dead_man: DeadMan, timer: Timer) -> None:
    poll = select.poll()
    poll.register(keeper, select.POLLIN)
    poll.register(keeper.woken(), select.POLLIN)
    due, begun = 0.0, False
    threading.Thread(target=_put_off, args=(keeper, timer), name="timer", daemon=True).start()
    while True:
        wait = max(0.0, due - time.monotonic())
        for descriptor, _events in poll.poll(wait * 1000):
            going = keeper.tell() if descriptor == keeper.woken() else keeper.receive()
            if not going:
                return
        if time.monotonic() < due:
            continue
        due = time.monotonic() + (1.0 if begun else 0.1)
        if pool.broken or dead_man.gone:
            name = "process that starts commands" if pool.broken else "dead man"
            raise GateError(f"the {name} was ended by somebody; the service keeper begins anew")
        if not begun and (begun := records.lock(KEEPER)):
            keeper.begin()
        keeper.tick()


def _put_off(keeper: Keeper, timer: Timer) -> None:
    """A thread's whole life: while something is closed, the timer does not go off."""
    while True:
        time.sleep(2.0)
        try:
            if keeper.closed:
                timer.ensure()
            else:
                timer.rest()
        except GateError:
            return  # nothing can be run any more: the service keeper ends
