"""Letters by mail, web hook and command: real servers, real programs, and hostile ones."""

from __future__ import annotations

import email
import json
import os
import shlex
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tidegate.daemon import deliver as module
from tidegate.daemon.deliver import as_json, by_command, by_hook, by_mail, deliver, message
from tidegate.daemon.digest import Letter, notice
from tidegate.errors import WorldError
from tidegate.model import SECOND
from tidegate.policy.guards import NoticeSpec

NOW = 1_800_000_000 * SECOND
LETTER = Letter((notice(NOW, "apache2 is stopped", "Why: la1 11.2\n.\nsee more", "apache"),))
EVIL = Letter(
    (notice(NOW, "x\r\nBcc: victim@example.org\r\n\r\nbody\x1b[2J", "a\r\n.\r\nMAIL FROM:<x>"),)
)
ROOT = NoticeSpec("admins", mail="root")


class MailServer(threading.Thread):
    """A small SMTP server: one message, kept in `heard`."""

    def __init__(self, recipient: bytes = b"250 ok\r\n", greeting: bytes = b"220 hi\r\n") -> None:
        super().__init__(daemon=True)
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.commands: list[bytes] = []
        self.body = b""
        self._recipient, self._greeting = recipient, greeting

    def run(self) -> None:
        client, _place = self.server.accept()
        with client, client.makefile("rb") as lines:
            client.sendall(self._greeting)
            for line in lines:
                self.commands.append(line.rstrip(b"\r\n"))
                word = line[:4].upper()
                if word == b"DATA":
                    client.sendall(b"354 go\r\n")
                    parts: list[bytes] = []
                    while (part := lines.readline()) != b".\r\n":
                        parts.append(part)
                    self.body = b"".join(parts)
                client.sendall(self._recipient if word == b"RCPT" else b"250 ok\r\n")
                if word == b"QUIT":  # 250 where 221 is due: the message has arrived all the same
                    return


@contextmanager
def mail_server(
    monkeypatch: pytest.MonkeyPatch, recipient: bytes = b"250 ok\r\n"
) -> Iterator[MailServer]:
    made = MailServer(recipient)
    made.start()
    monkeypatch.setattr(module, "SMTP_PORT", made.port)
    monkeypatch.setattr(module, "SENDMAIL_PLACES", "/nonexistent")
    try:
        yield made
    finally:
        made.join(10)
        made.server.close()


def parsed(body: bytes) -> EmailMessage:
    return email.message_from_bytes(body, policy=default)  # type: ignore[return-value]


def test_mail_by_smtp(monkeypatch: pytest.MonkeyPatch) -> None:
    with mail_server(monkeypatch) as server:
        deliver(ROOT, LETTER)
    assert b"rcpt to:<root@localhost>" in [line.lower() for line in server.commands]
    made = parsed(server.body)
    assert made["To"] == "root@localhost"
    assert made["Subject"] == f"[{socket.gethostname()}] apache2 is stopped"
    assert made["Auto-Submitted"] == "auto-generated"
    assert made.get_content().replace("\r\n", "\n") == "Why: la1 11.2\n..\nsee more\n"


def test_nothing_told_becomes_a_header_or_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    with mail_server(monkeypatch) as server:
        deliver(ROOT, EVIL)
    recipients = [line for line in server.commands if line[:4].upper() == b"RCPT"]
    assert len(recipients) == 1
    made = parsed(server.body)
    assert made["Bcc"] is None
    assert "x Bcc: victim@example.org body\\x1b[2J" in made["Subject"]


@pytest.mark.parametrize(
    "address",
    [
        "a@example.org, b@example.org",
        "a\nBcc: b",
        "-oQ/tmp/x y",
        "<a>",
        "a b",
        "a@b;c",
        "|/bin/sh -c",
    ],
)
def test_odd_addresses_are_refused(address: str) -> None:
    with pytest.raises(WorldError, match="is no address"):
        message(NoticeSpec("x", mail=address), LETTER)


def test_a_recipient_that_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        mail_server(monkeypatch, b"550 no such\x1b user\r\n"),
        pytest.raises(WorldError, match=r"mail to root: SMTP to localhost: 550 no such\\x1b user"),
    ):
        deliver(ROOT, LETTER)


def test_no_mail_server_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setattr(module, "SMTP_PORT", port)
    monkeypatch.setattr(module, "SENDMAIL_PLACES", "/nonexistent")
    with pytest.raises(WorldError, match=r"SMTP to localhost: .*refused"):
        deliver(ROOT, LETTER)


def sendmail(folder: Path, monkeypatch: pytest.MonkeyPatch, end: str) -> Path:
    """A `sendmail` that keeps what it is given."""
    program = folder / "sendmail"
    program.write_text(f'#!/bin/sh\necho "$@" > {folder}/words\ncat > {folder}/mail\n{end}\n')
    program.chmod(0o755)
    monkeypatch.setattr(module, "SENDMAIL_PLACES", str(folder))
    return folder / "mail"


def test_mail_by_sendmail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_no_new_privileges", lambda: False)
    got = sendmail(tmp_path, monkeypatch, "exit 0")
    deliver(NoticeSpec("x", mail="admins@example.org", sender="tide@example.net"), EVIL)
    assert (tmp_path / "words").read_text() == "-t -i\n"
    made = parsed(got.read_bytes())
    assert (made["To"], made["From"], made["Bcc"]) == (
        "admins@example.org",
        "tide@example.net",
        None,
    )
    assert b"\r" not in got.read_bytes()


def test_smtp_is_the_other_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_no_new_privileges", lambda: False)
    with mail_server(monkeypatch) as server:
        got = sendmail(tmp_path, monkeypatch, "exit 75")
        deliver(ROOT, LETTER)
    assert got.exists()
    assert server.body


