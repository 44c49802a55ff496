"""Finds the examples on our pages: fenced blocks, inline commands, the epilogs of --help.

Touches README.md, CONTRIBUTING.md and docs/, only to read. What is done with which block:

    toml with [[detector]]  loaded as a pack, its example lines tried
    toml                    loaded as a policy
    console                 lines `$ command` are run one after the other in the page's own folder
                            and the output is compared; `…` stands for anything, alone on a line
                            for any lines, and a last line `[2]` for an exit code that is not 0
    sh, and `tidegate …`    each command must be one that exists, with options that exist
    any with file=NAME      is written to that file for the page's later console blocks

Limits: examples that need a running daemon are `sh`, never `console`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md")),
    *sorted((REPOSITORY / "docs").rglob("*.md")),
]

_FENCE = re.compile(r"^(?P<indent> *)```(?P<info>.*)$")
_INLINE = re.compile(r"(?<!`)`((?:sudo )?(?:\.venv/bin/)?tidegate [^`\n]+)`(?!`)")


class Block(NamedTuple):
    """A fenced block: its page, the line it starts on, language, file it stands for, text."""

    page: Path
    line: int
    language: str
    file: str
    text: str

    @property
    def place(self) -> str:
        """`docs/policy.md:43`, as tests are named."""
        return f"{self.page.relative_to(REPOSITORY)}:{self.line}"


class Step(NamedTuple):
    """One command of a console block and the output it should have."""

    command: str
    expected: list[str]
    code: int


def blocks(page: Path) -> Iterator[Block]:
    """Every fenced block of a page, in order."""
    started, info, lines = 0, "", list[str]()
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if fence is None:
            lines.append(line)
        elif not started:
            started, info, lines = number, fence["info"].strip(), []
        else:
            language, _, rest = info.partition(" ")
            stated = re.search(r"\bfile=(\S+)", rest)
            text = "".join(f"{one}\n" for one in lines)
            yield Block(page, started, language, stated[1] if stated else "", text)
            started = 0
    assert not started, f"{page}:{started}: a fence that is never closed"


def every_block(*languages: str) -> list[Block]:
    """The blocks in these languages on every page."""
    found = [block for page in PAGES if page.exists() for block in blocks(page)]
    return [block for block in found if block.language in languages]


def steps(block: Block) -> list[Step]:
    """The commands of a console block. A command may go on behind `> `."""
    found: list[Step] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append(Step(line[2:], [], 0))
        elif line.startswith("> ") and not found[-1].expected:
            found[-1] = found[-1]._replace(command=f"{found[-1].command}\n{line[2:]}")
        elif re.fullmatch(r"\[\d+\]", line):
            found[-1] = found[-1]._replace(code=int(line[1:-1]))
        else:
            assert found, f"{block.place}: output before the first command"
            found[-1].expected.append(line)
    return found


def agrees(expected: list[str], actual: list[str]) -> bool:
    """Whether output is as written on the page, with `…` for anything."""
    if not expected:
        return not actual
    head, *rest = expected
    if head.strip() == "…":
        return any(agrees(rest, actual[skipped:]) for skipped in range(len(actual) + 1))
    if not actual:
        return False
    pattern = ".*".join(re.escape(part) for part in head.rstrip().split("…"))
    return bool(re.fullmatch(pattern, actual[0].rstrip())) and agrees(rest, actual[1:])


def commands(block: Block) -> list[str]:
    """The commands of an sh block, without comments."""
    return [command for line in block.text.splitlines() if (command := uncommented(line))]


def uncommented(line: str) -> str:
    """A shell line without its comment."""
    return shlex.join(shlex.split(line, comments=True))


def inline_commands() -> list[tuple[str, str]]:
    """Every `tidegate …` in running text: place and command."""
    found = []
    for page in filter(Path.exists, PAGES):
        fenced = False
        for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
            fenced ^= bool(_FENCE.match(line))
            if not fenced:
                place = f"{page.relative_to(REPOSITORY)}:{number}"
                found += [(place, match[1]) for match in _INLINE.finditer(line)]
    return found
