"""`tidegate harden` on real mounts, in a mount namespace of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kernel.hardening import FSTAB, Hardened

pytestmark = pytest.mark.kernel

BOT = 65534
PLACES = ("/tmp", "/var/tmp", "/dev/shm", "/run/lock")
DENIED = 126


@pytest.fixture
def hardened(tmp_path: Path) -> Iterator[Hardened]:
    made = Hardened(tmp_path)
    yield made
    made.close()


def rows(done: subprocess.CompletedProcess[str], what: str) -> list[dict[str, object]]:
    return [row for row in map(json.loads, done.stdout.splitlines()) if row["what"] == what]


def starts(hardened: Hardened, path: str, uid: int = BOT) -> bool:
    done = hardened.run("sh", "-c", f"{path} 0", uid=uid, check=False)
    assert done.returncode in (0, DENIED), done
    return done.returncode == 0


@pytest.mark.parametrize("place", PLACES)
def test_a_dropped_program_no_longer_starts_and_does_again_after_the_undo(
    hardened: Hardened, place: str
) -> None:
    bot = f"{place}/bot"
    hardened.drop(bot, BOT)
    assert starts(hardened, bot)
    hardened.harden("--apply")
    assert not starts(hardened, bot)
    assert not starts(hardened, bot, uid=0)
    hardened.drop(f"{place}/another", BOT)
    assert not starts(hardened, f"{place}/another")
    hardened.harden("--undo")
    assert starts(hardened, bot)


def test_what_noexec_does_not_stop_is_as_we_say(hardened: Hardened) -> None:
    hardened.harden("--apply")
    script = "/var/tmp/script"
    hardened.run("sh", "-c", f"echo 'echo ran' >{script}; chmod 755 {script}", uid=BOT)
    assert hardened.run("sh", script, uid=BOT).stdout == "ran\n"
    assert hardened.run("sh", "-c", script, uid=BOT, check=False).returncode == DENIED
    hardened.drop("/var/tmp/bot", BOT)
    loader = next(Path("/lib64").glob("ld-linux*"))
    assert hardened.run(loader, "/var/tmp/bot", "0", uid=BOT, check=False).returncode
    memory = (
        "import os; fd = os.memfd_create('x'); os.write(fd, open('/bin/true', 'rb').read());"
        " os.execve(fd, ['true'], {})"
    )
    assert hardened.run("/usr/bin/python3", "-c", memory, uid=BOT).returncode == 0


def test_undo_leaves_mounts_and_fstab_byte_for_byte(hardened: Hardened) -> None:
    before = hardened.state()
    hardened.harden("--apply")
    assert hardened.state() != before
    hardened.harden("--undo")
    assert hardened.state() == before
    assert hardened.harden("--undo").stdout.startswith("Nothing to undo")


def test_what_is_planned_is_what_is_done(hardened: Hardened, tmp_path: Path) -> None:
    before = hardened.state()
    plan = hardened.harden("--plan", "--json", check=False)
    assert plan.returncode == 1
    assert hardened.state() == before
    hardened.harden("--apply")
    applied = hardened.state()
    (file,) = rows(plan, "file")
    (tmp_path / "fstab").write_bytes(FSTAB)
    patch = subprocess.run(
        ["patch", "-s", tmp_path / "fstab"],
        input=str(file["diff"]).encode().replace(b"\\xe9", b"\xe9"), check=True,
    )  # fmt: skip
    assert patch.returncode == 0
    assert (tmp_path / "fstab").read_bytes() == applied[0][0]
    hardened.harden("--undo")
    for row in rows(plan, "mount"):
        for line in row["commands"]:  # type: ignore[attr-defined]
            hardened.run("sh", "-c", f"{line}")
    assert [_plain(one) for one in hardened.state()[2]] == [_plain(one) for one in applied[2]]


def _plain(line: str) -> str:
    """A line of mountinfo without the numbers."""
    return " ".join(line.split(" ")[3:6])


def test_fstab_alone_brings_the_same_mounts(hardened: Hardened) -> None:
    """What the next boot would do: the lines that were written, mounted by mount(8)."""
    hardened.harden("--apply", "--only", "/var/tmp", "--only", "/run/lock")
    applied = hardened.root.joinpath("etc/fstab").read_bytes()
    hardened.harden("--undo")
    hardened.root.joinpath("etc/fstab").write_bytes(applied)
    hardened.drop("/var/tmp/bot", BOT)
    for place in ("/var/tmp", "/run/lock"):
        hardened.run("mount", place)
    assert not starts(hardened, "/var/tmp/bot")
    told = rows(hardened.harden("--json", check=False), "mount")
    assert [one["path"] for one in told if one["ok"]] == ["/var/tmp", "/run/lock"]


def test_undone_after_the_next_boot(hardened: Hardened) -> None:
    """Then mount(8) has mounted what fstab says; the plain folder is one again, the tmpfs stays."""
    before = hardened.state()
    hardened.harden("--apply", "--only", "/var/tmp", "--only", "/run/lock")
    for place in ("/var/tmp", "/run/lock"):
        hardened.run("umount", place)
        hardened.run("mount", place)
    done = hardened.harden("--undo")
    assert "/run/lock is a tmpfs now, and stays one until the next boot" in done.stderr
    hardened.drop("/run/lock/bot", BOT)
    assert starts(hardened, "/run/lock/bot")
    hardened.run("umount", "/run/lock")
    assert hardened.state() == before


def test_files_that_are_open_do_no_harm_to_either(hardened: Hardened) -> None:
    """A folder in use: somebody's working folder, and an open file in it."""
    busy = hardened.start("sh", "-c", "cd /var/tmp; exec sleep 1000000 >open", uid=BOT)
    try:
        before = hardened.state()
        hardened.harden("--apply")
        inside = hardened.start("sh", "-c", "cd /var/tmp; exec sleep 1000000 >inside", uid=BOT)
        try:
            deadline = time.monotonic() + 20
            while not hardened.root.joinpath("var/tmp/inside").exists():
                assert time.monotonic() < deadline
                time.sleep(0.02)
            hardened.harden("--undo")
        finally:
            inside.kill()
            inside.wait()
        after = hardened.state()
        assert after[:1] + after[2:] == before[:1] + before[2:]
    finally:
        busy.kill()
        busy.wait()


