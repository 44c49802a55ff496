"""An incident in plain words, as somebody reads it at three in the morning."""

from __future__ import annotations

import pytest
from tests.unit.decision.test_incidents import bans, closing

from tidegate.daemon.incident_words import admitted, commands, done, span_text, summary, title
from tidegate.daemon.redaction import Plain, Pseudonyms
from tidegate.decision.incidents import Incident, Mishap, incidents
from tidegate.model import DAY, HOUR, MINUTE, SECOND, Subject

NOW = 1_755_000_000 * SECOND
PLAIN = Plain()
PUBLIC = Pseudonyms(b"k" * 32, "0011223344556677")


@pytest.fixture(autouse=True)
def zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")


def gate(number: int, start: int, end: int | None, what: str = "stop", name: str = "web.stop",
         **more: object) -> object:  # fmt: skip
    services = ("apache2.service",) if what == "stop" else ("port 80",)
    values = {
        "name": "web",
        "subject": Subject(f"gate:{name}"),
        "services": services,
        "by": "guard",
    }
    return closing(number, start, end, what, **(values | more))  # type: ignore[arg-type]


def one(*closings: object) -> Incident:
    (found,) = incidents(closings)  # type: ignore[arg-type]
    return found


def test_a_service_that_is_stopped() -> None:
    found = one(gate(1, NOW, NOW + MINUTE, "limit", "web.throttle"), gate(2, NOW + MINUTE, None))
    assert title(found, PLAIN) == "apache2.service closed by guard web"
    assert summary(found, NOW + HOUR, PLAIN, "la1 11 (limit 10)", "la1 <= 2") == [
        "Since 2025-08-12 12:00:00+00:00 apache2.service has been closed for everybody, by guard web.",
        "It is closed now; it opens by itself as soon as la1 <= 2.",
        "Before or beside that it was slowed: port 80.",
        "What led to the first: la1 11 (limit 10).",
    ]
    assert list(done(found, PLAIN)) == [
        "web.throttle was closed once, for 1m in all",
        "web.stop was closed once, and is closed now",
    ]
    assert list(commands(found, NOW + HOUR)) == [
        ("open web.stop now", "tidegate open web.stop"),
        ("the very lines or readings", "tidegate why web.stop"),
        ("say something about it", 'tidegate incident note 00000000 "…"'),
    ]
    assert "as soon as its guard says so" in summary(found, NOW + HOUR, PLAIN)[1]


def test_a_service_that_was_stopped_three_times_twice_by_people() -> None:
    found = one(
        gate(1, NOW, NOW + MINUTE),
        gate(2, NOW + 2 * MINUTE, NOW + 3 * MINUTE, by="anna (uid 1000)"),
        gate(3, NOW + 4 * MINUTE, NOW + 5 * MINUTE, by="anna (uid 1000)"),
        gate(4, NOW + 5 * MINUTE, NOW + 5 * MINUTE, "run", "web.restart"),
    )
    assert summary(found, NOW + HOUR, PLAIN)[:2] == [
        "From 2025-08-12 12:00:00+00:00 to 2025-08-12 12:05:00+00:00 apache2.service was closed for"
        " everybody 3 times, by guard web and people.",
        "It is open again; in all it was closed for 3m.",
    ]
    assert list(done(found, PLAIN)) == [
        "web.stop was closed 3 times, for 3m in all", "web.restart was run once",
    ]  # fmt: skip


def test_a_service_that_people_stopped() -> None:
    found = one(gate(1, NOW, NOW, by="anna (uid 1000)"))
    assert summary(found, NOW, PLAIN)[0] == (
        "At 2025-08-12 12:00:00+00:00 apache2.service was closed for everybody, by people."
    )


def cut(number: int, start: int, end: int, subject: str = "198.51.100.4") -> object:
    return closing(number, start, end, "quarantine", name="outward", subject=Subject(subject),
                   services=("outward",))  # fmt: skip


def test_a_source_that_is_cut_off_and_one_that_did_it_again() -> None:
    found = one(cut(1, NOW, NOW + 10 * MINUTE))
    assert title(found, PLAIN) == "198.51.100.4 cut off (rule outward)"
    assert title(found, PUBLIC).startswith("address-")
    assert summary(found, NOW + MINUTE, PLAIN) == [
        "Since 2025-08-12 12:00:00+00:00 198.51.100.4 has been cut off by Tidegate (rule outward).",
        "Who is cut off can't begin connections to others; visitors' requests to it are answered as"
        " before.",
        "It is let back by itself at 2025-08-12 12:10:00+00:00.",
    ]
    assert summary(found, NOW + HOUR, PLAIN)[-1] == "It has been let back."
    found = one(
        cut(1, NOW, NOW + 10 * MINUTE),
        cut(2, NOW, NOW + 10 * MINUTE, "198.51.100.5"),
        cut(3, NOW + 11 * MINUTE, NOW + 2 * HOUR),
    )
    told = summary(found, NOW + HOUR, PLAIN)
    assert told[0].startswith("Since 2025-08-12 12:00:00+00:00 2 sources have been cut off")
    assert told[2:] == [
        "1 of them did it again after it was let back.",
        "1 is still cut off; the last is let back by itself at 2025-08-12 14:00:00+00:00.",
    ]
    assert summary(found, NOW + DAY, PLAIN)[-1] == "Nobody is cut off any more."
    assert list(done(found, PLAIN)) == ["3 quarantines, for 10m to 1h 49m"]


def test_a_wave_by_hand() -> None:
    found = one(*[ban._replace(name="") for ban in bans(12, SECOND)])
    assert title(found, PLAIN) == "12 subjects kept out of port 25 (by hand)"
    assert list(done(found, PLAIN)) == ["12 bans from port 25, for 1h"]
    assert [command for _what, command in commands(found, NOW + MINUTE)][:1] == [
        "tidegate unban 192.0.2.11"
    ]
    assert [command for _what, command in commands(found, NOW + DAY)][:1] == [
        "tidegate why 192.0.2.11"
    ]


def test_many_services_are_not_all_named() -> None:
    found = one(gate(1, NOW, None, services=tuple("abcdefg")))
    assert title(found, PLAIN) == "a, b, c, d, e and 2 more closed by guard web"


def test_what_is_admitted() -> None:
    cause = one(gate(1, NOW, None)).cause
    slips = [
        Mishap(NOW, cause, "refused", Subject("gate:web.stop"), detail="no such unit"),
        Mishap(NOW + 1, cause, "refused", Subject("192.0.2.7")),
        *(Mishap(NOW + n, cause, "good", Subject(f"192.0.2.{n}")) for n in range(2, 14)),
    ]
    told = [text for _time, text in admitted(slips, PLAIN)]
    assert told[:2] == [
        "web.stop could not be closed: no such unit",
        "192.0.2.7 could not be closed for",
    ]
    assert told[-1] == "and 2 more with a good record were closed for"
    assert len(told) == 13
    assert "192.0.2" not in " ".join(text for _time, text in admitted(slips, PUBLIC))


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (0, "0s"),
        (SECOND - 1, "0s"),
        (61 * SECOND, "1m 1s"),
        (DAY + 3 * HOUR + MINUTE, "1d 3h"),
        (-5, "0s"),
    ],
)
def test_spans(span: int, text: str) -> None:
    assert span_text(span) == text
