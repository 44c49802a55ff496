"""Time stamps: bytes to microseconds since the epoch, by the rules of docs/detectors.md.

Touches nothing: the zone is handed in, the year comes from the time of arrival, never from a clock.
Limits: years 1970 to 9999; an impossible stamp is None, and the line counts as undated.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, tzinfo

from tidegate.detector import timeforms
from tidegate.detector.timeforms import MONTHS
from tidegate.model import DAY, HOUR, MINUTE, SECOND, Micros

_REMEMBERED = 8192
_EPOCH = datetime(1970, 1, 1)
_ISO = re.compile(
    rb"([0-9]{4})-([0-9]{2})-([0-9]{2})[T ]([0-9]{2}):([0-9]{2}):([0-9]{2})"
    rb"(?:[.,]([0-9]+))? ?(?:(Z)|([+-])([0-9]{2}):?([0-9]{2}))?"
)
_FINER = re.compile(rb"([^.,@\[]{19})[.,]([0-9]{1,9})([^0-9]*|[^0-9].*)").fullmatch
_BSD = re.compile(
    rb"([A-Z][a-z]{2}) +([0-9]{1,2}) (?:([0-9]{4}) )?"
    rb"([0-9]{2}):([0-9]{2}):([0-9]{2})(?:[.,]([0-9]+))?"
)
_COUNT = re.compile(rb"\[?([0-9]{10})(?:\.?([0-9]+))?\]?")  # 13 digits: milliseconds
_AMBIGUOUS_FOR = 2 * HOUR
_TAI = (
    1 << 62
)  # seconds of a TAI64 label count from here, 10 ahead of UTC (as multilog writes them)
_FOREVER = 1 << 62
_SECONDS = {b"%02d" % second: second * SECOND for second in range(60)}


class Stamps(dict[bytes, Micros | None]):
    """The moment of each stamp, None where it is impossible. Fills itself, call `arrive` first.

    Most lines share their second with others, so those are remembered; with a fraction behind it,
    the second is.
    """

    def __init__(self, zone: tzinfo) -> None:
        super().__init__()
        self.zone = zone
        self._hours: dict[bytes, Micros | None] = {}
        self._minutes: dict[bytes, Micros] = {}  # by the stamp without its seconds
        self._arrival = 0
        # What is known holds while the arrival is in [since, until): years and repeated
        # hours are read relative to it.
        self._since = -_FOREVER
        self._until = _FOREVER

    def arrive(self, arrival: Micros) -> None:
        """From now on stamps are read as of this arrival (call it once a block)."""
        if not self._since <= arrival < self._until:
            self.clear()
            self._hours.clear()
            self._minutes.clear()
            self._since, self._until = -_FOREVER, _FOREVER
        self._arrival = arrival

    def __missing__(self, stamp: bytes) -> Micros | None:
        minute, second = self._minutes.get(stamp[:-2]), _SECONDS.get(stamp[-2:])
        if minute is not None and second is not None:
            return self._keep(stamp, minute + second)
        digits = stamp[20:26]  # rsyslog writes six, and no two lines alike: this must be quick
        plain = stamp[19:20] == b"." and len(digits) == 6 and not stamp[26:27].isdigit()
        if plain and digits.isdigit():
            whole = self[stamp[:19] + stamp[26:]]
            return None if whole is None else whole + int(digits)
        finer = _FINER(stamp)
        if finer is not None:
            whole = self[finer[1] + finer[3]]
            return None if whole is None else whole + _micros(finer[2])
        moment = self._in_hour(stamp)
        if moment is None:
            moment = self._parse(stamp)
        return self._keep(stamp, moment)

    def _keep(self, stamp: bytes, moment: Micros | None) -> Micros | None:
        if len(self) >= _REMEMBERED:
            self.clear()
        if moment is not None and moment < 0:
            moment = 0  # a host without a battery begins in 1970, and east of London before that
        self[stamp] = moment
        return moment

    def _in_hour(self, stamp: bytes) -> Micros | None:
        """The moment by its hour's, for `…hh:mm:ss…` in an hour without a change of the clocks.

        None where that is not known: then the whole stamp is read. Ten times as quick.
        """
        end = 19 if stamp[4:5] == b"-" else 15
        clock, rest = stamp[end - 5 : end], stamp[end:]
        if len(clock) != 5 or clock[2:3] != b":":
            return None
        minute, second = clock[:2], clock[3:]
        if not (minute.isdigit() and second.isdigit() and minute < b"60" and second < b"60"):
            return None
        hour = stamp[: end - 5]
        key = hour + rest
        if key in self._hours:
            begins = self._hours[key]
        else:
            begins, ends = self._parse(hour + b"00:00" + rest), self._parse(hour + b"59:59" + rest)
            if begins is None or ends is None or ends - begins != 3599 * SECOND:
                begins = None
            if len(self._hours) >= _REMEMBERED:
                self._hours.clear()
            self._hours[key] = begins
        if begins is None:
            return None
        start = begins + int(minute) * MINUTE
        if not rest:
            if len(self._minutes) >= _REMEMBERED:
                self._minutes.clear()
            self._minutes[stamp[:-2]] = start
        return start + int(second) * SECOND

    def _parse(self, stamp: bytes) -> Micros | None:
        try:
            if stamp[0] == 0x40:
                return _tai64n(stamp)
            moment = None
            if stamp[:1].isalpha():
                moment = self._bsd(stamp)
            elif stamp[4:5] == b"-":
                moment = self._iso(stamp)
            else:
                moment = _count(stamp)
            return self._otherwise(stamp) if moment is None else moment
        except (ValueError, OverflowError):
            return None

    def _iso(self, stamp: bytes) -> Micros | None:
        found = _ISO.fullmatch(stamp)
        if found is None:
            return None
        year, month, day, hour, minute, second = map(int, found.group(1, 2, 3, 4, 5, 6))
        leap = second == 60
        local = datetime(year, month, day, hour, minute, second - leap)
        extra = _micros(found[7]) + leap * SECOND
        if found[8] is not None:
            return _since_epoch(local) + extra
        if found[9] is not None:
            ahead = int(found[10]) * HOUR + int(found[11]) * 60 * SECOND
            return _since_epoch(local) + extra + (-ahead if found[9] == b"+" else ahead)
        return self._local(local) + extra

    def _bsd(self, stamp: bytes) -> Micros | None:
        found = _BSD.fullmatch(stamp)
        if found is None or found[1] not in MONTHS:
            return None
        month, day, second = MONTHS[found[1]], int(found[2]), int(found[6])
        leap = second == 60
        clock = (int(found[4]), int(found[5]), second - leap)
        extra = _micros(found[7]) + leap * SECOND
        if found[3] is not None:
            return self._local(datetime(int(found[3]), month, day, *clock)) + extra
        return self._yearless(month, day, clock, extra)

    def _otherwise(self, stamp: bytes) -> Micros | None:
        wall = timeforms.read(stamp)
        if wall is None:
            return None
        leap = wall.second == 60
        clock = (wall.hour, wall.minute, wall.second - leap)
        extra = _micros(wall.fraction) + leap * SECOND
        if wall.year is None:
            return self._yearless(wall.month, wall.day, clock, extra)
        local = datetime(wall.year, wall.month, wall.day, *clock)
        if wall.ahead is None:
            return self._local(local) + extra
        return _since_epoch(local) + extra - wall.ahead

    def _yearless(
        self, month: int, day: int, clock: tuple[int, int, int], extra: Micros
    ) -> Micros | None:
        """The latest year that puts it not more than a day after the arrival."""
        latest = _year_of(self._arrival + DAY) + 1
        later = _FOREVER
        for year in range(latest, max(latest - 9, 1970) - 1, -1):
            try:
                moment = self._local(datetime(year, month, day, *clock)) + extra
            except ValueError:  # 29 February in a common year
                continue
            if moment - DAY <= self._arrival:
                self._since = max(self._since, moment - DAY)
                self._until = min(self._until, later - DAY)
                return moment
            later = moment
        return None

    def _local(self, local: datetime) -> Micros:
        """A wall-clock time in the zone; of two readings the one that fits the arrival."""
        first = self._offset(local, 0)
        second = self._offset(local, 1)
        plain = _since_epoch(local)
        if second >= first:  # ordinary, or a time that does not exist: the offset before the change
            return plain - first
        early, late = plain - first, plain - second
        if late <= self._arrival <= late + _AMBIGUOUS_FOR:
            self._since = max(self._since, late)
            self._until = min(self._until, late + _AMBIGUOUS_FOR + 1)
            return late
        if self._arrival < late:
            self._until = min(self._until, late)
        else:
            self._since = max(self._since, late + _AMBIGUOUS_FOR + 1)
        return early

    def _offset(self, local: datetime, fold: int) -> Micros:
        offset = local.replace(tzinfo=self.zone, fold=fold).utcoffset()
        return _span(offset) if offset is not None else 0


def _span(span: timedelta) -> Micros:
    return (span.days * 86_400 + span.seconds) * SECOND + span.microseconds


def _since_epoch(moment: datetime) -> Micros:
    return _span(moment - _EPOCH)


def _year_of(moment: Micros) -> int:
    try:
        return (_EPOCH + timedelta(microseconds=moment)).year
    except OverflowError:
        return 9998 if moment > 0 else 1970


def _micros(fraction: bytes | None) -> Micros:
    return int(fraction[:6].ljust(6, b"0")) if fraction else 0


def _count(stamp: bytes) -> Micros | None:
    found = _COUNT.fullmatch(stamp)
    return int(found[1]) * SECOND + _micros(found[2]) if found else None


def _tai64n(stamp: bytes) -> Micros | None:
    seconds = int(stamp[1:17], 16) - _TAI - 10
    return seconds * SECOND + int(stamp[17:25], 16) // 1000 if 0 <= seconds < 1 << 36 else None
