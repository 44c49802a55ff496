"""Text for people and for JSON: moments as RFC 3339, hostile text made harmless.

Touches nothing, except that a zone of None reads the host's time zone. Pure otherwise.
Limits: years 1 to 9999, beyond which a moment is shown as the nearest of them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

from tidegate.model import DAY, Micros

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A day inside datetime's range, so that no offset can lead out of it.
_FIRST = (datetime(1, 1, 2, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
_LAST = (datetime(9999, 12, 31, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1) - DAY


def time_text(moment: Micros, zone: tzinfo | None = UTC) -> str:
    """A moment as RFC 3339 with offset, microseconds only when not zero.

    `zone` None: the host's, at that moment (summer or winter). An offset of odd seconds (local
    mean time, before 1900) has no spelling in RFC 3339 §5.6 and is shown in UTC.
    """
    inside = min(max(moment, _FIRST), _LAST)
    local = (_EPOCH + timedelta(microseconds=inside)).astimezone(zone)
    offset = local.utcoffset()
    if offset is None or offset.seconds % 60:
        local = local.astimezone(UTC)
    return local.isoformat()


def printable(text: str) -> str:
    """Text that a terminal only shows: whatever could steer it stands there as an escape.

    Control characters (line ends and tabs too), bidirectional and other invisible format
    characters, odd spaces, private and unassigned characters become `\\x1b`, `\\u202e` …; bytes
    that were no UTF-8 (lone surrogates from U+DC80 to U+DCFF, see PEP 383) become `\\xff`.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def well_formed(text: str) -> str:
    """Text that every JSON reader takes: only lone surrogates are spelt out, as in `printable`."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join(_escaped(char) if "\ud800" <= char <= "\udfff" else char for char in text)
    return text


def _escaped(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
