"""`tidegate fleet` without a fleet: what it says, how it ends, what its help promises."""

from __future__ import annotations

import json
import re

import click
import pytest
from click.testing import CliRunner
from tests.docs.test_examples import check_verb
from tests.unit.cli.test_fleet_view import answer, host

from tidegate.cli import fleet as module
from tidegate.cli import fleet_access, fleet_acl, fleet_status
from tidegate.errors import OperatorError, WorldError
from tidegate.policy.fleet import FleetSpec
from tidegate.policy.loader import read


@pytest.fixture
def status(monkeypatch):
    """Run `fleet status` with a daemon that says this."""

    def run(said, *words):
        class Daemon:
            @staticmethod
            def get(path):
                assert path == "/fleet"
                return said

        monkeypatch.setattr(fleet_status, "client", lambda _socket: Daemon)
        return CliRunner().invoke(fleet_status.command, words, standalone_mode=False)

    return run


def now(*hosts, **more):
    """As `answer`, reported this very moment."""
    from datetime import UTC, datetime

    found = answer(*hosts, **more)
    for one in found["hosts"]:
        one["sent"] = datetime.now(UTC).isoformat()
    return found


def test_all_well_is_exit_code_0_and_a_table_for_awk(status):
    found = status(now(host("web1"), host("web2", bans=3)))
    assert found.return_value == 0
    rows = [line.split("\t") for line in found.stdout.splitlines() if "\t" in line]
    assert rows[0] == list(fleet_status.view.TITLE)
    assert [(row[0], row[6]) for row in rows[1:]] == [("web1", "412"), ("web2", "3")]


@pytest.mark.parametrize(
    "said",
    [
        now(host("web1", drift=2)), now(host("web1"), state="away"),
        now(host("web1"), answered=False), now(host("web1", trouble="full")),
    ],
)  # fmt: skip
def test_something_is_not_well_is_exit_code_1(status, said):
    assert status(said).return_value == 1


def test_json_is_what_the_daemon_says(status):
    said = now(host("web1"))
    found = status(said, "--json")
    assert json.loads(found.stdout) == said


def test_a_host_of_no_fleet_is_told_what_to_do(status):
    found = status({"v": 1, "fleet": None, "answered": False, "hosts": []})
    assert isinstance(found.exception, OperatorError)
    assert "tidegate fleet --help" in str(found.exception)


@pytest.mark.parametrize("name", module.PARTS)
def test_every_example_in_the_help_of_every_command_is_one_that_exists(name, tmp_path):
    found = module.command.get_command(click.Context(module.command), name)
    assert found is not None
    assert found.help
    assert [
        one.name for one in found.params if isinstance(one, click.Option) and not one.help
    ] == []
    text = re.sub(r"\\\n\s+", "", (found.epilog or "").replace("\b", ""))
    lines = re.findall(r"^ +(?:sudo )?tidegate fleet (\S+)(.*)$", text, re.MULTILINE)
    assert lines, "no example"
    for verb, rest in lines:
        words = re.split(r"\s{3,}|[|<]", rest)[0].split()
        check_verb(f"fleet {name} --help", ["fleet", verb, *words], tmp_path)
        part = module.command.get_command(click.Context(module.command), verb)
        assert part is not None
        try:
            part.make_context(f"tidegate fleet {verb}", words)
        except click.UsageError as error:
            if "does not exist" not in error.message:  # a folder that stands for the reader's own
                pytest.fail(error.format_message())


def test_there_is_no_other_command():
    found = CliRunner().invoke(module.command, ["nonsense"])
    assert found.exit_code == 2
    assert "No such command" in found.output
    told = CliRunner().invoke(module.command, ["--help"]).output
    assert all(name in told for name in module.PARTS)


SPECS = [
    FleetSpec(("unix:/run/redis.sock",)),
    FleetSpec(("rediss://db1:6380",), user="web1", password_file="/etc/p", ca="/etc/ca.pem"),
    FleetSpec(("redis://s1", "redis://s2"), "sentinel", "ours"),
    FleetSpec(("rediss://c1", "rediss://c2"), "cluster", user='odd "name" \\ ö'),
]


@pytest.mark.parametrize("spec", SPECS)
def test_the_section_that_is_printed_says_what_the_options_said(spec):
    assert read([("printed", fleet_access.section(spec))]).policy.fleet == spec


@pytest.mark.parametrize("spec", SPECS[:3])
def test_the_command_that_is_printed_for_another_host_means_the_same_engine(spec):
    found = []

    @click.command()
    @fleet_access.engine_options
    def command(reach):
        found.append(fleet_access.spec(None, reach))

    words = fleet_access.options(spec).split()
    result = CliRunner().invoke(command, words, standalone_mode=False)
    assert result.exception is None
    assert found == [spec]


def test_a_name_for_this_host_is_one_that_a_fleet_takes(monkeypatch):
    for said, name in (("Web1.example.org", "web1"), ("--", "host"), ("my host", "my-host")):
        monkeypatch.setattr(fleet_access.socket, "gethostname", lambda said=said: said)
        assert fleet_access.own_name() == name


def test_own_addresses_are_those_that_others_can_meet(monkeypatch):
    from tidegate.daemon import host as surroundings

    own = ["127.0.0.1", "192.0.2.7", "192.0.2.7", "::1", "fe80::1", "2001:db8::7"]
    own += [f"198.51.100.{n}" for n in range(30)]
    monkeypatch.setattr(surroundings, "own", lambda: iter(own))
    found = fleet_access.addresses(())
    assert found[:2] == ("192.0.2.7", "2001:db8::7")
    assert len(found) == 16
    assert fleet_access.addresses(["192.0.2.9"]) == ("192.0.2.9",)
    with pytest.raises(OperatorError, match="--address nowhere"):
        fleet_access.addresses(["nowhere"])


def test_a_clock_that_is_off_is_told(monkeypatch):
    assert fleet_access.clock_note(60_000_000, 0) == ""
    assert "61 s ahead" in fleet_access.clock_note(61_000_000, 0)
    assert "90 s behind" in fleet_access.clock_note(0, 90_000_000)
    monkeypatch.setattr(fleet_access.os, "geteuid", lambda: 1000)
    with pytest.raises(WorldError, match="sudo tidegate fleet init"):
        fleet_access.need_root("init")


def test_a_user_for_each_host_reaches_what_it_needs_and_no_others_record():
    found = CliRunner().invoke(fleet_acl.command, ["web1", "web2", "web1"]).stdout.splitlines()
    assert [line.split()[1] for line in found] == ["web1", "web2"]
    assert (
        "~{tg:*}h:web2 ~{tg:*}[pwdsa]* ~{tg:decisions}* ~{tg:journal}* ~{tg:plan}* -@all"
        in found[1]
    )
    rows = CliRunner().invoke(fleet_acl.command, ["--json"]).stdout.splitlines()
    users = {row["user"]: row["password"] for row in map(json.loads, rows)}
    assert list(users) == ["default", "tidegate-admin", "tidegate"]
    assert users["default"] == ""
    assert len({len(users[one]) for one in ("tidegate", "tidegate-admin")} | {48}) == 1
    for wrong in ("tidegate", "Web1"):
        result = CliRunner().invoke(fleet_acl.command, [wrong], standalone_mode=False)
        assert isinstance(result.exception, OperatorError)
