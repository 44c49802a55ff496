"""`tidegate init --write --enable` and `--disable` as people type them, on this host's own files.

In namespaces of mounts and of the network: /etc is a copy there, /run, /var/log and /var/lib are
empty, so that nothing of it reaches the host. The processes are ended by `--disable` itself, and by
the script's trap where that fails.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel

SCRIPT = r"""
set -eu
cp -a /etc "$1/etc"
mount --make-rprivate /
mount --bind "$1/etc" /etc
for folder in /run /var/log /var/lib; do mount -t tmpfs -o mode=755 tmpfs "$folder"; done
mkdir -p /etc/init.d /etc/rc2.d /var/log/exim4
rm -rf /etc/tidegate /etc/init.d/tidegate
echo 'x' >/var/log/exim4/mainlog
ip link set lo up
trap '[ ! -s /run/tidegate.pid ] || kill -9 "$(cut -d " " -f 1 /run/tidegate.pid)"' EXIT
step() { echo "== $*"; "$@" || echo "exit code $?"; }
step $TIDEGATE init --enable
step $TIDEGATE init --write --enable
step $TIDEGATE init --enable
n=0
until $TIDEGATE status >/dev/null 2>&1 || [ $n -gt 100 ]; do sleep 0.2; n=$((n + 1)); done
$TIDEGATE ban 192.0.2.7 --for 1h --ports 25
echo "banned: $(nft list table inet tidegate | grep -c 192.0.2.7)"
mkdir -m 700 /var/lib/tidegate-gates
cat >/var/lib/tidegate-gates/door.json <<'END'
{"version": 1, "gate": "door", "before": {}, "stage": "closed", "since": 1, "deadline": 1,
 "terms": {"kind": "Command", "close": ["/bin/true"], "open": ["/bin/touch", "/run/opened"]}}
END
step $TIDEGATE init --disable
step $TIDEGATE init --disable
echo "put back: $([ -e /run/opened ] && echo yes || echo no)"
echo "tables: $(nft list tables)"
echo "left: $(ls /etc/tidegate /var/lib/tidegate | tr '\n' ' ')"
echo "running: $([ -e /run/tidegate.pid ] && echo yes || echo no)"
echo "at boot: $(find /etc/rc?.d -name 'S*tidegate' | wc -l)"
"""


def test_enable_and_disable(public_folder: Path) -> None:
    done = subprocess.run(
        ["unshare", "-m", "-n", "sh", "-c", SCRIPT, "sh", public_folder],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
        env={
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONPATH": ":".join(filter(None, (os.path.abspath(one) for one in sys.path if one))),
            "TIDEGATE": f"{sys.executable} -m tidegate",
            "SSH_CONNECTION": "198.51.100.7 50122 203.0.113.1 22",
        },
    )
    said = done.stdout
    assert done.returncode == 0, said
    parts = re.split(r"^== .*\n", said, flags=re.MULTILINE)
    no_policy, first, again, off, off_again = parts[1:6]
    assert "no policy yet" in no_policy
    assert "exit code 2" in no_policy
    assert '+    "198.51.100.7",' in first
    assert "/etc/tidegate/tidegate.toml is written" in first
    assert "done: write /etc/init.d/tidegate\n" in first
    assert "tidegate: started (process" in first
    assert "nothing to do: /etc/init.d/tidegate is there" in again
    assert "runs already" in again
    assert "banned: 1\n" in again
    assert "tidegate: stopped" in off
    assert "done: open every gate and delete the table" in off
    assert "door: open" in off
    assert "put back: yes" in off_again
    assert "Policy and ledger stay. Nothing is closed." in off
    assert "tidegate: does not run" in off_again
    assert "(no gate was closed)" in off_again
    assert "tables: \n" in said
    assert "tidegate.toml" in said.partition("left: ")[2]
    assert "ledger.sqlite" in said.partition("left: ")[2]
    assert "running: no\n" in said
    assert "at boot: 0\n" in said
