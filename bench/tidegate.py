"""How Tidegate itself is called when it is measured: the policy, `replay`, `run`.

Touches private folders that it is handed. Limits: uses the command of the environment it runs in.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bench import measure

COMMAND = Path(sys.executable).parent / "tidegate"

POLICY = """\
mode = "enforce"

[rule.virus-senders]
on = ["exim.malware"]
more-than = 15
within = "5m"
ban = { ports = [25] }

[rule.virus-senders-slow]
on = ["exim.malware"]
more-than = 5
within = "15m"
ban = { ports = [25] }

[rule.guessers]
on = ["exim.auth_failed", "sshd.auth_failed"]
at-least = 5
within = "10m"
ban = { ports = [22, 25] }
"""


def missing() -> str:
    """Why Tidegate can't be measured; "" if it can."""
    if not COMMAND.exists():
        return f"{COMMAND} is missing"
    run = measure.command([str(COMMAND), "replay", "--help"])
    return "" if run.code == 0 else "`tidegate replay` does not work"


def policy(folder: Path) -> Path:
    """The policy that is measured with: the shipped rules and one against guessing."""
    path = folder / "tidegate.toml"
    path.write_text(POLICY)
    return path


def replay(log: Path, configuration: Path) -> measure.Run:
    """The whole path over a file, every pack on."""
    run = measure.command(
        [str(COMMAND), "replay", "--config", str(configuration), "--json", str(log)]
    )
    if run.code > 1:
        raise RuntimeError(f"tidegate replay {log.name} ended with {run.code}")
    return run