def test_a_mount_below_keeps_the_undo_from_taking_it_along(hardened: Hardened) -> None:
    hardened.run("mkdir", "/var/tmp/early")
    hardened.run("mount", "-t", "tmpfs", "early", "/var/tmp/early")
    before = hardened.state()
    hardened.harden("--apply")
    hardened.run("touch", "/var/tmp/early/seen")
    hardened.run("mkdir", "/var/tmp/late")
    hardened.run("mount", "-t", "tmpfs", "late", "/var/tmp/late")
    applied = hardened.state()
    refused = hardened.harden("--undo", check=False)
    assert refused.returncode == 3
    assert "/var/tmp/late is mounted below /var/tmp since" in refused.stderr
    assert hardened.state() == applied
    hardened.run("umount", "/var/tmp/late")
    hardened.harden("--undo")
    assert hardened.state() == before
    hardened.run("test", "-e", "/var/tmp/early/seen")


def test_undo_refuses_where_somebody_changed_fstab(hardened: Hardened) -> None:
    mounts = hardened.state()[2]
    hardened.harden("--apply")
    fstab = hardened.root / "etc/fstab"
    changed = fstab.read_bytes() + b"/dev/sdb1 /srv ext4 defaults 0 2\n"
    fstab.write_bytes(changed)
    applied = hardened.state()
    refused = hardened.harden("--undo", check=False)
    assert refused.returncode == 3
    assert len(refused.stderr.splitlines()) == 1
    assert "tidegate harden --undo --keep-files" in refused.stderr
    assert hardened.state() == applied
    kept = hardened.root / "var/lib/tidegate-gates/posture/fstab.before"
    assert kept.read_bytes() == FSTAB
    hardened.harden("--undo", "--keep-files")
    assert fstab.read_bytes() == changed
    assert hardened.state()[2] == mounts


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ("mount -o remount,ro /etc", "/etc/fstab: Read-only file system"),
        ("rm /etc/fstab; mkdir /etc/fstab", "/etc/fstab: Is a directory"),
        ("echo '/dev/sda1 /tmp' >/etc/fstab", "/etc/fstab:1: expected at least four fields"),
        ("mount -o remount,ro /var", "/var/lib/tidegate-gates/posture: Read-only file system"),
        ("mount -o remount,size=1m /etc; cat /dev/zero >/etc/full || :", "No space left on device"),
        ("mkdir -p -m 755 /var/lib/tidegate-gates/posture", "must be root's alone"),
    ],
)
def test_where_it_can_not_be_done_one_line_says_so_and_nothing_is(
    hardened: Hardened, spoil: str, said: str
) -> None:
    hardened.run("sh", "-c", spoil)
    before = hardened.state_of_mounts()
    done = hardened.harden("--apply", check=False)
    assert done.returncode in (2, 3)
    last = done.stderr.splitlines()[-1]
    assert said in last, done.stderr
    assert hardened.state_of_mounts() == before
    assert hardened.harden("--undo", check=False).returncode in (0, 3)
    assert hardened.state_of_mounts() == before


