"""Switches at a real haproxy and keepalived: closed, opened, taken over by people, left by the dead."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from tests.kernel.daemon import Daemon, children_of, until
from tests.kernel.namespaces import Namespace
from tests.story import balancer
from tests.story.cluster import Node, Switch

from tidegate.errors import GateError
from tidegate.gate.switches import haproxy, keepalived
from tidegate.gate.switches.agent import Agents
from tidegate.gate.switches.answers import Track, boot_seconds
from tidegate.gate.switches.haproxy import Haproxies
from tidegate.gate.switches.keepalived import TrackFiles
from tidegate.gate.switches.kinds import Ran, Tools
from tidegate.gate.switches.lease import Leases
from tidegate.gate.switches.record import Before, Record
from tidegate.policy.guards import Agent, Haproxy, Keepalived, Terms

pytestmark = pytest.mark.daemons

LISTEN = "127.0.0.1:7777"
CONFIG = """
global
  stats socket {folder}/admin.sock mode 600 level admin
  stats socket {folder}/user.sock mode 600 level user
  nbthread 1
defaults
  mode tcp
  timeout connect 2s
  timeout client 1m
  timeout server 1m
frontend mail
  bind 127.0.0.1:1143
  default_backend imap
backend imap
  balance roundrobin
  server node1 127.0.0.1:2001 weight 80
  server node2 127.0.0.1:2002 weight 80
backend asked
  server node1 127.0.0.1:2001 weight 80 agent-check agent-addr 127.0.0.1 agent-port 7777 agent-inter 100ms agent-send "how are you?\\n"
backend fixed
  balance static-rr
  server node1 127.0.0.1:2001 weight 80
"""


def run(words: Sequence[str], seconds: float, *, ranked: bool = False) -> Ran:
    done = subprocess.run(words, capture_output=True, text=True, timeout=seconds)
    return Ran(done.returncode, done.stdout + done.stderr)


def record(terms: Terms, before: Before, seconds: float = 3600) -> Record:
    now = time.time_ns() // 1000
    return Record("mail.gate", terms, before, "closed", now, now + int(seconds * 1_000_000))


class Echo:
    """A server that sends its name, then everything back."""

    def __init__(self, name: bytes, port: int) -> None:
        self.server = socket.create_server(("127.0.0.1", port))
        self.name = name
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                one, _ = self.server.accept()
                one.sendall(self.name)
                threading.Thread(target=self._talk, args=(one,), daemon=True).start()

    def _talk(self, one: socket.socket) -> None:
        with suppress(OSError), one:
            while data := one.recv(100):
                one.sendall(data)


class Balanced:
    """An haproxy before two servers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "haproxy.cfg").write_text(CONFIG.format(folder=folder))
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        words = ["haproxy", "-db", "-f", str(self.folder / "haproxy.cfg")]
        with (self.folder / "haproxy.said").open("ab") as said:
            self.process = subprocess.Popen(words, stdout=said, stderr=said)
        until("haproxy", self._answers)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "haproxy.said").read_text()
        with suppress(GateError):
            return haproxy.look(self.terms()).process == self.process.pid
        return False

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(20)

    def terms(self, weight: int = 0, backend: str = "imap", server: str = "node1") -> Haproxy:
        return Haproxy(str(self.folder / "admin.sock"), backend, server, weight)

    def set(self, what: str, backend: str = "imap") -> None:
        """As an administrator does."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.connect(str(self.folder / "admin.sock"))
            asking.sendall(f"set server {backend}/node1 {what}\n".encode())
            assert asking.recv(1000).strip() == b""

    def seen(self, backend: str = "imap") -> tuple[bool, bool, int]:
        """Whether node1 is drained, in maintenance; its weight."""
        found = haproxy.look(self.terms(backend=backend))
        return (
            bool(found.admin & haproxy.DRAIN), bool(found.admin & haproxy.MAINTENANCE), found.weight
        )  # fmt: skip


class Session:
    """A session through the balancer; `node` is who serves it."""

    def __init__(self) -> None:
        self._socket = socket.create_connection(("127.0.0.1", 1143), 10)
        self.node = self._socket.recv(100)

    def alive(self) -> bool:
        self._socket.sendall(b"still there?")
        return self._socket.recv(100) == b"still there?"

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def space() -> Iterator[Namespace]:
    """A namespace of our own."""
    try:
        made = Namespace("balancer")
    except RuntimeError as error:
        pytest.skip(f"no network namespaces here: {error}")
    yield made
    made.close()


@pytest.fixture
def tools(space: Namespace, public_folder: Path) -> Iterator[Tools]:
    """In that namespace; agents that were started are ended."""
    made = Tools(run, systemd=False, leases=public_folder / "gates" / "agents")
    (public_folder / "gates").mkdir(mode=0o700)
    with ExitStack() as stack:
        stack.callback(end_agents, made)
        stack.enter_context(space.inside())
        yield made


def agents(tools: Tools) -> list[int]:
    """The pids of the agents with a state file in this folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            if any(word.startswith(bytes(tools.leases)) for word in words):
                found.append(int(process.name))
    return found


