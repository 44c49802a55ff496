"""What is published of a git work tree: policy, own detectors, files of sysfence; nothing else.

Touches the work tree, only to read, and runs git in it, which reads it too. Limits: files that git
follows, as they lie there; a work tree with changes that are not committed is refused.
"""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from typing import NamedTuple

from tidegate.errors import OperatorError
from tidegate.fleet.journal.journal import MOST_PLAIN, PATH

_LIMIT = 30.0


class Tree(NamedTuple):
    """The files that are published, by their paths; those that are not; the commit."""

    files: dict[str, bytes]
    left: tuple[str, ...]
    commit: str


def read_tree(folder: Path) -> Tree:
    """The work tree in this folder. OperatorError where it is none, or has changes."""
    names = _git(folder, "ls-files", "-z", "--cached", "--", ".").split("\0")
    if changed := _git(folder, "status", "--porcelain", "--", ".").splitlines():
        raise OperatorError(
            f"{folder}: {len(changed)} files have changes that no commit has, such as"
            f" {changed[0][3:]}; commit them: what all hosts do must be found again"
        )
    files, left = {}, []
    for name in sorted(filter(None, names)):
        if PATH.fullmatch(name):
            files[name] = _read(folder, name)
        else:
            left.append(name)
    if not any(not name.startswith("sysfence/") for name in files):
        raise OperatorError(
            f"{folder}: nothing to publish; expected tidegate.toml, policy.d/*.toml or"
            " detectors/*.toml, known to git (git add)"
        )
    return Tree(files, tuple(left), _git(folder, "rev-parse", "--short=12", "HEAD").strip())


def _git(folder: Path, *words: str) -> str:
    # Nothing that a configuration in the tree could name is run.
    command = ["git", "-C", str(folder), "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/"]
    environment = {**os.environ, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            [*command, *words], capture_output=True, timeout=_LIMIT, env=environment, check=False
        )
    except FileNotFoundError as error:
        raise OperatorError("git is missing; run: apt install git") from error
    except subprocess.TimeoutExpired as error:
        raise OperatorError(f"{folder}: git does not answer within {_LIMIT:g} s") from error
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise OperatorError(
            f"{folder}: expected a git work tree with a commit: {said[0] if said else 'no answer'}"
        )
    return done.stdout.decode("utf-8", "surrogateescape")


def _read(folder: Path, name: str) -> bytes:
    """A regular file of the tree; no link, which would lead to another host's file."""
    path = folder / name
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with open(os.open(path, flags), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OperatorError(f"{path}: expected a regular file")
            return file.read(MOST_PLAIN + 1)
    except OSError as error:
        raise OperatorError(f"{path}: expected a readable file: {error.strerror}") from error
