"""What all rules' tallies have in common: whose they are, who is held, and what came of verdicts.

Touches nothing. A tally is one `bytes` per subject; what is in it is the kind of rule's own matter.
Limits: none of its own; `windows` bounds the tallies over all rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from tidegate.model import Micros, Ref, Shared, Subject, Term, Verdict
from tidegate.policy.guards import Level
from tidegate.policy.models import Rule

OFFSET_BITS = 44  # 16 TiB a file, a million files
NOT_CONVICTED = Term(0)

Convict = Callable[[Verdict, int], Term]
"""Called with each verdict and the offset of the line that triggered it, at once."""

HandOut = Callable[[Shared], None]
"""Called with each thing that a tally takes in, where hosts count together."""


class Tallies:
    """The tallies of one rule, the subjects it has banned (`held`), and what changed (`dirty`)."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.tallies: dict[Subject, bytes] = {}
        self.held: dict[Subject, Term] = {}
        self.dirty: set[Subject] = set()
        self.threshold = rule.threshold_at("low")
        self.tide: Level | Literal[""] = ""  # where the threshold is that of a higher tide
        self.last_verdict: Verdict | None = None
        self.verdicts = 0
        self.hand_out: HandOut | None = None

    def share(self, hand_out: HandOut) -> None:
        """From now on hand out whatever is taken in."""
        self.hand_out = hand_out

    def turn(self, tide: Level) -> None:
        """The host's tide has changed: from now on count by its threshold."""
        self.threshold = self.rule.threshold_at(tide)
        self.tide = tide if self.threshold < self.rule.threshold_at("low") else ""

    def convicted(self, verdict: Verdict, offset: int, convict: Convict) -> bool:
        """Have a verdict judged; whether it was a conviction."""
        term = convict(verdict, offset)
        if term is NOT_CONVICTED:
            return False
        self.last_verdict = verdict
        self.verdicts += 1
        self.held[verdict.subject] = term
        return True

    def let_go(self, subject: Subject, term: Term) -> None:
        """A term is over. Where hosts count together its end is remembered for a while: what they
        found of the same window may come late."""
        if self.hand_out is None:
            del self.held[subject]
        else:
            self.held[subject] = Term(term.until)
        self.dirty.add(subject)

    def sentence(self, verdict: Verdict, convict: Convict) -> None:
        """Have judged what hosts have counted together. Like an own verdict it begins the tally
        anew: of one window come no two offences, whoever noticed it first."""
        held = self.held.get(verdict.subject, NOT_CONVICTED)
        if verdict.time < held.until:
            return
        count = min(verdict.count, self.rule.threshold)  # as one host would have said it
        refs = self.places(verdict.subject, verdict.time)
        verdict = verdict._replace(count=count, refs=refs)
        if self.convicted(verdict, refs[-1].offset if refs else 0, convict):
            self.spend(verdict.subject)

    def keep_out(self, subject: Subject, term: Term) -> None:
        """Another host's rule holds a subject: so does this one, for no shorter than it did."""
        before = self.held.get(subject, NOT_CONVICTED)
        self.held[subject] = Term(*map(max, before, term))
        self.spend(subject)

    def places(self, subject: Subject, upto: Micros) -> tuple[Ref, ...]:
        """The lines that are remembered of a subject, of those that are not later; in order."""
        raise NotImplementedError

    def spend(self, subject: Subject) -> None:
        """What came before the end of a term counts no more: it has had its consequence, or would
        not have been counted of somebody who is held."""
        raise NotImplementedError

    def remembered(self, since: Micros) -> Iterator[Shared]:
        """What is remembered of all subjects, as it was handed out; what is not older."""
        for subject in self.tallies:
            for time, ref, amount in self.kept(subject):
                if time >= since:
                    origin, offset = divmod(ref, 1 << OFFSET_BITS)
                    yield Shared(self.rule.name, subject, time, origin, offset, amount)

    def kept(self, subject: Subject) -> Iterable[tuple[Micros, int, int]]:
        """What is remembered of a subject: when, the line's place, what it was worth."""
        raise NotImplementedError

    def hold(self, subject: Subject, term: Term) -> None:
        """Hold a subject for a term that a person said; its tally begins anew."""
        self.tallies.pop(subject, None)
        self.held[subject] = term
        self.dirty.add(subject)

    def forget(self, subject: Subject) -> None:
        """Drop a subject's tally and let it be counted again."""
        self.held.pop(subject, None)
        self.tallies.pop(subject, None)
        self.dirty.add(subject)