def end_agents(tools: Tools) -> None:
    for pid in agents(tools):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def balanced(tools: Tools, public_folder: Path) -> Iterator[Balanced]:
    """The haproxy, with both servers behind it."""
    servers = [Echo(b"node1", 2001), Echo(b"node2", 2002)]
    made = Balanced(public_folder)
    yield made
    made.stop()
    for one in servers:
        one.server.close()


def test_a_drained_server_keeps_its_sessions_and_gets_no_new_ones(
    tools: Tools, balanced: Balanced
) -> None:
    kind, terms = Haproxies(tools), balanced.terms()
    sessions = [Session() for _ in range(4)]
    assert {one.node for one in sessions} == {b"node1", b"node2"}
    before = kind.look(terms)
    kind.close(terms, before)
    assert balanced.seen() == (True, False, 80)
    assert all(one.alive() for one in sessions)
    sessions += (new := [Session() for _ in range(6)])
    assert {one.node for one in new} == {b"node2"}
    assert kind.state(terms, record(terms, before))[0] == "closed"
    assert kind.open(terms, before) == kind.open(terms, before) == "ready"
    assert balanced.seen() == (False, False, 80)
    sessions += (new := [Session() for _ in range(4)])
    assert {one.node for one in new} == {b"node1", b"node2"}
    for one in sessions:
        one.close()


def test_a_weight_is_put_back_as_it_was_and_not_as_it_is_configured(
    tools: Tools, balanced: Balanced
) -> None:
    kind, terms = Haproxies(tools), balanced.terms(weight=25)
    balanced.set("weight 50%")
    before = kind.look(terms)
    kind.close(terms, before)
    assert balanced.seen() == (False, False, 20)
    assert kind.state(terms, record(terms, before))[0] == "closed"
    kind.open(terms, before)
    assert balanced.seen() == (False, False, 40)


@pytest.mark.parametrize(
    ("weight", "done", "left"),
    [
        (0, "state ready", (False, False, 80)),
        (0, "state maint", (False, True, 80)),
        (25, "weight 60", (False, False, 60)),
    ],
)
def test_what_somebody_changed_meanwhile_is_let_be(
    tools: Tools, balanced: Balanced, weight: int, done: str, left: tuple[bool, bool, int]
) -> None:
    kind, terms = Haproxies(tools), balanced.terms(weight)
    before = kind.look(terms)
    kind.close(terms, before)
    balanced.set(done)
    assert kind.state(terms, record(terms, before))[0] == "taken"
    kind.open(terms, before)
    assert balanced.seen() == left


@pytest.mark.parametrize(
    ("weight", "done"), [(0, "state drain"), (50, "state maint"), (50, "weight 10%")]
)
def test_what_is_closed_already_is_not_ours(
    tools: Tools, balanced: Balanced, weight: int, done: str
) -> None:
    balanced.set(done)
    assert " already" in Haproxies(tools).look(balanced.terms(weight))["away"]


