"""The daemon as a service of this host: what to install, enable, start and stop, step by step.

Touches, when a step is carried out, /etc below a root folder and the programs of systemd, OpenRC or
sysvinit. What is there already is left as it is. Limits: an init system that is none of these is
told to people; stopping a daemon that was started by hand is theirs.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from tidegate.errors import WorldError

UNIT = "tidegate.service"
_COMMAND = "/usr/bin/tidegate"
_UNITS = ("etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")
_TIMEOUT = 90.0
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do: write `text` to `path`, or run `words`; neither: open everything.

    `done`: it is so already, and nothing happens.
    """

    what: str
    path: str = ""
    text: str = ""
    mode: int = 0o644
    words: tuple[str, ...] = ()
    done: bool = False


def this_command() -> tuple[str, ...]:
    """How this very program is started again: its script, else its interpreter and module."""
    script = Path(sys.argv[0])
    if script.name == "tidegate" and os.access(script, os.X_OK) and script.is_file():
        return (str(script.absolute()),)
    return sys.executable, "-m", "tidegate"


def enabling(
    booted: str, command: Sequence[str], options: Sequence[str] = (), root: str = ""
) -> list[Step]:
    """What makes the daemon start now and at boot. `options`: for `tidegate run`.

    [] where nothing that we know starts services here.
    """
    if booted == "systemd":
        return [*_users(root, "systemd"), *_systemd(command, options, root)]
    if booted == "sysv":
        return [*_users(root, booted), *_sysv(command, options, root)]
    if booted == "openrc":
        return [*_users(root, booted), *_openrc(command, options, root)]
    return []


def disabling(booted: str, root: str = "") -> list[Step]:
    """What stops the daemon, keeps it from starting at boot, and opens everything."""
    steps: list[Step] = []
    script = "/etc/init.d/tidegate"
    there = Path(root or "/", script.lstrip("/")).exists()
    if booted == "systemd":
        if any(Path(root or "/", folder, UNIT).exists() for folder in _UNITS):
            steps.append(_run("systemctl", "disable", "--now", UNIT))
    elif booted == "openrc" and there:
        steps += [_run("rc-service", "--ifstarted", "tidegate", "stop"),
                  _run("rc-update", "--all", "del", "tidegate")]  # fmt: skip
    elif there:
        steps.append(_run(root + script, "stop"))
        links = list(Path(root or "/", "etc").glob("rc?.d/S??tidegate"))
        if shutil.which("chkconfig", path=_search()) and not shutil.which(
            "update-rc.d", path=_search()
        ):
            steps.append(_run("chkconfig", "--del", "tidegate"))
        else:
            what = "update-rc.d", "-f", "tidegate", "remove"
            steps.append(_run(*what, done=not links))
    if not steps:
        steps.append(Step("no service of ours is installed here", done=True, words=("true",)))
    steps.append(Step("open every gate and delete the table inet tidegate: nothing stays closed"))
    return steps


