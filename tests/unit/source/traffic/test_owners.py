from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.kernel.daemon import until

from tidegate.source.traffic.owners import SAVED, UNKNOWN, Owners, program
from tidegate.source.traffic.sockets import Flow, Sockets, without_ports

STRANGER = 54329
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="not root")
Bot = Callable[..., int]


@pytest.fixture
def owners() -> Iterator[Owners]:
    made = Owners()
    yield made
    made.close()


@pytest.fixture
def bot(public_folder: Path) -> Iterator[Bot]:
    """Starts a program of its own (a copy of sleep) that holds these sockets; its number."""
    with ExitStack() as stack:

        def start(*sockets: socket.socket, name: str = "bot", **options: object) -> int:
            path = public_folder / name
            shutil.copy("/bin/sleep", path)
            path.chmod(0o755)
            held = [one.fileno() for one in sockets]
            process = subprocess.Popen([str(path), "120"], pass_fds=held, **options)
            stack.callback(process.wait, 20)
            stack.callback(process.kill)
            until("the program", lambda: os.readlink(f"/proc/{process.pid}/exe") == str(path))
            for one in sockets:
                if options:
                    os.fchown(one.fileno(), int(str(options["user"])), -1)  # as if made by it
                one.close()
            return process.pid

        yield start


def udp(family: int = socket.AF_INET) -> tuple[socket.socket, int]:
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.bind(("", 0))
    return made, made.getsockname()[1]


def test_a_sender_of_datagrams_is_named(owners: Owners, bot: Bot, public_folder: Path) -> None:
    channel, port = udp()
    pid = bot(channel)
    told = owners.owner_of(17, "127.0.0.1", port, "192.0.2.1", 1434)
    assert told == f"{public_folder}/bot (pid {pid})"


def test_a_connection_is_found_by_both_ends_and_by_either_family(
    owners: Owners, bot: Bot, public_folder: Path
) -> None:
    with socket.socket(socket.AF_INET6) as server:
        server.bind(("::", 0))
        server.listen()
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        near = client.getsockname()[1]
        pid = bot(client)
        told = owners.owner_of(6, "127.0.0.1", near, "127.0.0.1", port)
        assert told == f"{public_folder}/bot (pid {pid})"
        with server.accept()[0]:
            taker = owners.find(Flow(6, "127.0.0.1", port, "127.0.0.1", near))
        assert taker is not None
        assert (taker.pid, taker.sure) == (os.getpid(), True)


def test_who_listens_has_what_comes_to_its_port(owners: Owners, bot: Bot) -> None:
    server = socket.create_server(("", 0))
    port = server.getsockname()[1]
    pid = bot(server)
    found = owners.find(Flow(6, "127.0.0.1", port, "192.0.2.1", 50000))
    assert found is not None
    assert found.pid == pid


def test_a_deleted_program_is_named_as_such(owners: Owners, bot: Bot, public_folder: Path) -> None:
    channel, port = udp()
    pid = bot(channel)
    (public_folder / "bot").unlink()
    assert owners.owner_of(17, "127.0.0.1", port) == f"{public_folder}/bot (deleted) (pid {pid})"


def test_a_name_that_only_says_deleted_is_just_a_name(bot: Bot, public_folder: Path) -> None:
    assert program(bot(name="x (deleted)")) == f"{public_folder}/x (deleted)"
    assert program(bot(name="memfd:x")) == f"{public_folder}/memfd:x"


def test_a_program_that_never_was_a_file_is_named_as_such() -> None:
    memory = os.memfd_create("kworker")
    os.write(memory, Path("/bin/sleep").read_bytes())
    with subprocess.Popen([f"/proc/self/fd/{memory}", "120"], pass_fds=[memory]) as process:
        os.close(memory)
        until("the program", lambda: program(process.pid).startswith("memfd"))
        assert program(process.pid) == "memfd:kworker (in memory)"
        process.kill()


def test_a_script_is_named_with_its_interpreter(tmp_path: Path) -> None:
    script = tmp_path / "bot.py"
    script.write_text("import time; print(flush=True); time.sleep(120)")
    words = [sys.executable, "-B", "bot.py", "--port", "53"]
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert program(process.pid) == f"{os.path.realpath(sys.executable)} {script}"
        process.kill()


def test_a_hostile_path_is_made_harmless_and_short(bot: Bot, public_folder: Path) -> None:
    path = program(bot(name="a\x1b[31m\n" + "b" * 200))
    assert path.isprintable()
    assert path.startswith(str(public_folder))
    assert len(path) < 130


