"""People with mail programs: they send, and read by IMAP and POP3, from addresses of their own.

Touches sockets in the namespace of their node. Limits: they know one server address, and never ask
DNS; whoever finds the connection gone connects again, as mail programs do.
"""

from __future__ import annotations

import imaplib
import poplib
import smtplib
import socket
from contextlib import suppress

from tests.story.cluster import Node
from tests.story.mailnode import DOMAIN, IMAP, PASSWORD, POP3, SMTP

WAIT = 10.0


class Imap(imaplib.IMAP4):
    """A session of IMAP from an address of the client's own."""

    def __init__(self, host: str, source: str, port: int = IMAP) -> None:
        self._from = (source, 0)
        super().__init__(host, port, timeout=WAIT)

    def _create_socket(self, timeout: float | None) -> socket.socket:
        return socket.create_connection((self.host, self.port), timeout, self._from)


class Pop(poplib.POP3):
    """A session of POP3 from an address of the client's own."""

    def __init__(self, host: str, source: str, port: int = POP3) -> None:
        self._from = (source, 0)
        super().__init__(host, port, timeout=WAIT)

    def _create_socket(self, timeout: float) -> socket.socket:
        return socket.create_connection((self.host, self.port), timeout, self._from)


class Person:
    """Somebody on a node of clients, with an account and an address."""

    def __init__(self, node: Node, address: str, user: str = "anna") -> None:
        self.node, self.address, self.user = node, address, user

    def imap(self, host: str, password: str = PASSWORD) -> Imap:
        """A session that is open, with the mailbox selected. Raises OSError where there is none."""
        with self.node.inside():
            client = Imap(host, self.address)
        try:
            client.login(self.user, password)
            client.select()
        except imaplib.IMAP4.abort as error:
            client.shutdown()
            raise ConnectionError(str(error)) from error
        except imaplib.IMAP4.error as error:
            client.shutdown()
            raise PermissionError(str(error)) from error
        return client

    def subjects(self, client: Imap) -> list[str]:
        """What lies in the mailbox now, asked in an open session. Raises OSError if it is dead."""
        try:
            client.noop()
            _kind, rows = client.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
        except imaplib.IMAP4.abort as error:
            raise ConnectionError(str(error)) from error
        texts = [row[1].decode() for row in rows if isinstance(row, tuple)]
        return [text.strip().removeprefix("Subject: ") for text in texts]

    def read_imap(self, host: str) -> list[str]:
        """The subjects in the mailbox, by a session of IMAP."""
        client = self.imap(host)
        try:
            return self.subjects(client)
        finally:
            with suppress(imaplib.IMAP4.error, OSError):
                client.logout()

    def read_pop3(self, host: str) -> list[str]:
        """The subjects in the mailbox, by a session of POP3; nothing is deleted."""
        with self.node.inside():
            client = Pop(host, self.address)
        try:
            client.user(self.user)
            client.pass_(PASSWORD)
            count, _size = client.stat()
            rows = [line for n in range(count) for line in client.top(n + 1, 0)[1]]
        except (poplib.error_proto, EOFError) as error:
            raise ConnectionError(str(error)) from error
        finally:
            with suppress(OSError, poplib.error_proto):
                client.quit()
        return [row.decode()[9:] for row in rows if row.startswith(b"Subject: ")]

    def send(self, host: str, subject: str, to: str = "") -> None:
        """Send a message. Raises OSError (smtplib's errors are) where it was not accepted."""
        sender = f"{self.user}@customer.example"
        text = f"From: {sender}\r\nTo: {to or self.user}@{DOMAIN}\r\nSubject: {subject}\r\n\r\nHello.\r\n"
        with self.node.inside():
            client = smtplib.SMTP(
                timeout=WAIT, source_address=(self.address, 0), local_hostname="client.example"
            )
            client.connect(host, SMTP)
        with client:
            client.sendmail(sender, [f"{to or self.user}@{DOMAIN}"], text)
