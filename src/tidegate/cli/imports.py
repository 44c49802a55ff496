"""`tidegate import`: another program's configuration as policy, and what becomes of it in words.

Touches the files it is given, only to read, and the one it is told to write. Policy goes to
standard output, everything said about it to standard error. Limits: sysfence's files only.
"""

from __future__ import annotations

from pathlib import Path

import click

from tidegate.cli.common import as_json, emit, say
from tidegate.errors import OperatorError, PolicyError
from tidegate.policy import loader
from tidegate.policy.guards import GuardSpec
from tidegate.policy.sysfence import Found, Outcome, Reading, understand
from tidegate.policy.sysfence.written import conditions, in_words, policy_text, section
from tidegate.text import printable

_LARGEST = 1 << 20


@click.group(
    epilog="""\b
Examples:
  tidegate import sysfence /etc/sysfence/sysfence.conf
  tidegate import sysfence --output guards.toml /etc/sysfence/sysfence.conf
"""
)
def command() -> None:
    """Another program's configuration as policy, ready for policy.d."""


@command.command(
    epilog="""\b
Examples:
  tidegate import sysfence /etc/sysfence/sysfence.conf
  tidegate import sysfence --strict /etc/sysfence/*.conf
  tidegate import sysfence --json /etc/sysfence/sysfence.conf | jq -r .toml
"""
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--strict",
    is_flag=True,
    help="Sysfence's own verdicts and behaviour: nothing repaired, no two rules made one guard.",
)
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Write the policy there.")
@as_json
def sysfence(files: tuple[Path, ...], strict: bool, output: Path | None, as_json: bool) -> int:
    """Rules of sysfence as guards; each condition in words, each repair with line and column.

    What can only be one thing is repaired and said; a rule that could mean two is refused with
    what to write, and the exit code is 1.
    """
    reading: Reading = "strict" if strict else "lenient"
    outcome = _understood(files, reading)
    if as_json:
        _emit(outcome)
    else:
        _say(outcome)
    policy = policy_text(outcome.found)
    if output is not None:
        _write(output, policy)
    elif not as_json:
        click.echo(policy, nl=False)
    return 1 if outcome.faults else 0


def _text(path: Path) -> str:
    try:
        with path.open("rb") as opened:
            content = opened.read(_LARGEST + 1)
    except OSError as error:
        raise OperatorError(f"{path}: can't be read: {error.strerror}") from None
    if len(content) > _LARGEST:
        raise OperatorError(f"{path}: expected a file of rules, at most {_LARGEST >> 20} MiB")
    return content.decode("utf-8", "surrogateescape")


def _write(output: Path, policy: str) -> None:
    try:
        output.write_text(policy, "utf-8")
    except OSError as error:
        raise OperatorError(f"{output}: can't be written: {error.strerror}") from None


def _understood(files: tuple[Path, ...], reading: Reading) -> Outcome:
    """What becomes of the files as policy; what can't be written as one is refused."""
    outcome = understand("", [(str(path), _text(path)) for path in files], reading)
    found, faults = [], list(outcome.faults)
    for one in outcome.found:
        place = one.rules[0].place
        try:
            loader.read([(place, section(one))])
            found.append(one)
        except PolicyError as error:
            faults.append(f"{place}: can't be written as policy: {error.faults[0]}")
    return Outcome(tuple(found), outcome.notes, tuple(faults))


def _say(outcome: Outcome) -> None:
    for one in outcome.found:
        origin = ", ".join(rule.place for rule in one.rules)
        for sentence in in_words(one.spec):
            say(printable(f"{one.spec.name} ({origin}): {sentence}"))
    for note in outcome.notes:
        say(printable(f"note: {note}"))
    for fault in outcome.faults:
        say(printable(f"refused: {fault}"))


def _emit(outcome: Outcome) -> None:
    for one in outcome.found:
        emit(_row(one))
    for kind, texts in (("note", outcome.notes), ("refused", outcome.faults)):
        for text in texts:
            emit({"v": 1, kind: text.encode("utf-8", "backslashreplace").decode()})


def _row(one: Found) -> dict[str, object]:
    return {
        "v": 1,
        "guard": one.spec.name,
        "kind": "guard" if isinstance(one.spec, GuardSpec) else "rule",
        "from": [rule.place for rule in one.rules],
        "words": {verb: said for (verb, _), said in zip(
            conditions(one.spec), in_words(one.spec), strict=True)},
        "toml": section(one),
    }  # fmt: skip
