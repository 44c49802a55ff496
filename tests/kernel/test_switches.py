"""A service keeper with real processes: stops, starts, respects people, and undoes after a death."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kernel.switching import Host, gate, keeping, now, wait_until

from tidegate.gate.switches.overdue import open_overdue
from tidegate.gate.switches.processes import process
from tidegate.gate.switches.record import Record, Records
from tidegate.model import SECOND
from tidegate.policy.guards import Command, Restart, Run, Service

pytestmark = pytest.mark.kernel

WEB = gate("web", Service("web"))


@pytest.fixture
def host(public_folder: Path) -> Iterator[Host]:
    made = Host(public_folder)
    yield made
    made.close()


def test_stops_and_starts_again(host):
    host.service("web")
    with keeping(host, WEB) as keeper:
        keeper.until("web", "open")
        keeper.want("web")
        keeper.until("web", "closed")
        assert not host.runs("web")
        assert (host.folder / "gates/web.json").stat().st_mode & 0o777 == 0o600
        keeper.want()
        keeper.until("web", "open")
        assert host.runs("web")
        assert not (host.folder / "gates/web.json").exists()
        assert keeper.states("web") == ["open", "closing", "closed", "opening", "open"]


def test_what_a_person_has_stopped_is_left_stopped(host):
    host.service("web")
    host.stop("web")
    with keeping(host, WEB) as keeper:
        keeper.want("web")
        keeper.until("web", "away")
        keeper.want()
        keeper.until("web", "open")
        time.sleep(0.3)
    assert host.calls("web") == ["start", "stop"]


def test_what_a_person_starts_meanwhile_is_let_be_until_nobody_wants_it_closed(host):
    host.service("web")
    with keeping(host, WEB) as keeper:
        keeper.want("web")
        keeper.until("web", "closed")
        host.start("web")
        keeper.until("web", "taken")
        keeper.want("web")
        time.sleep(0.5)
        assert host.runs("web")
        keeper.want()
        keeper.until("web", "open")
        assert host.calls("web") == ["start", "stop", "start"]
        keeper.want("web")
        keeper.until("web", "closed")


def test_what_was_disabled_meanwhile_is_not_started(host):
    host.service("web")
    link = host.folder / "rc3.d" / "S02web"
    link.symlink_to("../init.d/web")
    with keeping(host, WEB) as keeper:
        keeper.want("web")
        keeper.until("web", "closed")
        link.unlink()
        keeper.want()
        assert "disabled" in keeper.until("web", "taken").detail
    assert not host.runs("web")


def test_one_that_does_not_stop_is_killed_and_holds_up_nobody(host):
    host.service("mule", stubborn=True)
    host.service("slow", slow=2)
    host.service("web")
    terms = Service("mule", stop_within=3 * SECOND)
    with keeping(host, WEB, gate("slow", Service("slow")), gate("mule", terms)) as keeper:
        keeper.want("web", "slow", "mule")
        keeper.until("web", "closed")
        assert keeper.states("mule")[-1:] == ["closing"]
        keeper.until("slow", "closed")
        assert "killed" in keeper.until("mule", "closed").detail
        assert not host.runs("mule")
        keeper.want()
        for name in ("web", "slow", "mule"):
            keeper.until(name, "open")
            assert host.runs(name)


def test_nobody_renews_so_it_opens_by_itself(host):
    host.service("web")
    with keeping(host, WEB) as keeper:
        keeper.want("web", seconds=1.5)
        keeper.until("web", "closed")
        keeper.until("web", "open")
        assert host.runs("web")


def test_switched_off_everything_opens_and_nothing_closes(host):
    host.service("web")
    with keeping(host, WEB) as keeper:
        keeper.want("web")
        keeper.until("web", "closed")
        (host.folder / "off").touch()
        keeper.until("web", "open")
        keeper.want("web")
        wait_until(lambda: keeper.hear() or keeper.troubles)
        assert "switched off" in keeper.troubles[0]
        for _again in range(3):
            keeper.want("web")
            keeper.hear()
        assert len(keeper.troubles) == 1
        assert host.runs("web")
        (host.folder / "off").unlink()
        time.sleep(1.2)
        keeper.want("web")
        keeper.until("web", "closed")


def test_the_watcher_is_believed_nothing(host):
    host.service("web")
    with keeping(host, WEB) as keeper:
        keeper.until("web", "open")
        keeper.want("web", seconds=3600)
        keeper.want("exim", "../web")
        keeper.switches.fire("web", 0)
        keeper.switches.fire("reboot", 0)
        wait_until(lambda: keeper.hear() or len(keeper.troubles) >= 4)
        assert keeper.until("web", "refused").detail == "it is closed, never fired"
        assert host.runs("web")


def test_faults_are_a_line_each_and_others_are_unaffected(host):
    host.service("web")
    sleepy, noisy, own = (host.folder / name for name in ("sleepy", "noisy", "own"))
    sleepy.write_text("#!/bin/sh\nsleep 600 & sleep 600\n")
    noisy.write_text(f"#!/bin/sh\nyes flood | head -c 9000000\necho {host.folder}\nexit 3\n")
    own.write_text("#!/bin/sh\n")
    for script in (sleepy, noisy):
        script.chmod(0o755)
    own.chmod(0o777)
    gates = [
        WEB,
        gate("gone", Service("nothere")),
        gate("fails", Command(("/bin/false",), ("/bin/true",))),
        gate("hangs", Command((str(sleepy),), ("/bin/true",), timeout=SECOND)),
        gate("floods", Command((str(noisy),), ("/bin/true",))),
        gate("missing", Command(("/no/such",), ("/bin/true",))),
        gate("anybody", Command((str(own),), ("/bin/true",))),
    ]
    with keeping(host, *gates) as keeper:
        assert "no service nothere" in keeper.until("gone", "refused").detail
        assert "not found" in keeper.until("missing", "refused").detail
        assert "others than root may write" in keeper.until("anybody", "refused").detail
        keeper.want(*(one.name for one in gates))
        keeper.until("web", "closed")
        assert "exit code 1" in keeper.until("fails", "refused").detail
        hangs = keeper.until("hangs", "refused").detail
        assert "longer than 1 s" in hangs
        floods = keeper.until("floods", "refused").detail
        assert "exit code 3" in floods and len(floods) < 500
        for one in keeper.seen:
            assert "\n" not in one.detail


def test_a_command_and_the_one_that_undoes_it(host):
    drain = host.folder / "drain"
    drain.write_text(f"#!/bin/sh\necho $1 >> {host.folder}/drained\necho done $1\n")
    drain.chmod(0o755)
    terms = Command((str(drain), "in"), (str(drain), "out"))
    with keeping(host, gate("drain", terms)) as keeper:
        keeper.want("drain")
        assert keeper.until("drain", "closed").detail == "done in"
        keeper.want()
        keeper.until("drain", "opening")
        assert keeper.until("drain", "open").detail == "done out"
    assert (host.folder / "drained").read_text() == "in\nout\n"


def test_restarts_so_many_times_and_runs_what_is_said(host):
    host.service("zope")
    restart = gate("zope", Restart("zope", most=2))
    run = gate("note", Run(f"echo x | tee -a {host.folder}/noted"))
    with keeping(host, restart, run) as keeper:
        keeper.until("zope", "open")
        for _time in range(2):
            pid = host.pid("zope")
            keeper.switches.fire("zope", 0)
            keeper.until("zope", "closing")
            assert "restarted in" in keeper.until("zope", "open").detail
            assert host.runs("zope") and host.pid("zope") != pid
        keeper.switches.fire("zope", 0)
        assert "2 times already" in keeper.until("zope", "refused").detail
        keeper.switches.fire("note", 0)
        wait_until(lambda: keeper.hear() or "x" in [one.detail for one in keeper.seen])
        host.stop("zope")
    assert (host.folder / "noted").read_text() == "x\n"


def test_killed_and_started_again_it_takes_over_what_is_closed(host):
    host.service("web")
    host.service("mail")
    gates = (WEB, gate("mail", Service("mail")))
    with keeping(host, *gates) as keeper:
        keeper.want("web", "mail")
        keeper.until("web", "closed")
        keeper.until("mail", "closed")
        keeper.kill()
    with keeping(host, *gates) as keeper:
        keeper.until("web", "closed")
        keeper.until("mail", "closed")
        keeper.want("web")
        keeper.until("mail", "open")
        assert host.runs("mail") and not host.runs("web")
        keeper.kill()
    with keeping(host, gates[1]) as keeper:  # what policy no longer names is opened
        keeper.until("web", "open")
        assert host.runs("web")


def test_the_dead_man_opens_in_time_when_nobody_else_is_left(host):
    host.service("web")
    host.service("mail")
    gates = (WEB, gate("mail", Service("mail")))
    with keeping(host, *gates) as keeper:
        keeper.want("web", seconds=3)
        keeper.until("web", "closed")
        until = now() + 3 * SECOND
        keeper.switches.want({"web": until, "mail": until + 200 * SECOND}, 0)
        keeper.until("mail", "closed")
        keeper.kill()
        time.sleep(0.5)
        assert not host.runs("web")
        wait_until(lambda: host.runs("web"))
        assert now() >= until
        wait_until(lambda: not (host.folder / "gates/web.json").exists())
        assert (host.folder / "gates/mail.json").exists()
    with keeping(host, *gates) as keeper:  # takes over from the dead man
        keeper.until("mail", "closed")
        keeper.want()
        keeper.until("mail", "open")
        assert host.runs("mail")


def test_opens_what_is_overdue_without_policy_or_keeper(host):
    host.service("web")
    with keeping(host, WEB) as keeper:
        keeper.want("web")
        keeper.until("web", "closed")
        folder = host.folder / "gates"
        assert open_overdue(folder, now(), tools=host.tools) == []
        os.kill(int(dead_man(keeper.pid)), signal.SIGKILL)
        keeper.wait()  # it notices, and ends, to be started anew
    assert open_overdue(folder, now(), tools=host.tools) == []
    (found,) = open_overdue(folder, now(), everything=True, tools=host.tools)
    assert (found.gate, found.state) == ("web", "open")
    assert host.runs("web")
    assert open_overdue(folder, now(), everything=True, tools=host.tools) == []


def dead_man(keeper: int) -> str:
    children = Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()
    return next(one for one in children if "dead" in Path(f"/proc/{one}/comm").read_text())


def closing(host: Host, name: str, deadline: int, stage: str = "closing") -> Records:
    """What a service keeper leaves that died in the middle."""
    main = process(host.pid(name))
    assert main is not None
    records = Records(host.folder / "gates")
    before = {"by": "init", "enabled": False, "main": [main.pid, main.began]}
    records.write(Record(name, Service(name), before, stage, now(), deadline))  # type: ignore[arg-type]
    return records


@pytest.mark.parametrize("stops", [False, True])
def test_a_stop_begun_by_the_dead_is_waited_for_by_whoever_opens_last(host, stops):
    """Nobody comes after `open --overdue`: it leaves neither a record nor a stopped service."""
    host.service("web")
    records = closing(host, "web", now() - 1)
    stop = threading.Timer(2, lambda: stops and host.stop("web"))
    stop.start()
    (found,) = open_overdue(host.folder / "gates", now(), tools=host.tools)
    stop.join()
    assert (found.gate, found.state) == ("web", "open")
    assert host.runs("web")
    assert records.read() == []
    assert host.calls("web") == (["start", "stop", "start"] if stops else ["start"])


def test_a_closing_that_never_took_effect_is_done_anew_where_it_is_still_wanted(host):
    host.service("web")
    closing(host, "web", now() + 100 * SECOND)
    with keeping(host, WEB) as keeper:
        keeper.want("web")
        keeper.until("web", "closed")
        assert not host.runs("web") and "taken" not in keeper.states("web")


def test_a_dead_man_goes_when_another_service_keeper_has_it_in_hand(host):
    host.service("web")
    with keeping(host, WEB) as keeper:
        keeper.want("web")
        keeper.until("web", "closed")
        old = int(dead_man(keeper.pid))
        keeper.kill()
    with keeping(host, WEB) as keeper:
        keeper.until("web", "closed")
        wait_until(lambda: (found := process(old)) is None or not found.alive)
        keeper.want()
        keeper.until("web", "open")


def test_a_service_keeper_at_work_is_left_a_while_to_open_by_itself(host):
    host.service("web")
    records = closing(host, "web", now() - SECOND, "closed")
    host.stop("web")
    assert records.lock("service keeper")
    folder = host.folder / "gates"
    assert open_overdue(folder, now(), tools=host.tools) == []
    assert not host.runs("web")
    (found,) = open_overdue(folder, now() + 3 * 60 * SECOND, tools=host.tools)
    assert found.state == "open" and host.runs("web")
    records.unlock()


def test_a_number_that_somebody_else_has_now_is_no_daemon(host):
    host.service("web")
    pid = host.pid("web")
    path = host.folder / "run/web.pid"
    os.utime(path, (time.time() - 3600,) * 2)
    (host.folder / "init.d/web").write_text("#!/bin/sh\n[ $1 != status ] || exit 3\n")
    with keeping(host, WEB) as keeper:
        keeper.want("web")
        assert "does not run" in keeper.until("web", "away").detail
    assert process(pid) is not None
