"""Every example on our pages and in --help works: an example that does not fails the build."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from datetime import UTC
from itertools import groupby
from pathlib import Path

import click
import pytest
from tests.docs import examples
from tests.docs.examples import REPOSITORY, Block

from tidegate.cli import VERBS, group
from tidegate.daemon.build import plan
from tidegate.detector.engine import Engine
from tidegate.detector.pack import load_packs, try_examples

BIN = Path(sys.executable).parent
PLACEHOLDERS = re.compile(r"[A-Z][A-Z_]+|\[.*|…|\.\.\.")


def is_pack(block: Block) -> bool:
    return "[[detector]]" in block.text


POLICIES = [block for block in examples.every_block("toml") if not is_pack(block)]
PACKS = [block for block in examples.every_block("toml") if is_pack(block)]
COMMANDS = [
    (block.place, command)
    for block in examples.every_block("sh")
    for command in examples.commands(block)
] + examples.inline_commands()
PAGES_WITH_CONSOLE = [
    (page, list(blocks))
    for page, blocks in groupby(
        [one for page in examples.PAGES if page.exists() for one in examples.blocks(page)],
        key=lambda block: block.page,
    )
]


@pytest.mark.parametrize("block", POLICIES, ids=lambda block: block.place)
def test_policy_examples_load(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "tidegate.toml"
    path.write_text(block.text, "utf-8")
    plan(path)


def test_the_shipped_policy_loads() -> None:
    plan(REPOSITORY / "src/tidegate/policy/shipped.toml")


@pytest.mark.parametrize("block", PACKS, ids=lambda block: block.place)
def test_pack_examples_load_and_match(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "pack.toml"
    path.write_text(block.text, "utf-8")
    packs = load_packs([path], shipped=False)
    assert len(packs) == 1
    assert try_examples(packs[0], Engine(packs, zone=UTC)) == []


@pytest.mark.parametrize(("place", "command"), COMMANDS)
def test_commands_on_pages_exist(place: str, command: str, tmp_path: Path) -> None:
    check_line(place, command, tmp_path)


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_commands_in_help_exist(verb: str, tmp_path: Path) -> None:
    found = group.get_command(click.Context(group), verb) if verb else group
    assert found is not None
    told = (found.epilog or "").replace("\b", "").splitlines()
    lines = [re.split(r"\s{2,}", line.strip())[0] for line in told]
    examples = [line for line in lines if line.startswith(("tidegate", "sudo tidegate"))]
    assert examples, "no example"
    for example in examples:
        check_line(f"tidegate {verb} --help", example, tmp_path)


def check_line(place: str, line: str, folder: Path) -> None:
    tokens = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    tokens.whitespace_split = True
    tokens.commenters = ""
    words: list[str] = []
    for token in [*tokens, ";"]:
        if set(token) <= set("|&;<>"):
            check_command(place, words, folder)
            words = []
        else:
            words.append(token)


def check_command(place: str, words: list[str], folder: Path) -> None:
    while words and (words[0] == "sudo" or re.fullmatch(r"[A-Z_]+=.*", words[0])):
        words = words[1:]
    if words[:1] == ["make"]:
        for target in [word for word in words[1:] if "=" not in word]:
            defined = re.search(rf"^{target}:", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
            assert defined, f"{place}: make has no target {target}"
    elif words and Path(words[0]).name == "tidegate":
        check_verb(place, words[1:], folder)


def check_verb(place: str, words: list[str], folder: Path) -> None:
    """Parsed as the command line would, but never carried out."""
    if not words or words[0].startswith("-") or PLACEHOLDERS.fullmatch(words[0]):
        return
    assert words[0] in VERBS, f"{place}: there is no verb {words[0]}"
    found = group.get_command(click.Context(group), words[0])
    assert found is not None
    arguments = []
    for word in words[1:]:
        if word.startswith("/") and not Path(word).exists():
            stand_in = folder / Path(word).name
            stand_in.touch()
            word = str(stand_in)
        arguments.append(word)
    try:
        found.make_context(f"tidegate {words[0]}", arguments)
    except click.exceptions.Exit:
        pass
    except click.NoSuchOption as error:
        pytest.fail(f"{place}: {error.format_message()}")
    except click.UsageError as error:
        # `tidegate ban` in running text names the verb; a full example must be complete.
        if arguments and not any(PLACEHOLDERS.fullmatch(word) for word in arguments):
            pytest.fail(f"{place}: {error.format_message()}")


@pytest.mark.parametrize(
    "blocks", [found for _page, found in PAGES_WITH_CONSOLE], ids=lambda found: found[0].page.name
)
def test_console_examples_say_what_the_page_says(blocks: list[Block], tmp_path: Path) -> None:
    environment = {
        "PATH": f"{BIN}:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(tmp_path),
        "TZ": "UTC",
        "LC_ALL": "C.UTF-8",
        "NO_COLOR": "1",
        "COLUMNS": "100",
    }
    for block in blocks:
        if block.file:
            path = tmp_path / block.file
            assert path.resolve().is_relative_to(tmp_path.resolve())
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, "utf-8")
            # Lines of the examples are older than today: the file is as old as its last line.
            os.utime(path, (2_000_000_000, 2_000_000_000))
        if block.language != "console":
            continue
        for step in examples.steps(block):
            run = subprocess.run(
                ["sh", "-c", step.command],
                cwd=tmp_path,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=60,
            )
            said = run.stdout.decode("utf-8", "replace")
            assert run.returncode == step.code, f"{block.place}: {step.command}\n{said}"
            assert examples.agrees(step.expected, said.splitlines()), (
                f"{block.place}: {step.command}\nsays:\n{said}"
            )


@pytest.mark.parametrize(
    ("expected", "actual", "same"),
    [
        (["a", "b"], ["a", "b "], True),
        (["a…c"], ["a b c"], True),
        (["a…"], ["b"], False),
        (["…", "z"], ["a", "b", "z"], True),
        (["…"], [], True),
        (["a"], ["a", "b"], False),
        (["a", "…"], ["a"], True),
        ([], ["a"], False),
        (["3.5 (x)"], ["345 (x)"], False),
    ],
)
def test_the_dots_stand_for_anything(expected: list[str], actual: list[str], same: bool) -> None:
    assert examples.agrees(expected, actual) == same
