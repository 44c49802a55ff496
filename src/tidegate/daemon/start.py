"""Starts the daemon: checks what can be checked first, prepares folders, hands over to the master.

Touches /run/tidegate and the state folder (made, given to the watcher), then processes.
Limits: without root it decides and records only, and says so.
"""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from tidegate import distress
from tidegate.daemon.fleetless import hindrance
from tidegate.daemon.master import Child, Master
from tidegate.daemon.privilege import Identity, identity
from tidegate.daemon.published import load
from tidegate.errors import OperatorError, PolicyError, WorldError
from tidegate.policy.models import Policy

log = logging.getLogger("tidegate")


def start(config: Path | None, *, observe: bool) -> int:
    """Run until told to stop; the exit code. Raises OperatorError or WorldError before it began."""
    root = os.geteuid() == 0
    policy = _policy(config, root)
    _check(config, root)
    if not policy.sources and not policy.guarded:
        raise OperatorError(
            f"{policy.files[0]}: no [source.NAME] says what to read and no [guard.NAME] what to"
            ' watch; such as [source.exim] file = "/var/log/exim4/mainlog"'
        )
    if not root:
        return _alone(config, policy)
    return _supervised(config, policy, observe)


def _policy(config: Path | None, root: bool) -> Policy:
    """The policy, with what the fleet has published. That is judged in a child, so that the master,
    which lives long and for which its children pay, does without a library for signatures."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            found: Policy | tuple[str, ...]
            try:
                found = load(config, trusted=root).policy
            except PolicyError as error:
                found = error.faults
            except OperatorError as error:
                found = (str(error),)
            with os.fdopen(write, "wb") as told:
                pickle.dump(found, told)
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as told:
        data = told.read()
    os.waitpid(pid, 0)
    if not data:
        raise WorldError("the reading of the policy ended without an answer; try: tidegate check")
    policy = pickle.loads(data)  # noqa: S301 - of our own child
    if not isinstance(policy, Policy):
        raise PolicyError(policy)
    return policy


def _check(config: Path | None, root: bool) -> None:
    """All of policy and packs, in a child, so that the master stays small."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            from tidegate.daemon.build import plan

            plan(config, trusted=root)
            code = 0
        except OperatorError as error:
            for line in str(error).splitlines():
                print(f"tidegate: {line}", file=sys.stderr)
            code = 2
        finally:
            sys.stderr.flush()
            os._exit(code)
    _pid, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == 2:
        raise SystemExit(2)
    if code != 0:
        raise WorldError(f"the policy check ended with {code}; try: tidegate check")


def _supervised(config: Path | None, policy: Policy, observe: bool) -> int:
    from tidegate.daemon import roles

    keeper_identity = identity("tidegate")
    watcher_identity = identity("tidegate-watch", ("adm", "systemd-journal"))
    fleet_identity = identity("tidegate-watch", ENGINES)
    apart = hindrance(policy)
    nftables = not observe and _has_nft()
    _prepare(policy, watcher_identity)
    if policy.mode == "observe" or observe:
        log.info("observing: everything is decided and recorded, nothing is closed")
    master = os.getpid()

    def keep(end: socket.socket) -> None:
        roles.keeper(end, config, True, keeper_identity, master)

    def switch(end: socket.socket) -> None:
        roles.switches(end, config, True, master)

    def sample(end: socket.socket) -> None:
        roles.sampler(end, config, True, watcher_identity, master)

    def measure(end: socket.socket) -> None:
        roles.meter(end, config, True, watcher_identity, master)

    def confer(end: socket.socket) -> None:
        roles.fleet(end, config, True, fleet_identity, master)

    def keep_policies(end: socket.socket) -> None:
        roles.librarian(end, config, True, keeper_identity, master)

    def watch(ends: Mapping[str, socket.socket], alive: roles.Alive) -> None:
        roles.watcher(ends, alive, config, observe, True, watcher_identity, master, apart)

    if policy.guarded:  # all of our processes inherit it
        for line in distress.spare():
            log.warning("%s", line)

    children: dict[str, Child] = {}
    if nftables:
        children["keeper"] = keep
    if (policy.has_switches and not observe) or _left_closed(policy):
        children["switches"] = switch
    if policy.guarded:
        children["sampler"] = sample
    if policy.outward is not None:
        children["meter"] = measure
        if not nftables:
            log.warning(
                "[outward]: no caps are put in, and who scans is seen only where other firewall"
                " rules of this host track connections"
            )
    if policy.fleet is not None and not apart:
        children["fleet"] = confer
        if policy.fleet.policy:
            _shelve(policy, keeper_identity)
            children["librarian"] = keep_policies
    return Master(children, watch, spare=("fleet", "librarian")).run()