def test_an_haproxy_that_began_anew_has_forgotten_and_is_told_again(
    tools: Tools, balanced: Balanced
) -> None:
    kind, terms = Haproxies(tools), balanced.terms()
    before = kind.look(terms)
    kind.close(terms, before)
    balanced.stop()
    with pytest.raises(GateError, match="does not answer"):
        kind.state(terms, record(terms, before))
    balanced.start()
    assert kind.state(terms, record(terms, before))[0] == "open"
    kind.close(terms, before)
    assert kind.state(terms, record(terms, before))[0] == "closed"


def test_refusals_are_one_clear_line(tools: Tools, balanced: Balanced) -> None:
    kind = Haproxies(tools)
    socket_of = balanced.terms().socket
    for terms, said in (
        (Haproxy(f"{socket_of}x", "imap", "node1"), "does not answer at .*x .*No such file"),
        (Haproxy("127.0.0.1:1", "imap", "node1"), "does not answer at 127.0.0.1:1"),
        (Haproxy(socket_of, "imap", "node3"), "has no server imap/node3"),
        (Haproxy(socket_of, "pop3", "node1"), "says: Can't find backend"),
        (Haproxy(socket_of, "imap;quit", "node1"), "is no name"),
    ):
        with pytest.raises(GateError, match=said) as error:
            kind.look(terms)
        assert "\n" not in str(error.value)
    for terms, said in (
        (balanced.terms(25, backend="fixed"), "static LB algorithm"),
        (Haproxy(str(balanced.folder / "user.sock"), "imap", "node1"), "Permission denied"),
    ):
        with pytest.raises(GateError, match=said):
            kind.close(terms, kind.look(terms))


# -- the agent -------------------------------------------------------------------------------------

DRAINED, OPEN = (True, False, 0), (False, False, 80)


def seen(balanced: Balanced, what: tuple[bool, bool, int]) -> bool:
    return until(f"haproxy to see {what}", lambda: balanced.seen("asked") == what)


def test_the_agent_drains_and_comes_back(tools: Tools, balanced: Balanced) -> None:
    kind, terms = Agents(tools), Agent(LISTEN)
    before = kind.look(terms)
    assert balanced.seen("asked") == OPEN
    assert kind.close(terms, before) == "balancers are told drain"
    assert seen(balanced, DRAINED)
    assert kind.state(terms, record(terms, before)) == ("closed", "")
    assert kind.open(terms, before) == "balancers are told ready"
    assert seen(balanced, OPEN)
    kind.close(Agent(LISTEN, weight=25), before)
    assert seen(balanced, (False, False, 20))
    kind.open(Agent(LISTEN, weight=25), before)
    assert seen(balanced, OPEN)


def test_two_steps_of_a_ladder_share_one_agent(tools: Tools, balanced: Balanced) -> None:
    kind, quarter, drain = Agents(tools), Agent(LISTEN, weight=25), Agent(LISTEN)
    kind.close(quarter, kind.look(quarter))
    assert seen(balanced, (False, False, 20))
    kind.close(drain, kind.look(drain))
    assert seen(balanced, DRAINED)
    kind.state(quarter, record(quarter, {}))
    assert "25%" in kind.open(drain, {})
    assert seen(balanced, (False, False, 20))
    assert kind.open(quarter, {}) == "balancers are told ready"
    assert seen(balanced, OPEN)


def test_an_agent_that_nobody_renews_says_ready(tools: Tools, balanced: Balanced) -> None:
    kind, terms = Agents(tools), Agent(LISTEN)
    kind.close(terms, kind.look(terms))
    assert seen(balanced, DRAINED)
    Leases(tools).put(f"agent-{LISTEN}", 0, 0.5)  # its end comes, as if we were gone
    assert seen(balanced, OPEN)


