"""Tries what `[outward]` needs of this host: nft, connection tracking, the interfaces it names.

Touches /proc, /sys and /lib/modules below a root folder, only to read. Limits: what can be known
without changing anything; a kernel that has its modules elsewhere is believed to have them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tidegate.daemon.senders import forwards
from tidegate.policy.outward import OutwardSpec

_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
_TRACKED = "proc/sys/net/netfilter/nf_conntrack_max"
FEW = 65_536
"""Connections that a kernel should be able to follow; some 300 bytes each."""
_EVENTS = "proc/sys/net/netfilter/nf_conntrack_events"
_MODULES = {
    "nf_tables": "nothing can be capped",
    "nf_conntrack": "nothing can be capped",
    "nf_conntrack_netlink": "caps hold, but nobody sees who is answered, so nobody is cut off",
    "nfnetlink_log": "caps hold, but nobody is told of what they keep back",
}


def troubles(spec: OutwardSpec | None, root: str = "", *, told: bool = False) -> list[str]:
    """One line for each thing that is missing. `told`: routers tell of what they forward."""
    return [] if spec is None else [f"outward: {said}" for said in _troubles(spec, root, told)]


def _troubles(spec: OutwardSpec, root: str, told: bool) -> Iterator[str]:
    if shutil.which("nft", path=f"{os.environ.get('PATH', '')}:{_PATH}") is None:
        yield "nft is not installed, so nothing can be capped: install the package nftables"
    yield from _kernel(root)
    for name in spec.interfaces:
        if not Path(root or "/", "sys/class/net", name).exists():
            yield f"there is no interface {name} yet; it is a source as soon as there is"
    passing = spec.networks or spec.customers or spec.interfaces
    if passing and not told and not forwards(root):
        yield (
            "this host forwards nothing, so only its own users could be sources:"
            ' sources = ["uids"], or sysctl -w net.ipv4.ip_forward=1'
        )


def _kernel(root: str) -> Iterator[str]:
    release = os.uname().release
    folder = Path(root or "/", "lib/modules", release)
    known = _text(folder / "modules.dep") + _text(folder / "modules.builtin")
    for module, without in _MODULES.items():
        loaded = Path(root or "/", "sys/module", module).exists()
        if known and not loaded and f"/{module}.ko" not in known:
            yield f"this kernel has no {module}: {without}; install the package of {release} whole"
    if _text(Path(root or "/", _EVENTS)).strip() == "0":
        without = _MODULES["nf_conntrack_netlink"]
        yield f"{without}: run: sysctl -w net.netfilter.nf_conntrack_events=2"
    most = _text(Path(root or "/", _TRACKED)).strip()
    if most.isdigit() and int(most) < FEW:
        yield (
            f"the kernel follows {most} connections at most, and drops everybody's new ones when"
            f" a flood has used them up: run: sysctl -w net.netfilter.nf_conntrack_max={4 * FEW}"
        )


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