def test_an_undo_that_can_not_write_fstab_undoes_nothing(hardened: Hardened) -> None:
    before = hardened.state()
    hardened.harden("--apply")
    applied = hardened.state()
    hardened.run("mount", "-o", "remount,ro", "/etc")
    done = hardened.harden("--undo", check=False)
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].endswith("/etc/fstab: Read-only file system")
    hardened.run("mount", "-o", "remount,rw", "/etc")
    assert hardened.state() == applied
    hardened.harden("--undo")
    assert hardened.state() == before


def test_where_fstab_can_not_be_read_the_rest_is_told_all_the_same(hardened: Hardened) -> None:
    hardened.run("sh", "-c", "rm /etc/fstab; mkdir /etc/fstab")
    done = hardened.harden(check=False)
    assert done.returncode == 1
    assert "  not judged: /etc/fstab: Is a directory; nothing was changed" in done.stdout
    assert "Old Joomla and WordPress" in done.stdout


def test_evidence_by_hand(hardened: Hardened) -> None:
    hardened.drop("/var/tmp/bot", BOT)
    bot = hardened.start("/var/tmp/bot", "1000000", uid=BOT)
    try:
        time.sleep(0.3)
        (told,) = rows(hardened.harden("--evidence", str(bot.pid), "--json"), "evidence")
        copy = hardened.root / f"var/lib/tidegate-gates/evidence/{told['sha256']}.bin"
        assert copy.read_bytes() == Path("/bin/sleep").read_bytes()
        assert copy.stat().st_mode & 0o777 == 0o400
    finally:
        bot.kill()
        bot.wait()
    gone = hardened.harden("--evidence", str(bot.pid), check=False)
    assert (gone.returncode, gone.stderr.count("\n")) == (3, 1)


def test_a_mount_that_fails_takes_back_what_was_done_before_it(hardened: Hardened) -> None:
    """/run/lock, the last, belongs to a namespace that is not ours to change: the kernel refuses."""
    before = hardened.state()
    done = hardened.run(
        sys.executable, "-c", _FAILING, check=False
    )  # fmt: skip
    assert (
        done.stdout.splitlines()[-1] == "mount -o bind /run/lock: refused; everything is as it was"
    )
    assert hardened.state() == before


_FAILING = """
from pathlib import Path
from tidegate.errors import WorldError
from tidegate.posture import kernel
from tidegate.posture.apply import apply
from tidegate.posture.host import Host
from tidegate.posture.record import Records
real = kernel.bind
def bind(path, *rest):
    if path == "/run/lock":
        raise WorldError("mount -o bind /run/lock: refused")
    real(path, *rest)
kernel.bind = bind
try:
    apply(Host(), Records(Path("/var/lib/tidegate-gates/posture")), print)
except WorldError as error:
    print(error)
"""


