"""What a sysfence file says: rules, their conditions and actions, as it would be understood there.

Touches nothing. There is no precedence: `a and b or c` is `a and { b or c }`, to the right always.
Limits: at most 200 comparisons a rule and 50 braces deep, so that nothing here can run away.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

LARGEST = 200
DEEPEST = 50
Connective = Literal["and", "or"]
CONNECTIVES: tuple[Connective, ...] = ("and", "or")


class Remark(NamedTuple):
    """Something worth saying of a place in a file; line and column from 1."""

    line: int
    column: int
    text: str


class Atom(NamedTuple):
    """A comparison: a sensor by its canonical name, with its path, or users and states; the limit
    as it is written and as a number (bytes, processes, load; percent of the whole if `percent`)."""

    sensor: str
    operator: str
    limit: str
    value: float
    path: str = ""
    users: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    percent: bool = False
    line: int = 0
    column: int = 0


class Pair(NamedTuple):
    """Two conditions and what is between them; `braced`: it stands in braces of its own."""

    connective: Connective
    left: Node
    right: Node
    braced: bool = False


Node = Atom | Pair


class Rule(NamedTuple):
    """A rule. `script` None: it only logs. `step` as written, in seconds."""

    name: str
    when: Node
    script: str | None
    run_once: bool
    log: bool
    log_once: bool
    step: int | None
    line: int
    column: int
    stated: str


def chain(items: Sequence[Node], connectives: Sequence[Connective]) -> Node:
    """Conditions with what stands between them, the last two taken together first."""
    node = items[-1]
    for item, connective in zip(reversed(items[:-1]), reversed(connectives), strict=True):
        node = Pair(connective, item, node)
    return node


def braced(node: Node) -> Node:
    """The same in braces of its own; a comparison needs none."""
    return node._replace(braced=True) if isinstance(node, Pair) else node


def atoms(node: Node) -> Iterator[Atom]:
    """Its comparisons, from left to right."""
    while isinstance(node, Pair):
        yield from atoms(node.left)
        node = node.right
    yield node


def mixed(node: Node) -> bool:
    """Whether `and` and `or` stand beside each other somewhere without braces between them."""
    if isinstance(node, Atom):
        return False
    right = node.right
    beside = isinstance(right, Pair) and not right.braced and right.connective != node.connective
    return beside or mixed(node.left) or mixed(right)


def written(node: Node, inside: str = "") -> str:
    """In sysfence's words, with every brace that the grouping needs for a reader."""
    if isinstance(node, Atom):
        return _atom_text(node)
    text = (
        f"{written(node.left, node.connective)} {node.connective}"
        f" {written(node.right, node.connective)}"
    )
    return f"{{ {text} }}" if inside and inside != node.connective else text


def _atom_text(atom: Atom) -> str:
    quote = "'" if '"' in atom.path else '"'
    words = [atom.sensor]
    if atom.sensor.startswith("space"):
        words.append(f"{quote}{atom.path}{quote}")
    if atom.users:
        words.append(" , ".join(user if user.isdigit() else f'"{user}"' for user in atom.users))
    if atom.states:
        words.append(" , ".join(atom.states))
    return " ".join([*words, atom.operator, atom.limit])
