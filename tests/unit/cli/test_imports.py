"""`tidegate import sysfence`: policy on standard output that loads, everything else beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.unit.policy.sysfence.table import ROWS

from tidegate.cli.imports import command
from tidegate.errors import OperatorError
from tidegate.policy import loader
from tidegate.policy.guards import GuardSpec, Service, Trigger
from tidegate.policy.sysfence import Reading, understand
from tidegate.policy.sysfence.written import policy_text

FIXTURES = Path(__file__).parents[1] / "policy" / "sysfence" / "fixtures"
USERS = {"root", "www-data"}.__contains__
WHOLE = """
rule "stop" { la1 >= 10 or la5 >= 6 } run '/etc/init.d/apache2 stop' log
rule "start" { la1 <= 2 } run once '/etc/init.d/apache2 start'
rule "leak" { swapused >= 256M and memused > 90% } run 'service zope restart'
rule "tell \u202e me" { nproc "www-data" > 500 or spacefree "/a b" < 1G }
  run once 'echo "it\\'s \u202e full\n" | mail' log once step 3600
rule "note" { la1 > 5 and { la5 > 3 or la15 > 2 } } log step 60
rule "gone" { la1 > 50 } run 'systemctl stop nginx'
rule "php off" { la1 > 9 } run 'systemctl stop php8.2-fpm.service'
rule "php on" { la1 < 1 } run 'systemctl start php8.2-fpm'
rule "empty" { la1 > 50 } run ''
rule "rare" { la1 > 50 } log run once 'a' step -1
"""


def run(*words: str) -> Result:
    return CliRunner().invoke(command, ["sysfence", *words], standalone_mode=False)


def test_policy_goes_out_and_everything_said_of_it_beside(tmp_path: Path) -> None:
    path = tmp_path / "sf.conf"
    path.write_bytes((FIXTURES / "author.conf").read_bytes())
    done = run(str(path))
    assert done.return_value == 0
    policy = loader.read([("policy", done.stdout)]).policy
    (spec,) = policy.guards
    assert spec.gates[0].terms == Service("apache2")
    assert [one.name for one in policy.triggers] == ["warning"]
    said = done.stderr.splitlines()
    assert said[0].endswith(
        "closes when the load of the last minute is at least 10, or the load of the last 5 minutes"
        " is at least 6"
    )
    assert f"note: {path}:6:5: a blank is missing: read as <= 2" in said
    assert any("close and open can hold together (la5 >= 6 while la1 <= 2)" in one for one in said)


def test_what_was_refused_is_said_and_the_rest_is_there(tmp_path: Path) -> None:
    path = tmp_path / "sf.conf"
    texts = [(FIXTURES / f"{name}.conf").read_text() for name in ("man-alert", "man-named")]
    path.write_text("\n".join(texts))
    done = run(str(path))
    assert done.return_value == 1
    assert "[guard.high-load]" in done.stdout
    assert f"refused: {path}:3:1: neither and nor or before swapfree: write {{ la15" in done.stderr
    strict = run("--strict", str(path))
    assert (strict.return_value, strict.stdout) == (1, "")
    assert f"refused: {path}:1:4: expected the name of the rule" in strict.stderr


def test_as_json_everything_is_an_object_a_line(tmp_path: Path) -> None:
    path = tmp_path / "sf.conf"
    path.write_text(
        "\n".join((FIXTURES / f"{one}.conf").read_text() for one in ("author", "man-alert"))
    )
    done = run("--json", str(path))
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.return_value, done.stderr) == (1, "")
    assert rows[0]["guard"] == "apache2"
    assert rows[0]["from"] == [f"{path}:1:1", f"{path}:5:1"]
    assert rows[0]["words"]["opens"] == "opens when the load of the last minute is at most 2"
    assert loader.read([("p", rows[0]["toml"])]).policy.guards[0].name == "apache2"
    assert [row for row in rows if "refused" in row]
    assert all(row["v"] == 1 for row in rows)


def test_the_policy_is_written_where_it_shall_be(tmp_path: Path) -> None:
    target = tmp_path / "guards.toml"
    done = run("--output", str(target), str(FIXTURES / "author.conf"))
    assert (done.return_value, done.stdout) == (0, "")
    assert loader.read([("p", target.read_text())]).policy.guards


def test_a_restart_and_a_warning_in_words(tmp_path: Path) -> None:
    path = tmp_path / "sf.conf"
    path.write_text(
        'if "a" { swapused >= 256M } run "service zope restart"\nif "b" { la1 > 5 } log'
    )
    said = run(str(path)).stderr.splitlines()
    assert said[:2] == [
        f"zope ({path}:1:1): restarts when the used swap is at least 256 MiB",
        f"b ({path}:2:1): warns when the load of the last minute is more than 5",
    ]


def test_a_file_that_cannot_be_read_or_written_is_the_callers_mistake(tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(b" " * ((1 << 20) + 1))
    for words, said in (
        ([str(tmp_path / "none")], "can't be read"),
        ([str(tmp_path)], "can't be read"),
        ([str(big)], "at most 1 MiB"),
        (["-o", str(tmp_path / "no" / "x"), str(FIXTURES / "author.conf")], "can't be written"),
    ):
        done = run(*words)
        assert isinstance(done.exception, OperatorError)
        assert said in str(done.exception)


def test_hostile_bytes_reach_neither_terminal_nor_policy(tmp_path: Path) -> None:
    path = tmp_path / "sf.conf"
    path.write_bytes(
        b'if "\x1b[2J" { la1 > 5 } run "x \x1b]0;\x07 \xc2\x85"\n'
        b'if "\xff" { la1 > 5 } run "a"\nif "ok" { la1 > 5 } run "\xff"\n'
    )
    for words in ((str(path),), ("--json", str(path))):
        done = run(*words)
        assert done.return_value == 1
        assert "\x1b" not in done.output
        assert "\x85" not in done.output
        assert done.output.count("no UTF-8") == 2
    (trigger,) = loader.read([("p", run(str(path)).stdout)]).policy.triggers
    assert trigger.gate is not None
    assert trigger.gate.terms.script == "x \x1b]0;\x07 \x85"  # type: ignore[union-attr]


def parts(spec: GuardSpec | Trigger) -> tuple[object, ...]:
    """What policy must give back; a warning that is told once stands for a log at every look."""
    if isinstance(spec, GuardSpec):
        return (spec.name, spec.close or spec.warn, spec.open, spec.gates)
    if spec.gate is None:
        return (spec.name, spec.when, None, ())
    return (spec.name, spec.when, spec.gate, spec.run_once, spec.log, spec.log_once, spec.every)


@pytest.mark.parametrize("reading", ["lenient", "strict"])
def test_what_is_printed_means_the_same_when_it_is_read(reading: Reading) -> None:
    text = WHOLE.replace(" and memused > 90%", "") if reading == "strict" else WHOLE
    outcome = understand("", [("f", text)], reading, USERS)
    assert outcome.faults == ()
    assert len(outcome.found) == (8 if reading == "lenient" else 10)
    same(outcome, policy_text(outcome.found))


@pytest.mark.parametrize("reading", ["lenient", "strict"])
def test_every_row_of_the_table_can_be_printed_and_read(reading: Reading) -> None:
    for row in ROWS:
        outcome = understand("", [("f", row.text)], reading, USERS)
        if len(row.text) > 2000 or any(" never holds" in note for note in outcome.notes):
            continue  # policy refuses it, and so does the verb
        same(outcome, policy_text(outcome.found))


def same(outcome: object, text: str) -> None:
    policy = loader.read([("p", text)]).policy
    loaded = {one.name: parts(one) for one in (*policy.guards, *policy.triggers)}
    assert loaded == {one.spec.name: parts(one.spec) for one in outcome.found}, text  # type: ignore[attr-defined]


@pytest.mark.parametrize("condition", ["la1 > inf", " or ".join(["la1 > 1"] * 200)])
def test_what_policy_would_refuse_is_refused(tmp_path: Path, condition: str) -> None:
    path = tmp_path / "sf.conf"
    path.write_text(f'if "x" {{ {condition} }} log')
    done = run(str(path))
    assert (done.return_value, done.stdout) == (1, "")
    assert "can't be written as policy" in done.stderr


def test_a_file_is_run_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "sf.conf"
    path.write_text(WHOLE)
    main = tmp_path / "tidegate.toml"
    main.write_text(f'[guard.old]\nsysfence = ["{path}"]\n')
    loaded = loader.load(main)
    names = [one.name for one in (*loaded.policy.guards, *loaded.policy.triggers)]
    assert names[:2] == ["old.apache2", "old.zope"]
    assert all(one.startswith("old.") for one in names)
    assert any("one guard, old.apache2" in note for note in loaded.notes)
