"""A published policy lies below the host's own, and has root run nothing without its leave."""

from pathlib import Path

import pytest

from tidegate.errors import PolicyError
from tidegate.policy.loader import read
from tidegate.policy.overlay import Below

FLEET = '[fleet]\nengine = "unix:/run/e.sock"\n'
LEAVE = "accept = { commands = true }\n"
RULE = '[rule.guess]\non = ["sshd.auth_failed"]\nat-least = 5\nwithin = "10m"\nban = { ports = [22] }\n'


def combined(own, files, fetch=None):
    if isinstance(files, str):
        files = {"tidegate.toml": files}
    below = Below(7, {path: text.encode() for path, text in files.items()})
    return read([("own.toml", own)], fetch=fetch, published=lambda _spec, _paths: below)


def faults(own, files):
    with pytest.raises(PolicyError) as caught:
        combined(own, files)
    return "\n".join(caught.value.faults)


def test_what_the_host_says_itself_holds_and_what_it_does_not_say_is_the_fleets():
    found = combined(FLEET + "[rule.guess]\nat-least = 9\n", RULE)
    (rule,) = found.policy.rules
    assert (rule.threshold, rule.within) == (9, 600_000_000)
    assert found.place("rule.guess.at-least") == "own.toml:4"
    assert found.place("rule.guess.within") == "fleet policy 7: tidegate.toml:4"
    assert found.below is not None
    assert found.below.number == 7


def test_later_files_of_the_fleet_replace_earlier_ones():
    found = combined(FLEET, {
        "policy.d/20.toml": "[rule.guess]\nat-least = 3\n", "tidegate.toml": RULE,
        "policy.d/10.toml": "[rule.guess]\nat-least = 4\n",
    })  # fmt: skip
    assert found.policy.rules[0].threshold == 3


def test_whom_either_side_spares_is_spared():
    own = FLEET + '[allow]\naddresses = ["192.0.2.1"]\n'
    found = combined(own, '[allow]\naddresses = ["198.51.100.0/24", "192.0.2.1"]\n')
    assert sorted(found.policy.allow) == ["192.0.2.1", "198.51.100.0/24"]
    assert len(combined(own, RULE).policy.allow) == 1
    assert len(combined(FLEET, '[allow]\naddresses = ["192.0.2.1"]\n').policy.allow) == 1


@pytest.mark.parametrize("section", ['[fleet]\nengine = "redis://evil:1"', '[paths]\nrun = "/x"'])
@pytest.mark.parametrize("leave", ["", LEAVE])
def test_fleet_and_paths_are_the_hosts_alone(section, leave):
    assert "each host's own" in faults(FLEET + leave, section)


ROOT = [
    '[reading.x]\ncommand = ["/bin/x"]',
    '[reading.x]\nfile = "/etc/shadow"',
    '[notify.x]\ncommand = ["/bin/x"]',
    '[guard.x.run]\nwhen = "la1 > 1"\nscript = "x"',
    '[guard.x]\nclose = "la1 > 1"\ncommand = { close = ["/x"], open = ["/y"] }',
    '[guard.x]\nclose = "la1 > 1"\nservice = "a.service"\ncapture = { commands = ["x"] }',
    '[guard.x]\nclose = "la1 > 1"\nkeepalived = { file = "/etc/x" }',
    '[guard.x]\nclose = "la1 > 1"\nproperties = { unit = "a.service", CPUWeight = "1" }',
    '[guard.x]\nclose = "la1 > 1"\nladder = [{ command = { close = ["/x"], open = ["/y"] } }]',
    '[guard.x]\nsysfence = "sysfence/web"',
    '[something-new]\nx = 1',
    '[guard.x]\nsomething-new = 1',
]  # fmt: skip


@pytest.mark.parametrize("text", ROOT)
def test_what_root_would_run_or_write_needs_the_hosts_leave(text):
    files = {"tidegate.toml": text, "sysfence/web": ""}
    assert "accept = { commands = true }" in faults(FLEET, files)
    try:
        combined(FLEET + LEAVE, files)
    except PolicyError as error:
        assert "accept" not in str(error)


def test_guards_of_what_tidegate_itself_can_need_no_leave():
    text = (
        '[guard.x]\nclose = "la1 > 10"\ncapture = false\nladder = [\n'
        '{ throttle = { ports = [25] } },\n{ stop = "exim4.service" } ]\n'
    )
    assert combined(FLEET, text).policy.guards


SYSFENCE = 'if "load" {\n  la1 > 10.0\n} run once "logger high"\n'


def test_a_file_of_sysfence_is_the_published_one_and_is_never_read_from_a_disk():
    def never(path: Path) -> str:
        raise AssertionError(path)

    def named(path):
        text = f"[guard.old]\nsysfence = ['{path}']\n"
        return {"tidegate.toml": text, "sysfence/web": SYSFENCE}

    found = combined(FLEET + LEAVE, named("sysfence/web"), never)
    assert len(found.policy.triggers) == 1
    more = named("sysfence/web") | {"sysfence/web": SYSFENCE.replace("10.0", "11.0")}
    assert combined(FLEET + LEAVE, more, never).policy.hash != found.policy.hash
    for path in ("sysfence/no", "../etc/passwd", "sysfence/../../x"):
        with pytest.raises(PolicyError, match="no such file"):
            combined(FLEET + LEAVE, named(path), never)
    with pytest.raises(AssertionError):
        combined(FLEET + LEAVE, named("/etc/sysfence.conf"), never)


@pytest.mark.parametrize("own", ["", FLEET + "accept = { policy = false }\n"])
def test_nobody_asks_where_the_host_takes_none(own):
    def never(_spec, _paths):
        raise AssertionError

    assert read([("own.toml", own)], published=never).below is None


def test_faults_name_the_published_file_and_its_line():
    assert "fleet policy 7: tidegate.toml:3: rule.guess.at-least" in faults(
        FLEET, RULE.replace("= 5", '= "five"')
    )
    assert "not valid TOML" in faults(FLEET, "nonsense")
    assert read([("own.toml", FLEET)]).policy.hash != combined(FLEET, RULE).policy.hash
