"""Space and inodes of real file systems."""

from __future__ import annotations

import os

import pytest

from tidegate.errors import SourceError
from tidegate.source.readings.disk import Disks


def test_space_and_inodes_of_a_real_file_system(tmp_path):
    disks, path = Disks(), str(tmp_path)
    found = os.statvfs(path)
    whole = found.f_blocks * found.f_frsize
    free = disks.taker("disk", "free", path).attempt(1)
    used = disks.taker("disk", "used", path).attempt(1)
    assert free.whole == used.whole == whole
    assert free.value + used.value == whole  # of one look
    assert disks.taker("disk", "available", path).attempt(1).value <= free.value
    for part in ("free", "used"):
        inodes = disks.taker("inodes", part, path).attempt(1)
        assert inodes.why.endswith("does not count inodes") or 0 <= inodes.value <= inodes.whole


def test_a_path_that_is_not_there_is_unknown_never_zero():
    taken = Disks().taker("disk", "free", "/no/such/place").attempt(1)
    assert taken == (None, None, "/no/such/place: no such file or directory")


def test_a_file_system_without_a_size_is_unknown():
    assert Disks().taker("disk", "free", "/proc").attempt(1).why == "this file system has no size"
    assert Disks().taker("inodes", "used", "/proc").attempt(1).why.endswith("count inodes")


def test_each_path_waits_alone():
    disks = Disks()
    one, other = (disks.taker("disk", "free", path) for path in ("/", "/tmp"))
    assert one.worker
    assert one.worker != other.worker
    assert one.worker == disks.taker("inodes", "free", "/").worker


def test_a_relative_path_is_refused():
    with pytest.raises(SourceError, match="absolute path"):
        Disks().taker("disk", "free", "var")
