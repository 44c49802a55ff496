"""The shared flow files, against Debian's nfcapd and nfdump: the same flows, number by number."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from datetime import UTC, datetime

import pytest

from tidegate.source.flow.decoder import Decoder

pytestmark = [pytest.mark.daemons, pytest.mark.corpus]
FILES = (
    "netflow5.dat", "netflow5_test_microtik.dat",
    "netflow9_fortigate_521_tpl.dat", "netflow9_fortigate_521_data256.dat",
    "ipfix_openbsd_pflow_tpl.dat", "ipfix_openbsd_pflow_data.dat",
)  # fmt: skip
BITS = {"F": 1, "S": 2, "R": 4, "P": 8, "A": 16, "U": 32, "E": 64, "C": 128}


def micros(text):
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000) * 1000


def theirs(datagrams, folder):
    """What nfcapd takes from the wire, and nfdump prints of it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        "nfcapd",
        "-w",
        str(folder),
        "-b",
        "127.0.0.1",
        "-p",
        str(port),
        "-t",
        "3600",
        "-I",
        "test",
    ]
    collector = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        said = ""
        while "Startup nfcapd" not in said:
            line = collector.stdout.readline()
            assert line, said
            said += line
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for data in datagrams:
                sender.sendto(data, ("127.0.0.1", port))
                time.sleep(0.05)
    finally:
        collector.terminate()
        said += collector.communicate(timeout=30)[0]
    assert "Bad Packets: 0" in said
    (file,) = (one for one in folder.iterdir() if one.name.startswith("nfcapd.2"))
    printed = subprocess.run(
        ["nfdump", "-r", str(file), "-o", "json"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"TZ": "UTC"},
    )
    return json.loads(printed.stdout)


def test_the_same_numbers_as_nfdump(corpus, tmp_path):
    datagrams = [(corpus / "raw" / "netflow" / name).read_bytes() for name in FILES]
    decoder = Decoder()
    ours = [flow for data in datagrams for flow in decoder.decode(data, "127.0.0.1").flows]
    expected = sorted(
        (
            one["src4_addr"], one["dst4_addr"], one["proto"], one.get("src_port", 0), one.get("dst_port", 0),
            one["in_packets"], one["in_bytes"], sum(BITS[flag] for flag in one["tcp_flags"] if flag != "."),
            micros(one["first"]), micros(one["last"]),
        )
        for one in theirs(datagrams, tmp_path)
    )  # fmt: skip
    found = sorted(
        (
            one.source, one.destination, one.protocol, one.source_port, one.port, one.packets, one.bytes, one.flags,
            one.first // 1000 * 1000, one.last // 1000 * 1000,
        )
        for one in ours
    )  # fmt: skip
    assert len(expected) == 86
    assert found == expected
