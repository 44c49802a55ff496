"""`tidegate replay FILE…`: what would have been decided, on the log's own clock.

Touches nothing but to read the files and, before the first of them is read, to give up root.
Limits: files are read in the order of their last change, so that rotated logs come oldest first.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click

from tidegate.cli.common import as_json, config, emit, ports_text, say
from tidegate.cli.progress import progress
from tidegate.cli.recordings import opened, set_aside
from tidegate.cli.targets import summary as aims
from tidegate.control.views import decision_view
from tidegate.daemon import garbage
from tidegate.daemon.build import Plan, plan
from tidegate.daemon.pipeline import Pipeline
from tidegate.daemon.privilege import become_nobody
from tidegate.daemon.quote import quoted
from tidegate.detector.budget import CpuBudget
from tidegate.evidence import backscatter
from tidegate.model import Decision, Subject
from tidegate.policy.durations import format_duration
from tidegate.policy.models import SourceSpec
from tidegate.source.replay import Replay
from tidegate.text import printable


@click.command(
    epilog="""\b
Examples:
  tidegate replay /var/log/exim4/mainlog
  tidegate replay --config new.toml /var/log/exim4/mainlog*
  journalctl -o export -u ssh | tidegate replay --json -
"""
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@config
@as_json
def command(files: tuple[str, ...], config: Path | None, as_json: bool) -> int:
    """Decide about FILE (plain, .gz, a journal export, or - for standard input); touch nothing.

    A file that a source of the policy names is read by that source's detectors, any other by all.
    """
    planned = plan(config, budget=CpuBudget())
    recordings = opened(files, lambda path: _spec(planned, path).name)
    recordings.sort(key=lambda one: one.arrival)
    pipeline = planned.pipeline(_specs(planned, recordings), durable=False)
    pipeline.aims = not as_json
    become_nobody()
    garbage.seldom()
    summary = Summary(planned)
    with progress(recordings) as tick:
        for decision in decisions(recordings, pipeline, tick):
            summary.add(decision)
            if as_json:
                emit(decision_view(decision))
    sys.stdout.flush()
    for recording in recordings:
        if recording.problem:
            say(recording.problem)
    for name in sorted({one for engine in pipeline.engines.values() for one in engine.disabled}):
        say(f"detector {name} was switched off: three lines in ten minutes broke it")
    if not as_json:
        summary.show(pipeline)
    return int(any(recording.problem for recording in recordings))


def _specs(planned: Plan, recordings: Sequence[Replay]) -> list[SourceSpec]:
    specs = {spec.name: spec for spec in (_spec(planned, one.path) for one in recordings)}
    return list(specs.values())


def _spec(planned: Plan, path: str) -> SourceSpec:
    for source in planned.sources:
        if any(Path(path).resolve() == Path(one) or Path(path).match(one) for one in source.files):
            return source
    # Nothing comes of it, so packs that are kept apart are asked too.
    return SourceSpec(name="replay", detectors=tuple(pack.name for pack in planned.packs))


def decisions(
    recordings: Sequence[Replay], pipeline: Pipeline, tick: Callable[[], None]
) -> Iterator[Decision]:
    """Every decision, with the lines that led to it."""

    def of(number: int) -> Replay:
        return next(one for one in recordings if one.origin and one.origin.number == number)

    def fetch(number: int, offset: int) -> bytes | None:
        return of(number).fetch(number, offset)

    for recording in recordings:
        for block in recording.blocks():
            found, batch = pipeline.feed(block)
            for line in batch.quarantined:
                say(set_aside(recording.path, line))
            for note in pipeline.judge.take_notes():
                say(note.text)
            for decision in found:
                yield quoted(decision, block, fetch, lambda number: of(number).path)
            tick()


class Summary:
    """What a person wants to know at the end: who, why, and whom it would have hit wrongly."""

    def __init__(self, planned: Plan) -> None:
        self._policy = planned.loaded.policy
        self.banned: dict[Subject, Decision] = {}
        self._bans: Counter[Subject] = Counter()
        self._by_rule: Counter[str] = Counter()
        self._spared: Counter[str] = Counter()
        self._cut = False  # whether anybody was

    def add(self, decision: Decision) -> None:
        """Take in one decision."""
        if decision.spared:
            self._spared[decision.spared] += 1
            return
        self.banned.setdefault(decision.subject, decision)
        self._bans[decision.subject] += 1
        self._by_rule[decision.rule] += 1
        self._cut = self._cut or decision.action == "quarantine"

    def show(self, pipeline: Pipeline) -> None:
        """Print it."""
        totals = pipeline.totals
        events = sum(totals.kinds.values())
        click.echo(f"{totals.lines} lines, {events} events, {totals.successes} successes")
        for kind, count in totals.kinds.most_common():
            nobody = "  (no address to blame)" if kind.endswith(".no_address") else ""
            click.echo(f"  {count:>9}  {kind}{nobody}")
        bounces = backscatter.share(totals.kinds, totals.successes)
        if bounces.count:
            click.echo(
                f"  Backscatter: {bounces.part:.1%} of what these services saw are bounces to"
                " nobody here; their senders are innocent"
            )
        odd = {
            "clamped to their arrival": totals.clamped,
            "cut at 32 KiB": totals.cut,
            "set aside": totals.quarantined,
        }
        for name, count in odd.items():
            if count:
                click.echo(f"  {count:>9}  lines {name}")
        done = "cut off or banned" if self._cut else "banned"
        if not self.banned:
            click.echo("Nobody would be banned.")
        else:
            click.echo(f"{len(self.banned)} would be {done}:")
            for subject, count in self._bans.most_common(50):
                click.echo(f"  {_told(self.banned[subject], count)}")
            if len(self._bans) > 50:
                click.echo(f"  … and {len(self._bans) - 50} more (--json shows all)")
        for rule in self._policy.rules:
            if rule.ban.service and not self._by_rule[rule.name]:
                continue
            click.echo(f"  rule {rule.name} ({rule.stated}): {self._by_rule[rule.name]}"
                       f" {'quarantines' if rule.ban.outward else 'bans'}")  # fmt: skip
        for reason, count in self._spared.most_common():
            click.echo(f"  spared {count} times: {reason}")
        collateral = [one for one in self.banned if pipeline.record.ever(one)]
        share = f" ({len(collateral) / len(self.banned):.1%})" if self.banned else ""
        click.echo(f"Collateral: {len(collateral)} of {len(self.banned)}{share} would-be-banned"
                   " also succeeded in these logs")  # fmt: skip
        for subject in collateral[:10]:
            click.echo(f"  {printable(subject)}")
        for line in aims(pipeline.targets.rows()):
            click.echo(line)


def _told(decision: Decision, count: int) -> str:
    again = f", {count} times" if count > 1 else ""
    span = format_duration(decision.duration)
    view = decision_view(decision)
    ports = f"ports {ports_text(decision.ports)}"
    scope = "what leaves" if decision.action == "quarantine" else ports
    return (
        f"{decision.subject}  {view['time']}  for {span}, {scope},"
        f" by {decision.rule}: {decision.count} counted{again}"
    )
