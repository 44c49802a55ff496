"""What is not documented fails here: every verb, every option, every policy key, every kind."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from tidegate.cli import VERBS, group
from tidegate.detector.pack import load_packs
from tidegate.policy.tables import SECTIONS

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
KEYS = [
    f"{section}.{key}" if section else key
    for section, keys in SECTIONS.items()
    for key in keys
    if not any(other.startswith(f"{section}.{key}" if section else key) for other in SECTIONS if other)
]


@pytest.mark.parametrize("key", KEYS)
def test_every_policy_key_has_its_row(key):
    assert f"| `{key}` |" in (DOCS / "policy.md").read_text()


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_examples_and_a_place_in_the_docs(verb):
    command = group.get_command(click.Context(group), verb)
    assert command is not None
    assert command.help
    assert "Examples:" in (command.epilog or "")
    assert f"## `tidegate {verb}" in (DOCS / "commands.md").read_text()


def test_every_kind_is_named_once_with_its_class():
    text = (DOCS / "kinds.md").read_text()
    kinds = {detector.kind for pack in load_packs() for detector in pack.detectors}
    missing = sorted({kind.name for kind in kinds if f"| `{kind.name}` | {kind.klass} |" not in text})
    assert not missing
