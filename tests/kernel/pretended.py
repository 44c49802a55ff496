"""A whole `tidegate run` on a host whose load and init scripts the test makes up.

Touches the mount namespace of the daemon alone: there /proc/loadavg and /etc/init.d are the test's.
Limits: the daemon sees no systemd; processes, memory and disks are those of the real host.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests.kernel.daemon import PATIENCE, TIDEGATE, Daemon, until
from tests.kernel.namespaces import Namespace, World
from tests.kernel.switching import Host

MOUNTS = """
mount --make-rprivate / &&
mount --bind "$0/loadavg" /proc/loadavg &&
mount --bind "$0/host/init.d" /etc/init.d || exit 1
[ ! -d /run/systemd/system ] || mount -t tmpfs none /run/systemd || exit 1
exec "$@"
"""


class Pretended(Daemon):
    """The daemon, and the host that it believes to be on."""

    def __init__(self, folder: Path, space: Namespace | None) -> None:
        (folder / "host").mkdir()
        self.host = Host(folder / "host")
        self._load = folder / "loadavg"
        self.load(0.5)
        super().__init__(folder, space, "")
        self.before = ["unshare", "--mount", "sh", "-c", MOUNTS, str(folder)]

    def load(self, la1: float, la5: float | None = None) -> None:
        """From now on this is the load; written in place, since the file itself is mounted."""
        text = f"{la1:.2f} {la1 if la5 is None else la5:.2f} 0.40 1/200 4711\n"
        with self._load.open("r+" if self._load.exists() else "w") as file:
            file.write(text)
            file.truncate()

    def guards(self, text: str, source: str = "") -> None:
        """The policy: these guards; `{folder}` is the test's folder."""
        self.write_policy(text.replace("{folder}", str(self.folder)), source)

    def states(self) -> dict[str, str]:
        """State of every gate, as the daemon tells it."""
        return {
            gate["gate"]: gate["state"]
            for guard in self.ask("/guards").get("guards", ())
            for gate in guard["gates"]
        }

    def moves(self) -> list[tuple[str, str]]:
        """What was done so far with which gate, in order."""
        return [(row["action"], row["subject"].removeprefix("gate:")) for row in self.history()]

    def wait_state(self, **wanted: str) -> None:
        """Wait until these gates (`_` for a dot) are in these states."""
        named = {name.replace("_", "."): state for name, state in wanted.items()}
        until(f"{named}", lambda: named.items() <= self.states().items())

    def terminal(self, *words: str, columns: int = 80) -> str:
        """What a verb shows on a terminal of that width."""
        ours, theirs = os.openpty()
        environment = os.environ | {
            "TIDEGATE_SOCKET": self.socket, "COLUMNS": str(columns), "TERM": "dumb"
        }  # fmt: skip
        process = self.popen([*TIDEGATE, *words], stdout=theirs, stderr=theirs, env=environment)
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # the end of a terminal is an error
            while chunk := os.read(ours, 65536):
                shown += chunk
        os.close(ours)
        process.wait(PATIENCE)
        return shown.decode().replace("\r\n", "\n")

    def close(self) -> None:
        """End the daemon and the services."""
        super().close()
        self.host.close()


@contextmanager
def pretended(world: World | None, folder: Path) -> Iterator[Pretended]:
    """One such daemon, not started yet; it ends with the block."""
    with ExitStack() as stack:
        made = Pretended(folder, world.host if world else None)
        stack.callback(made.close)
        yield made
