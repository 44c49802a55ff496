"""Carries one letter to where the policy says: by mail, to a web hook, to a command.

Touches the network and programs: SMTP to this host, `sendmail -t`, HTTP, the policy's command.
May take as long as its timeouts say, so it runs in a thread of its own. Limits: where it goes to
is in the policy alone; nothing that a log or a reading says becomes an address or a header.
"""

from __future__ import annotations

import http.client
import json
import os
import pwd
import re
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from email.message import EmailMessage, Message
from email.policy import SMTP
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError

from tidegate import distress
from tidegate.daemon.digest import Letter
from tidegate.errors import WorldError
from tidegate.model import SECOND
from tidegate.policy.guards import NoticeSpec
from tidegate.text import printable, time_text

HOOK_TIMEOUT = 5.0
MAIL_TIMEOUT = 20.0
COMMAND_TIMEOUT = 10.0
SMTP_PORT = 25
SENDMAIL_PLACES = "/usr/sbin:/usr/lib:/usr/bin:/sbin"

_ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+(@[A-Za-z0-9.-]+|@\[[0-9A-Fa-f:.IPv]+\])?")


def deliver(spec: NoticeSpec, letter: Letter) -> None:
    """Carry it there. WorldError says why it did not arrive."""
    if spec.mail:
        by_mail(spec, letter)
    elif spec.webhook:
        by_hook(spec.webhook, letter)
    else:
        by_command(spec.command, letter)


def as_json(letter: Letter) -> bytes:
    """A letter as hooks and commands get it; `text` is enough for those that know chat only."""
    row: dict[str, Any] = {
        "v": 1,
        "host": socket.gethostname(),
        "time": time_text(letter.notices[-1].time),
        "subject": letter.subject,
        "text": f"{letter.subject}\n\n{letter.text}",
        "left_out": letter.left_out,
        "notices": [
            {"time": time_text(one.time)}
            | {"about": one.about, "clear": one.clear, "subject": one.subject, "text": one.text}
            for one in letter.notices
        ],
    }
    return json.dumps(row).encode("ascii")


# -- mail ------------------------------------------------------------------------------------------


def by_mail(spec: NoticeSpec, letter: Letter) -> None:
    """By `sendmail -t`, else by SMTP to this host; SMTP first where `sendmail` could not get at its
    queue, since this process may not gain the privilege that it is installed with."""
    ways: list[Callable[[NoticeSpec, Letter], None]] = [_by_smtp]
    if (program := shutil.which("sendmail", path=SENDMAIL_PLACES)) is not None:
        found = program
        ways.insert(
            len(ways) if _no_new_privileges() else 0,
            lambda spec, letter: _by_sendmail(found, spec, letter),
        )
    troubles = []
    for way in ways:
        try:
            way(spec, letter)
        except _UndecidedError as error:
            raise WorldError(f"mail to {spec.mail}: {error}") from error
        except WorldError as error:
            troubles.append(str(error))
        else:
            return
    raise WorldError(f"mail to {spec.mail}: {'; '.join(troubles)}")


class _UndecidedError(WorldError):
    """It may have been taken: another way could bring it twice."""


def message(spec: NoticeSpec, letter: Letter, qualify: str = "") -> EmailMessage:
    """The letter as mail (RFC 5322); `qualify`: the domain of an address without one."""
    for address in (spec.mail, spec.sender):
        if address and not _ADDRESS.fullmatch(address):
            raise WorldError(f"{printable(address)!r} is no address")
    name = _mail_name()
    made = EmailMessage(policy=SMTP)
    made["From"] = _qualified(spec.sender or "tidegate", name)
    made["To"] = _qualified(spec.mail, qualify) if qualify else spec.mail
    made["Subject"] = f"[{socket.gethostname()}] {letter.subject}"
    made["Date"] = formatdate(letter.notices[-1].time / SECOND, localtime=True)
    made["Message-ID"] = make_msgid(domain=name)
    made["Auto-Submitted"] = "auto-generated"  # RFC 3834: no vacation answers this
    made.set_content(letter.text + "\n")
    return made


