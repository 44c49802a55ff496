"""Policy files: every fault with file, line and key; later files replace; nothing untrusted."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.errors import PolicyError
from tidegate.model import HOUR, MINUTE
from tidegate.policy.loader import cross_check, load, read, untrusted

RULE = """
[rule.virus-senders]
on = ["exim.malware"]
more-than = 15
within = "5m"
ban = { ports = [25], ladder = ["10m", "1h"] }
"""


def faults(text):
    with pytest.raises(PolicyError) as caught:
        read([("p.toml", text)])
    return list(caught.value.faults)


def test_the_story_s_rule():
    rule = read([("p.toml", RULE)]).policy.rules[0]
    assert (rule.threshold, rule.within, rule.ban.ports) == (16, 5 * MINUTE, (25,))
    assert rule.ban.ladder == (10 * MINUTE, HOUR)
    assert rule.stated == "more than 15 within 5m"


def test_the_shipped_policy_is_valid_and_has_both_rules(tmp_path, monkeypatch):
    monkeypatch.setattr("tidegate.policy.loader.DEFAULT", tmp_path / "none.toml")
    names = [rule.name for rule in load().policy.rules]
    assert names[:2] == ["virus-senders", "virus-senders-slow"]


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("mod = 'observe'", "p.toml:1: mod:", 'did you mean "mode"?'),
        ("mode = 'watch'", "p.toml:1: mode:", '"enforce" or "observe"'),
        (RULE.replace("more-than", "more-then"), "p.toml:4: rule.virus-senders.more-then:", "more-than"),
        (RULE.replace('"5m"', "5"), "p.toml:5: rule.virus-senders.within:", "a duration"),
        (RULE.replace('"5m"', '"5"'), "p.toml:5: rule.virus-senders.within:", "a duration"),
        (RULE.replace("[25]", "[0]"), "p.toml:6: rule.virus-senders.ban.ports:", "1 to 65535"),
        (RULE.replace("ports = [25], ", ""), "p.toml:6: rule.virus-senders.ban:", "ports"),
        (RULE.replace("15", '"15"'), "p.toml:4: rule.virus-senders.more-than:", "whole number"),
        (RULE.replace("more-than = 15\n", ""), "p.toml:2: rule.virus-senders:", "exactly one of"),
        (RULE.replace('["exim.malware"]', "[]"), "p.toml:3: rule.virus-senders.on:", "list of kinds"),
        ("[allow]\naddresses = ['192.0.2.300']", "p.toml:2: allow.addresses:", "is neither"),
        ("[source.x]\nfile = 'relative'", "p.toml:2: source.x.file:", "an absolute path"),
        ("[source.x]\nzone = 'Mars/Base'", "p.toml:2: source.x.zone:", "a time zone"),
        ("[source.x]\njournal = ['SYSLOG_IDENTIFIER=sshd']", "p.toml:2: source.x.journal:", "trusted"),
        ("rule = 3", "p.toml:1: rule:", "expected a table"),
        ("[rule\n", "p.toml: not valid TOML:", "line 1"),
    ],
)  # fmt: skip
def test_faults_name_file_line_key_and_what_was_expected(text, place, said):
    assert any(fault.startswith(place) and said in fault for fault in faults(text)), faults(text)


def test_all_faults_are_told_at_once():
    assert len(faults("mod = 1\n[limits]\nsubjects = 1\n[rule.x]\non = 3\n")) >= 5


def test_later_files_replace_single_keys(tmp_path):
    main, extra = tmp_path / "t.toml", tmp_path / "policy.d" / "50.toml"
    extra.parent.mkdir()
    main.write_text(RULE)
    extra.write_text("[rule.virus-senders]\nmore-than = 3\n")
    loaded = load(main)
    assert loaded.policy.rules[0].threshold == 4
    assert loaded.policy.rules[0].ban.ports == (25,)
    assert loaded.places["rule.virus-senders.more-than"] == f"{extra}:2"


def test_the_hash_names_what_holds_not_how_it_is_written():
    assert read([("a", RULE)]).policy.hash == read([("b", "# remark\n" + RULE)]).policy.hash
    assert read([("a", RULE)]).policy.hash != read([("a", RULE.replace("15", "16"))]).policy.hash


def test_unknown_kinds_and_detectors_are_faults_with_the_nearest():
    loaded = read([("p.toml", RULE + "[source.m]\nfile='/x'\ndetectors=['exmi']\n")])
    with pytest.raises(PolicyError) as caught:
        cross_check(loaded, ["exim.malwares"], ["exim"])
    assert "did you mean 'exim.malwares'" in caught.value.faults[0]
    assert "did you mean 'exim'" in caught.value.faults[1]


def test_files_that_cannot_be_read_are_one_clear_line(tmp_path):
    os.mkfifo(tmp_path / "fifo.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\0")
    (tmp_path / "dir.toml").mkdir()
    for name in ("missing.toml", "fifo.toml", "binary.toml", "dir.toml"):
        with pytest.raises(PolicyError) as caught:
            load(tmp_path / name)
        assert caught.value.faults[0].startswith(str(tmp_path / name))


def test_policy_that_others_may_change_is_not_trusted(tmp_path):
    path = tmp_path / "p.toml"
    path.write_text("")
    path.chmod(0o666)
    assert any("chmod go-w" in fault or "belongs to" in fault for fault in untrusted(path))


@given(st.text(max_size=300))
def test_any_text_gives_a_policy_or_faults(text):
    try:
        read([("p.toml", text)])
    except PolicyError as error:
        assert error.faults


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
_KEYS = st.sampled_from(
    ["mode", "allow", "source", "rule", "limits", "paths", "on", "within", "ban", "ports", "file"]
)


@given(st.dictionaries(_KEYS, _VALUES | st.dictionaries(_KEYS, _VALUES, max_size=3), max_size=5))
def test_any_table_gives_a_policy_or_faults(data):
    from tidegate.policy.tables import Reader

    reader = Reader(data)
    reader.policy(("p",), "x")
    assert isinstance(reader.faults, list)
