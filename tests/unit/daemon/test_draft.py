"""The drafted policy: valid, only about what is here, and never less than what was there."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from tests.unit.daemon.hosts import NOW, Host, debian12

from tidegate.daemon.draft import Draft, draft
from tidegate.daemon.draft_text import added
from tidegate.daemon.survey import Survey, survey
from tidegate.detector.pack import load_packs
from tidegate.errors import PolicyError
from tidegate.model import Subject
from tidegate.policy.loader import Loaded, cross_check, read

TEXT = resources.files("tidegate.policy").joinpath("shipped.toml").read_text("utf-8")
YOU = {"SSH_CONNECTION": "198.51.100.7 50122 203.0.113.1 22"}


@pytest.fixture(scope="module")
def known() -> dict[str, Any]:
    packs = load_packs()
    kinds = sorted({one.kind.name for pack in packs for one in pack.detectors})
    names = sorted(pack.name for pack in packs)
    shipped = cross_check(read([("shipped", TEXT)]), kinds, names).policy
    return {"packs": packs, "kinds": kinds, "names": names, "shipped": shipped}


@pytest.fixture
def make(known: dict[str, Any]):
    def make(host: Host, before: str = "", environ: dict[str, str] = YOU, **more: bool) -> Draft:
        shipped = known["shipped"]
        found = survey(known["packs"], shipped, NOW, root=str(host.root), environ=environ, pid=1)
        made = draft(found, shipped, TEXT, before, **more)
        cross_check(read([("draft", made.text)]), known["kinds"], known["names"])
        return made

    return make


def loaded(made: Draft) -> Loaded:
    return read([("draft", made.text)])


def sources(made: Draft) -> dict[str, tuple[tuple[str, ...], bool, tuple[str, ...]]]:
    return {
        one.name: (one.files, one.journal is not None, one.detectors)
        for one in loaded(made).policy.sources
        if not one.outward
    }


def test_a_debian_12(make, tmp_path: Path) -> None:
    host = debian12(tmp_path).routes(("eth1", "10.1.0.0", "0.0.0.0", "255.255.0.0"))
    made = make(host)
    assert sources(made) == {
        "exim": (("/var/log/exim4/mainlog",), False, ("exim",)),
        "web-errors": (("/var/log/nginx/*error.log",), False, ("modsecurity", "nginx")),
        "sshd": ((), True, ("sshd",)),
        "web": (("/var/log/nginx/*access.log",), False, ("web",)),
    }
    policy = loaded(made).policy
    assert policy.mode == "enforce"
    assert policy.allow == ("198.51.100.7", "10.1.0.0/16")
    rules = {rule.name for rule in policy.rules}
    assert {"virus-senders", "ssh-guessing", "web-probing"} <= rules
    assert "port-scans" not in rules
    assert "# you are logged in from here" in made.text


def test_it_says_why_and_what_was_not_found(make, tmp_path: Path) -> None:
    host = Host(tmp_path).program("sshd", "vsftpd").file("var/log/fail2ban.log", "x\n")
    made = make(host)
    assert sources(made) == {}
    assert "sshd (installed: /usr/sbin/sshd): not in the journal" in made.text
    assert "no /var/log/vsftpd.log" in made.text
    assert made.idle == ("fail2ban",)
    assert "no rule counts what they say:\n#   fail2ban" in made.text


def test_observe(make, tmp_path: Path) -> None:
    assert loaded(make(debian12(tmp_path), observe=True)).policy.mode == "observe"


def test_a_log_file_serves_where_there_is_no_journal(make, tmp_path: Path) -> None:
    host = Host(tmp_path).program("sshd", "postfix", "dovecot")
    host.file("var/log/auth.log", "x\n").file("var/log/mail.log", "x\n")
    found = sources(make(host))
    assert found == {
        "auth": (("/var/log/auth.log",), False, ("sshd",)),
        "mail": (("/var/log/mail.log",), False, ("dovecot", "postfix")),
    }


def test_the_journal_serves_where_logs_are_stale(make, tmp_path: Path) -> None:
    host = Host(tmp_path).journald().program("postfix")
    host.file("var/log/mail.log", "x\n", age=30 * 86_400)
    assert sources(make(host)) == {"postfix": ((), True, ("postfix",))}


def test_nothing_is_read_twice(make, tmp_path: Path) -> None:
    host = Host(tmp_path)
    for name in ("messages", "full", "security"):
        host.file(f"var/log/asterisk/{name}", "x\n")
    made = make(host)
    assert sources(made)["asterisk"][0] == ("/var/log/asterisk/messages",)
    assert "not read, so that nothing counts twice: /var/log/asterisk/full" in made.text


def test_what_the_watcher_may_not_read_is_said(make, tmp_path: Path) -> None:
    host = Host(tmp_path).file("var/log/exim4/mainlog", "x\n", mode=0o600)
    assert "setfacl -m u:tidegate-watch:r /var/log/exim4/mainlog" in make(host).text


def test_sshd_on_another_port_is_closed_there(make, tmp_path: Path) -> None:
    host = debian12(tmp_path).file("etc/ssh/sshd_config", "Port 2222\n")
    ports = {rule.name: rule.ban.ports for rule in loaded(make(host)).policy.rules}
    assert ports["ssh-guessing"] == ports["ssh-guessing-slow"] == (2222,)
    assert ports["virus-senders"] == (25,)


def test_public_networks_and_other_people_are_only_suggested(make, tmp_path: Path) -> None:
    host = Host(tmp_path).routes(("eth0", "8.8.4.0", "0.0.0.0", "255.255.255.0"))
    host.logged_in(("mallory", bytes((192, 0, 2, 66))))
    made = make(host, environ={})
    assert loaded(made).policy.allow == ()
    assert '#   "8.8.4.0/24"' in made.text
    assert '#   "192.0.2.66"' in made.text


# -- where there is a policy already ----------------------------------------------------------------

MINE = """\
# My own policy.
mode = "observe"   # for now

