"""Learning strategies against random search: runs of one seed in pairs, and statistics over these pairs.

The candidates of one run depend on each other, so that however many there are, a run is one observation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from fastnas.search.report.statistics import STAGES, SearchRun, Stage, by_seed, stage_rewards

Values = npt.NDArray[np.float64]
Groups = Mapping[str, Sequence[SearchRun]]

RESAMPLES = 10_000
CONFIDENCE = 0.95
EXACT_PAIRS = 13
"""Up to so many pairs all combinations of signs are tried; of more, RESAMPLES."""


@dataclass(frozen=True)
class Comparison:
    """The last third of the runs of a strategy against that of random search, in pairs of runs of one seed.

    Attributes:
        first, second: names of the two series of runs.
        stage: after which the rewards were taken.
        seeds: those of the pairs: as many runs of each stand behind the comparison.
        medians: median reward of the last third, mean over the runs.
        win_rate: share of the comparisons of two candidates of a pair that the first wins, ties counted half.
        difference: of the medians, mean over the pairs.
        interval: of the difference, with 95 % confidence, by bootstrap over the pairs; None for one pair.
        p: probability of a difference at least this high if the sign of each pair's difference were chance (one-sided
            sign-flip test); None for one pair.
    """

    first: str
    second: str
    stage: Stage
    seeds: tuple[int, ...]
    medians: tuple[float, float]
    win_rate: float
    difference: float
    interval: tuple[float, float] | None
    p: float | None


def comparisons(groups: Groups) -> list[Comparison]:
    """Each learning series against random search under the same settings, by stage, where they have seeds in common."""
    found = []
    for first, second in _opponents(groups):
        for stage in STAGES:
            samples = {
                one.settings.seed: rewards
                for one, other in _pairs(groups[first], groups[second])
                if min(map(len, rewards := _last_thirds(one, other, stage))) > 0
            }
            if samples:
                found.append(_compared(first, second, stage, samples))
    return found


def unpaired(groups: Groups) -> list[str]:
    """Names of the runs that no comparison uses, for no opponent has their seed."""
    opponents = _opponents(groups)
    paired = {run.name for first, second in opponents for pair in _pairs(groups[first], groups[second]) for run in pair}
    contestants = (run.name for names in opponents for name in names for run in groups[name])
    return [name for name in dict.fromkeys(contestants) if name not in paired]


def _opponents(groups: Groups) -> list[tuple[str, str]]:
    learns = {name: runs[0].settings.policy.strategy != "random" for name, runs in groups.items()}
    return [
        (first, second)
        for first in groups
        for second in groups
        if learns[first] and not learns[second] and groups[first][0].comparable == groups[second][0].comparable
    ]


def _pairs(first: Sequence[SearchRun], second: Sequence[SearchRun]) -> list[tuple[SearchRun, SearchRun]]:
    """Runs of equal seeds; see `by_seed`."""
    ours, theirs = by_seed(first), by_seed(second)
    return [(run, theirs[seed]) for seed, run in ours.items() if seed in theirs]


def _last_thirds(one: SearchRun, other: SearchRun, stage: Stage) -> tuple[list[float], list[float]]:
    """Rewards after a stage in the last third of both runs, of which the longer is cut to the length of the other."""
    count = min(len(one.counted), len(other.counted))
    last = slice(count * 2 // 3, count)
    return stage_rewards(one.counted[last], stage), stage_rewards(other.counted[last], stage)


def _compared(
    first: str, second: str, stage: Stage, samples: Mapping[int, tuple[list[float], list[float]]]
) -> Comparison:
    medians = np.array([[np.median(one), np.median(other)] for one, other in samples.values()])
    win_rates = [_win_rate(np.array(one), np.array(other)) for one, other in samples.values()]
    differences = medians[:, 0] - medians[:, 1]
    several = len(samples) > 1
    return Comparison(
        first,
        second,
        stage,
        tuple(samples),
        (float(medians[:, 0].mean()), float(medians[:, 1].mean())),
        float(np.mean(win_rates)),
        float(differences.mean()),
        bootstrap_interval(differences) if several else None,
        sign_flip_p(differences) if several else None,
    )


def _win_rate(one: Values, other: Values) -> float:
    difference = one[:, None] - other
    return float(np.mean((difference > 0) + 0.5 * (difference == 0)))


def _means(samples: Values) -> Values:
    means: Values = samples.mean(axis=1)
    return means


def bootstrap_interval(values: Values, statistic: Callable[[Values], Values] = _means) -> tuple[float, float]:
    """The percentile interval of a statistic of values [N, ...], resampled with replacement.

    Args:
        values: of one observation each.
        statistic: from resamples [R, N, ...] to its values [R], the mean by default; NaN leaves a resample out.
    """
    chosen = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.nanquantile(statistic(values[chosen]), ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return float(low), float(high)


def sign_flip_p(values: Values) -> float:
    """The probability of a mean of values [N] at least this high if the sign of each were chance."""
    if len(values) <= EXACT_PAIRS:
        signs = np.array(list(product((1.0, -1.0), repeat=len(values))))
    else:
        signs = np.random.default_rng(0).choice((1.0, -1.0), (RESAMPLES, len(values)))
        signs[0] = 1.0  # the observed signs are one of the possibilities
    means = (signs * values).mean(axis=1)
    return float(np.mean(means >= values.mean() - 1e-12))
