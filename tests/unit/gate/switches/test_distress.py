from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tidegate.gate.switches import distress


def in_a_child(act: Callable[[], object]) -> str:
    """What it returns, as text, in a process of its own."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writing, repr(act()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading) as file:
        said = file.read()
    os.waitpid(pid, 0)
    return said


CAP_IPC_LOCK, CAP_SYS_NICE, CAP_SYS_RESOURCE = 14, 23, 24


def capable(*wanted: int) -> bool:
    status = Path("/proc/self/status").read_text()
    held = int(status.partition("CapEff:")[2].split()[0], 16)
    return all(held >> one & 1 for one in wanted)


def locked() -> int:
    """KiB of this process that can't be swapped out."""
    return int(Path("/proc/self/status").read_text().partition("VmLck:")[2].split()[0])


@pytest.mark.skipif(not capable(CAP_SYS_RESOURCE), reason="needs CAP_SYS_RESOURCE")
def test_spared_when_memory_is_short():
    assert in_a_child(lambda: (distress.prepare(), distress.rank().oom)[1]) == "-900"


@pytest.mark.skipif(not capable(CAP_SYS_RESOURCE, CAP_IPC_LOCK), reason="needs CAP_IPC_LOCK")
def test_never_swapped_out_and_memory_can_be_had_after_privileges_are_dropped():
    def act() -> object:
        distress.prepare()
        os.setresuid(65534, 65534, 65534)
        return len(bytearray(64 << 20)) == 64 << 20, locked() > 64 << 10

    assert in_a_child(act) == "(True, True)"


@pytest.mark.skipif(not capable(CAP_IPC_LOCK), reason="needs CAP_IPC_LOCK")
def test_who_stays_root_is_never_swapped_out():
    def act() -> object:
        distress.prepare(stays_root=True)
        return len(bytearray(64 << 20)) == 64 << 20, locked() > 8 << 10

    assert in_a_child(act) == "(True, True)"


@pytest.mark.skipif(not capable(CAP_SYS_NICE), reason="needs CAP_SYS_NICE")
def test_served_first():
    assert in_a_child(lambda: (distress.prepare(), distress.rank()[1:3])[1]) == "(-5, 16384)"


@pytest.mark.skipif(not capable(CAP_SYS_NICE), reason="needs CAP_SYS_NICE")
def test_what_we_start_is_ordinary_again():
    def act() -> object:
        distress.prepare()
        distress.restore()
        return distress.rank() == distress.ORDINARY

    assert in_a_child(act) == "True"


def test_what_is_refused_is_a_line_each():
    def act() -> object:
        if os.geteuid() == 0:
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
        refused = distress.prepare()
        return all("too late" in one for one in refused), 1 <= len(refused) <= 4

    assert in_a_child(act) == "(True, True)"
