"""The entry point: in haste for what people ask of a host in trouble, and for nothing else."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tidegate.__main__ import HASTE, HASTY
from tidegate.cli import VERBS

ASK = """
import atexit, os, sys
from tidegate.__main__ import enter
atexit.register(lambda: print(os.getpriority(os.PRIO_PROCESS, 0), flush=True))
enter()
"""


def priority(*words: str) -> tuple[int, str]:
    """That of the command at its end, and what it printed before."""
    done = subprocess.run(
        [sys.executable, "-c", ASK, *words], capture_output=True, text=True, check=True
    )
    said, _newline, number = done.stdout.rstrip().rpartition("\n")
    return int(number), said


def test_it_is_only_of_verbs_that_there_are() -> None:
    assert VERBS.keys() > HASTY


@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
def test_what_is_asked_in_trouble_goes_before_the_trouble() -> None:
    number, said = priority("off", "--help")
    assert number == HASTE
    assert "Open every gate now" in said


def test_long_work_stays_ordinary() -> None:
    number, said = priority("replay", "--help")
    assert number == os.getpriority(os.PRIO_PROCESS, 0)
    assert "replay" in said
