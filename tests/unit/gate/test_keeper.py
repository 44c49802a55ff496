"""The keeper believes the watcher nothing: frames, charter, off-file, reload, notices."""

from __future__ import annotations

import json
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.gate.conftest import CHARTER, START, Setting, net

from tidegate.errors import GateError, PolicyError
from tidegate.frames import Channel, encode
from tidegate.gate import keeper as keeper_module
from tidegate.gate.keeper import Keeper, serve
from tidegate.gate.memory import MemoryGate
from tidegate.model import HOUR

UNTIL = START + HOUR


class Talk:
    """A watcher who says what it likes; frames in, frames out, nothing in between."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.channel = Channel(setting.here)
        self.open = True

    def send(self, data: bytes) -> None:
        self.setting.here.sendall(data)
        self.open = self.setting.keeper.receive()

    def heard(self) -> list[dict[str, Any]]:
        self.channel.fill()
        frames = []
        while (frame := self.channel.next()) is not None:
            frames.append(frame)
        return frames

    def say(self, **frame: Any) -> dict[str, Any]:
        self.send(encode(frame))
        [answer] = self.heard()
        return answer

    def ban(self, *subjects: str) -> dict[str, Any]:
        return self.say(type="apply", requests=[["ban", s, [], UNTIL] for s in subjects])


@pytest.fixture
def talk(setting: Setting) -> Talk:
    return Talk(setting)


def test_hello(talk: Talk) -> None:
    assert talk.say(type="hello", version=1) == {
        "type": "done",
        "version": 1,
        "off": False,
        "evicted": 0,
        "refusals": [],
    }
    assert "version 1" in talk.say(type="hello", version=2)["reason"]


def test_apply_refuses_some_and_does_the_rest(talk: Talk) -> None:
    answer = talk.ban("203.0.113.1", "192.0.2.7", "203.0.113.2", "127.0.0.1", "nobody")
    assert [index for index, _reason in answer["refusals"]] == [1, 3, 4]
    assert talk.setting.closed() == {"203.0.113.1", "203.0.113.2"}


def test_refusals_of_the_gate_keep_their_place(talk: Talk) -> None:
    talk.setting.gate = talk.setting.keeper._gate = MemoryGate(capacity=1)
    requests = [["ban", "127.0.0.1", [], UNTIL], ["ban", "203.0.113.1", [], UNTIL]]
    requests.append(["ban", "203.0.113.2", [], UNTIL - 1])
    answer = talk.say(type="apply", requests=requests)
    assert [index for index, _reason in answer["refusals"]] == [0, 2]


def test_replacement(talk: Talk) -> None:
    talk.ban("203.0.113.1")
    assert talk.say(type="replace-begin")["type"] == "done"
    bans = [["203.0.113.2", [25], UNTIL], ["198.51.100.1", [], UNTIL], "rubbish"]
    talk.say(type="replace-part", bans=bans)
    allows = [["203.0.113.9", None, UNTIL], ["::ffff:1.2.3.4", [], UNTIL]]
    talk.say(type="replace-part", bans=[["203.0.113.3", [], UNTIL]], allows=allows)
    assert talk.setting.closed() == {"203.0.113.1"}, "nothing happens before the commit"
    answer = talk.say(type="replace-commit")
    assert sorted(index for index, _reason in answer["refusals"]) == [1, 2, 5]
    assert talk.setting.closed() == {"203.0.113.2", "203.0.113.3"}
    assert not talk.setting.gate.passes("203.0.113.2", 25, START)
    assert "nothing to commit" in talk.say(type="replace-commit")["reason"]
    assert "a part of nothing" in talk.say(type="replace-part", bans=[])["reason"]


def test_a_replacement_is_bounded(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_module, "MOST_BANS", 3)
    talk.say(type="replace-begin")
    assert talk.say(type="replace-part", bans=[0, 0])["type"] == "done"
    assert "more than 3" in talk.say(type="replace-part", bans=[0, 0])["reason"]
    assert "nothing to commit" in talk.say(type="replace-commit")["reason"]


def test_observe_comes_in_parts(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    talk.ban(*(f"203.0.113.{number}" for number in range(5)))
    monkeypatch.setattr(keeper_module, "PART", 2)
    talk.send(encode({"type": "observe"}))
    frames = talk.heard()
    assert [len(frame.get("closed", [])) for frame in frames] == [2, 2, 1, 0]
    assert frames[-1]["type"] == "done"
    talk.send(encode({"type": "apply", "requests": [0] * 5}))
    assert [len(frame["refusals"]) for frame in talk.heard()] == [2, 2, 1]


def test_drifted_and_open_all(talk: Talk) -> None:
    talk.ban("203.0.113.1")
    assert talk.say(type="drifted")["drifted"] is False
    talk.setting.gate.disturb()
    assert talk.say(type="drifted")["drifted"] is True
    talk.ban("203.0.113.1")
    talk.say(type="open-all")
    assert talk.setting.closed() == set()


def test_reload(talk: Talk) -> None:
    assert talk.say(type="reload")["changed"] is False
    talk.setting.change(protected=(net("203.0.113.5"),))
    talk.ban("203.0.113.5")
    assert talk.say(type="reload")["changed"] is False
    assert "protected" in talk.ban("203.0.113.5")["refusals"][0][1]
    talk.setting.change(allow=(net("203.0.113.6"),), rate=1, burst=1)
    assert talk.say(type="reload")["changed"] is True
    assert talk.setting.gate.allow == (net("203.0.113.6"),)
    assert "allowlist" in talk.ban("203.0.113.6")["refusals"][0][1]
    assert "at once" in talk.ban("203.0.113.7", "203.0.113.8")["refusals"][0][1]


def test_a_faulty_policy_leaves_the_old_charter(talk: Talk) -> None:
    talk.setting.change(protected=())
    talk.setting.fault = PolicyError(["tidegate.toml: ban.ports: a list was expected"])
    assert "a list was expected" in talk.say(type="reload")["reason"]
    assert "protected" in talk.ban("198.51.100.1")["refusals"][0][1]


def test_the_gate_s_error_is_told(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> None:
        raise GateError("the kernel refused", "203.0.113.1")

    monkeypatch.setattr(talk.setting.gate, "apply", fail)
    answer = talk.ban("203.0.113.1")
    assert answer == {
        "type": "error",
        "reason": "the kernel refused",
        "element": "203.0.113.1",
        "refusals": [],
    }
    monkeypatch.setattr(talk.setting.gate, "drifted", fail)
    for _turn in range(3):
        assert talk.setting.keeper.tick()
    assert talk.heard() == [{"type": "notice", "notice": "failed"}]


def test_while_the_off_file_exists_no_work_is_done(talk: Talk) -> None:
    talk.ban("203.0.113.1")
    talk.setting.off_file.touch()
    assert "switched off" in talk.ban("203.0.113.2")["reason"]
    assert talk.say(type="replace-begin")["off"]
    talk.setting.keeper.tick()
    talk.setting.keeper.tick()
    assert talk.heard() == [{"type": "notice", "notice": "off"}]
    assert talk.setting.closed() == set()
    assert talk.say(type="drifted")["drifted"] is False
    assert talk.say(type="ping")["off"] is True
    talk.setting.off_file.unlink()
    talk.setting.keeper.tick()
    notices = [frame["notice"] for frame in talk.heard()]
    assert notices[0] == "resync"
    assert talk.ban("203.0.113.2")["refusals"] == []
    assert talk.setting.closed() == {"203.0.113.2"}


def test_the_off_file_may_be_a_dangling_link(talk: Talk) -> None:
    talk.setting.off_file.symlink_to("nowhere")
    assert "switched off" in talk.ban("203.0.113.2")["reason"]


def test_a_keeper_that_starts_while_off_opens(tmp_path: Path) -> None:
    gate = MemoryGate()
    gate.apply([], 0)
    (tmp_path / "off").touch()
    here, there = socket.socketpair()
    with here:
        keeper = Keeper(there, gate, lambda: CHARTER, off_file=tmp_path / "off")
        assert gate.drifted(), "the table was deleted"
        assert gate.allow == CHARTER.allow
        keeper.close()


def test_switched_off_while_at_work(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    apply = talk.setting.gate.apply

    def switch_off(*arguments: Any) -> Any:
        talk.setting.off_file.touch()
        return apply(*arguments)

    monkeypatch.setattr(talk.setting.gate, "apply", switch_off)
    talk.ban("203.0.113.1")
    assert talk.setting.closed() == set()


def test_drift_is_noticed_once_until_it_is_repaired(talk: Talk) -> None:
    assert talk.setting.keeper.tick()
    assert talk.heard() == []
    for _turn in range(2):
        talk.setting.gate.disturb()
        for _again in range(2):
            talk.setting.keeper.tick()
        assert talk.heard() == [{"type": "notice", "notice": "drift"}]
        talk.say(type="replace-begin")
        talk.say(type="replace-commit")


def test_three_malformed_frames_in_a_row_end_it(talk: Talk) -> None:
    bad = (b"\0\0\0\2{]", encode({"type": "no such"}), encode({"type": "apply", "requests": 1}))
    for frame in (*bad[:2], encode({"type": "ping"}), *bad[:2]):
        talk.send(frame)
        assert talk.open
    talk.send(bad[2])
    assert not talk.open
    assert talk.setting.keeper.malformed == 5
    answers = talk.heard()
    assert [answer["type"] for answer in answers] == ["error"] * 2 + ["done"] + ["error"] * 3


def test_an_endless_frame_ends_it_at_once(talk: Talk) -> None:
    talk.send(b"\xff\xff\xff\xff")
    assert not talk.open


def test_a_watcher_that_went(talk: Talk) -> None:
    talk.setting.gate.disturb()
    talk.channel.close()
    assert not talk.setting.keeper.receive()
    assert not talk.setting.keeper.tick()


def test_serve_ends_with_the_watcher(setting: Setting) -> None:
    done = threading.Event()

    def run() -> None:
        serve(setting.there, setting.gate, lambda: CHARTER, off_file=setting.off_file)
        done.set()

    thread = threading.Thread(target=run)
    thread.start()
    channel = Channel(setting.here)
    setting.gate.disturb()
    channel.send({"type": "ping"}, 5)
    assert channel.wait(5)["type"] == "done"
    assert channel.wait(30) == {"type": "notice", "notice": "drift"}  # by its own tick
    channel.close()
    thread.join(30)
    assert done.is_set()


def test_serve_without_a_charter(setting: Setting) -> None:
    setting.fault = PolicyError(["tidegate.toml: broken"])
    with pytest.raises(PolicyError):
        serve(setting.there, setting.gate, setting.load, off_file=setting.off_file)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
subjects = st.one_of(
    st.ip_addresses().map(str),
    st.sampled_from(["198.51.100.1", "198.51.100.0/24", "127.0.0.1", "::1", "2001:db8:f::1"]),
    st.sampled_from(["0.0.0.0/8", "192.0.2.1", "198.0.0.0/8", "::ffff:127.0.0.1", "fe80::/10"]),
    values,
)
items = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["ban", "unban", "allow", "disallow"]) | values,
            subjects,
            st.lists(st.integers(-1, 70000), max_size=3) | values,
            st.integers(START - HOUR, START + 9 * HOUR) | values,
        ),
        st.tuples(subjects, st.just([]), st.just(UNTIL)),
        values,
    ),
    max_size=6,
)
frames = st.one_of(
    st.fixed_dictionaries({"type": st.just("apply"), "requests": items}),
    st.fixed_dictionaries({"type": st.just("replace-part"), "bans": items, "allows": items}),
    st.sampled_from(["hello", "ping", "drifted", "observe", "dropped", "reload"]).map(
        lambda t: {"type": t}
    ),
    st.sampled_from(["replace-begin", "replace-commit", "open-all"]).map(lambda t: {"type": t}),
    st.dictionaries(st.sampled_from(["type", "requests", "version"]), values),
).map(lambda frame: json.dumps(frame).encode())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.one_of(frames, st.binary(max_size=40)), max_size=12), st.data())
def test_random_frames_neither_crash_it_nor_get_through(
    tmp_path: Path, bodies: list[bytes], data: st.DataObject
) -> None:
    """Whatever is said, in whatever pieces: no exception, and nobody protected is closed for."""
    setting = Setting(tmp_path)
    spared = (*CHARTER.protected, net("127.0.0.0/8"), net("::1"), net("fe80::/10"))
    try:
        stream = b"".join(len(body).to_bytes(4) + body for body in bodies)
        while stream:
            size = data.draw(st.integers(1, len(stream)))
            setting.here.sendall(stream[:size])
            stream = stream[size:]
            if not setting.keeper.receive():
                break
            for found in setting.gate.observe(START):
                assert found.allow or not any(net(found.subject).overlaps(s) for s in spared)
            setting.here.setblocking(False)
            try:
                while os.read(setting.here.fileno(), 1 << 16):
                    pass
            except BlockingIOError:
                pass
            setting.here.setblocking(True)
    finally:
        setting.keeper.close()
        setting.here.close()
