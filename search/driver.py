"""The loop of a search: propose, evaluate, record, learn; from the first candidate or from where it was interrupted.

For every result, in this order: its record is on disk, the policy learns from it, the policy's state is saved. A kill
between any two of these loses at most the candidates in flight: on resuming, what the history has and the state lacks
is learned, and what was in flight is proposed again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import torch

from fastnas.errors import FastnasError
from fastnas.models.genotype import Genotype
from fastnas.search.costs import Costs, refusal, weighted
from fastnas.search.early_stopping import StopRule
from fastnas.search.evaluation.evaluator import CandidateFailed, Evaluation, Evaluator
from fastnas.search.history import Record, Run
from fastnas.search.policy import Proposal, make_policy
from fastnas.train.loaders import derived_seed

FAILURES = 10
"""So many failures without a success in between are no bad luck: the search ends."""


@dataclass(frozen=True)
class Job:
    """One candidate to evaluate, with the stop rule of the moment it was sent."""

    proposal: Proposal
    seed: int
    rule: StopRule
    progress: float

    @property
    def genotype(self) -> Genotype:
        """The candidate."""
        return Genotype.from_decisions(self.proposal.decisions)

    def run(self, evaluator: Evaluator, notify: Callable[[str], None] = lambda stage: None) -> Outcome:
        """Evaluate it here and now; a failure is an outcome too."""

        def goes_on(stage1: float) -> bool:
            return self.rule.continues(stage1, self.proposal.number, self.progress)

        try:
            return Outcome(self.proposal, evaluator.evaluate(self.genotype, self.seed, goes_on, notify))
        except CandidateFailed as error:
            return Outcome(self.proposal, None, str(error))


@dataclass(frozen=True)
class Outcome:
    """What became of a job: its evaluation, or the reason why there is none."""

    proposal: Proposal
    evaluation: Evaluation | None
    reason: str | None = None


class Workers(Protocol):
    """Where candidates are evaluated. `capacity` jobs may be out at a time."""

    capacity: int

    def submit(self, job: Job) -> None:
        """Take a job; return at once."""

    def next(self) -> Outcome:
        """Wait for any of the jobs that are out."""


class View(Protocol):
    """Who watches a search."""

    def preparing(self, what: str, done: int, count: int) -> None:
        """Something takes time before the first candidate."""

    def stage(self, number: int, genotype: Genotype, stage: str) -> None:
        """A candidate begins a stage."""

    def finished(self, record: Record) -> None:
        """A candidate is recorded."""


@dataclass
class Here:
    """One candidate at a time, in this process."""

    evaluator: Evaluator
    view: View
    capacity: int = 1
    _jobs: list[Job] = field(default_factory=list)

    def submit(self, job: Job) -> None:
        """See `Workers`."""
        self._jobs.append(job)

    def next(self) -> Outcome:
        """See `Workers`."""
        job = self._jobs.pop(0)
        return job.run(self.evaluator, lambda stage: self.view.stage(job.proposal.number, job.genotype, stage))


class Search:
    """A search on its way.

    Args:
        run: its folder, held.
        workers: where candidates are evaluated.
        view: is told of every record.
        costs: what a genotype costs, for limits, the reward and the report; None to leave it out.
        reward: what the policy learns from, given an evaluation and the costs; by default the evaluation's reward,
            weighed as the limits say.
    """

    def __init__(
        self,
        run: Run,
        workers: Workers,
        view: View,
        costs: Callable[[Genotype], Costs] | None = None,
        reward: Callable[[Evaluation, Costs], float] | None = None,
    ) -> None:
        self.run, self.settings, self.workers, self.view, self.costs = run, run.settings, workers, view, costs
        self.reward = reward or (lambda evaluation, found: weighted(evaluation.reward, found, self.settings.limits))
        self.policy = make_policy(self.settings.policy, self.settings.seed)
        self.rule = StopRule(self.settings.stop, self.settings.seed)
        self.spent = 0.0
        """Seconds of this search before this process took it up."""
        self._start = time.monotonic()
        self._known: dict[Genotype, Record] = {}
        self._out: dict[Genotype, list[Proposal]] = {}
        self._costs: dict[int, Costs] = {}
        self._failures = 0
        with _one_thread():
            if state := run.load_state():
                self.policy.load_state_dict(state["policy"])
                self.spent = state["seconds"]
            for record in run.records:
                self._remember(record)
                if not self.policy.observed(record.proposal.number):
                    self.policy.observe([record.result])

    @property
    def seconds(self) -> float:
        """Time that the search has taken so far, over all processes that carried it on."""
        return self.spent + time.monotonic() - self._start

    @property
    def progress(self) -> float:
        """The share of the budget that is used, from 0 to 1."""
        return self._progress(len(self.run.records))

    def _progress(self, candidates: int) -> float:
        shares = [0.0]
        if self.settings.candidates is not None:
            shares.append(candidates / self.settings.candidates)
        if self.settings.hours is not None:
            shares.append(self.seconds / (3600 * self.settings.hours) if self.settings.hours else 1.0)
        return min(max(shares), 1.0)

    def go_on(self) -> None:
        """Search until the budget is used.

        Raises:
            FastnasError: candidate after candidate fails; or the run folder cannot be written.
        """
        while True:
            while sum(map(len, self._out.values())) < self.workers.capacity and self._may_propose():
                self._propose()
            if not self._out:
                return
            self._take(self.workers.next())

    def _may_propose(self) -> bool:
        taken = len(self.run.records) + sum(map(len, self._out.values()))
        return self._progress(taken) < 1.0

    def _propose(self) -> None:
        """Draw a candidate, and settle it at once where nothing has to be trained."""
        with _one_thread():
            (proposal,) = self.policy.propose(1)
        genotype = Genotype.from_decisions(proposal.decisions)
        canonical = genotype.canonical()
        if canonical in self._known:
            self._record(self._reused(proposal, self._known[canonical]))
        elif canonical in self._out:
            self._out[canonical].append(proposal)
        else:
            number = proposal.number
            self._costs[number] = self.costs(genotype) if self.costs else {}
            if reason := refusal(self._costs[number], self.settings.limits) if self.costs else None:
                self._record(Record(proposal, "refused", reason=reason, scores=self._costs.pop(number)))
                return
            self._out[canonical] = [proposal]
            seed = derived_seed(self.settings.seed, number)
            self.workers.submit(Job(proposal, seed, self.rule, self._progress(number)))

    def _take(self, outcome: Outcome) -> None:
        """Record an outcome, and with it the equal candidates that waited for it."""
        proposal, evaluation = outcome.proposal, outcome.evaluation
        waiting = self._out.pop(Genotype.from_decisions(proposal.decisions).canonical())
        found = self._costs.pop(proposal.number)
        if evaluation is None:
            record = Record(proposal, "failed", reason=outcome.reason, scores=found)
        else:
            two_stages = self.settings.evaluation.stage2_epochs > 0
            record = Record(
                proposal,
                "stopped" if two_stages and evaluation.stage2 is None else "done",
                reward=self.reward(evaluation, found),
                stage1=evaluation.stage1,
                stage2=evaluation.stage2,
                scores=evaluation.scores | found,
                seconds=evaluation.seconds,
            )
        self._record(record)
        for equal in waiting:
            if equal.number != proposal.number:
                self._record(self._reused(equal, record))
        if self._failures >= FAILURES:
            raise FastnasError(f"{FAILURES} candidates failed one after the other, the last one: {outcome.reason}")

    def _reused(self, proposal: Proposal, known: Record) -> Record:
        """The record of a candidate that equals a known one."""
        number, costs = known.proposal.number, {k: v for k, v in known.scores.items() if k in COSTS}
        if known.reward is None:
            reason = f"like candidate {number}: {known.reason}"
            return Record(proposal, known.status, reused=number, reason=reason, scores=costs)
        return Record(proposal, "reused", reward=known.reward, reused=number, scores=known.scores)

    def _record(self, record: Record) -> None:
        """Write, learn, save: in this order."""
        staleness = self.policy.version - record.proposal.version
        record = Record(**{**vars(record), "staleness": staleness, "finished": round(time.time(), 3)})
        self.run.append(record)
        self._remember(record)
        with _one_thread():
            self.policy.observe([record.result])
        self.run.save_state({"policy": self.policy.state_dict(), "seconds": self.seconds})
        self.view.finished(record)

    def _remember(self, record: Record) -> None:
        """Take a record into everything that follows from the history alone."""
        if record.reused is None and record.status != "failed":
            self._known[record.genotype.canonical()] = record
        if record.stage1 is not None:
            self.rule = self.rule.observe(record.stage1)
        self._failures = self._failures + 1 if record.status == "failed" else 0


COSTS = ("parameters", "madds", "latency")
"""Names of costs among a record's scores."""


@contextmanager
def _one_thread() -> Iterator[None]:
    """The controller is too small for more, and its sums must not depend on how many there are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
