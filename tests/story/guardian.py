"""`tidegate run` on a node of a story: its policy, its daemon, its verbs.

Touches the node's folder, and a daemon that ends with the node. Limits: the daemon's control socket
is reached through the folder, which all nodes of a story share with this host.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.story import stage
from tests.story.cluster import Node, Service

from tidegate.control.client import Client
from tidegate.errors import ControlError

PATHS = """
[paths]
state = "{folder}/tidegate/state"
gates = "{folder}/tidegate/gates"
run = "{folder}/tidegate/run"
off = "{folder}/tidegate/off"
detectors = "{folder}/tidegate/detectors"
fleet = "{folder}/tidegate/fleet"
"""


class Guardian:
    """The daemon on one node."""

    def __init__(self, node: Node, policy: str) -> None:
        self.node = node
        self.folder = node.folder / "tidegate"
        self.folder.mkdir(exist_ok=True)
        self.config = self.folder / "tidegate.toml"
        self.config.write_text(policy + PATHS.format(folder=node.folder))
        self.service: Service | None = None

    def rewrite(self, policy: str) -> None:
        """Another policy, for the next start or reload."""
        fresh = self.config.with_suffix(".new")
        fresh.write_text(policy + PATHS.format(folder=self.node.folder))
        fresh.rename(self.config)

    def ask(self, path: str) -> Any:
        """One answer of the daemon; {} while it gives none."""
        try:
            return Client(str(self.folder / "run/watcher/control.sock")).get(path)
        except ControlError:
            return {}

    def start(self) -> Guardian:
        """Start it."""
        self.service = self.node.start(*stage.TIDEGATE, "run", "--config", self.config)
        return self

    def wait(self) -> Guardian:
        """Wait until it answers."""
        try:
            stage.wait_for(f"tidegate on {self.node.name}", self._answers, 90)
        except stage.StoryError as error:
            raise stage.StoryError(f"{error}:\n{self.said()}") from None
        return self

    def _answers(self) -> bool:
        assert self.service is not None
        self.service.expect_alive()
        return self.verb("status").returncode == 0

    def said(self) -> str:
        """What the daemon has printed."""
        assert self.service is not None
        return self.service.said.read_text("utf-8", "replace")

    def verb(self, *words: str) -> Any:
        """A verb, as an administrator of this node gives it."""
        return stage.tidegate(*words, config=self.config)

    def closed(self) -> set[str]:
        """For whom it is closed now."""
        rows = map(json.loads, self.verb("list", "--json").stdout.splitlines())
        return {row["subject"] for row in rows if row.get("subject")}

    def gates(self) -> dict[str, str]:
        """Its guards' gates, and how each stands."""
        told = json.loads(self.verb("guard", "list", "--json").stdout)
        return {gate["gate"]: gate["state"] for one in told["guards"] for gate in one["gates"]}

    def dropped(self) -> str:
        """Its table in the node's kernel; "" where there is none."""
        words = ["nft", "list", "table", "inet", "tidegate"]
        try:
            return self.node.space.run(*words)
        except RuntimeError:
            return ""


def trusted(path: Path) -> str:
    """A path as TOML text."""
    return json.dumps(str(path))
