"""The loop of a search: propose, evaluate, record, learn; from the first candidate or from where it was interrupted.

For every result, in this order: its record is written to disk, the strategy learns from it, its state is saved, new
candidates are proposed, the state is saved again. A kill between any two of these loses at most the evaluations under
way: on resuming, the strategy learns from the records that its saved state lacks, and what was being evaluated is
evaluated again or, of workers without an order, proposed anew.

A network is proposed once: what equals one that is recorded or being evaluated is drawn again.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

import torch

from fastnas.errors import FastnasError
from fastnas.models.genotype import Genotype
from fastnas.search.costs import Costs, refusal, shortfall, weighted
from fastnas.search.early_stopping import StopRule
from fastnas.search.evaluation.evaluator import CandidateFailed, Evaluation, Evaluator
from fastnas.search.history import COUNTED, Candidate, Record, Run
from fastnas.search.strategies.registry import make_strategy
from fastnas.train.loaders import derived_seed

FAILURES = 10
"""The search ends after so many failures in a row, which are hardly the candidates' own."""
REFUSALS = 1000
"""It ends after so many candidates in a row that are over a limit, too: hardly any network is within it."""
DRAWS = 10_000
"""The search ends when so many draws in a row are known networks."""


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

    def to_dict(self) -> dict[str, Any]:
        """Plain values from which, and from a search, the same job is made again."""
        return {
            "candidate": {name: getattr(self.candidate, name) for name in ("number", "log_prob", "version", "redraws")},
            "decisions": list(self.candidate.genotype.decisions()),
            "rule": {name: getattr(self.rule, name) for name in ("mean", "count", "seen")},
            "progress": self.progress,
            "costs": self.costs,
        }

    def run(self, evaluator: Evaluator, notify: Callable[[str], None] = lambda stage: None) -> Outcome:
        """Evaluate it in this process; a failure of the candidate is an outcome too."""

        def goes_on(reward: float, epoch: int) -> bool:
            return self.rule.continues(reward, self.candidate.number, self.progress, epoch)

        genotype = self.candidate.genotype
        try:
            return Outcome(self, evaluator.evaluate(genotype, self.seed, goes_on, notify, self.rule.rungs))
        except CandidateFailed as error:
            return Outcome(self, None, str(error))


@dataclass(frozen=True)
class Outcome:
    """The result of a job: an evaluation, or the reason why there is none."""

    job: Job
    evaluation: Evaluation | None
    reason: str | None = None


