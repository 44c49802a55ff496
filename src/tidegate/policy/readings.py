"""The catalogue of readings: every number about this host that a condition may ask for.

Touches nothing; the sampler takes them. A reading is named by its canonical text, such as `la1`,
`disk.free(/var)` or `processes(user=www-data,state=zombie)`: the same number has one name only.
Limits: whether a path, a device or a unit exists is seen when it is read, not here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Literal, NamedTuple, cast

from tidegate.model import SECOND, Micros
from tidegate.policy.arguments import EXAMPLES, FORMS

Unit = Literal[
    "number", "flag", "bytes", "seconds", "percent", "bytes/s", "per second", "any"
]  # fmt: skip
"""What a reading is counted in. "flag": 1 or 0. "any": the administrator's own, of any unit."""
Cost = Literal["cheap", "costly"]

INTERVALS: Mapping[Cost, Micros] = {"cheap": SECOND, "costly": 10 * SECOND}
"""How often a reading is taken: what costs microseconds, and what walks, asks or waits."""


class Reading(NamedTuple):
    """What is known of a reading. `words` names it in English, where `{}` stands for its argument;
    `whole`: what a percentage of it is a share of ("": it has none).
    """

    name: str
    unit: Unit
    words: str
    argument: str = ""
    whole: str = ""
    cost: Cost = "cheap"

    @property
    def interval(self) -> Micros:
        """How often it is taken."""
        return INTERVALS[self.cost]


_PSI = """
psi.{0}.{1}    | percent | | | | the time of the last 10 seconds in which {2} waited for {3}
psi.{0}.{1}60  | percent | | | | the time of the last minute in which {2} waited for {3}
psi.{0}.{1}300 | percent | | | | the time of the last 5 minutes in which {2} waited for {3}
"""
_TABLE = """
la1       | number | | | | the load of the last minute
la5       | number | | | | the load of the last 5 minutes
la15      | number | | | | the load of the last 15 minutes
la1.core  | number | | | | the load per core of the last minute
la5.core  | number | | | | the load per core of the last 5 minutes
la15.core | number | | | | the load per core of the last 15 minutes
memfree      | bytes | | all memory | | the free memory (buffers and cache included)
memused      | bytes | | all memory | | the used memory (without buffers and cache)
memavailable | bytes | | all memory | | the memory that programs can still get
swapfree     | bytes | | all swap   | | the free swap
swapused     | bytes | | all swap   | | the used swap
disk.free      | bytes   | PATH | all space there | | the free space of {}
disk.available | bytes   | PATH | all space there | | the free space of {} for users other than root
disk.used      | bytes   | PATH | all space there | | the used space of {}
disk.full-in   | seconds | PATH | | | the time until the space of {} is used up
inodes.free    | number  | PATH | all inodes there | | the number of free inodes of {}
inodes.used    | number  | PATH | all inodes there | | the number of used inodes of {}
inodes.full-in | seconds | PATH | | | the time until the inodes of {} are used up
queue          | number  | MTA | | costly | the number of messages in the queue of {}
queue.clear-in | seconds | MTA | | costly | the time until the queue of {} is empty
processes | number | [FILTER] | all process ids | costly | the number of processes with {}
unit.cpu       | number | UNIT | | costly | the number of processors that {} keeps busy
unit.memory    | bytes  | UNIT | | costly | the memory of {}
unit.processes | number | UNIT | | costly | the number of processes of {}
connections | number | [PORT] | | costly | the number of TCP connections with port {}
conntrack   | number | | the most that fit | | the number of connections that the firewall tracks
listen.overflows      | per second | | | | the rate of connections that no service took in time
interface.in          | bytes/s    | DEVICE | | | the rate of bytes received by {}
interface.out         | bytes/s    | DEVICE | | | the rate of bytes sent by {}
interface.packets-in  | per second | DEVICE | | | the rate of packets received by {}
interface.packets-out | per second | DEVICE | | | the rate of packets sent by {}
interface.drops-in    | per second | DEVICE | | | the rate of received packets that {} dropped
interface.drops-out   | per second | DEVICE | | | the rate of packets to be sent that {} dropped
rtt     | seconds | HOST | | costly | the round trip to {}
loss    | percent | HOST | all packets | costly | the share of packets to {} that get lost
up      | flag    | URL  | | costly | {} answers
latency | seconds | URL  | | costly | the time in which {} answers
"""


def _catalogue() -> dict[str, Reading]:
    table = _TABLE
    for what, thing in (("cpu", "a processor"), ("memory", "memory"), ("io", "disks")):
        for who, tasks in (("some", "some task"), ("full", "every task")):
            table += _PSI.format(what, who, tasks, thing)
    found = {}
    for row in table.strip().replace("\n\n", "\n").splitlines():
        name, unit, argument, whole, cost, words = (cell.strip() for cell in row.split("|"))
        costs: Cost = "costly" if cost else "cheap"
        found[name] = Reading(name, cast(Unit, unit), words, argument, whole, costs)
    return found


CATALOGUE: Mapping[str, Reading] = _catalogue()
"""Every reading by name. An argument in brackets may be left out."""

