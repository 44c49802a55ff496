"""A sysfence rule's condition → ours, on our readings; and where the two would not do the same.

Touches nothing. Where a number can't be read sysfence takes 0, and may act; here it is unknown, and
unknown never does anything. Limits: such a place is remarked on only where 0 would have acted.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from math import isnan

from tidegate.policy.expressions import both, either
from tidegate.policy.guards import Compare, Condition, Operator
from tidegate.policy.readings import canonical
from tidegate.policy.sysfence.lexer import Refused
from tidegate.policy.sysfence.tree import Atom, Node, Remark, Rule, atoms, mixed, written

_HIGHEST = (
    1e15  # no load and no size ever comes near; what is written with more digits can't be read
)
_FINEST = 1e-9
_DISKS = {"spacefree": "disk.free", "spaceavail": "disk.available", "spaceused": "disk.used"}
_OPERATORS: dict[str, Operator] = {
    "<": "<", "<=": "<=", ">": ">", ">=": ">=", "==": "==", "!=": "!="
}  # fmt: skip
_UNSAFE = frozenset(",|=\"'")


def condition(node: Node) -> Condition:
    """The same condition on our readings. Raises Refused."""
    if isinstance(node, Atom):
        return compare(node)
    operands, right = [condition(node.left)], node.right
    while not isinstance(right, Atom) and right.connective == node.connective:
        operands.append(condition(right.left))
        right = right.right
    operands.append(condition(right))
    return both(operands) if node.connective == "and" else either(operands)


def compare(atom: Atom) -> Compare:
    """The same comparison. Raises Refused where our reading can't be had."""
    try:
        reading = canonical(*_reading(atom))
    except ValueError as error:
        raise Refused(atom.line, atom.column, str(error)) from None
    sign, value = _OPERATORS[atom.operator], atom.value
    if constant(atom) is not None:
        # Never below 0, always at least 0: so never and always, without a limit nobody can write.
        return Compare(reading, ">=" if constant(atom) else "<", 0.0)
    if 0 < abs(value) < _FINEST:
        value = _FINEST if value > 0 else -_FINEST
    return Compare(reading, sign, round(value, 9), atom.percent)


def constant(atom: Atom) -> bool | None:
    """Whether a comparison always holds, or never: with no number, or a boundless one."""
    if isnan(atom.value):
        return atom.operator == "!="
    if abs(atom.value) <= _HIGHEST:
        return None
    below = atom.value > 0
    return atom.operator == "!=" or atom.operator.startswith("<" if below else ">")


def _reading(atom: Atom) -> tuple[str, str | None]:
    if atom.sensor in _DISKS:
        return _DISKS[atom.sensor], atom.path
    if atom.sensor != "nproc":
        return atom.sensor, None
    odd = [user for user in atom.users if not user or _UNSAFE & set(user)]
    if odd:
        raise ValueError(f"expected the name of a user; found {odd[0]!r}")
    filters = [f"user={'|'.join(atom.users)}"] if atom.users else []
    filters += [f"state={'|'.join(atom.states)}"] if atom.states else []
    return "processes", ",".join(filters) or None


def remarks(rule: Rule) -> Iterator[Remark]:
    """What somebody should know of a rule's condition."""
    if mixed(rule.when):
        yield Remark(
            rule.line,
            rule.column,
            "and and or without braces, grouped from the right as sysfence does:"
            f" {{ {written(rule.when)} }}; write the braces, so that nobody has to know",
        )
    for atom in atoms(rule.when):
        for text in _of_atom(atom):
            yield Remark(atom.line, atom.column, text)


def _of_atom(atom: Atom) -> Iterator[str]:
    always = constant(atom)
    if always is not None:
        yield f"{atom.sensor} {atom.operator} {atom.limit} {'always' if always else 'never'} holds"
    if atom.sensor in ("swapfree", "swapused") and _holds_at_zero(atom):
        yield (
            f"without swap sysfence takes {atom.sensor} to be 0 and this holds;"
            " here it is unknown, and does nothing"
        )
    if atom.sensor in _DISKS and _holds_at_zero(atom):
        yield (
            f"where {atom.path} can't be read sysfence takes {atom.sensor} to be 0 and this holds;"
            " here it is unknown, and does nothing"
        )
    if atom.states:
        yield "since Linux 4.7 sysfence counts no process by its state; here they are counted"


def _holds_at_zero(atom: Atom) -> bool:
    compared = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
                "==": operator.eq, "!=": operator.ne}  # fmt: skip
    return bool(compared[atom.operator](0, atom.value))