class Workers(Protocol):
    """The interface of what evaluates candidates.

    Attributes:
        capacity: how many jobs may be submitted at a time.
        ordered: whether outcomes come in the order of submission, so that a search does not depend on times, and one
            that was interrupted ends as it would have.
    """

    capacity: int
    ordered: bool

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
    ordered: bool = True
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
        reward: what the strategy learns from, given an evaluation and the costs; by default the evaluation's reward,
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
        self.strategy = make_strategy(self.settings.policy, self.settings.seed)
        self.rule = StopRule(self.settings.stop, self.settings.seed, self.settings.evaluation.stage1_epochs)
        self.spent = 0.0
        """Seconds that earlier processes spent on this search."""
        self._start = time.monotonic()
        self._known: set[Genotype] = set()
        """Canonical genotypes that are recorded or being evaluated."""
        self._evaluating: dict[int, Job] = {}
        """What is submitted, by the candidate's number."""
        self._used = 0
        """Recorded candidates that count against the budget."""
        self._failures = self._refusals = 0
        """How many of the latest candidates failed, or were refused, in a row."""
        for record in run.records:
            self._remember(record)
        state = run.load_state() or {}
        recorded = {record.candidate.number for record in run.records}
        jobs = [self._job(saved) for saved in state.get("evaluating", ())]
        self._interrupted = [job for job in jobs if job.candidate.number not in recorded]
        """What an earlier process was evaluating when it ended."""
        taken = recorded | {job.candidate.number for job in self._interrupted}
        self._numbers = (number for number in itertools.count() if number not in taken)
        with _one_thread():
            if state:
                self.strategy.load_state_dict(state["policy"])
                self.spent = state["seconds"]
            for record in run.records[self.strategy.observed :]:
                self._learn(record)

    @property
    def seconds(self) -> float:
        """Time that the search has taken so far, over all of its processes."""
        return self.spent + time.monotonic() - self._start

    @property
    def progress(self) -> float:
        """The share of the budget that is used, in [0, 1]."""
        return self._progress(self._used)

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
        while self._interrupted:
            self._submit(self._interrupted.pop(0))
        while True:
            while len(self._evaluating) < self.workers.capacity and self._may_propose():
                self._propose()
            if not self._evaluating:
                return
            if self.workers.ordered and len(self._evaluating) > 1:  # one would be drawn again from the state as it is
                self._save()
            self._finish(self.workers.next())

    def _may_propose(self) -> bool:
        return self._progress(self._used + len(self._evaluating)) < 1.0

    def _propose(self) -> None:
        """Draw a new candidate, and submit it unless it is refused."""
        candidate = self._draw(next(self._numbers))
        try:
            costs = self.costs(candidate.canonical)
        except CandidateFailed as error:
            self._record(Record(candidate, "failed", reason=str(error)))
            return
        if reason := refusal(costs, self.settings.limits):
            self._record(Record(candidate, "refused", reason=reason, scores=costs))
            return
        progress = self._progress(self._used + len(self._evaluating))
        self._submit(Job(candidate, self._seed(candidate.number), self.rule, progress, costs))

    def _submit(self, job: Job) -> None:
        self._known.add(job.candidate.canonical)
        self._evaluating[job.candidate.number] = job
        self.workers.submit(job)

    def _seed(self, number: int) -> int:
        return derived_seed(self.settings.seed, number)

    def _job(self, saved: dict[str, Any]) -> Job:
        """The job of which `Job.to_dict` made these values."""
        candidate = Candidate(genotype=Genotype.from_decisions(saved["decisions"]), **saved["candidate"])
        rule = dataclasses.replace(self.rule, **saved["rule"])
        return Job(candidate, self._seed(candidate.number), rule, saved["progress"], saved["costs"])

    def _draw(self, number: int) -> Candidate:
        """The first proposal for candidate `number` whose network is new."""
        with _one_thread():
            for redraws, (decisions, log_prob) in enumerate(islice(self.strategy.draws(number), DRAWS)):
                genotype = Genotype.from_decisions(decisions)
                candidate = Candidate(number, genotype, log_prob, self.strategy.version, redraws)
                if candidate.canonical not in self._known:
                    return candidate
        raise FastnasError(f"{DRAWS} draws in a row were networks that the search knows: it has nothing new to propose")

    def _finish(self, outcome: Outcome) -> None:
        """Record an outcome."""
        candidate, costs, evaluation = outcome.job.candidate, outcome.job.costs, outcome.evaluation
        del self._evaluating[candidate.number]
        if evaluation is None:
            self._record(Record(candidate, "failed", reason=outcome.reason, scores=costs))
            return
        ended = evaluation.stage1 if not self.settings.evaluation.stage2_epochs else evaluation.stage2
        self._record(
            Record(
                candidate,
                "stopped" if ended is None else "done",
                reward=self.reward(evaluation, costs),
                stage1=evaluation.stage1,
                stage2=evaluation.stage2,
                rungs=evaluation.rungs,
                scores=evaluation.scores | costs,
                seconds=evaluation.seconds,
            )
        )

    def _record(self, record: Record) -> None:
        """Write, learn, save: in this order."""
        staleness = self.strategy.version - record.candidate.version
        record = dataclasses.replace(record, staleness=staleness, finished=round(time.time(), 3))
        self.run.append(record)
        self._remember(record)
        with _one_thread():
            self._learn(record)
        self._save()
        self.view.finished(record)
        if record.status == "failed" and self._failures >= FAILURES:
            raise FastnasError(f"{FAILURES} candidates failed one after the other, the last one: {record.reason}")
        if record.status == "refused" and self._refusals >= REFUSALS:
            raise FastnasError(f"{REFUSALS} candidates in a row were refused, the last one for {record.reason}")

    def _save(self) -> None:
        evaluating = [job.to_dict() for job in self._evaluating.values()] if self.workers.ordered else []
        self.run.save_state({"policy": self.strategy.state_dict(), "seconds": self.seconds, "evaluating": evaluating})

    def _learn(self, record: Record) -> None:
        drawn = record.candidate.genotype.decisions(), record.candidate.log_prob
        if record.status == "refused":
            self.strategy.observe_refused(*drawn, shortfall(record.scores, self.settings.limits))
        else:  # what was reused was learned from where it was trained
            self.strategy.observe(*drawn, None if record.status == "reused" else record.reward)

    def _remember(self, record: Record) -> None:
        """Update what is a function of the history."""
        self._known.add(record.candidate.canonical)
        self._used += record.status in COUNTED
        if record.reward is not None:
            end = {} if record.stage1 is None else {self.rule.epochs: record.stage1}
            self.rule = self.rule.observe(record.rungs | end)
        self._failures = self._failures + 1 if record.status == "failed" else 0
        self._refusals = self._refusals + 1 if record.status == "refused" else 0


@contextmanager
def _one_thread() -> Iterator[None]:
    """The controller is too small for more threads, and its results must not depend on their number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
