"""What one member or the engine can say that must not end the process which hears it."""

from __future__ import annotations

import json

import pytest
from tests.unit.fleet.village import NOW, WHO, rule, village

from tidegate.errors import FleetError
from tidegate.fleet import wire
from tidegate.fleet.counting.counting import Counting, terms_of
from tidegate.fleet.engine.connection import MOST, Refused, Replies
from tidegate.fleet.plan import gathering
from tidegate.fleet.port import Health, Report
from tidegate.fleet.quotes import Quotes
from tidegate.fleet.reports import Reports
from tidegate.fleet.trust.claiming import Claiming
from tidegate.model import Shared


def nothing(*_words):
    raise AssertionError("nothing is sealed here")


def says(host, **more):
    return host.says(kind=wire.Kind.REPORT, body=json.dumps(more).encode())


def test_two_reports_of_one_moment_are_no_harm():
    trust, _web1, web2, *_rest = village("web1", "web2")
    reports = Reports("web1", trust, nothing, lambda _now: Health())
    reports._written = NOW
    reports.ask(1)
    assert len(reports.commands(NOW)) == 1
    one, other = (says(web2, what="report", odd=value) for value in ([], {}))
    reports.take([[b"0", [b"web2", one, b"again", other]]], NOW)
    ((_number, rows),) = reports.told
    assert [row.host for row in rows if isinstance(row, Report) and row.sent] == ["web2"]


@pytest.mark.parametrize("time", ["1e999", "-1e999", "NaN", "1" * 300])
def test_a_line_of_no_time_is_left_out(time):
    trust, _web1, web2, *_rest = village("web1", "web2")
    quotes = Quotes("web1", trust, nothing)
    said = {"what": "quotes", "subject": WHO, "rule": "guessing", "rows": [[0, "a", "b"]]}
    text = json.dumps(said).replace("[0,", f"[{time},")
    quotes.ask(1, WHO)
    quotes.commands(NOW)
    body = web2.says(kind=wire.Kind.REPORT, body=text.encode())
    quotes.take([[b"0", [b"web2 guessing", body]]], NOW)
    assert quotes.told == [(1, ())]


@pytest.mark.parametrize(
    "said", [b"%1\r\n*0\r\n:1\r\n", b"~2147483647\r\n", b"*2147483647\r\n", b"x\r\n"]
)
def test_a_reply_that_can_be_none_ends_the_connection_and_no_more(said):
    replies = Replies()
    replies.expect(1)
    with pytest.raises(FleetError):
        replies.feed(said)


def test_many_large_replies_are_too_much_like_one():
    replies = Replies()
    replies.expect(100)
    large = b"$%d\r\n%b\r\n" % (MOST // 4, bytes(MOST // 4))
    with pytest.raises(FleetError):
        for _ in range(100):
            replies.feed(large)


def test_what_nobody_signed_takes_no_room():
    trust, *_hosts = village("web1", "web2")
    claiming = Claiming("web1", trust, nothing)
    forged = wire.seal(
        wire.Message(wire.Kind.CLAIMS, "web2", 1 << 40 | 7, NOW, b"\0\1"), bytes(range(16)),
        lambda _data: bytes(64),
    )  # fmt: skip
    claiming.hear(forged, NOW, NOW)
    claiming.hear(b"TG\1\1" + bytes(1 << 20), NOW, NOW)
    assert len(claiming._bodies) == 0


def test_a_batch_that_the_engine_stumbles_over_is_not_sent_for_ever():
    counting = Counting("web1", 1, 1)
    terms = terms_of([rule(shared=True)], 1)["guessing"]
    counting.share(terms, Shared("guessing", WHO, NOW, 1, 5))
    (ask,) = counting.asks(NOW)
    why = "ERR value is not an integer or out of range script: tg1_count, on @user_function:334."
    counting.answered(ask, [Refused(why)], NOW)
    assert counting.dropped == 1
    assert "not all that is counted" in counting.trouble


class Endless:
    """An engine whose pages never end."""

    def __init__(self):
        self.asked = 0

    def call(self, _key, commands):
        self.asked += len(commands)
        if self.asked > 20_000:
            raise AssertionError("it is asked for ever")
        return [[b"7", [b"a", b"TG\1\3" + bytes(100)]] for _ in commands]


def test_pages_without_an_end_are_not_read_for_ever():
    trust, *_hosts = village("web1", "web2")
    engine = Endless()
    with pytest.raises(FleetError, match="no end"):
        gathering.members(engine, trust.roster)
    ask = gathering.Ask(bytes(16), 0, 1 << 20, ("web2",))
    assert gathering._collect(engine, trust.roster, ask, {}, b"box") is False
