"""Incidents as an Atom feed (RFC 4287), for status pages and readers.

Touches nothing: makes bytes of what the daemon answered. The tree is built by the standard library,
so that no text can become markup; what XML can't hold stands there as an escape.
Limits: one entry an incident, its content as XHTML; who wrote it is "Tidegate".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as Tree

from tidegate.cli.common import local
from tidegate.text import printable

ATOM = "http://www.w3.org/2005/Atom"
XHTML = "http://www.w3.org/1999/xhtml"


def atom(answer: Mapping[str, Any], title: str, url: str = "") -> bytes:
    """The feed as UTF-8, with its declaration."""
    Tree.register_namespace("", ATOM)
    feed = Tree.Element(f"{{{ATOM}}}feed")
    _put(feed, "id", answer["id"])
    _put(feed, "title", title or "Incidents")
    _put(feed, "updated", answer["updated"])
    author = Tree.SubElement(feed, f"{{{ATOM}}}author")
    _put(author, "name", "Tidegate")
    _put(feed, "generator", "Tidegate")
    if url:
        Tree.SubElement(feed, f"{{{ATOM}}}link", {"rel": "self", "href": printable(url)})
    for view in answer["incidents"]:
        _entry(feed, view)
    Tree.indent(feed)
    data: bytes = Tree.tostring(feed, encoding="utf-8", xml_declaration=True)
    return data + b"\n"


def _entry(feed: Tree.Element, view: Mapping[str, Any]) -> None:
    entry = Tree.SubElement(feed, f"{{{ATOM}}}entry")
    _put(entry, "id", view["urn"])
    state = "" if view["state"] == "over" else " (open)"
    _put(entry, "title", view["title"] + state)
    _put(entry, "published", view["start"])
    _put(entry, "updated", view["updated"])
    Tree.SubElement(entry, f"{{{ATOM}}}category", {"term": view["state"]})
    _put(entry, "summary", view["summary"][0] if view["summary"] else view["title"])
    content = Tree.SubElement(entry, f"{{{ATOM}}}content", {"type": "xhtml"})
    page = Tree.SubElement(content, f"{{{XHTML}}}div")
    for line in view["summary"]:
        _paragraph(page, line)
    if view["updates"]:
        _paragraph(page, "What we say:")
        _listed(page, [f"{local(one['time'])}, {one['by']}: {one['text']}"
                       for one in view["updates"]])  # fmt: skip
    if view["done"]:
        _paragraph(page, "What was done:")
        _listed(page, view["done"])
    if view["admitted"]:
        _paragraph(page, "What we got wrong:")
        _listed(page, [f"{local(one['time'])}: {one['text']}" for one in view["admitted"]])


def _put(parent: Tree.Element, name: str, text: str) -> None:
    Tree.SubElement(parent, f"{{{ATOM}}}{name}").text = _shown(text)


def _paragraph(page: Tree.Element, text: str) -> None:
    Tree.SubElement(page, f"{{{XHTML}}}p").text = _shown(text)


def _listed(page: Tree.Element, lines: list[str]) -> None:
    made = Tree.SubElement(page, f"{{{XHTML}}}ul")
    for line in lines:
        Tree.SubElement(made, f"{{{XHTML}}}li").text = _shown(line)


def _shown(text: str) -> str:
    return " ".join(printable(line) for line in text.splitlines())
