"""The loop of a search: propose, evaluate, record, learn; from the first candidate or from where it was interrupted.

For every result, in this order: its record is written to disk, the policy learns from it, the policy's state is saved.
A kill between any two of these loses at most the candidates being evaluated: on resuming, the policy learns from the
records that its saved state lacks, and the numbers without a record are proposed again.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import torch

from fastnas.errors import FastnasError
from fastnas.models.genotype import Genotype
from fastnas.search.costs import UNITS, Costs, refusal, weighted
from fastnas.search.early_stopping import StopRule
from fastnas.search.evaluation.evaluator import CandidateFailed, Evaluation, Evaluator
from fastnas.search.history import Candidate, Record, Run
from fastnas.search.policy import make_policy
from fastnas.train.loaders import derived_seed

FAILURES = 10
"""The search ends after so many failures in a row, which are hardly the candidates' own."""


@dataclass(frozen=True)
class Job:
    """A candidate to evaluate.

    Attributes:
        candidate: what is evaluated.
        seed: of its training.
        rule: the stop rule, with the rewards known when the job was submitted.
        progress: share of the search's budget used until then, in [0, 1].
        costs: of the candidate, as far as they are counted and measured.
    """

    candidate: Candidate
    seed: int
    rule: StopRule
    progress: float
    costs: Costs = field(default_factory=dict)

    def run(self, evaluator: Evaluator, notify: Callable[[str], None] = lambda stage: None) -> Outcome:
        """Evaluate it in this process; a failure of the candidate is an outcome too."""

        def goes_on(stage1: float) -> bool:
            return self.rule.continues(stage1, self.candidate.number, self.progress)

        try:
            return Outcome(self, evaluator.evaluate(self.candidate.genotype, self.seed, goes_on, notify))
        except CandidateFailed as error:
            return Outcome(self, None, str(error))


@dataclass(frozen=True)
class Outcome:
    """The result of a job: an evaluation, or the reason why there is none."""

    job: Job
    evaluation: Evaluation | None
    reason: str | None = None


class Workers(Protocol):
    """The interface of what evaluates candidates. Up to `capacity` jobs may be submitted at a time."""

    capacity: int

    def submit(self, job: Job) -> None:
        """Accept a job; return at once."""

    def next(self) -> Outcome:
        """Wait until any of the submitted jobs is done."""


class View:
    """The interface of what shows the progress of a search; this base shows nothing."""

    def preparing(self, what: str, done: int, count: int) -> None:
        """A step of the preparation made progress."""

    def stage(self, candidate: Candidate, stage: str) -> None:
        """A candidate begins a stage."""

    def finished(self, record: Record) -> None:
        """A candidate is recorded."""


@dataclass
class LocalWorker:
    """Evaluates one candidate at a time in this process."""

    evaluator: Evaluator
    view: View = field(default_factory=View)
    capacity: int = 1
    _jobs: list[Job] = field(default_factory=list)

    def submit(self, job: Job) -> None:
        """See `Workers`."""
        self._jobs.append(job)

    def next(self) -> Outcome:
        """See `Workers`."""
        job = self._jobs.pop(0)
        return job.run(self.evaluator, lambda stage: self.view.stage(job.candidate, stage))