def carry_out(step: Step, root: str = "") -> str:
    """Do a step that is not done; what its program said. Raises WorldError with what it refused."""
    if step.path:
        write_file(Path(root + step.path), step.text, step.mode)
        return ""
    try:
        run = subprocess.run(
            step.words,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_TIMEOUT,
            env={**os.environ, "PATH": _search()},
        )
    except OSError as error:
        raise WorldError(f"{step.words[0]}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise WorldError(f"{shlex.join(step.words)}: no end within {_TIMEOUT:.0f} s") from error
    said = run.stdout.decode("utf-8", "replace").strip()
    if run.returncode != 0:
        raise WorldError(f"{shlex.join(step.words)}: exit code {run.returncode}\n{said}".strip())
    return said


def _systemd(command: Sequence[str], options: Sequence[str], root: str) -> Iterator[Step]:
    text = shipped("systemd/tidegate.service")
    text = text.replace(f"{_COMMAND} run", " ".join(_quoted((*command, "run", *options))))
    text = text.replace(f"{_COMMAND} reload", " ".join(_quoted((*command, "reload"))))
    yield from _installed(f"/etc/systemd/system/{UNIT}", text, root, _UNITS)
    folders = ("etc/tmpfiles.d", "usr/lib/tmpfiles.d")
    conf = shipped("tmpfiles.d/tidegate.conf")
    yield from _installed("/etc/tmpfiles.d/tidegate.conf", conf, root, folders)
    yield _run("systemd-tmpfiles", "--create", "tidegate.conf")
    yield _run("systemctl", "daemon-reload")
    yield _run("systemctl", "enable", "--now", UNIT)


def _sysv(command: Sequence[str], options: Sequence[str], root: str) -> Iterator[Step]:
    text = shipped("init.d/tidegate")
    text = text.replace(f'COMMAND="{_COMMAND}"', f'COMMAND="{_words(command)}"')
    text = text.replace('OPTIONS=""', f'OPTIONS="{_words(options)}"')
    yield from _installed("/etc/init.d/tidegate", text, root, ("etc/init.d",), 0o755)
    links = list(Path(root or "/", "etc").glob("rc?.d/S??tidegate"))
    if shutil.which("update-rc.d", path=_search()):
        yield _run("update-rc.d", "tidegate", "defaults", done=bool(links))
    elif shutil.which("chkconfig", path=_search()):
        yield _run("chkconfig", "--add", "tidegate")
    yield _run(f"{root}/etc/init.d/tidegate", "start")


def _openrc(command: Sequence[str], options: Sequence[str], root: str) -> Iterator[Step]:
    text = shipped("openrc/tidegate")
    text = text.replace(f'command="{_COMMAND}"', f'command="{_words(command[:1])}"')
    arguments = _words((*command[1:], "run", *options))
    text = text.replace('command_args="run ', f'command_args="{arguments} ')
    yield from _installed("/etc/init.d/tidegate", text, root, ("etc/init.d",), 0o755)
    yield _run("rc-update", "add", "tidegate", "default")
    yield _run("rc-service", "--ifstopped", "tidegate", "start")


def _users(root: str, booted: str) -> Iterator[Step]:
    """The system users; by systemd-sysusers where it is, else by our own script."""
    if booted == "systemd" and shutil.which("systemd-sysusers", path=_search()):
        conf = shipped("sysusers.d/tidegate.conf")
        folders = ("etc/sysusers.d", "usr/lib/sysusers.d")
        yield from _installed("/etc/sysusers.d/tidegate.conf", conf, root, folders)
        yield _run("systemd-sysusers", "tidegate.conf")
        return
    try:
        users = Path(root or "/", "etc/passwd").read_text("utf-8", "replace")
    except OSError:
        users = ""
    there = {line.partition(":")[0] for line in users.splitlines()}
    yield Step(
        "make the system users tidegate and tidegate-watch",
        words=("sh", "-c", shipped("setup-users")),
        done={"tidegate", "tidegate-watch"} <= there,
    )


def _installed(
    path: str, text: str, root: str, folders: Sequence[str], mode: int = 0o644
) -> Iterator[Step]:
    """A file that must be there; one of its name, ours or a person's, is left as it is."""
    name = os.path.basename(path)
    for folder in folders:
        place = Path(root or "/", folder, name)
        if place.exists():
            same = place.read_text("utf-8", "replace") == text
            what = "is there" if same else "is there, and is left as it is"
            yield Step(f"/{folder}/{name} {what}", path=f"/{folder}/{name}", done=True)
            return
    yield Step(f"write {path}", path=path, text=text, mode=mode)


def _run(*words: str, done: bool = False) -> Step:
    return Step(f"run {shlex.join(words)}", words=words, done=done)


def write_file(path: Path, text: str, mode: int = 0o644) -> None:
    """Whole or not at all, and never through a link that stands in its place."""
    fresh = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        fresh.write_text(text, "utf-8")
        fresh.chmod(mode)
        fresh.rename(path)
    except OSError as error:
        raise WorldError(f"{path}: {error.strerror}; run it as root") from error


def shipped(name: str) -> str:
    """A file of `packaging/`: from the installed package, else from the checkout."""
    inside = resources.files("tidegate").joinpath("packaging").joinpath(name)
    if inside.is_file():
        return inside.read_text("utf-8")
    beside = Path(__file__).resolve().parents[3] / "packaging" / name
    try:
        return beside.read_text("utf-8")
    except OSError as error:
        raise WorldError(f"packaging/{name} is not in this installation: {beside}") from error


def _quoted(words: Sequence[str]) -> list[str]:
    """Words for a line of a unit (systemd.syntax(7)): `%` and `$` mean something there."""
    escaped = (word.replace("%", "%%").replace("$", "$$") for word in words)
    return [f'"{word}"' if " " in word else word for word in escaped]


def _words(words: Sequence[str]) -> str:
    """Words for a shell variable that is split at blanks; none may hold what a shell minds."""
    for word in words:
        if shlex.quote(word) != word:
            raise WorldError(f"{word!r}: can't stand in an init script; use a path without blanks")
    return " ".join(words)


def _search() -> str:
    """Where programs are looked for: the caller's path, and the usual places of root's."""
    return f"{os.environ.get('PATH', '')}:{_PATH}".lstrip(":")
