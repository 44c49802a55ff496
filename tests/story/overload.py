"""The story of the overloaded web server, with a real Apache, a real load and the real kernel.

Once monit stopped Apache when the load was high, and nobody started it again. Here a guard
throttles first: the heaviest visitors wait, everybody else is served. A crowd of many that are each
below the throttle makes it stop the service; when the load has fallen it starts it again, by itself.
Limits: four to six minutes, since the load of a minute takes minutes to fall.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from tests.story.stage import (
    Background,
    Hosts,
    Timeline,
    folder,
    play,
    real_gate,
    tidegate,
    wait_for,
)
from tests.story.webserver import COSTLY, PORT, WebServer, missing

TITLE = "The overloaded web server: throttled, stopped, and started again by itself"
NEAR = "10.9.0.1"
ANNA = "10.9.0.50"
HEAVY = [f"10.9.0.{n}" for n in range(11, 15)]
CROWD = [f"10.9.0.{n}" for n in range(101, 141)]
CLOSE_ABOVE, OPEN_ABOVE = 6.0, 3.0
"""The limits, above the load that this host has anyway."""
POLICY = """
[paths]
state = "{folder}/state"
run = "{folder}/run"
off = "{folder}/off"
detectors = "{folder}/detectors"
gates = "{folder}/gates"

[guard.web]
close = {{ when = "la1 >= {close:.2f}" }}
open = {{ when = "la1 <= {open:.2f}" }}
capture = {{ commands = [["ps", "-eo", "pid,user,args", "--sort=-pcpu"]] }}
ladder = [
  {{ throttle = {{ ports = [{port}], rate = "20/m", burst = 5 }} }},
  {{ stop = "{service}", after = "50s" }},
]
"""
_BARS = " ▁▂▃▄▅▆▇█"


def load() -> float:
    """The load of the last minute."""
    return float(Path("/proc/loadavg").read_text().split()[0])


class Curve:
    """What the load was, and what was closed, every second."""

    def __init__(self, config: Path, timeline: Timeline) -> None:
        self._config, self._timeline = config, timeline
        self.loads: list[float] = []
        self.states: dict[str, str] = {}

    def look(self) -> dict[str, str]:
        """Once; changes of the gates are told."""
        self.loads.append(load())
        answer = tidegate("guard", "list", "--json", config=self._config)
        if answer.returncode:
            return self.states
        gates = {
            gate["gate"]: gate["state"]
            for guard in json.loads(answer.stdout)["guards"]
            for gate in guard["gates"]
        }
        for gate, state in gates.items():
            if self.states.get(gate, "open") != state:
                self._timeline.tell(f"load {self.loads[-1]:5.2f}  {gate} is {state}")
        self.states = gates
        return gates

    def until(self, what: str, gate: str, state: str, seconds: float) -> None:
        """Look every second until a gate is so."""
        wait_for(what, lambda: self.look().get(gate) == state, seconds, 1.0)

    def drawn(self) -> str:
        """The curve as bars, one for ten seconds."""
        peaks = [max(self.loads[n : n + 10]) for n in range(0, len(self.loads), 10)]
        top = max(peaks, default=1.0) or 1.0
        bars = "".join(_BARS[round(8 * peak / top)] for peak in peaks)
        return f"load, 10 looks a bar, highest {top:.1f}: {bars}"


def story(timeline: Timeline, stack: ExitStack) -> str:
    """Play it; the verdict."""
    hosts = stack.enter_context(Hosts(NEAR, ANNA, *HEAVY, *CROWD))
    here = stack.enter_context(folder())
    server = stack.enter_context(WebServer(here, hosts.mail))
    usual = load()
    close_at, open_at = usual + CLOSE_ABOVE, usual + OPEN_ABOVE
    config = here / "tidegate.toml"
    config.write_text(
        POLICY.format(folder=here, port=PORT, service=server.service, close=close_at, open=open_at)
    )
    timeline.tell(f"load {usual:5.2f}  Apache serves; the guard closes at {close_at:.1f}")
    log = here / "tidegate.log"
    words = (sys.executable, "-m", "tidegate", "run", "--config", str(config))
    stack.enter_context(Background(hosts.mail, *words, log=log))
    curve = Curve(config, timeline)
    wait_for("the guard", curve.look, 30, 0.5)
    visitors = stack.enter_context(
        Background(hosts.attacker, sys.executable, "-m", "tests.story.visitors", str(PORT), NEAR)
    )
    visitors.ask("start", "anna", [ANNA], 1, "/", 4.0, 10)

    timeline.tell(f"{len(HEAVY)} addresses ask for the costly page, four at a time each")
    visitors.ask("start", "heavy", HEAVY, 4, COSTLY, 0.0, 60)
    curve.until("the throttle", "web.throttle", "closed", 180)
    timeline.expect(server.running(), "Apache goes on: only who asks too often waits")
    visitors.ask("count", "anna")
    visitors.ask("count", "heavy")
    began = time.monotonic()
    while time.monotonic() - began < 30:
        curve.look()
        time.sleep(1)
    anna, heavy = visitors.ask("count", "anna"), visitors.ask("count", "heavy")
    timeline.expect(
        anna["refused"] == 0 and anna["served"] >= 5,
        f"Anna, who behaves, was served {anna['served']} times in 30 s while throttled, refused"
        f" {anna['refused']} times (slowest {anna['slowest']:.2f} s)",
    )
    timeline.tell(f"the heavy ones were served {heavy['served']} times in the same time")

    timeline.tell(f"{len(CROWD)} more come, each too rare for the throttle")
    visitors.ask("start", "crowd", CROWD, 1, COSTLY, 0.0, 60)
    curve.until("the stop", "web.stop", "closed", 300)
    timeline.expect(not server.running(), "throttling did not help, so Apache is stopped")
    peak = max(curve.loads)

    why = tidegate("why", "web.stop", config=config).stdout
    timeline.expect(
        "la1 = " in why and "awk" in why, "`tidegate why web.stop` shows load and processes"
    )
    for name in ("heavy", "crowd"):
        visitors.ask("stop", name)
    timeline.tell("the flood is over; nobody does anything now")
    curve.until("the service to come back", "web.stop", "open", 600)
    timeline.expect(server.running(), f"Apache runs again, by itself, at load {load():.2f}")
    visitors.ask("count", "anna")
    wait_for("Anna", lambda: visitors.ask("count", "anna")["served"] > 0, 60, 1.0)
    timeline.tell("Anna is served again")
    curve.until("the throttle to open", "web.throttle", "open", 600)
    timeline.expect(True, "and the throttle is gone, too")
    print(curve.drawn())
    return (
        f"Throttled at load {close_at:.1f}, stopped at a peak of {peak:.1f}, started again at"
        f" {open_at:.1f}, and nobody lifted a finger."
    )


def main() -> int:
    """Play the story; the exit code."""
    if why := real_gate() or missing():
        print(f"{TITLE}: not here: {why}")
        return 0
    return play(TITLE, story)


if __name__ == "__main__":
    sys.exit(main())
