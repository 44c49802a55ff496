"""A balancer: Debian's haproxy before mail nodes, and keepalived, which moves addresses by VRRP.

Touches the node's folder and starts daemons on the node, which end with it. Keepalived also serves
two nodes without balancers, where each holds an address of its own and takes its twin's. Limits:
VRRP version 3 for advertisements below a second; checks every 400 ms, so that a story is short.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.story.cluster import Node, Service
from tests.story.mailnode import IMAP, POP3, PROXIED, SMTP

from tidegate.gate.switches import haproxy as runtime
from tidegate.policy.guards import Haproxy

NEEDED = ("sbin/haproxy", "sbin/keepalived")
PROTOCOLS = {"smtp": SMTP, "imap": IMAP, "pop3": POP3}
AGENT = 7777
EVERY, CHECKED = "400ms", "1s"

HAPROXY = """
global
  stats socket {socket} mode 600 level admin
  maxconn 500
  nbthread 1

defaults
  mode tcp
  balance roundrobin
  timeout connect 2s
  timeout client 5m
  timeout server 5m
  retries 2
  option redispatch
"""
# PROXY protocol, so that the node's log names the client. Checks go to the usual ports without it:
# postfix 3.7 fails over the header of a check, which speaks for no client.
PROXY = """
frontend {name}
  bind :{port}
  default_backend {name}

backend {name}
  default-server inter {checked} fall 3 rise 1 send-proxy-v2 on-marked-down shutdown-sessions {agent}
"""
SERVER = "  server {name} {address}:{port} weight 100 check port {check}\n"
KEEPALIVED = """
global_defs {{
  router_id {name}
  vrrp_version 3
  vrrp_priority -10
  vrrp_garp_master_delay 1
  vrrp_garp_master_repeat 3
  # Whoever was away is told that it is not the master by more than one advertisement.
  vrrp_garp_lower_prio_repeat 2
  script_user root
}}
"""
TRACKED = """
track_file {name} {{
  file {file}
  weight 1
  init_file 0
}}
"""
INSTANCE = """
vrrp_instance {name} {{
  state BACKUP
  interface eth0
  virtual_router_id {number}
  priority {priority}
  advert_int 0.2
  unicast_src_ip {own}
  unicast_peer {{
    {peer}
  }}
  virtual_ipaddress {{
    {address}/24
  }}
  {tracked}
}}
"""


class Instance(NamedTuple):
    """An address that two nodes share: the one with the higher priority holds it."""

    name: str
    number: int
    address: str
    priority: int


def keepalived(
    node: Node, peer: str, instances: Sequence[Instance], track: Mapping[str, Path] | None = None
) -> Service:
    """Start keepalived for these addresses; `track`: name of an instance → file with a number."""
    files = track or {}
    text = KEEPALIVED.format(name=node.name)
    for name, file in files.items():
        text += TRACKED.format(name=f"{name}-load", file=file)
    for one in instances:
        tracked = f"track_file {{\n    {one.name}-load weight 1\n  }}" if one.name in files else ""
        text += INSTANCE.format(**one._asdict(), own=node.addresses[0], peer=peer, tracked=tracked)
    path = node.folder / "keepalived.conf"
    path.write_text(text)
    return node.start(
        "/usr/sbin/keepalived", "--dont-fork", "--vrrp", "--log-console", "--log-detail",
        "--use-file", path, "--pid", "/run/keepalived/parent.pid",
        "--vrrp_pid", "/run/keepalived/vrrp.pid",
    )  # fmt: skip


def haproxy(node: Node, servers: Mapping[str, str], agents: bool = True) -> Service:
    """Start haproxy before these mail nodes (name → address), for SMTP, IMAP and POP3.

    `agents`: ask each node's agent at AGENT how it is.
    """
    text = HAPROXY.format(socket=_socket(node))
    agent = f"agent-check agent-port {AGENT} agent-inter {EVERY}" if agents else ""
    for name, port in PROTOCOLS.items():
        text += PROXY.format(name=name, port=port, checked=CHECKED, agent=agent)
        for server, address in servers.items():
            text += SERVER.format(name=server, address=address, port=port + PROXIED, check=port)
    path = node.folder / "haproxy.cfg"
    path.write_text(text)
    service = node.start("/usr/sbin/haproxy", "-db", "-f", path)
    return service.wait_port(*PROTOCOLS.values())


def state(node: Node, backend: str, server: str) -> str:
    """How the haproxy on this node treats a server: drained, in maintenance or ready."""
    found = runtime.look(Haproxy(str(_socket(node)), backend, server))
    if found.admin & runtime.MAINTENANCE:
        return "in maintenance"
    return "drained" if found.admin & runtime.DRAIN else "ready"


def _socket(node: Node) -> Path:
    return node.folder / "admin.sock"