@pytest.mark.parametrize("verb", ["--apply", "--undo"])
def test_who_is_not_root_is_told_so(hardened: Hardened, verb: str) -> None:
    done = hardened.run(sys.executable, "-m", "tidegate", "harden", verb, uid=BOT, check=False)
    if "No module named" in done.stderr or "Permission denied" in done.stderr:
        pytest.skip("this checkout can't be read by others")
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "sudo tidegate harden" in done.stderr


@pytest.mark.parametrize("verb", ["apply", "undo", "apply-old", "undo-old"])
def test_killed_at_every_step_an_undo_still_restores(hardened: Hardened, verb: str) -> None:
    done = hardened.run(sys.executable, "-m", "tests.kernel.hardening", verb, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout) > 20


def test_namespaces_that_follow_ours_get_the_bind_with_its_flags(hardened: Hardened) -> None:
    """As services of systemd do: their mounts are slaves of the host's."""
    hardened.run("mount", "--make-rshared", "/")
    hardened.drop("/var/tmp/bot", BOT)
    follower = hardened.start(
        "unshare", "--mount", "--propagation", "slave", "sh", "-c",
        "touch /var/tmp/up; while ! test -e /var/tmp/done; do sleep 0.05; done;"
        " if /var/tmp/bot 0; then echo ran; else echo denied; fi >/var/tmp/verdict",
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 20
        while not hardened.root.joinpath("var/tmp/up").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        hardened.harden("--apply", "--only", "/var/tmp")
        hardened.root.joinpath("var/tmp/done").touch()
        follower.wait(20)
    finally:
        follower.kill()
        follower.wait()
    assert hardened.root.joinpath("var/tmp/verdict").read_text() == "denied\n"
    hardened.harden("--undo")
    assert starts(hardened, "/var/tmp/bot")


def test_who_has_mounts_of_its_own_is_named(hardened: Hardened) -> None:
    private = hardened.start("unshare", "--mount", "--propagation", "private", "sleep", "1000000")
    try:
        time.sleep(0.3)
        told = rows(hardened.harden("--json", check=False), "elsewhere")
        assert hardened.holder not in {one["pid"] for one in told}
        hardened.harden("--apply")
        told = rows(hardened.harden("--json", check=False), "elsewhere")
        assert {one["path"] for one in told if one["pid"] == private.pid} >= {"/var/tmp", "/tmp"}
    finally:
        private.kill()
        private.wait()


def test_running_programs_are_named_by_place_memory_deletion_and_script(
    hardened: Hardened,
) -> None:
    hardened.drop("/var/tmp/bot", BOT)
    hardened.drop("/tmp/gone", BOT)
    hardened.run("sh", "-c", "echo 'sleep 1000000; :' >/dev/shm/script", uid=BOT)
    memory = (
        "import os; fd = os.memfd_create('x'); os.write(fd, open('/bin/sleep', 'rb').read());"
        " os.execve(fd, ['kworker', '1000000'], {})"
    )
    made = {
        "place": hardened.start("/var/tmp/bot", "1000000", uid=BOT),
        "deleted": hardened.start("/tmp/gone", "1000000", uid=BOT),
        "script": hardened.start("sh", "/dev/shm/script", uid=BOT),
        "memory": hardened.start("/usr/bin/python3", "-c", memory, uid=BOT),
    }
    try:
        time.sleep(0.5)
        hardened.run("rm", "/tmp/gone")
        told = rows(hardened.harden("--json", check=False), "program")
        found = {one["pid"]: one for one in told}
        for why, process in made.items():
            assert found[process.pid]["why"] == why
            assert found[process.pid]["uid"] == BOT
        hashes = {found[made[one].pid]["sha256"] for one in ("place", "deleted", "memory")}
        (real,) = {
            subprocess.check_output(["sha256sum", os.path.realpath("/bin/sleep")]).split()[0]
        }
        assert hashes == {real.decode()}
        assert found[made["script"].pid]["path"] == "/dev/shm/script"
    finally:
        for process in made.values():
            process.kill()
            process.wait()
