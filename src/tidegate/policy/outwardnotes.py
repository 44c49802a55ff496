"""Whether rules and `[outward]` make sense together: what is allowed and yet leaves somebody free.

Touches nothing. Each note is a key and what is to be said of it, for `check` and at a start.
Limits: knows the policy with its kinds written out; what the kernel can do is tried by `check`.
"""

from __future__ import annotations

from collections.abc import Iterator

from tidegate.policy.models import Policy, Rule
from tidegate.policy.sections import Fault

PAGE = "docs/outward.md"
_OURS = ("outward.", "inward.")


def notes(policy: Policy) -> Iterator[Fault]:
    """What is worth a look."""
    rules = [rule for rule in policy.rules if rule.enabled]
    for rule in rules:
        yield from _of(rule, policy)
    cutting = any(rule.ban.outward and _counts(rule, "outward.") for rule in rules)
    if policy.outward is not None and not cutting:
        said = "caps hold, but no rule that counts outward.* has quarantine = { ... }, so nobody"
        yield "outward", f"{said} is cut off; {PAGE} has rules to copy"
    for source in policy.sources:
        ours = [one for one in source.detectors if one.partition(".")[0] in ("outward", "inward")]
        if ours and not source.outward and source.netflow is None:
            said = f"whoever may write to this source can have others cut off by {ours[0]}"
            yield f"source.{source.name}.detectors", said


def _of(rule: Rule, policy: Policy) -> Iterator[Fault]:
    path = f"rule.{rule.name}"
    ours = _counts(rule, *_OURS)
    told = any(source.netflow is not None and source.enabled for source in policy.sources)
    if ours and policy.outward is None and not told:
        said = f"only [outward] sees {ours[0]}, and there is none"
        yield f"{path}.on", f"{said}; {PAGE} says how to begin, enabled = false is as good"
    elif rule.ban.outward and policy.outward is None:
        yield f"{path}.quarantine", f"there is no [outward] that could cut anybody off; see {PAGE}"
    if inward := _counts(rule, "inward.syn_flood"):
        said = f"{inward[0]} is about a service as a whole: there is nobody to close for"
        yield f"{path}.on", said
    if not rule.ban.outward and (outward := _counts(rule, "outward.")):
        said = f"keeps out whom {outward[0]} names, who is inside already; quarantine = {{ ... }}"
        yield f"{path}.ban", f"{said} instead of ban keeps them in"
    elif rule.ban.outward and policy.outward is not None:
        others = [kind for kind in rule.kinds if not kind.startswith(_OURS)]
        if others:
            said = f"cuts off whom {others[0]} names, if they are among the sources of [outward]"
            yield f"{path}.quarantine", f"{said}; nothing comes of it for others"


def _counts(rule: Rule, *packs: str) -> list[str]:
    """The kinds of these packs that a rule counts."""
    return [kind for kind in rule.kinds if kind.startswith(packs)]