def test_a_spoilt_state_file_says_ready(tools: Tools, balanced: Balanced) -> None:
    kind, terms = Agents(tools), Agent(LISTEN)
    kind.close(terms, kind.look(terms))
    assert seen(balanced, DRAINED)
    (file,) = tools.leases.glob("*.state")
    for spoilt in (b"", b"\xff\0", file.read_bytes()[:-4], b"tidegate lease 2\nuntil soon\nend\n"):
        kind.state(terms, record(terms, {}))
        assert seen(balanced, DRAINED)
        file.write_bytes(spoilt)
        assert seen(balanced, OPEN)


def test_a_dead_agent_leaves_its_last_word_and_is_started_again(
    tools: Tools, balanced: Balanced
) -> None:
    kind, terms = Agents(tools), Agent(LISTEN)
    before = kind.look(terms)
    kind.close(terms, before)
    assert seen(balanced, DRAINED)
    end_agents(tools)
    until("its end", lambda: not agents(tools))
    time.sleep(0.5)  # several times haproxy's agent-inter
    assert balanced.seen("asked") == DRAINED
    kind.state(terms, record(terms, before))
    assert seen(balanced, DRAINED)
    end_agents(tools)
    until("its end", lambda: not agents(tools))
    assert kind.open(terms, before) == "balancers are told ready"
    assert seen(balanced, OPEN)


def test_an_agent_that_hangs_is_replaced(tools: Tools, balanced: Balanced) -> None:
    kind, terms = Agents(tools), Agent(LISTEN)
    kind.close(terms, kind.look(terms))
    assert seen(balanced, DRAINED)
    (hung,) = agents(tools)
    os.kill(hung, signal.SIGSTOP)
    kind.state(terms, record(terms, {}))
    until("another agent", lambda: len(agents(tools)) == 1 and agents(tools) != [hung])
    kind.open(terms, {})
    assert seen(balanced, OPEN)


def test_an_agent_at_an_address_of_ipv6(tools: Tools) -> None:
    kind, terms = Agents(tools), Agent("[::1]:7777")
    kind.look(terms)
    with socket.create_connection(("::1", 7777), 10) as asking:
        assert asking.recv(100) == b"up\n"


def test_one_that_was_never_closed_ends_nobodys_maintenance(
    tools: Tools, balanced: Balanced
) -> None:
    kind, terms = Agents(tools), Agent(LISTEN)
    balanced.set("state maint", "asked")
    balanced.set("weight 10%", "asked")
    kind.look(terms)
    until("haproxy to ask", lambda: (Leases(tools).ask(f"agent-{LISTEN}") or (0,))[0])
    time.sleep(0.5)
    assert balanced.seen("asked") == (False, True, 8)


def test_a_second_agent_takes_over_and_nobody_finds_the_door_shut(
    tools: Tools, balanced: Balanced
) -> None:
    kind, terms = Agents(tools), Agent(LISTEN)
    before = kind.look(terms)
    kind.close(terms, before)
    answers: list[bytes] = []
    ended = threading.Event()
    host, port = LISTEN.split(":")

    def ask() -> None:
        while not ended.is_set():
            with socket.create_connection((host, int(port)), 10) as asking:
                answers.append(asking.recv(100))

    with Namespaced(ask) as asking:
        (first,) = agents(tools)
        for _ in range(5):
            (words,) = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in agents(tools)]
            again = [word.decode() for word in words.split(b"\0")[:-1]]
            environment = os.environ | {"PYTHONPATH": str(Path(haproxy.__file__).parents[3])}
            subprocess.run(again, env=environment, check=True, timeout=30)
            until("one agent", lambda: len(agents(tools)) == 1)
        assert agents(tools) != [first]
        ended.set()
    assert asking.error is None
    assert set(answers) == {b"drain up 0%\n"}
    kind.open(terms, before)
    assert seen(balanced, OPEN)


