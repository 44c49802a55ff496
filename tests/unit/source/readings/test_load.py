"""The load, and whose it is; containers are folders that look like theirs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tidegate.source.readings import container
from tidegate.source.readings.load import Load, whose_load
from tidegate.source.readings.taking import Places


def host(
    folder: Path, *, load: str = "4.00 2.00 1.00 1/2 3\n", pids: str = "pid:[4026531836]"
) -> Places:
    """A machine with 8 cores."""
    (folder / "proc/self/ns").mkdir(parents=True)
    (folder / "proc/loadavg").write_text(load)
    (folder / "proc/self/ns/pid").symlink_to(pids)
    (folder / "proc/self/cgroup").write_text("0::/\n")
    (folder / "proc/self/mountinfo").write_text("1 0 0:1 / /proc rw - proc proc rw\n")
    (folder / "sys/devices/system/cpu").mkdir(parents=True)
    (folder / "sys/devices/system/cpu/online").write_text("0-3,8-11\n")
    (folder / "sys/fs/cgroup").mkdir(parents=True)
    return Places(str(folder / "proc"), str(folder / "sys"), str(folder))


def lxcfs(folder: Path) -> None:
    with (folder / "proc/self/mountinfo").open("a") as file:
        file.write("2 1 0:2 /proc/loadavg /proc/loadavg rw - fuse.lxcfs lxcfs rw\n")


def value(load: Load, name: str, *, per_core: bool = False) -> float | None:
    return load.taker(name, per_core=per_core).attempt(1).value


def test_the_real_load_and_its_share_of_each_core():
    load = Load(Places())
    assert abs((value(load, "la15") or 0) - os.getloadavg()[2]) < 1
    (one, core) = value(load, "la5"), value(load, "la5", per_core=True)
    assert core == pytest.approx(one / container.online())


def test_on_a_host_all_cores_share_the_load(tmp_path):
    places = host(tmp_path)
    assert value(Load(places), "la1", per_core=True) == 0.5
    assert Load(places).describe() == "the load of this host, shared by 8 cores"


def test_in_a_container_it_is_the_machines_and_shared_by_the_machines_cores(tmp_path):
    places = host(tmp_path, pids="pid:[4026532000]")
    (tmp_path / "sys/fs/cgroup/cpu.max").write_text("50000 100000\n")
    (tmp_path / "proc/self/cgroup").write_text("0::/docker/abc\n")
    load = Load(places)
    assert value(load, "la1", per_core=True) == 0.5
    assert load.describe() == (
        "the load of the whole machine, shared by 8 cores, not of this container (docker),"
        " which may use 0.5: better guard by unit.cpu or psi"
    )


def test_a_container_with_a_load_of_its_own_shares_it_by_its_quota(tmp_path):
    places = host(tmp_path, pids="pid:[4026532000]")
    (tmp_path / "sys/fs/cgroup/cpu.max").write_text("50000 100000\n")
    lxcfs(tmp_path)
    load = Load(places)
    assert value(load, "la1", per_core=True) == 8.0
    assert "of this container (lxc, by lxcfs), which may use 0.5 cores" in load.describe()


@pytest.mark.parametrize(
    ("mark", "text", "kind"),
    [
        (".dockerenv", "", "docker"),
        ("run/.containerenv", "", "podman"),
        ("run/systemd/container", "lxc\n", "lxc"),
    ],
)
def test_containers_are_known_by_their_marks_unless_it_is_the_machine_itself(
    tmp_path, mark, text, kind
):
    places = host(tmp_path, pids="pid:[4026532000]")
    assert container.kind(places) == ""
    (tmp_path / mark).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / mark).write_text(text)
    assert container.kind(places) == kind
    (tmp_path / "proc/self/ns/pid").unlink()
    (tmp_path / "proc/self/ns/pid").symlink_to("pid:[4026531836]")
    assert container.kind(places) == ""


def test_a_quota_of_the_old_control_groups_counts_and_so_does_one_further_up(tmp_path):
    places = host(tmp_path)
    (tmp_path / "proc/self/cgroup").write_text("3:cpu,cpuacct:/a/b\n2:memory:/a\n")
    group = tmp_path / "sys/fs/cgroup/cpu,cpuacct/a/b"
    group.mkdir(parents=True)
    (group / "cpu.cfs_quota_us").write_text("-1\n")
    (group / "cpu.cfs_period_us").write_text("100000\n")
    assert container.allowed(places) == len(os.sched_getaffinity(0))
    (group.parent / "cpu.cfs_quota_us").write_text("25000\n")
    (group.parent / "cpu.cfs_period_us").write_text("100000\n")
    assert container.allowed(places) == 0.25


def test_whose_load_it_is_is_said_where_it_matters(tmp_path):
    places = host(tmp_path, pids="pid:[4026532000]")
    (tmp_path / ".dockerenv").touch()
    assert "not of this container (docker)" in whose_load(["memused", "la1.core"], places)
    assert whose_load(["memused", "lag"], places) == ""
    (tmp_path / ".dockerenv").unlink()
    assert whose_load(["la1"], places) == ""


def test_a_proc_without_load_is_unknown(tmp_path):
    load = Load(Places(str(tmp_path), str(tmp_path)))
    taken = load.taker("la1", per_core=False).attempt(1)
    assert taken.value is None
    assert taken.why == f"{tmp_path}/loadavg: no such file or directory"
