"""A real exporter, softflowd, tells of the shared capture in each format: the guesser is found."""

from __future__ import annotations

import select
import subprocess
import time

import pytest

from tidegate.daemon.flows import FlowSource
from tidegate.model import SECOND, Subject
from tidegate.policy.flow import FlowPort

pytestmark = [pytest.mark.daemons, pytest.mark.corpus]


@pytest.mark.parametrize("version", [5, 9, 10])
def test_the_guesser_is_found_by_what_a_real_exporter_tells(corpus, version):
    edge = FlowSource("edge", FlowPort("127.0.0.1", 0, (Subject("127.0.0.1"),)), None)
    try:
        now = time.time_ns() // 1000
        edge.read(now)
        capture = corpus / "raw" / "pcap" / "sshguess.pcap"
        command = [
            "softflowd",
            "-r",
            str(capture),
            "-v",
            str(version),
            "-n",
            f"127.0.0.1:{edge.port}",
        ]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert "Shutting down after pcap EOF" in ended.stdout + ended.stderr
        blocks = []
        while select.select(edge.fds(), [], [], 1)[0]:
            blocks += edge.read(now + SECOND)
        assert edge.view()["flows"] == 22
        assert edge.view()["malformed"] == 0
        text = b"".join(block.data for block in blocks).decode()
        assert text.count("\n") == 1
        assert (
            " tidegate inward: guessing 192.168.56.1: 10 short connections to 192.168.56.103:22/tcp in "
            in text
        )
    finally:
        edge.close()