def test_without_privilege_to_gain_smtp_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_no_new_privileges", lambda: True)
    with mail_server(monkeypatch) as server:
        got = sendmail(tmp_path, monkeypatch, "exit 0")
        deliver(ROOT, LETTER)
    assert server.body
    assert not got.exists()


def test_a_sendmail_that_hangs_is_not_followed_by_another_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_no_new_privileges", lambda: False)
    monkeypatch.setattr(module, "MAIL_TIMEOUT", 0.5)
    sendmail(tmp_path, monkeypatch, "sleep 60")
    with pytest.raises(WorldError, match=r"^mail to root: .*sendmail took longer than 0.5 s$"):
        deliver(ROOT, LETTER)


# -- web hooks -------------------------------------------------------------------------------------


@contextmanager
def hook(status: int, location: str = "", wait: float = 0.0) -> Iterator[tuple[str, list[Any]]]:
    heard: list[Any] = []
    done = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            heard.append((self.path, self.headers["Content-Type"], json.loads(body)))
            done.wait(wait)
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_words: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook?key=secret", heard
    finally:
        done.set()
        server.shutdown()
        server.server_close()
        thread.join(10)


def test_a_hook_gets_json() -> None:
    with hook(204) as (url, heard):
        deliver(NoticeSpec("x", webhook=url), LETTER)
    ((path, kind, body),) = heard
    assert (path, kind) == ("/hook?key=secret", "application/json")
    assert body["subject"] == "apache2 is stopped"
    assert body["text"] == "apache2 is stopped\n\nWhy: la1 11.2\n.\nsee more"
    assert body["notices"][0]["about"] == "apache"
    assert body["notices"][0]["time"] == "2027-01-15T08:00:00+00:00"
    assert body["v"] == 1


@pytest.mark.parametrize("location", ["file:///etc/passwd", "http://127.0.0.1:1/other", "/there"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_refused(status: int, location: str) -> None:
    with (
        hook(status, location) as (url, heard),
        pytest.raises(WorldError, match=r"redirects|answers 30") as caught,
    ):
        by_hook(url, LETTER)
    assert len(heard) == 1
    assert "secret" not in str(caught.value)


def test_what_a_hook_refuses_is_told_without_its_key() -> None:
    with hook(403) as (url, _heard), pytest.raises(WorldError) as caught:
        by_hook(url, LETTER)
    assert str(caught.value) == f"{url.partition('?')[0]} answers 403"


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:text/plain,x", "http://127.0.0.1:1/", "http:///x"],
)  # fmt: skip
def test_what_is_no_hook(url: str) -> None:
    with pytest.raises(WorldError):
        by_hook(url, LETTER)


def test_a_hook_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HOOK_TIMEOUT", 0.3)
    with (
        hook(200, wait=30) as (url, _heard),
        pytest.raises(WorldError, match=r"no answer|timed out"),
    ):
        by_hook(url, LETTER)


def test_a_hook_that_speaks_no_http() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def work() -> None:
            client, _place = server.accept()
            with client:
                client.recv(99)
                client.sendall(b"SSH-2.0-\x1b[2J\r\n")

        thread = threading.Thread(target=work)
        thread.start()
        with pytest.raises(WorldError) as caught:
            by_hook(f"http://127.0.0.1:{server.getsockname()[1]}/", LETTER)
        thread.join(10)
    assert str(caught.value).isprintable()


# -- commands --------------------------------------------------------------------------------------


def test_a_command_reads_json(tmp_path: Path) -> None:
    out = tmp_path / "out"
    deliver(NoticeSpec("x", command=("/bin/sh", "-c", f"cat > {shlex.quote(str(out))}")), EVIL)
    assert json.loads(out.read_bytes()) == json.loads(as_json(EVIL))


def test_a_command_that_fails_or_is_not_there() -> None:
    with pytest.raises(WorldError, match="/bin/sh ended with 3"):
        by_command(("/bin/sh", "-c", "exit 3"), LETTER)
    with pytest.raises(WorldError, match="/nonexistent/tool: No such file"):
        by_command(("/nonexistent/tool",), LETTER)


def test_a_command_that_reads_nothing_and_floods_its_output() -> None:
    script = "exec 0<&-; head -c 50000000 /dev/zero; head -c 50000000 /dev/zero >&2"
    by_command(("/bin/sh", "-c", script), LETTER)


def test_a_command_that_hangs_ends_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COMMAND_TIMEOUT", 1.0)
    pid = tmp_path / "pid"
    with pytest.raises(WorldError, match="took longer than 1 s"):
        by_command(("/bin/sh", "-c", f"sleep 300 & echo $! > {pid}; wait"), LETTER)
    for _time in range(100):
        if not _alive(int(pid.read_text())):
            break
        time.sleep(0.05)
    assert not _alive(int(pid.read_text()))


def _alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_it_says_whether_privilege_can_be_gained() -> None:
    script = "from tidegate.daemon.deliver import _no_new_privileges as f; print(f())"
    for words, said in ((["setpriv", "--no-new-privs"], "True"), ([], "False")):
        out = os.popen(shlex.join([*words, sys.executable, "-c", script])).read()
        assert out.strip() == said


def test_mail_is_tried_by_every_way(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "_no_new_privileges", lambda: False)
    monkeypatch.setattr(module, "SMTP_PORT", 1)
    sendmail(tmp_path, monkeypatch, "exit 75")
    with pytest.raises(WorldError, match=r"sendmail ended with 75; SMTP to localhost: "):
        by_mail(ROOT, LETTER)