class Namespaced:
    """A thread that begins in our namespace (threads do), and keeps what it raised."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.error: BaseException | None = None
        self._work = work
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self._work()
        except OSError as error:
            self.error = error

    def __enter__(self) -> Namespaced:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._thread.join(30)


def test_an_address_that_is_taken_is_said(tools: Tools) -> None:
    with socket.create_server(("127.0.0.1", 7777)), pytest.raises(GateError, match="in use"):
        Agents(tools).look(Agent(LISTEN))
    with pytest.raises(GateError, match="does not start"):
        Agents(tools).look(Agent("192.0.2.250:7777"))


def test_an_agent_ends_when_it_is_not_needed_and_not_before(
    tools: Tools, balanced: Balanced
) -> None:
    leases = Leases(tools)
    leases.ensure("agent-short", LISTEN, linger=1.0)
    until("its end", lambda: not agents(tools))
    leases.put("agent-short", 0, 2.0)
    leases.ensure("agent-short", LISTEN, linger=0.5)
    assert seen(balanced, DRAINED)
    assert seen(balanced, OPEN)
    time.sleep(1.0)
    assert agents(tools)  # it goes on saying `ready` to an haproxy that was told otherwise
    (pid,) = agents(tools)
    os.kill(pid, signal.SIGTERM)
    until("its end", lambda: not agents(tools))


def test_an_agent_ends_when_all_of_ours_is_removed(tools: Tools, balanced: Balanced) -> None:
    leases = Leases(tools)
    leases.ensure("agent-short", LISTEN, linger=1.0)
    leases.put("agent-short", 0, 3600)
    assert seen(balanced, DRAINED)
    shutil.rmtree(tools.leases)
    assert seen(balanced, OPEN)
    until("its end", lambda: not agents(tools))


# -- by the daemon -----------------------------------------------------------------------------

POLICY = """
[guard.api]
close = "la1 >= 9999"
open = "la1 < 9998"
haproxy = {{ socket = "{socket}", backend = "imap", server = "node1", weight = "25%" }}

[guard.asked]
close = "la1 >= 9999"
open = "la1 < 9998"
agent = {{ listen = "127.0.0.1:7777" }}

[guard.gone]
close = "la1 >= 9999"
open = "la1 < 9998"
haproxy = {{ socket = "{socket}.gone", backend = "imap", server = "node1" }}
"""


@pytest.fixture
def daemon(space: Namespace, balanced: Balanced, public_folder: Path) -> Iterator[Daemon]:
    """`tidegate run` with three gates that only a person closes."""
    made = Daemon(public_folder, space, POLICY.format(socket=balanced.terms().socket))
    yield made.start()
    made.close()


def gates(daemon: Daemon) -> dict[str, dict[str, str]]:
    told = json.loads(daemon.verb("guard", "list", "--json").stdout)
    return {gate["gate"]: gate for one in told["guards"] for gate in one["gates"]}


def kill_all(daemon: Daemon) -> None:
    """All of it at once, the dead man too; the agents are nobody's children."""
    assert daemon.process is not None
    pids = [daemon.process.pid]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
        pids += children_of(pid)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    daemon.process.wait(20)


def test_a_person_closes_and_off_opens(tools: Tools, daemon: Daemon, balanced: Balanced) -> None:
    for gate in ("api", "asked", "gone"):
        assert daemon.verb("close", gate).returncode == 0
    until("the weight", lambda: balanced.seen() == (False, False, 20))
    assert seen(balanced, DRAINED)
    until("a refusal", lambda: gates(daemon)["gone"]["state"] == "refused")
    assert "does not answer at" in gates(daemon)["gone"]["detail"]
    kill_all(daemon)
    assert balanced.seen("asked") == DRAINED
    assert daemon.verb("off", "--config", str(daemon.policy)).returncode == 0
    assert balanced.seen() == OPEN
    assert seen(balanced, OPEN)


