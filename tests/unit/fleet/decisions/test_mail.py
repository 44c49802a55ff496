"""A mailbox: what comes is handed on once, and nobody can have it hear nothing more."""

from __future__ import annotations

import pytest

from tidegate.fleet.counting.counting import Ask
from tidegate.fleet.decisions import mail
from tidegate.fleet.decisions.mail import Mailbox, Post
from tidegate.fleet.fields import Malformed
from tidegate.model import MINUTE, SECOND

NOW = 1_790_000_000 * SECOND
BOX = b"{tg:decisions}:to:web1"


def mailbox():
    heard = []
    return Mailbox("web1", lambda body, _now: heard.append(body), lambda: True), heard


def exchange(box, reply):
    (ask,) = box.asks(NOW)
    box.answered(ask, [reply], NOW)
    return ask.commands[0]


def rows(*places):
    return [[BOX, [[place, [b"m", place]] for place in places]]]


def test_mail_is_handed_on_and_asked_for_from_there_on():
    box, heard = mailbox()
    exchange(box, rows(b"5-0", b"5-1"))
    assert heard == [b"5-0", b"5-1"]
    exchange(box, None)
    exchange(box, ValueError("LOADING"))
    assert exchange(box, None)[-2:] == (BOX, b"5-1")


def test_one_question_at_a_time_until_it_is_lost():
    box, _heard = mailbox()
    (ask,) = box.asks(NOW)
    assert not box.urgent
    assert box.asks(NOW) == []
    box.lost(ask)
    assert box.urgent


@pytest.mark.parametrize(
    "reply",
    [
        rows(b"5-1", b"5-1"), rows(b"6-0", b"5-0"), rows(b"0-0"), 3, [[BOX]],
        rows(b"18446744073709551615-0"), rows(b"1790000601000-0"),
    ],
)  # fmt: skip
def test_mail_that_makes_no_sense_is_not_passed(reply):
    box, _heard = mailbox()
    with pytest.raises(Malformed):
        exchange(box, reply)
    assert exchange(box, None)[-1] in (b"0-0", b"5-1", b"6-0")


def test_of_another_box_nothing_is_heard():
    box, heard = mailbox()
    exchange(box, [[b"{tg:decisions}:to:web2", [[b"5-0", [b"m", b"x"]]]]])
    exchange(box, [[BOX, [[b"6-0", [b"other", b"x"]]]]])
    assert heard == []


def test_a_box_is_told_to_expire_once_a_minute():
    post = Post()
    names = [[command[0] for command in post.letters(b"x", ["web2", "web1"], NOW + passed)]
             for passed in (0, MINUTE - 1, MINUTE)]  # fmt: skip
    assert names == [[b"XADD", b"PEXPIRE"] * 2, [b"XADD"] * 2, [b"XADD", b"PEXPIRE"] * 2]
    assert mail.box("web1") == BOX


def test_before_it_is_a_member_a_host_asks_for_no_mail():
    assert Mailbox("web1", lambda _body, _now: None, lambda: False).asks(NOW) == []
    assert isinstance(mailbox()[0].asks(NOW)[0], Ask)
