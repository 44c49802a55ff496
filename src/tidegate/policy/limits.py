"""Limits in conditions (`10`, `256M`, `90%`, `1h30m`, `10M/s`): read, written and said.

Touches nothing. Each in the base unit of the reading beside it: bytes, seconds, a plain number.
k, M, G and T are powers of 1024. Limits: what a reading of the administrator's own means is not
known, so any unit goes with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from tidegate.policy.readings import Reading, Unit

_NUMBER = r"[+-]?(?:\d{1,18}(?:\.\d{0,9})?|\.\d{1,9})"
_PLAIN = re.compile(_NUMBER, re.ASCII)
_SIZE = re.compile(rf"({_NUMBER})([kKMGT]?)(?:i?B)?", re.ASCII)
_PART = re.compile(r"(\d{1,12}(?:\.\d{0,9})?|\.\d{1,9})(ms|[smhdw])", re.ASCII)
_SPAN = re.compile(f"(?:{_PART.pattern})+", re.ASCII)
_POWERS = {"": 0, "k": 10, "K": 10, "M": 20, "G": 30, "T": 40}
_SPANS = {
    "w": Decimal(604_800), "d": Decimal(86_400), "h": Decimal(3600), "m": Decimal(60),
    "s": Decimal(1), "ms": Decimal("0.001"),
}  # fmt: skip
_LONG = {"d": "day", "h": "hour", "m": "minute", "s": "second", "ms": "millisecond"}

EXPECTED: Mapping[Unit, str] = {
    "number": "a plain number such as 10",
    "flag": "1 (it answers) or 0 (it does not)",
    "bytes": "a size such as 256M",
    "seconds": "a time such as 500ms, 30s or 2h",
    "percent": "a percentage such as 10%",
    "bytes/s": "a rate such as 10M/s",
    "per second": "a number per second such as 100/s",
    "any": "a number such as 10, 256M or 30s",
}
"""What a limit of each unit looks like."""


class Limit(NamedTuple):
    """A limit in its base unit, or in percent of the reading's whole; `note`: what it
    means, where no unit was written and one would have been better."""

    value: float
    percent: bool = False
    note: str = ""


def parse_limit(text: str, reading: Reading) -> Limit:
    """The limit behind `text`. Raises ValueError: what was expected."""
    unit = reading.unit
    if text.endswith("%"):
        return _share(text, reading)
    number = Decimal(text) if _PLAIN.fullmatch(text) else None
    if unit in ("number", "percent", "any") and number is not None:
        return Limit(float(number))
    if unit == "flag" and number in (0, 1):
        return Limit(float(text))
    rate = text.removesuffix("/s")
    if unit == "per second" and _PLAIN.fullmatch(rate):
        return Limit(float(rate))
    if unit in ("bytes", "any") and _SIZE.fullmatch(text):
        note = f"bytes; megabytes would be {text}M" if number and unit == "bytes" else ""
        return Limit(_bytes(text), note=note)
    if unit == "bytes/s" and _SIZE.fullmatch(rate):
        return Limit(
            _bytes(rate), note="bytes per second" if _PLAIN.fullmatch(text) and _bytes(rate) else ""
        )
    if unit == "seconds" and number is not None:
        return Limit(float(number), note="seconds" if number else "")
    if unit in ("seconds", "any") and _SPAN.fullmatch(text):
        return Limit(float(seconds(text)))
    raise ValueError(f"{_expected(reading)} for {reading.name}")


def seconds(text: str) -> Decimal:
    """The seconds behind `1h30m`, `0s` or `500ms`. Raises ValueError: what was expected."""
    if not _SPAN.fullmatch(text):
        raise ValueError('a time such as "30s", "5m" or "500ms"')
    return sum((Decimal(n) * _SPANS[unit] for n, unit in _PART.findall(text)), Decimal(0))


def limit_text(value: float, percent: bool, unit: Unit) -> str:
    """The shortest text that is read as exactly this limit."""
    if percent or unit == "percent":
        return f"{_decimal(value)}%"
    if unit == "seconds":
        return span_text(value)
    suffix = "/s" if unit in ("bytes/s", "per second") else ""
    if unit in ("bytes", "bytes/s"):
        return f"{_size(value)}{suffix}"
    return f"{_decimal(value)}{suffix}"


def limit_words(value: float, percent: bool, reading: Reading) -> str:
    """A limit in English, such as `90% of all memory`."""
    if percent:
        return f"{_decimal(value)}% of {reading.whole}"
    if reading.unit == "seconds":
        return span_words(value)
    said = limit_text(value, percent, reading.unit)
    if reading.unit in ("bytes", "bytes/s"):
        number, power, rate = re.fullmatch(r"([-.\d]+)([kMGT]?)(.*)", said).groups()  # type: ignore[union-attr]
        return f"{number} {'Ki' if power == 'k' else power and power + 'i'}B{rate}"
    return said.replace("/s", " per second")


def span_text(value: float) -> str:
    """Seconds as a text that is read as exactly as many (`1h30m`); plain where it has no ms."""
    thousandths = Decimal(repr(value)) * 1000
    if value < 0 or thousandths != thousandths.to_integral_value():
        return _decimal(value)
    return "".join(f"{number}{unit}" for number, unit in _parts(int(thousandths))) or "0s"


def span_words(value: float) -> str:
    """Seconds in English (`1 hour 30 minutes`)."""
    thousandths = Decimal(repr(value)) * 1000
    if value < 0 or thousandths != thousandths.to_integral_value():
        return f"{_decimal(value)} seconds"
    parts = _parts(int(thousandths)) or [(0, "s")]
    return " ".join(f"{number} {_LONG[unit]}{'' if number == 1 else 's'}" for number, unit in parts)


def _parts(thousandths: int) -> list[tuple[int, str]]:
    found = []
    for unit in ("d", "h", "m", "s", "ms"):
        number, thousandths = divmod(thousandths, int(_SPANS[unit] * 1000))
        if number:
            found.append((number, unit))
    return found


def _share(text: str, reading: Reading) -> Limit:
    """A percentage: of a reading that is one, or of a reading's whole."""
    if not _PLAIN.fullmatch(text[:-1]):
        raise ValueError(EXPECTED["percent"])
    if reading.unit == "percent":
        return Limit(float(text[:-1]))
    if not reading.whole:
        why = "nobody knows of what" if reading.unit == "any" else "it has no whole"
        raise ValueError(f"{EXPECTED[reading.unit]} for {reading.name}; no %, since {why}")
    return Limit(float(text[:-1]), percent=True)


def _expected(reading: Reading) -> str:
    share = " or 90%" if reading.whole and reading.unit != "percent" else ""
    return EXPECTED[reading.unit] + share


def _bytes(text: str) -> float:
    found = _SIZE.fullmatch(text)
    assert found is not None
    return float(Decimal(found[1]) * (1 << _POWERS[found[2]]))


def _size(value: float) -> str:
    if value and value == int(value):
        for letter, power in (("T", 40), ("G", 30), ("M", 20), ("k", 10)):
            if int(value) % (1 << power) == 0:
                return f"{int(value) >> power}{letter}"
    return _decimal(value)


def _decimal(value: float) -> str:
    """A number as people write it: 10, not 10.0, and never 1e-05."""
    said = format(Decimal(repr(value)), "f")
    return said.rstrip("0").rstrip(".") if "." in said else said
