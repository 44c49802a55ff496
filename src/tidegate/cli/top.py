"""`tidegate top`: who sends most now, in and out, and which program is behind it.

Touches a packet socket and /proc of this host (root), the terminal; needs no daemon, no policy.
Limits: one moment; see `source.traffic.passing` for what is sampled when there is much.
"""

from __future__ import annotations

import os
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import click

from tidegate.cli.common import as_json, emit
from tidegate.cli.top_view import as_object, drawn, show, totals, worth
from tidegate.errors import OperatorError
from tidegate.model import SECOND
from tidegate.policy.durations import parse_duration
from tidegate.source.traffic.passing import Passing

_EACH = 1.0
_ONCE = 2.0

EPILOG = """\b
Examples:
  sudo tidegate top                       live; q or Ctrl-C ends it
  sudo tidegate top --once                look for 2 s, print, and end
  sudo tidegate top --for 10s             live for 10 s; into a pipe: look for 10 s
  sudo tidegate top --json | jq 'select(.looks != null)'

WAY is seen from this host; on a router, `out` is what comes from inside. NEW/S counts destinations
not seen before. A program that is "probably" behind it holds no socket with that port (any more).
"""


@click.command(epilog=EPILOG)
@click.option("--once", is_flag=True, help="Look, print one table, and end; so into a pipe, too.")
@click.option("--for", "span", metavar="SPAN", help="Look for so long, such as 5s, and end.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000),
              help="Show so many.")  # fmt: skip
@as_json
def command(once: bool, span: str | None, limit: int, as_json: bool) -> int:
    """Who floods now, in and out: source, user, program, port, packets and bytes a second, and how
    many new destinations; the most harmful first. As root, without a daemon and without a policy.
    """
    try:
        seconds = None if span is None else parse_duration(span) / SECOND
    except ValueError as error:
        raise OperatorError(f"--for: expected {error}; found {span!r}") from None
    live = sys.stdout.isatty() and not once and not as_json
    passing = Passing()
    try:
        if live:
            _live(passing, limit, seconds)
        else:
            _once(passing, limit, seconds or _ONCE, as_json)
    finally:
        passing.close()
    return 0


def _once(passing: Passing, limit: int, seconds: float, as_json: bool) -> None:
    report = passing.report(time.monotonic() + seconds)
    if as_json:
        for row in worth(report, limit):
            emit(as_object(row, passing.vantage.names))
        emit(totals(report))
    else:
        show(report, passing.vantage.names, limit)


def _live(passing: Passing, limit: int, seconds: float | None) -> None:
    from rich.live import Live

    end = None if seconds is None else time.monotonic() + seconds
    with (
        _keys() as keys,
        Live(screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as view,
    ):
        try:
            while end is None or time.monotonic() < end:
                report = passing.report(time.monotonic() + _EACH, keys)
                view.update(drawn(report, passing.vantage.names, limit), refresh=True)
                if keys is not None and _quits(keys):
                    return
        except KeyboardInterrupt:
            return


def _quits(keys: int) -> bool:
    import select

    return bool(select.select([keys], [], [], 0)[0]) and os.read(keys, 64)[:1] in (b"q", b"Q", b"")


@contextmanager
def _keys() -> Iterator[int | None]:
    """Keys as they are pressed, and the terminal as it was afterwards, also after SIGTERM."""
    before = signal.signal(signal.SIGTERM, _ended)
    try:
        if not sys.stdin.isatty():
            yield None
            return
        keys = sys.stdin.fileno()
        settings = termios.tcgetattr(keys)
        tty.setcbreak(keys)
        try:
            yield keys
        finally:
            termios.tcsetattr(keys, termios.TCSADRAIN, settings)
    finally:
        signal.signal(signal.SIGTERM, before)


def _ended(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
