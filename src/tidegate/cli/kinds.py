"""`tidegate kinds`: every kind of event that the packs tell of, and what it means.

Touches nothing but policy and packs. Limits: of own packs the meanings that their files state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import click

from tidegate.cli.common import as_json, config, emit, table
from tidegate.daemon.build import plan
from tidegate.detector.definition import Pack
from tidegate.errors import OperatorError

INTRODUCTION = (
    "Kinds are stable public names: rules count them, scripts match them. A kind keeps its name,",
    'class and meaning; a rule may give it another weight (`on = { "sshd.unfinished" = 1 }`).',
    "`class` and `weight` are explained in [detectors.md](detectors.md); weight 0 means: evidence",
    "that is shown and may be counted by a rule that says so, nothing by default.",
    "This page is written by `tidegate kinds --markdown`.",
)


class Row(NamedTuple):
    """One kind: `weights` are those that its detectors give it."""

    kind: str
    klass: str
    weights: tuple[int, ...]
    means: str


@click.command(
    epilog="""\b
Examples:
  tidegate kinds
  tidegate kinds sshd exim
  tidegate kinds --json | jq -r .kind
"""
)
@click.argument("names", nargs=-1, metavar="[PACK]...")
@config
@as_json
@click.option("--markdown", is_flag=True, help="As the page docs/kinds.md.")
def command(names: tuple[str, ...], config: Path | None, as_json: bool, markdown: bool) -> int:
    """The kinds of PACK (default: of every pack): class, weight, meaning."""
    packs = plan(config).packs
    unknown = sorted(set(names) - {pack.name for pack in packs})
    if unknown:
        raise OperatorError(f"there is no pack {unknown[0]}; all of them: tidegate kinds")
    chosen = [pack for pack in packs if not names or pack.name in names]
    if markdown:
        click.echo(page(chosen), nl=False)
        return 0
    rows = [row for pack in chosen for row in rows_of(pack)]
    if as_json:
        for row in rows:
            emit({"v": 1, "kind": row.kind, "class": row.klass, "weights": list(row.weights),
                  "means": row.means})  # fmt: skip
        return 0
    titles = ("KIND", "CLASS", "WEIGHT", "MEANS")
    table(titles, ((row.kind, row.klass, _weights(row), row.means) for row in rows), "No kinds.")
    return 0


def rows_of(pack: Pack) -> list[Row]:
    """The kinds of a pack, in the order in which their meanings stand there."""
    found: dict[str, tuple[str, set[int]]] = {}
    for detector in pack.detectors:
        kind = detector.kind
        _klass, weights = found.setdefault(kind.name, (kind.klass, set()))
        if kind.klass == "abuse":
            weights.add(kind.weight)
    order = dict.fromkeys((*pack.kinds, *found))
    return [
        Row(name, found[name][0], tuple(sorted(found[name][1])), pack.kinds.get(name, ""))
        for name in order
    ]


def page(packs: Sequence[Pack]) -> str:
    """The page about all kinds, in Markdown."""
    return "\n".join(_page(packs)) + "\n"


def _page(packs: Sequence[Pack]) -> Iterator[str]:
    yield "# Kinds of events"
    yield ""
    yield from INTRODUCTION
    for pack in packs:
        yield ""
        yield f"## {pack.name}"
        yield ""
        if pack.about:
            source = f" ([format]({pack.reference}))" if pack.reference else ""
            yield f"{pack.about}{source}."
            yield ""
        yield "| kind | class | weight | means |"
        yield "| --- | --- | --- | --- |"
        for row in rows_of(pack):
            means = row.means.replace("|", "\\|")
            yield f"| `{row.kind}` | {row.klass} | {_weights(row)} | {means} |"
        if pack.notes:
            yield ""
            yield pack.notes


def _weights(row: Row) -> str:
    return ", ".join(map(str, row.weights))