def _has_nft() -> bool:
    """Whether anything can be closed; said where not."""
    found = shutil.which("nft", path=_PATH) is not None
    if not found:
        log.error(
            "nft is missing, so nothing can be closed; install it (apt install nftables) and"
            " restart. Until then everything is decided and recorded only"
        )
    return found


def _left_closed(policy: Policy) -> bool:
    """Whether a former life, perhaps of another policy, has closed what nobody has opened yet: a
    host that booted since has neither its dead man nor its timer."""
    return any(Path(policy.paths.gates).glob("*.json"))


ENGINES = ("redis", "valkey")
"""Groups of those who may use an engine's Unix socket, where this host has an engine."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def _prepare(policy: Policy, to: Identity) -> None:
    """The folders: /run/tidegate is root's, the socket's and the ledger's are the watcher's."""
    try:
        os.makedirs(policy.paths.run, mode=0o755, exist_ok=True)
        for folder, mode in (
            (os.path.join(policy.paths.run, "watcher"), 0o755),
            (policy.paths.state, 0o700),
        ):
            os.makedirs(folder, mode=mode, exist_ok=True)
            os.chown(folder, to.uid, to.gid)
            os.chmod(folder, mode)
            for name in os.listdir(folder):
                path = os.path.join(folder, name)
                if name.startswith(("ledger.sqlite", "control.sock")):
                    os.lchown(path, to.uid, to.gid)
    except OSError as error:
        raise WorldError(f"{error.filename}: {error.strerror}") from error
    _reachable(policy.paths.state, to)
    _reachable(os.path.join(policy.paths.run, "watcher"), to)


def _shelve(policy: Policy, to: Identity) -> None:
    """The shelf of published policies is the librarian's, and everybody may read it; what is above
    it stays root's alone, and lets through."""
    shelf = os.path.join(policy.paths.fleet, "journal")
    try:
        os.chmod(policy.paths.fleet, 0o711)  # noqa: S103 - to reach the shelf; keys are 0600
        os.makedirs(shelf, mode=0o755, exist_ok=True)
        os.chown(shelf, to.uid, to.gid, follow_symlinks=False)
        os.chmod(shelf, 0o755)  # noqa: S103 - no secret stands there
    except OSError as error:
        raise WorldError(f"{error.filename}: {error.strerror}") from error
    _reachable(shelf, to)


def _reachable(folder: str, to: Identity) -> None:
    """Every parent must let the watcher through."""
    for parent in Path(folder).parents:
        state = parent.stat()
        bits = state.st_mode
        through = bits & 0o001
        if state.st_gid in (to.gid, *to.groups):
            through = bits & 0o010
        if state.st_uid == to.uid:
            through = bits & 0o100
        if not through:
            raise WorldError(
                f"{folder}: the user {to.name} may not enter {parent}; run: chmod o+x {parent}"
            )


def _alone(config: Path | None, policy: Policy) -> int:
    from tidegate.daemon import roles

    log.warning(
        "not root: everything is decided and recorded, nothing is closed;"
        " to close: sudo tidegate run"
    )
    try:
        os.makedirs(policy.paths.state, mode=0o700, exist_ok=True)
        os.makedirs(os.path.join(policy.paths.run, "watcher"), mode=0o755, exist_ok=True)
    except OSError as error:
        raise WorldError(
            f"{error.filename}: {error.strerror}; set [paths] state and run to folders of yours"
        ) from error
    ends = {"sampler": _sampler(config)} if policy.guarded else {}
    apart = "not root: nothing is said to the other hosts; run: sudo tidegate run"
    roles.watcher(ends, lambda _word: None, config, False, False, None, 0, apart)
    return 0


def _sampler(config: Path | None) -> socket.socket:
    """Without a master: forked from here; it ends when this process does."""
    from tidegate.daemon import roles

    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        code = 1
        try:
            ours.close()
            roles.sampler(theirs, config, False, None, 0)
            code = 0
        finally:
            os._exit(code)
    theirs.close()
    return ours