def _by_sendmail(program: str, spec: NoticeSpec, letter: Letter) -> None:
    data = bytes(message(spec, letter)).replace(b"\r\n", b"\n")
    try:
        code = _run([program, "-t", "-i"], data, MAIL_TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise _UndecidedError(f"{program} took longer than {MAIL_TIMEOUT:g} s") from error
    if code:
        raise WorldError(f"{program} ended with {code}")


def _by_smtp(spec: NoticeSpec, letter: Letter) -> None:
    made = message(spec, letter, "localhost")
    user = pwd.getpwuid(os.geteuid()).pw_name
    sender = _qualified(spec.sender or user, _mail_name())
    try:
        talk = smtplib.SMTP(
            "localhost", SMTP_PORT, local_hostname=_mail_name(), timeout=MAIL_TIMEOUT
        )
        try:
            talk.sendmail(sender, [_qualified(spec.mail, "localhost")], bytes(made))
        except TimeoutError as error:
            raise _UndecidedError("SMTP to localhost: no answer in time") from error
        finally:
            with suppress(smtplib.SMTPException, OSError):  # it has the mail, or said that it won't
                talk.quit()
            talk.close()
    except smtplib.SMTPRecipientsRefused as error:
        code, words = next(iter(error.recipients.values()))
        raise WorldError(f"SMTP to localhost: {code} {_said(words)}") from error
    except smtplib.SMTPResponseException as error:
        raise WorldError(
            f"SMTP to localhost: {error.smtp_code} {_said(error.smtp_error)}"
        ) from error
    except TimeoutError as error:
        raise WorldError("SMTP to localhost: no answer in time") from error
    except (smtplib.SMTPException, OSError) as error:
        raise WorldError(f"SMTP to localhost: {_said(error)}") from error


def _mail_name() -> str:
    """What this host calls itself in mail."""
    with suppress(OSError, IndexError):
        name = Path("/etc/mailname").read_text("ascii", "replace").split()[0]
        if re.fullmatch(r"[A-Za-z0-9.-]{1,253}", name):
            return name
    return re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname()) or "localhost"


def _qualified(address: str, domain: str) -> str:
    return address if "@" in address else f"{address}@{domain}"


def _no_new_privileges() -> bool:
    with suppress(OSError):
        return "\nNoNewPrivs:\t1" in Path("/proc/self/status").read_text("ascii", "replace")
    return False


# -- web hook --------------------------------------------------------------------------------------


class _Stay(urllib.request.HTTPRedirectHandler):
    """A redirected POST would be sent without what it says, or to somebody else: it is refused."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str,
        headers: Message, newurl: str,
    ) -> None:  # fmt: skip
        """Never follow."""
        raise WorldError(
            f"it redirects ({code}) to {printable(newurl)[:200]};"
            " write the address that answers itself"
        )


def by_hook(url: str, letter: Letter) -> None:
    """POST it as JSON; any answer of 200 to 299 is good."""
    place = url.partition("?")[0]  # behind it there may be a key
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler, urllib.request.HTTPHandler, urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler, urllib.request.HTTPErrorProcessor, _Stay,
    ):  # fmt: skip
        opener.add_handler(handler())
    try:
        request = urllib.request.Request(  # noqa: S310 - the opener knows http and https only
            url,
            data=as_json(letter),
            headers={"Content-Type": "application/json", "User-Agent": "tidegate"},
            method="POST",
        )
        answer = opener.open(request, timeout=HOOK_TIMEOUT)
        if answer is None:
            raise WorldError(f"{place}: expected http:// or https://")
        answer.close()
    except HTTPError as error:
        error.close()
        raise WorldError(f"{place} answers {error.code}") from error
    except URLError as error:
        raise WorldError(f"{place}: {_said(error.reason)}") from error
    except WorldError as error:
        raise WorldError(f"{place}: {error}") from error
    except TimeoutError as error:
        raise WorldError(f"{place}: no answer within {HOOK_TIMEOUT:g} s") from error
    except (OSError, ssl.SSLError, http.client.HTTPException, ValueError) as error:
        raise WorldError(f"{place}: {_said(error) or 'answers no HTTP'}") from error


# -- command ---------------------------------------------------------------------------------------


def by_command(words: tuple[str, ...], letter: Letter) -> None:
    """Run it with the notice as JSON on its standard input; what it prints is nobody's."""
    try:
        code = _run(list(words), as_json(letter), COMMAND_TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise WorldError(f"{words[0]} took longer than {COMMAND_TIMEOUT:g} s") from error
    if code:
        raise WorldError(f"{words[0]} ended with {code}")


def _run(words: list[str], data: bytes, timeout: float) -> int:
    """Its exit code. Raises subprocess.TimeoutExpired after ending it and what it started."""
    try:
        child = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise WorldError(f"{words[0] if words else 'no command'}: {_said(error)}") from error
    distress.release(child.pid)
    try:
        child.communicate(data, timeout=timeout)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        raise
    return child.returncode


def _said(what: object) -> str:
    """What another program or the kernel said, on one printable line."""
    if isinstance(what, bytes):
        what = what.decode("utf-8", "replace")
    if isinstance(what, OSError) and what.strerror:
        what = what.strerror
    return printable(" ".join(str(what).split()))[:200]
