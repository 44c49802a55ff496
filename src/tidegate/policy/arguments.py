"""Arguments of readings: paths, units, ports, devices, hosts, addresses, each in its one spelling.

Touches nothing. Each form takes what was written and returns it canonical; a ValueError carries
what was expected. Limits: whether the thing exists is seen when it is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from posixpath import normpath
from urllib.parse import urlsplit

STATES: Mapping[str, str] = {
    "running": "running", "run": "running",
    "sleeping": "sleeping", "sleep": "sleeping",
    "stopped": "stopped", "stop": "stopped", "traced": "stopped",
    "uninterruptible": "uninterruptible", "unint": "uninterruptible", "io": "uninterruptible",
    "zombie": "zombie", "defunct": "zombie",
}  # fmt: skip
"""States that processes are counted by; several spellings each."""

_DEVICE = re.compile(r"[^\s/()\"']{1,15}")
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@/-]{1,255}", re.ASCII)
_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?", re.ASCII | re.IGNORECASE)
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@$-]{0,63}", re.ASCII)
SCHEMES = ("tcp", "http", "https", "smtp", "imap", "pop3", "smtps", "imaps", "pop3s")


EXAMPLES: Mapping[str, str] = {
    "PATH": "/var",
    "MTA": "exim",
    "FILTER": "user=www-data,state=zombie",
    "UNIT": "apache2.service",
    "PORT": "443",
    "DEVICE": "eth0",
    "HOST": "192.0.2.1",
    "URL": "smtp://192.0.2.25:25",
}
"""What each form of argument looks like."""


def _path(text: str) -> str:
    if text.startswith("/") and text.isprintable():
        return "/" + normpath(text).lstrip("/")
    raise ValueError("an absolute path such as /var")


def _mta(text: str) -> str:
    found = {"exim": "exim", "exim4": "exim", "postfix": "postfix"}.get(text.lower())
    if found is None:
        raise ValueError("exim or postfix")
    return found


def _filter(text: str) -> str:
    said = "user=NAME, state=STATE or both, such as user=www-data,state=zombie"
    found: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = (one.strip() for one in part.partition("="))
        values = [one.strip().strip("\"'") for one in value.split("|")]
        if not equals or key not in ("user", "state") or key in found:
            raise ValueError(said)
        if key == "state":
            if unknown := [one for one in values if one.lower() not in STATES]:
                every = ", ".join(dict.fromkeys(STATES.values()))
                raise ValueError(f"a state of {every}, not {unknown[0]!r}")
            values = [STATES[one.lower()] for one in values]
        elif not all(_USER.fullmatch(one) for one in values):
            raise ValueError(said)
        found[key] = "|".join(sorted(set(values)))
    return ",".join(f"{key}={found[key]}" for key in ("user", "state") if key in found)


def _unit(text: str) -> str:
    if not _UNIT.fullmatch(text) or ".." in text.split("/"):
        raise ValueError("a unit such as apache2.service, or the path of a pid file")
    if text.startswith("/"):
        return "/" + normpath(text).lstrip("/")
    return text if "." in text or "/" in text else f"{text}.service"


def _port(text: str) -> str:
    if text.isascii() and text.isdigit() and 1 <= int(text) <= 65535:
        return str(int(text))
    raise ValueError("a port from 1 to 65535")


def _device(text: str) -> str:
    if _DEVICE.fullmatch(text) and text not in (".", ".."):
        return text
    raise ValueError("the name of a network device such as eth0")


def _host(text: str) -> str:
    try:
        return str(ip_address(text.strip("[]")))
    except ValueError:
        if _HOST.fullmatch(text):
            return text.lower()
    raise ValueError("an address or the name of a host")


def _url(text: str) -> str:
    said = "an address such as smtp://192.0.2.25:25, with one of " + ", ".join(SCHEMES)
    try:
        parts = urlsplit(text)
        host, port = _host(parts.hostname or ""), parts.port
    except ValueError:
        raise ValueError(said) from None
    web = parts.scheme in ("http", "https")
    if parts.scheme not in SCHEMES or parts.username is not None or not text.isprintable():
        raise ValueError(said)
    if not web and (parts.path.strip("/") or parts.query):
        raise ValueError(f"no path behind {parts.scheme}://HOST:PORT")
    if port == 0 or (port is None and parts.scheme == "tcp"):
        raise ValueError("a port, such as tcp://192.0.2.1:25")
    if parts.fragment and (parts.fragment != "unverified" or not parts.scheme.endswith("s")):
        raise ValueError("nothing behind # but `unverified`, which goes with TLS only")
    there = f"[{host}]" if ":" in host else host
    rest = parts._replace(scheme="", netloc="", fragment="").geturl() if web else ""
    end = "#unverified" if parts.fragment else ""
    return f"{parts.scheme}://{there}{'' if port is None else f':{port}'}{rest}{end}"


FORMS: Mapping[str, Callable[[str], str]] = {
    "PATH": _path,
    "MTA": _mta,
    "FILTER": _filter,
    "UNIT": _unit,
    "PORT": _port,
    "DEVICE": _device,
    "HOST": _host,
    "URL": _url,
}
"""What is done to an argument of each form."""


def filters(argument: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Users and states of `processes(user=a|b,state=zombie)`, by its argument; () for any."""
    parts = dict(part.split("=", 1) for part in argument.split(",") if part)
    users, states = parts.get("user", ""), parts.get("state", "")
    return tuple(users.split("|")) if users else (), tuple(states.split("|")) if states else ()