[allow]
addresses = ["203.0.113.0/24"]   # the office

[source.exim]
file = "/srv/mainlog"
detectors = ["exim"]

[rule.virus-senders]
on = ["exim.malware"]
more-than = 3      # stricter
within = "5m"
ban = { ports = [25] }

[limits]
keep = "7d"
"""


def test_it_adds_and_takes_nothing_away(make, tmp_path: Path) -> None:
    made = make(debian12(tmp_path), MINE)
    policy = loaded(made).policy
    assert policy.mode == "observe"
    assert policy.allow == ("203.0.113.0/24", "198.51.100.7")
    rule = policy.rule("virus-senders")
    assert rule is not None
    assert rule.threshold == 4
    assert sources(made)["exim"] == (("/srv/mainlog",), False, ("exim",))
    assert "sshd" in sources(made)
    for line in MINE.splitlines():
        assert line in made.text or line.startswith("addresses"), line
    assert "# the office" in made.text


def test_again_there_is_nothing_to_add(make, tmp_path: Path) -> None:
    host = debian12(tmp_path)
    for before in ("", MINE, "[source.all]\nfile = '/var/log/all'\n"):
        first = make(host, before)
        assert make(host, first.text).text == first.text


def test_fresh_keeps_who_is_allowed(make, tmp_path: Path) -> None:
    made = make(debian12(tmp_path), MINE, fresh=True)
    policy = loaded(made).policy
    assert policy.allow == ("203.0.113.0/24", "198.51.100.7")
    assert policy.mode == "observe"
    assert sources(made)["exim"][0] == ("/var/log/exim4/mainlog",)


@pytest.mark.parametrize(
    "allow",
    [
        "[allow]\naddresses = []\n",
        "[allow]\naddresses = [ ]   # nobody\n",
        '[allow]\naddresses = ["192.0.2.1", "192.0.2.2"]\n',
        '[allow]\naddresses = [\n  "192.0.2.1",   # one\n  "192.0.2.2"  # two\n]\n',
        '[allow]\naddresses = [\n  "192.0.2.1",\n  # "192.0.2.9",\n]\n',
        '[limits]\nkeep = "7d"\n',
        'mode = "enforce"',
    ],
)
def test_addresses_are_added_however_they_are_written(make, tmp_path: Path, allow: str) -> None:
    made = make(Host(tmp_path), allow)
    before = read([("before", allow)]).policy.allow
    assert loaded(made).policy.allow == (*before, "198.51.100.7")
    for comment in ("# one", "# two", "# nobody", '# "192.0.2.9"'):
        assert (comment in made.text) == (comment in allow)


def test_who_is_in_an_allowed_network_is_not_added_again(make, tmp_path: Path) -> None:
    before = '[allow]\naddresses = ["198.51.100.0/24"]\n'
    assert make(Host(tmp_path), before).text == before


@pytest.mark.parametrize(
    "allow",
    [
        'allow = { addresses = ["192.0.2.1"] }\n',
        '[allow]\naddresses = [\n  "192.0.2.1", # [one]\n]\n',
    ],
)
def test_an_allow_that_cannot_be_edited_is_left_to_people(make, tmp_path: Path, allow: str) -> None:
    with pytest.raises(PolicyError, match=r'add by hand: "198\.51\.100\.7"'):
        make(Host(tmp_path), allow)


def test_other_addresses_are_not_taken_for_those_allowed(make, tmp_path: Path) -> None:
    before = '[other]\naddresses = ["192.0.2.1"]\n[allow]\naddresses = ["192.0.2.2"]\n'
    text = with_allowed_in(before)
    assert '[other]\naddresses = ["192.0.2.1"]\n' in text
    assert '"198.51.100.7"' in text.partition("[allow]")[2]


def with_allowed_in(before: str) -> str:
    allowed = [(Subject("198.51.100.7"), "you")]
    return added(before, Survey(), [], {}, allowed, "enforce")


def test_observe_changes_the_mode_where_it_stands(make, tmp_path: Path) -> None:
    text = make(Host(tmp_path), '# x\nmode = "enforce"  # yes\n', {}, observe=True).text
    assert text == '# x\nmode = "observe"  # yes\n'
    text = make(Host(tmp_path / "b"), '[limits]\nkeep = "7d"\n', {}, observe=True).text
    assert text == 'mode = "observe"\n\n[limits]\nkeep = "7d"\n'


def test_what_is_no_toml_is_said(make, tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="not valid TOML"):
        make(Host(tmp_path), "[allow\n")
