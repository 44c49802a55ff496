"""Ready-made guards for what runs here, as text of a drafted policy: all of them switched off.

Touches nothing. Each holds back what can be taken back most easily first, and stops at last. Limits
are per core, so that they suit small hosts and large ones; they are a beginning, not a measurement.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tidegate.daemon.workloads import WEB, Kind, Workload

HEADING = f"# {'-' * 4} what is guarded, once you switch it on {'-' * 34}\n"
ABOUT = """\
# Ready-made for what runs here, and all off: `enabled = true` switches one on, and
# `tidegate reload` makes it hold. What would it do just now? tidegate guard try 'la1.core >= 2.5'
# la1.core is the load of the last minute for each processor: 1 means that all are just busy.
# `open` must be above what is usual here, or it would wait for a calm that never comes.
# A ladder is climbed step by step: the next one after so long, if the load is still too high, or
# at once by its own `when`. What is closed opens by itself, also if Tidegate should be gone.
"""

_WORDS: dict[Kind, str] = {
    "php-fpm": "PHP is where web sites spend their time: it goes first, static pages stay.",
    "apache": "Visitors who open few connections notice nothing of the first two steps.",
    "nginx": "It is hardly ever nginx itself: what stands behind it is held back before.",
    "exim": "Mail can wait: senders try again for days, so this one goes early.",
    "postfix": "Mail can wait: senders try again for days, so this one goes early.",
    "mysql": "Every site hangs on it, so it goes last; stopping beats being killed for memory.",
}
_CLOSE: dict[Kind, tuple[str, str]] = {
    "php-fpm": ("la1.core >= 2.5", "la1.core <= 1.2"),
    "apache": ("la1.core >= 2.5", "la1.core <= 1.2"),
    "nginx": ("la1.core >= 5", "la1.core <= 1.5"),
    "exim": ("la1.core >= 2", "la1.core <= 1.2"),
    "postfix": ("la1.core >= 2", "la1.core <= 1.2"),
    "mysql": (
        "la1.core >= 6 or memavailable <= 2%",
        "la1.core <= 1.5 and memavailable >= 5%",
    ),
}
_STOP: dict[Kind, tuple[str, str]] = {
    "php-fpm": ("2m", "la1.core >= 10"),
    "apache": ("2m", "la1.core >= 10"),
    "nginx": ("3m", "la1.core >= 20"),
    "exim": ("5m", "la1.core >= 8"),
    "postfix": ("5m", "la1.core >= 8"),
    "mysql": ("5m", "la1.core >= 30"),
}


def guard_texts(found: Sequence[Workload], taken: Collection[str] = ()) -> dict[str, str]:
    """A guard for each server, by name: its text with a comment. `taken`: names that are there."""
    made: dict[str, str] = {}
    several = [one.kind for one in found]
    for one in found:
        name: str = one.kind
        if several.count(one.kind) > 1:
            name = one.service.removesuffix(".service").replace(".", "-")  # a dot parts keys
        if name not in taken:
            made[name] = _text(name, one)
    return made


def _text(name: str, one: Workload) -> str:
    close, opened = _CLOSE[one.kind]
    lines = [
        f"# {one.service} ({one.because}). {_WORDS[one.kind]}",
        f"[guard.{name}]",
        "enabled = false",
        f'close = {{ when = "{close}", for = "20s", at-least = "1m" }}',
        f'open = {{ when = "{opened}", at-least = "1m" }}',
        "ladder = [",
        *_steps(one),
        "]",
    ]
    if one.kind == "mysql":
        lines.append('capture = { commands = [["mysql", "-e", "SHOW FULL PROCESSLIST"]] }')
    return "\n".join(lines) + "\n"


def _steps(one: Workload) -> list[str]:
    """The steps of its ladder, each with a comment."""
    after, when = _STOP[one.kind]
    ports = ", ".join(map(str, one.ports))
    web = set(one.ports) <= set(WEB)
    lines = []
    if ports:
        rate, burst = ("120/m", 60) if web else ("20/m", 10)
        lines.append(
            "    # New connections of each address. Behind a proxy all have the same: leave it out."
        )
        lines.append(
            f'    {{ throttle = {{ ports = [{ports}], rate = "{rate}", burst = {burst} }} }},'
        )
    if one.unit:
        lines.append("    # It comes after all others when processors are short.")
        lines.append(
            f'    {{ properties = {{ unit = "{one.service}", CPUWeight = "20", IOWeight = "20" }},'
            ' after = "30s" },'
        )
    if 25 in one.ports:
        lines.append(
            "    # Senders are told to come back later, or go to the next MX; no mail is lost."
        )
        lines.append('    { refuse = { ports = [25], answer = "421" }, after = "1m" },')
    lines.append("    # Nothing else helped: better no service than no host.")
    lines.append(f'    {{ stop = "{one.service}", after = "{after}", when = "{when}" }},')
    return lines