def test_a_daemon_that_begins_again_goes_on(
    tools: Tools, daemon: Daemon, balanced: Balanced
) -> None:
    for gate in ("api", "asked"):
        assert daemon.verb("close", gate).returncode == 0
    until("the weight", lambda: balanced.seen() == (False, False, 20))
    assert seen(balanced, DRAINED)
    kill_all(daemon)
    daemon.start()
    until("both", lambda: {gates(daemon)[one]["state"] for one in ("api", "asked")} == {"closed"})
    assert (balanced.seen(), balanced.seen("asked")) == ((False, False, 20), DRAINED)
    for gate in ("api", "asked"):
        assert daemon.verb("open", gate).returncode == 0
    until("the weight", lambda: balanced.seen() == OPEN)
    assert seen(balanced, OPEN)


# -- keepalived ------------------------------------------------------------------------------------

ADDRESS = "192.0.2.1"


@pytest.fixture
def pair(public_folder: Path) -> Iterator[tuple[Node, Node, Path]]:
    """Two nodes that share an address; the first holds it, while the number is not below -50."""
    try:
        switch = Switch()
    except RuntimeError as error:
        pytest.skip(f"no network namespaces here: {error}")
    with ExitStack() as stack:
        stack.callback(switch.close)
        nodes = []
        for name, address in (("first", "192.0.2.2"), ("second", "192.0.2.3")):
            nodes.append(Node(switch, public_folder, name, address))
            stack.callback(nodes[-1].close)
        first, second = nodes
        file = first.folder / "vrrp.load"
        track = {"vip": file}
        balancer.keepalived(first, "192.0.2.3", [balancer.Instance("vip", 51, ADDRESS, 150)], track)
        balancer.keepalived(second, "192.0.2.2", [balancer.Instance("vip", 51, ADDRESS, 100)])
        until("the first to hold it", lambda: holder(first, second) == [first])
        yield first, second, file


def holder(*nodes: Node) -> list[Node]:
    return [node for node in nodes if node.holds(ADDRESS)]


def test_a_number_gives_the_address_away_and_takes_it_back(
    tools: Tools, pair: tuple[Node, Node, Path]
) -> None:
    first, second, file = pair
    kind, terms = TrackFiles(tools), Keepalived(str(file), -100)
    before = kind.look(terms)
    kind.close(terms, before)
    until("the second to hold it", lambda: holder(first, second) == [second])
    assert kind.state(terms, record(terms, before)) == ("closed", "")
    kind.open(terms, before)
    assert file.read_text() == "0\n"
    until("the first to hold it", lambda: holder(first, second) == [first])


def test_a_number_that_nobody_renews_is_taken_back(
    tools: Tools, pair: tuple[Node, Node, Path]
) -> None:
    first, second, file = pair
    file.write_text("3\n")
    kind, terms = TrackFiles(tools), Keepalived(str(file), -100)
    before = kind.look(terms)
    kind.close(terms, before)
    until("the second to hold it", lambda: holder(first, second) == [second])
    Leases(tools).watch(
        f"track-{file}", Track(-100, before["was"], boot_seconds() + 0.5, str(file))
    )
    until("the first to hold it", lambda: holder(first, second) == [first])
    assert file.read_text() == "3\n"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keepalived, "LINGER", 0.5)
        assert kind.state(terms, record(terms, before))[0] == "taken"
    until("the watchman's end", lambda: not agents(tools))


def test_a_persons_number_is_let_be(tools: Tools, public_folder: Path) -> None:
    file = public_folder / "vrrp.load"
    kind, terms = TrackFiles(tools), Keepalived(str(file), -100)
    before = kind.look(terms)
    kind.close(terms, before)
    assert file.read_text() == "-100\n"
    file.write_text("-7\n")
    assert kind.state(terms, record(terms, before))[0] == "taken"
    kind.open(terms, before)
    assert file.read_text() == "-7\n"
    file.write_text("-100\n")
    assert " already" in kind.look(terms)["away"]
    with pytest.raises(GateError, match="no folder"):
        kind.look(Keepalived(str(public_folder / "nowhere" / "file")))
