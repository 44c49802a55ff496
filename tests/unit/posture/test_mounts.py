from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from tidegate.posture import mounts

INFO = b"""\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 27 254:0 /tmp /tmp rw,nosuid,nodev,noexec,relatime shared:1 master:2 - ext4 /dev/vda rw
25 27 0:23 / /dev/shm rw - tmpfs tmpfs rw
30 25 0:27 / /dev/shm rw,noexec - tmpfs tmpfs rw
50 27 8:1 / /mnt/my\\040disk rw - ext4 /dev/sda1 rw
60 40 0:99 / /tmp/below rw - tmpfs x rw
70 27 8:2 /deep /srv rw - ext4 /dev/sdb rw
71 70 8:2 /deep/inner /srv/inner rw - ext4 /dev/sdb rw
nonsense
"""
FOUND = mounts.parse(INFO)


def test_names_are_plain_and_nonsense_is_passed_over() -> None:
    assert [one.number for one in FOUND] == [27, 40, 25, 30, 50, 60, 70, 71]
    assert FOUND[4].point == "/mnt/my disk"
    assert FOUND[1].options == ("rw", "nosuid", "nodev", "noexec", "relatime")


def test_of_stacked_mounts_the_topmost_counts() -> None:
    top = mounts.at(FOUND, "/dev/shm")
    assert top is not None
    assert top.number == 30


def test_a_path_lies_on_the_nearest_mount() -> None:
    for path, number in (("/tmp/below/x", 60), ("/tmp/x", 40), ("/var/tmp", 27), ("/", 27)):
        found = mounts.covering(FOUND, path)
        assert found is not None
        assert found.number == number
    assert mounts.covering([], "/tmp") is None


def test_what_lies_below() -> None:
    assert [one.number for one in mounts.below(FOUND, "/tmp")] == [60]


def test_a_bind_on_itself_is_told_from_other_mounts() -> None:
    assert mounts.self_bind(FOUND, "/tmp") is not None
    assert mounts.self_bind(FOUND, "/srv/inner") is not None
    assert mounts.self_bind(FOUND, "/dev/shm") is None
    assert mounts.self_bind(FOUND, "/srv") is None
    assert mounts.self_bind(FOUND, "/var/tmp") is None


@given(some.binary())
def test_no_bytes_break_it(data: bytes) -> None:
    mounts.parse(data)
    mounts.parse(INFO + data)
