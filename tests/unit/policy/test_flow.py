"""A router's flow records in the policy: where they come, whose count, and every fault."""

from __future__ import annotations

import pytest

from tidegate.errors import PolicyError
from tidegate.policy.flow import FlowPort, listening
from tidegate.policy.loader import read
from tidegate.policy.models import OUTWARD


def source(text: str):
    (found,) = read([("a.toml", f"[source.edge]\n{text}\n")]).policy.sources
    return found


def faults(text: str) -> str:
    with pytest.raises(PolicyError) as caught:
        source(text)
    return str(caught.value)


def test_a_port_and_its_exporters():
    found = source(
        'netflow = "0.0.0.0:2055"\nexporters = ["192.0.2.1", "2001:db8::1", "198.51.100.0/28"]'
    )
    assert found.netflow == FlowPort(
        "0.0.0.0", 2055, ("192.0.2.1", "2001:db8::1", "198.51.100.0/28")
    )
    assert found.detectors == OUTWARD.detectors
    assert source('netflow = "[::]:4739"\nexporters = ["2001:db8::/64"]').netflow.host == "::"


@pytest.mark.parametrize(
    "text",
    [
        "router:2055",
        "0.0.0.0",
        "0.0.0.0:0",
        "0.0.0.0:65536",
        "1.2.3:2055",
        "[::1:2055",
        "::1:2055",
        "[1.2.3.4]:2055",
        "",
        2055,
        None,
    ],
)
def test_what_is_no_place_to_listen(text):
    with pytest.raises(ValueError, match=r'such as "0\.0\.0\.0:2055"'):
        listening(text)


def test_faults():
    assert '"netflow" needs "exporters"' in faults('netflow = "0.0.0.0:2055"')
    assert '"netflow" needs "exporters"' in faults('netflow = "0.0.0.0:2055"\nexporters = []')
    assert '"exporters" belongs to "netflow"' in faults('stdin = true\nexporters = ["192.0.2.1"]')
    assert "exactly one of" in faults(
        'netflow = "0.0.0.0:2055"\nexporters = ["192.0.2.1"]\nstdin = true'
    )
    assert "a.toml:2: source.edge.netflow" in faults(
        'netflow = "edge:2055"\nexporters = ["192.0.2.1"]'
    )
