"""What leaves, as text of a drafted policy: looked at only, until a person enforces it.

Touches nothing. Who is busy by profession is left alone from the beginning; the rest is for the
administrator, who knows what this host is for. Limits: users of this host; others are suggested.
"""

from __future__ import annotations

from tidegate.daemon.survey import Survey

HEADING = f"# {'-' * 4} what leaves {'-' * 62}\n"
ABOUT = """\
# Each user of this host may try ten strangers at once who do not answer, and whoever goes on like a
# worm is cut off (rule "outward"). For now it is only looked at, and nothing is dropped: after
# a day `tidegate history` shows whom it would have cut off. Who is right to be so busy comes into
# `busy`; then write "enforce" here, and `tidegate reload`. More: docs/outward.md
"""
UNTRACKED = """\
# This host tracks no connections yet, and this would have it begin: each packet then takes the
# kernel a fifth to a third more, and connections are counted (net.netfilter.nf_conntrack_max). So
# it is left to you: take the # away and run `tidegate init --write` again, which adds the rule.
"""
_ALWAYS = ("root", "is never cut off")


def outward_text(found: Survey) -> str:
    """`[outward]` for this host."""
    lines = ["[outward]", 'mode = "observe"', 'sources = ["uids"]', "busy = ["]
    rows = [_ALWAYS, *((one.user, one.why) for one in found.busy)]
    lines += [f'    "{user}",'.ljust(36) + f"# {why}" for user, why in rows]
    lines += ["]"]
    if found.forwards:
        named = [f'"{one.subject}"' for one in found.networks if one.sure] or ['"lan0"']
        lines += [
            "# Packets of others pass through here. Whoever sends them is a source too, if named:",
            "# an interface as a whole, or a network, each address of it by itself.",
            f'# sources = ["uids", {", ".join(named)}]',
        ]
    if not found.tracks:
        return ABOUT + UNTRACKED + "".join(f"# {line.removeprefix('# ')}\n" for line in lines)
    return ABOUT + "\n".join(lines) + "\n"
