"""A web host that somebody broke into, and the internet it floods: for the story of the bot.

Touches two network namespaces, a mount namespace with a pretended /etc, /var/tmp and /tmp, and the
processes in them; all are ended by `close`. Nothing of this host's own mounts is changed.
Limits: root; a C compiler for the bot, since it is to be a program and no script.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.kernel.hardening import Hardened
from tests.kernel.namespaces import Namespace
from tests.story.stage import REPOSITORY, TIDEGATE, Background, StoryError, wait_for

from tidegate.control.client import Client
from tidegate.errors import ControlError

HOST, MASTER, VICTIM, VISITOR = "192.0.2.1", "192.0.2.66", "192.0.2.80", "192.0.2.90"
IRC, WEB, WWW_DATA = 6667, 8080, 33
PLACE = "/var/tmp/.x/bot"
FOLDER = "/run/story"
SCANNED = "198.18.0.0/15"
_COUNTED = f"""
table inet seen {{
  set flood {{ type inet_proto; flags dynamic; counter; size 16; }}
  set scanned {{ type ipv4_addr; flags dynamic; size 4096; }}
  chain arrive {{
    type filter hook prerouting priority raw; policy accept;
    ip daddr {VICTIM} add @flood {{ meta l4proto }} drop
    ip daddr {SCANNED} add @scanned {{ ip daddr }} drop
  }}
}}
"""
_WEB = f"""
import http.server, os
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"fine\\n")
    def log_message(self, *words): pass
http.server.ThreadingHTTPServer(("", {WEB}), Page).serve_forever()
"""


def compiler() -> str:
    """A C compiler that is here; "" where there is none."""
    return next((one for one in ("cc", "gcc", "tcc", "clang") if shutil.which(one)), "")


class WebHost:
    """The host, its visitors, the bot's master and its victim."""

    def __init__(self, folder: Path) -> None:
        self._stack = ExitStack()
        self.folder = folder
        self.log = folder / "tidegate.log"
        self.master: Background | None = None
        try:
            self.space = self._space("webhost")
            self.internet = self._space("internet")
            self._join()
            self.mounts = Hardened(folder)
            self._stack.callback(self.mounts.close)
            (self.root / FOLDER[1:]).mkdir()
        except BaseException:
            self.close()
            raise

    def _space(self, role: str) -> Namespace:
        made = Namespace(role)
        self._stack.callback(made.close)
        return made

    def _join(self) -> None:
        self.space.ip(
            *("link", "add", "eth0", "type", "veth"),
            *("peer", "name", "eth0", "netns", self.internet.name),
        )
        for space, addresses in (
            (self.space, (HOST,)), (self.internet, (MASTER, VICTIM, VISITOR)),
        ):  # fmt: skip
            for address in addresses:
                space.ip("address", "add", f"{address}/24", "dev", "eth0")
            space.ip("link", "set", "eth0", "up")
        # What the bot scans is out there, and silent.
        self.space.ip("route", "add", SCANNED, "via", VICTIM)
        self.internet.run("nft", _COUNTED)

    @property
    def root(self) -> Path:
        """Its file system, as seen from here."""
        return self.mounts.root

    # -- what runs there ----------------------------------------------------------------------

    def start(self, *words: str, uid: int = 0, log: Path | None = None) -> Background:
        """A process on the web host, ended with it."""
        entered = self.mounts._words(*words, uid=uid)
        made = Background(self.space.name, *entered, log=log)
        self._stack.enter_context(made)
        return made

    def people(self) -> None:
        """The web server, and the bot's master out there."""
        self.start(sys.executable, "-c", _WEB, uid=WWW_DATA, log=self.folder / "web.log")
        self.master = Background(
            self.internet.name, sys.executable, "-m", "tests.story.ircd", str(IRC)
        )
        self._stack.enter_context(self.master)
        assert self.master.process.stdout is not None
        self.master.process.stdout.readline()
        wait_for("the web server", self.served)

    def bots(self) -> int:
        """How many are in the master's channel."""
        assert self.master is not None
        return int(self.master.ask("bots")["bots"])

    def order(self, text: str) -> None:
        """The master speaks to its bots."""
        assert self.master is not None
        self.master.ask("say", text)

    def served(self) -> bool:
        """Whether a visitor gets the page."""
        try:
            with self.internet.inside():
                client = socket.create_connection((HOST, WEB), 3.0, (VISITOR, 0))
            with client:
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                answer = b""
                while part := client.recv(4096):
                    answer += part
        except OSError:
            return False
        return answer.endswith(b"fine\n")

    def drop(self) -> None:
        """Somebody uploads the bot by the web server: as its user, where everybody may write."""
        made = self.root / FOLDER[1:] / "made"
        words = [compiler(), "-o", str(made), str(REPOSITORY / "tests/story/bot.c")]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise StoryError(f"the bot can't be compiled: {done.stderr}")
        self.mounts.run("mkdir", "-p", str(Path(PLACE).parent), uid=WWW_DATA)
        self.mounts.drop(PLACE, WWW_DATA, f"{FOLDER}/made")

    def infect(self) -> Background:
        """The bot is started, and calls its master."""
        return self.start(
            PLACE, MASTER, str(IRC), "dell-xp", uid=WWW_DATA, log=self.folder / "bot.log"
        )

    def tidegate(self, policy: str) -> Background:
        """`tidegate run` there, until it answers."""
        (self.root / FOLDER[1:] / "tidegate.toml").write_text(policy)
        made = self.start(*TIDEGATE, "run", "--config", f"{FOLDER}/tidegate.toml", log=self.log)
        try:
            wait_for("tidegate", lambda: self.ask("/status"), 60)
        except StoryError as error:
            raise StoryError(f"{error}:\n{self.log.read_text('utf-8', 'replace')}") from None
        return made

    def ask(self, path: str, **query: str) -> Any:
        """One answer of the daemon; {} while it gives none."""
        try:
            return self._client().get(path, query)
        except ControlError:
            return {}

    def rows(self, path: str, **query: str) -> list[Any]:
        """A list from the daemon; [] while it gives none."""
        try:
            return list(self._client().lines(path, query))
        except ControlError:
            return []

    def _client(self) -> Client:
        return Client(f"{self.root}{FOLDER}/run/watcher/control.sock")

    def verb(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A verb of the command line on the web host, in its network."""
        env = ["env", f"TIDEGATE_SOCKET={FOLDER}/run/watcher/control.sock"]
        return subprocess.run(
            ["ip", "netns", "exec", self.space.name, *self.mounts._words(*env, *TIDEGATE, *words, uid=0)],
            capture_output=True, text=True, check=False, cwd=REPOSITORY, timeout=120,
        )  # fmt: skip

    def arrived(self) -> dict[str, int]:
        """Packets that the victim got since last asked, by protocol, and how many destinations of
        `scan`; then forgotten."""
        flood, scanned = (
            self.internet.nft(f"list set inet seen {name}")["nftables"][1]["set"].get("elem", [])
            for name in ("flood", "scanned")
        )
        self.internet.run("nft", "flush set inet seen flood; flush set inet seen scanned")
        packets = {str(one["elem"]["val"]): one["elem"]["counter"]["packets"] for one in flood}
        return packets | {"scan": len(scanned)}

    def close(self) -> None:
        """Everything ends."""
        self._stack.close()
