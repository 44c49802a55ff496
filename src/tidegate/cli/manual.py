"""`tidegate manual`: the manual pages, made from the same help that --help prints.

Touches the folder it is told to write to. Limits: section 1 pages, one for each verb, and one for
each command of a verb that has several.
"""

from __future__ import annotations

from pathlib import Path

import click

from tidegate import __version__


@click.command(epilog="\b\nExamples:\n  tidegate manual build/man && man -l build/man/tidegate.1\n")
@click.argument("folder", type=click.Path(path_type=Path))
def command(folder: Path) -> int:
    """Write one page for each verb and each of its commands, and one for all, into FOLDER."""
    from tidegate.cli import VERBS, group

    folder.mkdir(parents=True, exist_ok=True)
    context = click.Context(group, info_name="tidegate")
    pages: dict[str, click.Command] = {"tidegate": group}
    for verb in VERBS:
        found = group.get_command(context, verb)
        if found is None:
            continue
        pages[f"tidegate {verb}"] = found
        for one in found.list_commands(context) if isinstance(found, click.Group) else ():
            if isinstance(found, click.Group) and (inner := found.get_command(context, one)):
                pages[f"tidegate {verb} {one}"] = inner
    for called, found in pages.items():
        name = called.replace(" ", "-")
        (folder / f"{name}.1").write_text(_page(called, found), "utf-8")
    click.echo(f"{len(pages)} pages in {folder}")
    return 0


def _page(verb: str, found: click.Command) -> str:
    from tidegate.cli import VERBS

    name = verb.replace(" ", "-")
    context = click.Context(found, info_name=verb)
    usage = " ".join(found.collect_usage_pieces(context))
    lines = [
        f'.TH {name.upper()} 1 "" "tidegate {__version__}" "User Commands"',
        ".SH NAME",
        f"{name} \\- {_quoted(found.get_short_help_str(200))}",
        ".SH SYNOPSIS",
        f".B {verb}",
        _quoted(usage),
        ".SH DESCRIPTION",
        _quoted(_plain(found.help or "")),
    ]
    if isinstance(found, click.Group):
        lines.append(".SH COMMANDS")
        for one in found.list_commands(context):
            if name == "tidegate":
                lines += [".TP", f".BR tidegate-{one} (1)", _quoted(VERBS[one])]
            elif inner := found.get_command(context, one):
                pieces = " ".join(inner.collect_usage_pieces(click.Context(inner, info_name=one)))
                lines += [
                    ".TP",
                    f".B {one} {_quoted(pieces)}",
                    _quoted(inner.get_short_help_str(200)),
                    f".BR {name}-{one} (1)",
                ]
    options = [
        record for param in found.get_params(context) if (record := param.get_help_record(context))
    ]
    if options:
        lines.append(".SH OPTIONS")
        for flags, told in options:
            lines += [".TP", f".B {_quoted(flags)}", _quoted(told)]
    if found.epilog:
        lines += [
            ".SH EXAMPLES",
            ".nf",
            _quoted(_plain(found.epilog).removeprefix("Examples:")),
            ".fi",
        ]
    lines += [
        ".SH EXIT STATUS",
        "0 done; 1 found something or not all done; 2 the input is wrong; 3 the world refused.",
        ".SH FILES",
        "/etc/tidegate/tidegate.toml, /etc/tidegate/policy.d/*.toml,"
        " /etc/tidegate/detectors/*.toml,"
        " /etc/tidegate/off, /var/lib/tidegate, /run/tidegate",
    ]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    return "\n".join(line for line in text.replace("\b", "").splitlines() if line.strip())


def _quoted(text: str) -> str:
    """Roff takes a leading dot or quote as a request, a backslash and a hyphen as its own."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join(
        f"\\&{line}" if line[:1] in (".", "'") else line for line in escaped.splitlines()
    )