def test_nobody_is_unknown(owners: Owners) -> None:
    channel, port = udp()
    channel.close()
    assert owners.owner_of(17, "127.0.0.1", port, "192.0.2.1", 9) == UNKNOWN
    assert owners.owner_of(6, "127.0.0.1", port, "192.0.2.1", 9) == UNKNOWN
    assert owners.owner_of(17, "no address", port, "192.0.2.1", 9) == UNKNOWN
    assert owners.owner_of(1, "127.0.0.1", 0, "192.0.2.1", 0) == UNKNOWN


def test_a_closing_connection_is_nobodys(owners: Owners) -> None:
    """The kernel says user 0 of it: root must not be blamed."""
    server = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(server.getsockname())
    near, far = client.getsockname(), client.getpeername()
    client.close()
    server.accept()[0].close()
    server.close()
    assert owners.user_of(Flow(6, *near, *far)) is None


@as_root
def test_the_user_is_that_of_the_socket(owners: Owners, bot: Bot) -> None:
    channel, port = udp()
    pid = bot(channel, user=STRANGER)
    found = owners.find(Flow(17, "127.0.0.1", port))
    assert found is not None
    assert (found.user, found.pid, found.sure) == (STRANGER, pid, True)


@as_root
def test_the_busiest_of_its_user_is_the_likeliest_where_the_socket_is_gone(
    owners: Owners, bot: Bot
) -> None:
    bot(user=STRANGER, name="idle")
    words = ["/bin/sh", "-c", "while :; do :; done"]
    with subprocess.Popen(words, user=STRANGER) as busy:
        try:
            time.sleep(0.2)  # what it used must show
            told = owners.owner_of(17, "127.0.0.1", 1, "192.0.2.1", 9, user=STRANGER)
        finally:
            busy.kill()
    assert told == f"probably {os.path.realpath('/bin/sh')} (pid {busy.pid})"


@as_root
def test_who_holds_a_raw_socket_may_have_forged_the_port(
    owners: Owners, bot: Bot, public_folder: Path
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as ours:
        own = os.fstat(ours.fileno()).st_ino
        assert own in {one.number for one in without_ports()}
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        pid = bot(raw, user=STRANGER)
        words = ["/bin/sh", "-c", "while :; do :; done"]
        with subprocess.Popen(words, user=STRANGER) as busy:  # it can't have forged anything
            time.sleep(0.2)
            told = owners.owner_of(6, "127.0.0.1", 1, "192.0.2.1", 9, user=STRANGER)
            busy.kill()
    assert told == f"probably {public_folder}/bot (pid {pid})"


@as_root
def test_a_packet_socket_is_listed() -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0) as made:
        number = os.fstat(made.fileno()).st_ino
        assert number in {one.number for one in without_ports()}


@as_root
def test_without_rights_others_are_unknown(bot: Bot) -> None:
    channel, port = udp()
    bot(channel)
    script = (
        "import os, sys; os.setgid(54329); os.setuid(54329)\n"
        "from tidegate.source.traffic.owners import Owners\n"
        f"sys.stdout.write(Owners().owner_of(17, '127.0.0.1', {port}))"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == UNKNOWN


def test_the_work_of_a_second_is_bounded(bot: Bot) -> None:
    """Each look at the processor's time finds a thousandth more of it used: what was saved up is
    soon gone, and some seconds later somebody is found again."""
    now, used = [0.0], [0.0]

    def work() -> float:
        used[0] += 0.001
        return used[0]

    owners = Owners(clock=lambda: now[0], work=work)
    channel, port = udp()
    bot(channel)
    flow = Flow(17, "127.0.0.1", port)
    assert owners.find(flow) is not None
    gone, closed = udp()
    gone.close()
    asked = 0
    while owners.find(flow) is not None:
        owners.find(Flow(17, "127.0.0.1", closed), user=os.geteuid())
        asked += 1
        assert asked < 1000
    assert used[0] < 3 * SAVED  # looking at the time is a thousandth, too
    now[0] += 10
    assert owners.find(flow) is not None
    owners.close()


def test_the_kernel_is_asked_without_a_dump() -> None:
    """A thousand questions are answered, each by itself."""
    channel, port = udp(socket.AF_INET6)
    asking = Sockets()
    with channel:
        found = {asking.of(Flow(17, "::1", port, "::1", n)) for n in range(1, 1000)}
    asking.close()
    assert len(found) == 1
