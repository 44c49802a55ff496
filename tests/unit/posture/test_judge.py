from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.errors import WorldError
from tidegate.posture.host import FLAGS, Host, Place
from tidegate.posture.judge import Verdict, judge, table
from tidegate.posture.plan import plan
from tidegate.posture.units import DROP_IN, find, name_of

ROOT = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw"


class Made:
    """A host in a folder: one place, its mounts, fstab and units."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = str(folder / "tmp")
        (folder / "tmp").mkdir()
        (folder / "proc/self").mkdir(parents=True)
        self.units = (folder / "etc", folder / "usr")
        for one in self.units:
            one.mkdir()
        self.host = Host(
            places=(Place(self.path, "1.1.2.1"),), fstab=folder / "fstab", proc=folder / "proc",
            units=self.units,
        )  # fmt: skip
        self.fstab("")
        self.mounts()

    def fstab(self, text: str) -> None:
        self.host.fstab.write_text(text.replace("HERE", self.path))

    def mounts(self, *lines: str) -> None:
        text = "\n".join([ROOT, *lines]).replace("HERE", self.path)
        (self.host.proc / "self/mountinfo").write_text(text + "\n")

    def verdict(self) -> Verdict:
        (found,) = judge(self.host, table(self.host))
        return found


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


TMPFS = "40 27 0:50 / HERE rw,{} - tmpfs tmpfs rw"
ALL = ",".join(FLAGS)


def test_a_plain_folder_lacks_all_now_and_after_the_next_boot(made: Made) -> None:
    found = made.verdict()
    assert (found.live, found.boot, found.by, found.separate) == (FLAGS, FLAGS, "part of /", False)
    assert [(number, ok) for number, _asks, ok in found.items()] == [
        ("1.1.2.1.1", False), ("1.1.2.1.2", False), ("1.1.2.1.3", False), ("1.1.2.1.4", False)
    ]  # fmt: skip


def test_fstab_alone_is_not_enough_and_the_live_mount_alone_neither(made: Made) -> None:
    made.fstab(f"tmpfs HERE tmpfs {ALL} 0 0\n")
    made.mounts(TMPFS.format("relatime"))
    found = made.verdict()
    assert (found.live, found.boot, found.by) == (FLAGS, (), "fstab:1")
    made.fstab("")
    made.mounts(TMPFS.format(ALL))
    found = made.verdict()
    assert (found.live, found.boot, found.by) == ((), FLAGS, "nothing")


def test_both_together_are_well_and_nothing_is_planned(made: Made) -> None:
    made.fstab(f"tmpfs HERE tmpfs {ALL} 0 0\n")
    made.mounts(TMPFS.format(ALL))
    assert made.verdict().well
    known = table(made.host)
    assert not plan(made.host, known, judge(made.host, known))


def test_a_unit_of_systemd_gets_a_drop_in_that_restates_its_options_whole(made: Made) -> None:
    name = name_of(made.path)
    (made.units[1] / name).write_text(
        "[Mount]\nWhat=tmpfs\nOptions=mode=1777,strictatime,nosuid,nodev,size=50%%,nr_inodes=1m\n"
    )
    made.mounts(TMPFS.format("nosuid,nodev"))
    found = made.verdict()
    assert (found.live, found.boot, found.by) == (("noexec",), ("noexec",), name)
    known = table(made.host)
    (step,) = plan(made.host, known, [found]).files
    assert step.path == str(made.units[0] / f"{name}.d" / DROP_IN)
    assert step.before is None
    assert step.after.endswith(
        b"\n[Mount]\nOptions=mode=1777,strictatime,nosuid,nodev,size=50%%,nr_inodes=1m,noexec\n"
    )
    Path(step.path).parent.mkdir()
    Path(step.path).write_bytes(step.after)
    assert made.verdict().boot == ()


def test_a_masked_unit_is_none(made: Made) -> None:
    name = name_of(made.path)
    (made.units[1] / name).write_text("[Mount]\nOptions=nosuid\n")
    (made.units[0] / name).symlink_to("/dev/null")
    assert find(made.units, made.path) is None


@pytest.mark.parametrize(
    ("path", "name"),
    [("/tmp", "tmp.mount"), ("/var/tmp", "var-tmp.mount"), ("/a-b", "a\\x2db.mount")],
)
def test_units_are_named_as_systemd_names_them(path: str, name: str) -> None:
    assert name_of(path) == name


def test_a_link_and_a_missing_folder_are_told_and_let_be(made: Made) -> None:
    Path(made.path).rmdir()
    assert made.verdict().why == "is not there"
    Path(made.path).symlink_to("/var/tmp")
    assert made.verdict().why == "is a link to /var/tmp: look at that"
    assert made.verdict().well


def test_a_place_on_a_mount_that_has_the_flags_is_well_but_not_separate(made: Made) -> None:
    (made.host.proc / "self/mountinfo").write_text(ROOT.replace("rw,relatime", f"rw,{ALL}") + "\n")
    found = made.verdict()
    assert found.well
    assert [ok for _number, _asks, ok in found.items()] == [False, True, True, True]


def test_no_fstab_is_an_empty_one_and_an_unreadable_one_is_said(made: Made) -> None:
    made.host.fstab.unlink()
    assert table(made.host).data is None
    made.host.fstab.mkdir()
    with pytest.raises(WorldError, match="Is a directory; nothing was changed"):
        table(made.host)


def test_tmpfs_is_for_the_next_boot_and_for_tmp_alone(tmp_path: Path) -> None:
    host = Host(fstab=tmp_path / "fstab", units=())
    host.fstab.write_text("")
    known = table(host)
    verdicts = [Verdict(one, live=FLAGS, boot=FLAGS) for one in host.places]
    (step,) = plan(host, known, verdicts, tmpfs=True).files
    lines = [one for one in step.after.decode().splitlines() if one[0] != "#"]
    assert lines[0] == "tmpfs /tmp tmpfs mode=1777,nosuid,nodev,noexec 0 0"
    assert lines[1] == "/var/tmp /var/tmp none bind,nosuid,nodev,noexec 0 0"
    assert {one.do for one in plan(host, known, verdicts, tmpfs=True).mounts} == {"bind"}