class Search:
    """A search in a run folder.

    Args:
        run: the folder.
        workers: evaluate the candidates.
        view: is told of every record.
        costs: the costs of a genotype in canonical form, for limits, the reward and the report; by default none.
        reward: what the policy learns from, given an evaluation and the costs; by default the evaluation's reward,
            weighted as the limits say.
    """

    def __init__(
        self,
        run: Run,
        workers: Workers,
        view: View | None = None,
        costs: Callable[[Genotype], Costs] = lambda genotype: {},
        reward: Callable[[Evaluation, Costs], float] | None = None,
    ) -> None:
        self.run, self.settings, self.workers, self.costs = run, run.settings, workers, costs
        self.view = view or View()
        self.reward = reward or (lambda evaluation, found: weighted(evaluation.reward, found, self.settings.limits))
        self.policy = make_policy(self.settings.policy, self.settings.seed)
        self.rule = StopRule(self.settings.stop, self.settings.seed)
        self.spent = 0.0
        """Seconds that earlier processes spent on this search."""
        self._start = time.monotonic()
        self._known: dict[Genotype, Record] = {}
        self._evaluating: dict[Genotype, list[Candidate]] = {}
        """By canonical genotype: the submitted candidate, then equal ones that wait for its result."""
        self._failures = 0
        recorded = {record.candidate.number for record in run.records}
        self._numbers = (number for number in itertools.count() if number not in recorded)
        for record in run.records:
            self._remember(record)
        with _one_thread():
            if state := run.load_state():
                self.policy.load_state_dict(state["policy"])
                self.spent = state["seconds"]
            for record in run.records[self.policy.observed :]:
                self._learn(record)

    @property
    def seconds(self) -> float:
        """Time that the search has taken so far, over all of its processes."""
        return self.spent + time.monotonic() - self._start

    @property
    def progress(self) -> float:
        """The share of the budget that is used, in [0, 1]."""
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
            FastnasError: too many candidates fail in a row, the board that measures latency is lost, or the run folder
                cannot be written.
        """
        while True:
            while self._unfinished < self.workers.capacity and self._may_propose():
                self._propose()
            if not self._evaluating:
                return
            self._finish(self.workers.next())

    @property
    def _unfinished(self) -> int:
        return sum(map(len, self._evaluating.values()))

    def _may_propose(self) -> bool:
        return self._progress(len(self.run.records) + self._unfinished) < 1.0

    def _propose(self) -> None:
        """Sample a candidate, and submit it unless its result is known without training."""
        number = next(self._numbers)
        with _one_thread():
            decisions, log_prob = self.policy.sample(number)
        candidate = Candidate(number, Genotype.from_decisions(decisions), log_prob, self.policy.version)
        if known := self._known.get(candidate.canonical):
            self._record(_reused(candidate, known))
        elif candidate.canonical in self._evaluating:
            self._evaluating[candidate.canonical].append(candidate)
        else:
            try:
                costs = self.costs(candidate.canonical)
            except CandidateFailed as error:
                self._record(Record(candidate, "failed", reason=str(error)))
                return
            if reason := refusal(costs, self.settings.limits):
                self._record(Record(candidate, "refused", reason=reason, scores=costs))
                return
            self._evaluating[candidate.canonical] = [candidate]
            seed = derived_seed(self.settings.seed, number)
            self.workers.submit(Job(candidate, seed, self.rule, self._progress(number), costs))

    def _finish(self, outcome: Outcome) -> None:
        """Record an outcome, and with it the equal candidates that waited for it."""
        costs, evaluation = outcome.job.costs, outcome.evaluation
        candidate, *equal = self._evaluating.pop(outcome.job.candidate.canonical)
        if evaluation is None:
            record = Record(candidate, "failed", reason=outcome.reason, scores=costs)
        else:
            two_stages = self.settings.evaluation.stage2_epochs > 0
            record = Record(
                candidate,
                "stopped" if two_stages and evaluation.stage2 is None else "done",
                reward=self.reward(evaluation, costs),
                stage1=evaluation.stage1,
                stage2=evaluation.stage2,
                scores=evaluation.scores | costs,
                seconds=evaluation.seconds,
            )
        self._record(record)
        for each in equal:
            self._record(_reused(each, record))

    def _record(self, record: Record) -> None:
        """Write, learn, save: in this order."""
        staleness = self.policy.version - record.candidate.version
        record = dataclasses.replace(record, staleness=staleness, finished=round(time.time(), 3))
        self.run.append(record)
        self._remember(record)
        with _one_thread():
            self._learn(record)
        self.run.save_state({"policy": self.policy.state_dict(), "seconds": self.seconds})
        self.view.finished(record)
        if record.status == "failed" and self._failures >= FAILURES:
            raise FastnasError(f"{FAILURES} candidates failed one after the other, the last one: {record.reason}")

    def _learn(self, record: Record) -> None:
        self.policy.observe(record.candidate.genotype.decisions(), record.candidate.log_prob, record.reward)

    def _remember(self, record: Record) -> None:
        """Update what is a function of the history."""
        if record.reused is None and record.status != "failed":
            self._known[record.candidate.canonical] = record
        if record.stage1 is not None:
            self.rule = self.rule.observe(record.stage1)
        self._failures = self._failures + 1 if record.status == "failed" else 0


def _reused(candidate: Candidate, known: Record) -> Record:
    """The record of a candidate that equals a known one."""
    number = known.candidate.number
    if known.reward is not None:
        return Record(candidate, "reused", reward=known.reward, reused=number, scores=known.scores)
    costs = {name: value for name, value in known.scores.items() if name in UNITS}
    return Record(
        candidate, known.status, reused=number, reason=f"like candidate {number}: {known.reason}", scores=costs
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """The controller is too small for more threads, and its results must not depend on their number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
