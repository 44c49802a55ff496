"""The sampler and the watcher's end of it, over a real socket, on this host's real /proc."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from tidegate.errors import SourceError
from tidegate.model import SECOND
from tidegate.policy.guards import ReadingSpec
from tidegate.policy.models import Policy
from tidegate.source.readings import catalogue
from tidegate.source.readings.taking import Taken, Taker


def test_what_is_wanted_arrives_again_and_again(host):
    host.readings.want({"la1": SECOND // 5, "memused": SECOND // 5})
    host.until(lambda: len(host.of("la1")) >= 3 and len(host.of("memused")) >= 3)
    assert all(one.value is not None and one.value >= 0 for one in host.samples)
    used = host.of("memused")[0]
    assert 0 < used.value < used.whole


def test_readings_of_one_tick_come_with_one_frame(host):
    host.readings.want({"la1": SECOND, "memfree": SECOND, "disk.free(/)": SECOND})
    host.until(lambda: bool(host.samples))
    assert {one.reading for one in host.samples} == {"la1", "memfree", "disk.free(/)"}


def test_what_is_no_longer_wanted_is_no_longer_taken(host):
    host.readings.want({"la1": SECOND // 10})
    host.until(lambda: bool(host.of("la1")))
    host.readings.want({"la5": SECOND // 10})
    host.until(lambda: len(host.of("la5")) >= 2)
    last = host.of("la5")[0]
    assert all(one.time <= last.time for one in host.of("la1"))


def test_a_slope_is_asked_for_by_samples_of_what_it_is_the_slope_of(host):
    host.readings.want({"disk.full-in(/)": SECOND, "queue.clear-in(exim)": SECOND})
    host.until(
        lambda: {one.reading for one in host.samples} == {"disk.available(/)", "queue(exim)"}
    )


@pytest.mark.parametrize(
    "name",
    ["la2", "moon", "disk.free", "disk.eaten(/)", "disk.free(/", "psi.cpu.most", "unit.hats(x)"],
)
def test_a_reading_that_there_is_not_is_unknown_with_a_reason(host, name):
    host.readings.want({name: SECOND, "la1": SECOND})
    host.until(lambda: bool(host.of("la1")) and bool(host.of(name)))
    (one, *_) = host.of(name)
    assert one.value is None
    assert name in one.why
    assert "\n" not in one.why


def test_a_path_that_is_not_there_is_unknown_and_the_others_go_on(host):
    host.readings.want({"disk.free(/no/such)": SECOND, "disk.free(/)": SECOND})
    host.until(lambda: bool(host.of("disk.free(/no/such)")) and bool(host.of("disk.free(/)")))
    assert host.of("disk.free(/no/such)")[0].why == "/no/such: no such file or directory"
    assert host.of("disk.free(/)")[0].value > 0


def test_one_that_hangs_is_unknown_after_its_deadline_and_holds_nobody_up(host, monkeypatch):
    wake = threading.Event()
    real = catalogue.Catalogue.taker

    def taker(self, name):
        if name == "disk.free(/hung)":
            return Taker(lambda _look: Taken(wake.wait() * 7.0), worker="disk /hung", deadline=0.5)
        return real(self, name)

    monkeypatch.setattr(catalogue.Catalogue, "taker", taker)
    host.readings.want(
        {"disk.free(/hung)": SECOND // 5, "disk.free(/)": SECOND // 5, "la1": SECOND // 5}
    )
    host.until(lambda: len(host.of("disk.free(/hung)")) >= 2)
    first, second = host.of("disk.free(/hung)")[:2]
    assert first.value is None
    assert first.why == "no answer within 0.5 s; it is still waited for"
    assert "still waited for" in second.why
    before = len(host.of("la1")), len(host.of("disk.free(/)"))
    assert min(before) >= 2
    host.until(lambda: len(host.of("la1")) >= before[0] + 3)
    host.until(lambda: len(host.of("disk.free(/)")) >= before[1] + 3)
    wake.set()
    host.until(lambda: host.of("disk.free(/hung)")[-1].value == 7.0)


def test_a_command_that_really_hangs_holds_nobody_up(host):
    spec = ReadingSpec("lag", command=("sleep", "1000"), timeout=SECOND // 2)
    host.policy[0] = Policy(readings=(spec,))
    host.readings.reload()
    host.readings.want({"lag": SECOND // 5, "la1": SECOND // 5, "processes": SECOND // 5})
    host.until(lambda: len(host.of("lag")) >= 2)
    assert {one.why for one in host.of("lag")} == {"sleep did not end within 0.5 s; it was killed"}
    assert len(host.of("la1")) >= 3
    assert len(host.of("processes")) >= 3


def test_a_host_that_starts_no_thread_leaves_what_waits_unknown(host, monkeypatch):
    def full(_thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", full)
    host.readings.want({"disk.free(/)": SECOND // 5, "la1": SECOND // 5})
    host.readings.capture("web")
    host.until(lambda: bool(host.of("disk.free(/)")) and bool(host.of("la1")) and host.captured)
    assert "the host is at its limits" in host.of("disk.free(/)")[0].why
    assert "the host is at its limits" in host.captured[0].text
    monkeypatch.undo()
    host.until(lambda: host.of("disk.free(/)")[-1].value is not None)


def test_reload_brings_readings_of_its_own(host, tmp_path):
    file = tmp_path / "lag"
    file.write_text("12.5\n")
    host.readings.want({"lag": SECOND // 5})
    host.until(lambda: bool(host.of("lag")))
    assert host.of("lag")[0].value is None
    host.policy[0] = Policy(readings=(ReadingSpec("lag", file=str(file)),))
    host.readings.reload()
    host.until(lambda: host.of("lag")[-1].value == 12.5)


def test_a_reload_that_changes_no_reading_breaks_no_rate(host):
    host.readings.want({"interface.in(lo)": SECOND // 5})
    host.until(lambda: len(host.of("interface.in(lo)")) >= 2)
    host.policy[0] = Policy(hash="another")
    host.readings.reload()
    host.until(lambda: len(host.of("interface.in(lo)")) >= 5)
    assert [one.value is None for one in host.of("interface.in(lo)")][:3] == [True, False, False]
    assert sum(one.value is None for one in host.of("interface.in(lo)")) == 1


def test_a_policy_that_cannot_be_read_leaves_the_old_one_and_says_so(host, tmp_path):
    file = tmp_path / "lag"
    file.write_text("12.5\n")
    host.policy[0] = Policy(readings=(ReadingSpec("lag", file=str(file)),))
    host.readings.reload()
    host.readings.want({"lag": SECOND // 5})
    host.until(lambda: bool(host.of("lag")) and host.of("lag")[-1].value == 12.5)
    host.policy.clear()
    host.readings.reload()
    host.until(lambda: host.readings.trouble == "x.toml: faulty")
    count = len(host.of("lag"))
    host.until(lambda: len(host.of("lag")) >= count + 2)
    assert host.of("lag")[-1].value == 12.5


def test_the_end_of_the_sampler_is_said(host):
    host.readings.want({"la1": SECOND})
    host.until(lambda: bool(host.samples))
    os.close(os.dup(host.readings.fileno()))  # the socket is ours
    host.readings._channel._socket.shutdown(2)
    with pytest.raises(SourceError, match="the sampler is gone"):
        host.readings.take()


def test_nonsense_is_answered_and_the_conversation_goes_on(host):
    host.readings._say({"type": "dance"})
    host.readings._say({"type": "want", "wanted": {"la1": "often"}})
    host.readings.want({"la1": SECOND})
    host.until(lambda: bool(host.of("la1")))
    assert "microseconds" in host.readings.trouble


def test_proc_is_really_read(host):
    host.readings.want({"la1": SECOND, "la15.core": SECOND, "psi.io.some60": SECOND})
    host.until(lambda: len({one.reading for one in host.samples}) == 3)
    said = Path("/proc/loadavg").read_text().split()
    assert abs(host.of("la1")[0].value - float(said[0])) < 5
    share = host.of("psi.io.some60")[0]
    assert share.value is None or 0 <= share.value <= 100