ALIASES: Mapping[str, str] = {
    **{f"{name}{n}": f"la{n}" for name in ("load", "loadavg", "la.") for n in (1, 5, 15)},
    **{f"{a}{b}": f"mem{b}" for a in ("mem.", "memory.", "memory") for b in ("free", "used")},
    **{f"{b}{a}": f"mem{b}" for a in ("mem", "memory") for b in ("free", "used")},
    **{f"swap.{b}": f"swap{b}" for b in ("free", "used")},
    **{f"{b}swap": f"swap{b}" for b in ("free", "used")},
    "memory.available": "memavailable",
    "memoryavailable": "memavailable",
    "spacefree": "disk.free",
    "freespace": "disk.free",
    "spaceavail": "disk.available",
    "spaceavailable": "disk.available",
    "availspace": "disk.available",
    "availablespace": "disk.available",
    "spaceused": "disk.used",
    "usedspace": "disk.used",
    "nproc": "processes",
    "numproc": "processes",
    "procnum": "processes",
}
"""Other spellings, as other programs have them."""

WORDS = frozenset({"and", "or", "not", "for"})
"""Words of the language of conditions, so no names."""
OWN_NAME = re.compile(r"[a-z_][a-z0-9_.-]{0,63}", re.ASCII)
"""How the administrator may name a reading of their own."""
_PLAIN = re.compile(r"[^\s()\"'\\]+")
_SPLIT = re.compile(r"([^\s()]+)(?:\((.*)\))?", re.DOTALL)


def canonical(name: str, argument: str | None = None, own: Collection[str] = ()) -> str:
    """The one name of a reading; `argument` without its quotes, None where there is none.

    Raises ValueError: what is wrong with it, and what to write.
    """
    if name in own:
        if argument is not None:
            raise ValueError(f"{name} takes no argument; write {name}")
        return name
    lower = name.lower()
    known = CATALOGUE.get(ALIASES.get(lower, lower))
    if known is None:
        raise ValueError(f"there is no reading {name!r}; {nearest(name, own)}")
    if argument is None or not argument.strip():
        if known.argument and known.argument[0] != "[":
            raise ValueError(f"{known.name} needs to know of what; {_example(known)}")
        if argument is not None and not known.argument:
            raise ValueError(f"{known.name} takes no argument; write {known.name}")
        return known.name
    if not known.argument:
        raise ValueError(f"{known.name} takes no argument; write {known.name}")
    try:
        return f"{known.name}({quoted(FORMS[known.argument.strip('[]')](argument.strip()))})"
    except ValueError as error:
        raise ValueError(f"{known.name} expects {error}; found {argument.strip()!r}") from None


def parse_reading(text: str, own: Collection[str] = ()) -> str:
    """The canonical name of a reading written as text, such as `disk.free("/var")`."""
    found = _SPLIT.fullmatch(text.strip())
    if found is None:
        raise ValueError("a reading such as la1 or disk.free(/var)")
    return canonical(found[1], None if found[2] is None else _unquoted(found[2].strip()), own)


def split(reading: str) -> tuple[str, str]:
    """Name and argument of a canonical reading; the argument without quotes, "" for none."""
    name, _open, rest = reading.partition("(")
    return name, _unquoted(rest[:-1]) if rest else ""


def reading_of(reading: str) -> Reading:
    """What is known of a canonical reading; one that is the administrator's own has any unit."""
    name, argument = split(reading)
    known = CATALOGUE.get(name)
    if known is None:
        return Reading(name, "any", f"the reading {name}")
    # Some of the processes are no share of all process ids that anybody would ask for.
    return known._replace(whole="") if name == "processes" and argument else known


def in_words(reading: str) -> str:
    """A canonical reading in English, such as `the free space of /var`."""
    known, argument = reading_of(reading), split(reading)[1]
    if not argument:
        return known.words.partition(" with ")[0]
    if known.name == "processes":
        argument = argument.replace("user=", "user ").replace("state=", "state ")
        argument = argument.replace("|", " or ").replace(",", " and ")
    return known.words.format(argument)


def nearest(name: str, own: Collection[str] = ()) -> str:
    """What somebody may have meant who wrote this name."""
    every = [*CATALOGUE, *ALIASES, *own]
    near = get_close_matches(name.lower(), every, n=3, cutoff=0.6)
    if near:
        # Of names that are equally near (load1, load5) the first.
        alike = [one for one in near if len(one) == len(near[0]) and one[:-1] == near[0][:-1]]
        return f"did you mean {ALIASES.get(min(alike), min(alike))!r}?"
    return f"a table [reading.{name}] would make one"


def quoted(argument: str) -> str:
    """An argument as canonical text has it: in quotes only where it needs them."""
    if _PLAIN.fullmatch(argument):
        return argument
    return '"' + argument.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _unquoted(argument: str) -> str:
    if len(argument) > 1 and argument[0] in "\"'" and argument[-1] == argument[0]:
        return re.sub(r"\\(.)", r"\1", argument[1:-1])
    return argument


def _example(known: Reading) -> str:
    return f"such as {known.name}({EXAMPLES[known.argument.strip('[]')]})"
