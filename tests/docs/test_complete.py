"""Nothing is undocumented: every verb, option, policy key and kind; links lead on."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from tests.docs.examples import PAGES, REPOSITORY

from tidegate.cli import VERBS, group
from tidegate.policy.tables import SECTIONS

POLICY = (REPOSITORY / "docs" / "policy.md").read_text("utf-8")
COMMANDS = (REPOSITORY / "docs" / "commands.md").read_text("utf-8")

KEYS = [
    f"{section}.{key}" if section else key
    for section, keys in SECTIONS.items()
    for key in keys
    # A table with keys of its own is documented by those.
    if not any(other.startswith(f"{section}.{key}".lstrip(".")) for other in SECTIONS if other)
]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_its_section(verb: str) -> None:
    assert re.search(rf"^## .*`tidegate {verb}\b", COMMANDS, re.MULTILINE)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_and_option_says_what_it_is(verb: str) -> None:
    found = group.get_command(click.Context(group), verb)
    assert found is not None
    assert found.help
    assert "Examples:" in (found.epilog or "")
    unsaid = [
        param.name
        for param in found.params
        if isinstance(param, click.Option) and not param.help and not param.hidden
    ]
    assert unsaid == []


@pytest.mark.parametrize("key", KEYS)
def test_every_policy_key_is_on_its_page(key: str) -> None:
    assert f"`{key}`" in POLICY


def test_the_page_knows_no_other_key() -> None:
    named = set(re.findall(r"^\| `([a-z][\w.-]*)` \|", POLICY, re.MULTILINE | re.IGNORECASE))
    assert named - set(KEYS) == set()


@pytest.mark.parametrize("page", [page for page in PAGES if page.exists()], ids=lambda p: p.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"
