"""Programs of a user who is cut off: evidence is kept, they are halted, and go on by themselves."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.hardening import Hardened
from tests.kernel.switching import Host, Keeping, keeping, wait_until

from tidegate.daemon import halting
from tidegate.gate.switches import keeper
from tidegate.policy.outward import OutwardSpec

pytestmark = pytest.mark.kernel

USER = 61_000 + os.getpid() % 4000
"""A user of this run alone: what others have started is not ours to halt."""
GATE = f"outward.uid-{USER}"
SPIN = "while True: pass"
MEMORY = (
    "import os; fd = os.memfd_create('x'); os.write(fd, open('/bin/sleep', 'rb').read());"
    " os.execve(fd, ['kworker', '1000000'], {})"
)


class Scene:
    """A pretended host with programs of a user in it, and a service keeper beside it."""

    def __init__(self, tmp_path: Path, stack: ExitStack) -> None:
        self.hardened = Hardened(tmp_path)
        stack.callback(self.hardened.close)
        folder = tmp_path / "keeper"
        folder.mkdir()
        self.host = Host(folder)
        self.evidence = folder / "gates" / "evidence"
        self._stack = stack

    def start(self, *words: str) -> int:
        process = self.hardened.start(*words, uid=USER)
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        wait_until(lambda: exe(process.pid) not in ("", "/usr/bin/nsenter", "/usr/bin/setpriv"))
        return process.pid

    def bot(self, source: str = "/bin/sleep", *words: str) -> int:
        self.hardened.drop("/var/tmp/bot", USER, source)
        return self.start("/var/tmp/bot", *(words or ("1000000",)))

    @contextmanager
    def keeping(self, stop: Any = "freeze") -> Iterator[Keeping]:
        def serve(end: Any, load: Callable[[], Any], folder: Path, **options: Any) -> None:
            def policy() -> Any:
                return replace(load(), outward=OutwardSpec(uids=True, stop=stop))

            keeper.serve(end, policy, folder, **options | {"tools": halting.tools(folder)})

        with keeping(self.host, serve=serve) as made:
            yield made


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        yield Scene(tmp_path, stack)


def exe(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_only_what_runs_from_there_stands_still_and_it_goes_on_after(scene: Scene) -> None:
    bot = scene.bot()
    script = "/dev/shm/script"
    scene.hardened.run("sh", "-c", f"echo 'sleep 1000000; :' >{script}", uid=USER)
    perl = scene.start("sh", script)
    memory = scene.start("/usr/bin/python3", "-c", MEMORY)
    wait_until(lambda: exe(memory).startswith("/memfd:"))
    honest = scene.start("/bin/sleep", "1000000")
    with scene.keeping() as kept:
        kept.want(GATE)
        told = kept.until(GATE, "closed")
        assert "/var/tmp/bot" in told.detail
        assert {state(one) for one in (bot, perl, memory)} == {"T"}
        assert state(honest) == "S"
        kept.want()
        kept.until(GATE, "open")
    assert "T" not in {state(one) for one in (bot, perl, memory)}
    records = [json.loads(one.read_bytes()) for one in scene.evidence.glob("*.json")]
    assert {one["pid"] for one in records} == {bot, perl, memory}


def test_the_evidence_holds_the_file_also_a_deleted_one_and_no_right_to_run_it(
    scene: Scene,
) -> None:
    bot = scene.bot()
    scene.hardened.run("rm", "/var/tmp/bot")
    with scene.keeping() as kept:
        kept.want(GATE)
        kept.until(GATE, "closed")
    (path,) = scene.evidence.glob(f"{bot}-*.json")
    said = json.loads(path.read_bytes())
    wanted = hashlib.sha256(Path("/bin/sleep").read_bytes()).hexdigest()
    assert (said["sha256"], said["copy"], said["deleted"]) == (wanted, "", True)
    assert said["uid"] == USER
    assert said["file"]["uid"] == USER
    assert said["executable"] == "/var/tmp/bot"
    assert "/var/tmp/bot (deleted)" in said["maps"]
    copy = scene.evidence / f"{wanted}.bin"
    assert hashlib.sha256(copy.read_bytes()).hexdigest() == wanted
    assert copy.stat().st_mode & 0o777 == 0o400
    assert scene.evidence.stat().st_mode & 0o777 == 0o700
    with pytest.raises(PermissionError):
        subprocess.run([copy, "0"], check=False)


def test_killed_its_keeper_is_followed_by_one_who_lets_go_in_time(scene: Scene) -> None:
    bot = scene.bot()
    with scene.keeping() as kept:
        kept.want(GATE, seconds=4)
        kept.until(GATE, "closed")
        kept.kill()
        assert state(bot) == "T"
        wait_until(lambda: state(bot) != "T")
    wait_until(lambda: not list((scene.host.folder / "gates").glob("*.json")))


def test_switched_off_lets_go_at_once(scene: Scene) -> None:
    bot = scene.bot()
    with scene.keeping() as kept:
        kept.want(GATE)
        kept.until(GATE, "closed")
        (scene.host.folder / "off").touch()
        kept.until(GATE, "open")
        assert state(bot) != "T"


def test_nothing_suspect_is_told_and_nothing_is_touched(scene: Scene) -> None:
    honest = scene.start("/bin/sleep", "1000000")
    with scene.keeping() as kept:
        kept.want(GATE)
        assert "no program of uid" in kept.until(GATE, "away").detail
        assert state(honest) == "S"


def test_where_no_evidence_can_be_kept_the_process_is_not_touched(scene: Scene) -> None:
    bot = scene.bot()
    scene.evidence.mkdir(mode=0o755)
    with scene.keeping() as kept:
        kept.want(GATE)
        assert "chmod 0700" in kept.until(GATE, "refused").detail
        assert state(bot) != "T"


@pytest.mark.parametrize(
    ("stop", "name"),
    [
        ("never", GATE), ("freeze", "outward.uid-0"), ("freeze", "outward.uid-033"),
        ("freeze", "outward.uid-4294967295"), ("freeze", "outward.uid-x"),
    ],
)  # fmt: skip
def test_what_policy_does_not_name_is_refused(scene: Scene, stop: str, name: str) -> None:
    bot = scene.bot()
    with scene.keeping(stop) as kept:
        kept.want(name)
        wait_until(lambda: (kept.hear(), kept.troubles)[1])
        assert "is no gate of the policy" in kept.troubles[0]
        assert state(bot) != "T"


def test_a_throttled_program_gets_little_and_goes_back_to_where_it_was(scene: Scene) -> None:
    if (
        not Path("/sys/fs/cgroup/cpu/cgroup.procs").exists()
        and not Path("/sys/fs/cgroup/cgroup.controllers").exists()
    ):
        pytest.skip("no control groups with a share of processors here")
    bot = scene.bot(os.path.realpath(sys.executable), "-c", SPIN)
    before = Path(f"/proc/{bot}/cgroup").read_text()
    with scene.keeping("throttle") as kept:
        kept.want(GATE)
        kept.until(GATE, "closed")
        assert state(bot) != "T"
        assert f"tidegate-halt-{USER}" in Path(f"/proc/{bot}/cgroup").read_text()
        (group,) = Path("/sys/fs/cgroup").glob(f"*/tidegate-halt-{USER}")
        wait_until(lambda: " 0" not in throttled(group))
        used = ticks(bot)
        time.sleep(2)
        assert ticks(bot) - used < 2 * os.sysconf("SC_CLK_TCK") // 2
        kept.want()
        kept.until(GATE, "open")
    assert Path(f"/proc/{bot}/cgroup").read_text() == before
    assert not group.exists()


def throttled(group: Path) -> str:
    lines = (group / "cpu.stat").read_text().splitlines()
    return next(one for one in lines if one.startswith("nr_throttled"))


def ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_without_the_right_to_see_them_it_says_so(scene: Scene, tmp_path: Path) -> None:
    """As root without CAP_SYS_PTRACE, which the unit of an older version has not."""
    scene.bot()
    code = (
        "from pathlib import Path; from tidegate.daemon.halting import suspects;"
        " from tidegate.posture.evidence import Evidence\n"
        f"try: suspects({USER}, Evidence(Path({str(tmp_path / 'evidence')!r})))\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run(
        ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace", sys.executable, "-c", code],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("GateError")
    assert "CAP_SYS_PTRACE" in done.stdout
