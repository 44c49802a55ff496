"""Round-trip time and loss by ICMP echo.

Touches the network: datagram sockets of ICMP (`net.ipv4.ping_group_range`), else raw ones
(CAP_NET_RAW), else the program `ping`. Answers are known by eight random bytes that they must
carry. Limits: at most 20 echoes a call; under `no_new_privs` the program may do no more than we.
"""

from __future__ import annotations

import errno
import os
import re
import select
import shutil
import socket
import struct
import subprocess
import time
from typing import NamedTuple

from tidegate.errors import SourceError
from tidegate.source.readings.conversation import Address, addresses

INTERVAL = 0.2
MOST_ECHOES = 20

_HEADER = struct.Struct("!BBHHH")
_ECHO = {socket.AF_INET: (8, 0), socket.AF_INET6: (128, 129)}  # RFC 792, RFC 4443
_TIME = re.compile(r"time[=<]([0-9.]+) ?ms")
_LOSS = re.compile(r"([0-9.]+)% packet loss")
_REMEDY = (
    "ICMP echo is not allowed here; run: sysctl -w net.ipv4.ping_group_range='0 2147483647'"
    " (and write it into /etc/sysctl.d)"
)


class Plan(NamedTuple):
    """So many echoes, `interval` seconds apart, over after `timeout` or after `enough` answers."""

    count: int  # type: ignore[assignment]  # the word is ours, not tuple.count
    interval: float
    timeout: float
    enough: int


def rtt(host: str, timeout: float) -> float:
    """Seconds of the first echo that is answered, of up to three.

    SourceError: none was within `timeout` seconds, or none could be sent.
    """
    times = _echo(host, Plan(3, timeout / 3, timeout, 1))
    if not times:
        raise SourceError(f"{host} does not answer ICMP echo within {timeout:g} s")
    return times[0]


def loss(host: str, count: int = 5, timeout: float = 5.0) -> float:
    """How many percent of `count` echoes (1 to 20) got no answer within `timeout` seconds.

    SourceError: none could be sent.
    """
    count = min(max(1, count), MOST_ECHOES)
    interval = min(INTERVAL, timeout / 2 / count)
    times = _echo(host, Plan(count, interval, timeout, count))
    return 100.0 * (count - len(times)) / count


def _echo(host: str, plan: Plan) -> list[float]:
    """Seconds of those that were answered, as they came."""
    if not host or host.startswith("-"):
        raise SourceError(f"{host!r} is no host")
    address = addresses(host, 0, time.monotonic() + plan.timeout)[0]
    channel = _channel(address)
    if channel is None:
        return _by_program(address, plan)
    with channel:
        return _exchange(channel, address, plan)


def _channel(address: Address) -> socket.socket | None:
    """A socket connected to the address; None: we may not."""
    v6 = address.family == socket.AF_INET6
    protocol = socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP
    for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW):
        try:
            channel = socket.socket(address.family, kind, protocol)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
                raise SourceError(f"no socket: {error.strerror}") from error
            continue
        try:
            channel.connect(address.place)
        except OSError as error:
            channel.close()
            raise SourceError(f"no way to {address.text}: {error.strerror}") from error
        channel.setblocking(False)
        return channel
    return None


def _exchange(channel: socket.socket, address: Address, plan: Plan) -> list[float]:
    token = os.urandom(8)
    sent: dict[int, float] = {}
    times: list[float] = []
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    start = time.monotonic()
    number = 0
    while len(times) < plan.enough:
        now = time.monotonic()
        if now >= start + plan.timeout:
            break
        if number < plan.count and now >= start + number * plan.interval:
            sent[number] = now
            _send(channel, address, number, token)
            number += 1
            continue
        until = start + (number * plan.interval if number < plan.count else plan.timeout)
        poll.poll(max(0.0, min(until, start + plan.timeout) - now) * 1000 + 0.5)
        answered = [one for one in _answers(channel, address, token) if one in sent]
        times += [time.monotonic() - sent.pop(one) for one in dict.fromkeys(answered)]
    return times


def _send(channel: socket.socket, address: Address, number: int, token: bytes) -> None:
    body = token + struct.pack("!H", number)
    kind = _ECHO[socket.AddressFamily(address.family)][0]
    # Of a datagram socket the kernel sets the identifier; its checksum of version 6 always.
    identifier = os.getpid() & 0xFFFF
    packet = _HEADER.pack(kind, 0, 0, identifier, number) + body
    packet = _HEADER.pack(kind, 0, _checksum(packet), identifier, number) + body
    try:
        channel.send(packet)
    except OSError as error:
        # A neighbour that is not there is a loss; what this host itself refuses is none.
        if error.errno not in (errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ECONNREFUSED):
            raise SourceError(f"no way to {address.text}: {error.strerror}") from error


def _answers(channel: socket.socket, address: Address, token: bytes) -> list[int]:
    """The numbers of the echoes whose answers have arrived; at most as many as were sent."""
    found: list[int] = []
    for _time in range(MOST_ECHOES):
        try:
            packet = channel.recv(256)
        except BlockingIOError:
            break
        except OSError:  # what a router said of an echo: it is lost
            continue
        if channel.type == socket.SOCK_RAW and address.family == socket.AF_INET and packet:
            packet = packet[(packet[0] & 15) * 4 :]
        answer = _ECHO[socket.AddressFamily(address.family)][1]
        if len(packet) == 18 and packet[0] == answer and packet[8:16] == token:
            found.append(int.from_bytes(packet[16:18]))
    return found


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data[: len(data) // 2 * 2]))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _by_program(address: Address, plan: Plan) -> list[float]:
    """By `ping`, which may do what we may not."""
    program = shutil.which("ping", path="/usr/bin:/bin:/usr/sbin:/sbin")
    if program is None:
        raise SourceError(_REMEDY)
    interval = max(INTERVAL, plan.interval)
    count = min(plan.count, max(1, int(plan.timeout / interval)))
    words = [program, "-n", "-c", str(plan.enough if plan.enough == 1 else count)]
    words += ["-i", f"{interval:.1f}", "-W", f"{max(1, round(plan.timeout))}", address.text]
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=plan.timeout + 1,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return []
    except OSError as error:  # a capability of the file's that we may not gain: it can't be run
        raise SourceError(_REMEDY) from error
    if _LOSS.search(done.stdout) is None:
        raise SourceError(_REMEDY)
    times = [float(one) / 1000 for one in _TIME.findall(done.stdout)]
    # Where fewer were sent than planned, each counts for more.
    return times if plan.enough == 1 else (times * plan.count)[: plan.count * len(times) // count]
