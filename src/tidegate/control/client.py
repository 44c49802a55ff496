"""The other end of the control socket, for the command line and the pages.

Touches the socket at one path. Raises ControlError that says what to do next, OperatorError where
the daemon says that the input is wrong. Limits: one request a connection, waits for it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from tidegate.errors import ControlError, OperatorError, TidegateError
from tidegate.text import printable

_TIMEOUT = 35.0  # a little longer than the daemon itself waits for its main loop
_INPUT_IS_WRONG = frozenset({400, 404, 409, 422})


class Client:
    """Asks the daemon at a socket: `Client("/run/tidegate/…").get("/status")`."""

    def __init__(self, path: str, timeout: float = _TIMEOUT) -> None:
        self.path = path
        self._timeout = timeout

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """Read: one JSON value."""
        return self._one("GET", path, query, None)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Act: one JSON value."""
        return self._one("POST", path, None, body or {})

    def lines(self, path: str, query: Mapping[str, str] | None = None) -> Iterator[Any]:
        """Read a long list: JSON values as they come; one that breaks off raises ControlError."""
        connection = self._connect()
        try:
            response = self._ask(connection, "GET", path, query, None)
            rest = b""
            while data := response.read1(1 << 16):
                *whole, rest = (rest + data).split(b"\n")
                yield from map(json.loads, whole)
            if rest:
                yield json.loads(rest)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._failed(error) from error
        finally:
            connection.close()

    def _one(self, method: str, path: str, query: Mapping[str, str] | None, body: Any) -> Any:
        connection = self._connect()
        try:
            return json.loads(self._ask(connection, method, path, query, body).read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._failed(error) from error
        finally:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("tidegate", timeout=self._timeout)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(self._timeout)
        try:
            connection.sock.connect(self.path)
        except OSError as error:
            connection.close()
            raise self._failed(error) from error
        return connection

    def _ask(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Any,
    ) -> http.client.HTTPResponse:
        target = f"{path}?{urlencode(query)}" if query else path
        data = None if body is None else json.dumps(body).encode()
        # A daemon that refuses at once hangs up before it has read all: its answer is there.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, target, data, {"Connection": "close"})
        response = connection.getresponse()
        if response.status >= 400:
            raise self._refused(response)
        return response

    def _refused(self, response: http.client.HTTPResponse) -> TidegateError:
        try:
            message = str(json.loads(response.read(1 << 16))["error"])
        except (ValueError, TypeError, KeyError):
            message = f"the daemon answered {response.status} {response.reason}"
        if response.status in _INPUT_IS_WRONG:
            return OperatorError(message)
        return ControlError(message)

    def _failed(self, error: Exception) -> ControlError:
        match error:
            case FileNotFoundError() | ConnectionRefusedError() | NotADirectoryError():
                what = (
                    "the daemon is not running; start it with `tidegate run`"
                    " or `systemctl start tidegate`"
                )
            case PermissionError():
                what = (
                    "permission denied; reading needs root or group adm,"
                    " acting needs root or group tidegate-admin"
                )
            case TimeoutError():
                what = (
                    f"the daemon did not answer within {self._timeout:g} s;"
                    " see `systemctl status tidegate`"
                )
            case OSError() | http.client.IncompleteRead():
                what = f"the daemon broke off ({printable(str(error))}); try again"
            case _:
                what = (
                    f"this is not a tidegate daemon, or another version ({printable(str(error))})"
                )
        return ControlError(f"{self.path}: {what}")
