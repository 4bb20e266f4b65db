"""The plots of a report: one panel each, legible on a phone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fastnas.search.report.statistics import SearchRun

Shares = Sequence[Sequence[float | None]]

COLOURS = ("#2471a3", "#e08e0b", "#1e8449", "#c0392b", "#7d3c98", "#16a085", "#7f6000", "#566573")
INK, FAINT = "#333333", "#aab2b8"
STAGE_NAMES = {"stage1": "stage 1", "stage2": "stage 2"}
HEADS = (("none", "#566573", "o"), ("clf", "#e08e0b", "^"), ("cell", "#2471a3", "s"))
"""Kinds of auxiliary heads, with colour and marker."""
SIZE = (5.4, 3.7)
STYLE: dict[Any, Any] = {
    "axes.edgecolor": "#888888",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 10,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
}


def _panel(draw: Callable[..., None]) -> Callable[..., Figure]:
    """Turn a function that draws on axes into one that returns a figure."""

    def figure(*arguments: Any) -> Figure:
        with rc_context(STYLE):
            made = Figure(figsize=SIZE, layout="constrained")
            axes = made.subplots()
            axes.grid(axis="y", alpha=0.25)
            axes.set_axisbelow(True)
            draw(axes, *arguments)
        return made

    return figure


@_panel
def draw_course(axes: Axes, runs: Sequence[SearchRun]) -> None:
    """Rewards over the time of each run: every candidate, the mean of the last 20, and the best so far."""
    courses = [[moment for moment in run.timeline if moment.best is not None] for run in runs]
    longest = max((moments[-1].hours for moments in courses if moments), default=0.0)
    unit, per_hour = ("hours", 1) if longest > 2 else ("minutes", 60)
    for run, moments, colour in zip(runs, courses, _colours(len(runs)), strict=True):
        times = [moment.hours * per_hour for moment in moments]
        for status, marker in (("done", "o"), ("stopped", "x"), ("reused", "+")):
            points = [
                (time, moment.record.reward)
                for time, moment in zip(times, moments, strict=True)
                if moment.record.status == status
            ]
            if points:
                # Rasterised, because thousands of vector points make a slow page.
                size = 12 if len(runs) == 1 else 5
                xs, ys = np.array(points, float).T
                axes.scatter(xs, ys, s=size, marker=marker, color=colour, alpha=0.35, lw=0.8, rasterized=True)
        means, leaders = np.array([(moment.mean, moment.best) for moment in moments], float).reshape(-1, 2).T
        axes.plot(times, means, color=colour, lw=1.8, label=run.name)
        axes.plot(times, leaders, color=colour, lw=1, ls="--", drawstyle="steps-post")
    axes.set_xlabel(f"{unit} of work")
    axes.set_ylabel("reward")
    kinds = [Line2D([], [], color=INK, lw=1.8, label="mean of the last 20"), Line2D([], [], color=INK, lw=1, ls="--")]
    kinds[1].set_label("best so far")
    kinds += [
        Line2D([], [], color=INK, ls="", marker=marker, ms=4, alpha=0.6, label=label)
        for marker, label in (("o", "both stages"), ("x", "stopped"), ("+", "reused"))
    ]
    named = axes.get_legend_handles_labels()[0] if len(runs) > 1 else []
    axes.figure.legend(handles=[*named, *kinds], loc="outside lower center", ncols=3)


@_panel
def draw_efficiency(axes: Axes, strategies: Sequence[Mapping[str, Any]]) -> None:
    """Reward of the best candidate so far, by candidates: mean over the runs of a strategy, and their range."""
    for each, colour in zip(strategies, _colours(len(strategies)), strict=True):
        courses = np.array(each["courses"], float)  # NaN before the first reward
        numbers = np.arange(1, courses.shape[1] + 1)
        some = ~np.isnan(courses).any(axis=0)
        means, low, high = (of(courses[:, some], axis=0) for of in (np.mean, np.min, np.max))
        axes.plot(numbers[some], means, color=colour, lw=1.8, drawstyle="steps-post", label=each["strategy"])
        axes.fill_between(numbers[some], low, high, step="post", color=colour, alpha=0.12, lw=0)
    axes.set_xlabel("candidates")
    axes.set_ylabel("best reward so far")
    axes.figure.legend(loc="outside upper center", ncols=3)


@_panel
def draw_blocks(axes: Axes, groups: Mapping[str, Sequence[Sequence[float]]], stage: str, size: int) -> None:
    """Reward distributions by block of `size` candidates, the groups side by side (the paper's Fig. 2)."""
    count = max(map(len, groups.values()))
    _boxes(axes, {label: dict(enumerate(blocks)) for label, blocks in groups.items()})
    axes.set_xticks(range(count), [f"{size * i + 1}–{size * (i + 1)}" for i in range(count)])
    if count > 5:
        axes.tick_params("x", rotation=30)
    axes.set_xlabel("candidates")
    axes.set_ylabel(f"reward after {STAGE_NAMES[stage]}")


@_panel
def draw_ablation(axes: Axes, arms: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    """Rewards of random architectures by their training aids (the paper's Fig. 3)."""
    names = list(dict.fromkeys(name for found in arms.values() for name in found))
    _boxes(
        axes,
        {
            f"after {STAGE_NAMES[stage]}": {names.index(arm): spread["rewards"] for arm, spread in found.items()}
            for stage, found in arms.items()
            if found
        },
    )
    axes.set_xticks(range(len(names)), [name.replace(" + ", "\n+ ") for name in names])
    axes.set_ylabel("reward")


@_panel
def draw_stages(axes: Axes, runs: Sequence[Mapping[str, Any]]) -> None:
    """Reward after stage 1 against that after stage 2, the runs in colours (the paper's Fig. 5a)."""
    for run, colour in zip(runs, _colours(len(runs)), strict=True):
        first, second = np.array(run["points"]).T
        axes.scatter(first, second, s=12, color=colour, alpha=0.6, lw=0, label=run["run"], rasterized=True)
    axes.set_xlabel(f"reward after {STAGE_NAMES['stage1']}")
    axes.set_ylabel(f"reward after {STAGE_NAMES['stage2']}")
    if len(runs) > 1:
        axes.figure.legend(loc="outside upper center", ncols=min(3, len(runs)))


@_panel
def draw_heads(axes: Axes, networks: Sequence[Mapping[str, Any]], score: str) -> None:
    """Final scores by network and kind of auxiliary heads, a marker for each trained model (the paper's Fig. 4)."""
    for (kind, colour, marker), shift in zip(HEADS, (-0.15, 0.0, 0.15), strict=True):
        points = [(i + shift, each) for i, net in enumerate(networks, 1) for each in net["scores"].get(kind, [])]
        if points:
            xs, ys = np.array(points).T
            axes.scatter(xs, ys, s=30, marker=marker, color=colour, alpha=0.85, lw=0, label=kind, zorder=3)
    axes.set_xticks(range(1, len(networks) + 1))
    axes.set_xlabel("network, as in the table")
    axes.set_ylabel(f"{score} after full training")
    axes.figure.legend(loc="outside upper center", ncols=3)


@_panel
def draw_final(axes: Axes, points: Sequence[Mapping[str, Any]], score: str) -> None:
    """Reward in the search against the score after full training (the paper's Fig. 5b)."""
    axes.scatter([p["reward"] for p in points], [p["score"] for p in points], color=COLOURS[0], s=26, zorder=3)
    if len(points) <= 6:  # the names of more would overlap
        for point in points:
            place = point["reward"], point["score"]
            axes.annotate(point["name"], place, (4, 4), textcoords="offset points", fontsize=8, color="#666666")
    axes.margins(0.12)
    axes.set_xlabel("reward in the search")
    axes.set_ylabel(f"{score} after full training")


@_panel
def draw_rank_check(axes: Axes, networks: Sequence[Mapping[str, Any]], score: str) -> None:
    """Reward in the search against the final score: its mean over the seeds, and its range."""
    scores = [np.array(network["scores"], float) for network in networks]
    means = [each.mean() for each in scores]
    ranges = [[mean - each.min() for mean, each in zip(means, scores, strict=True)]]
    ranges.append([each.max() - mean for mean, each in zip(means, scores, strict=True)])
    rewards = [network["reward"] for network in networks]
    axes.errorbar(rewards, means, yerr=ranges, fmt="o", ms=4.5, color=COLOURS[0], ecolor=FAINT, lw=1.2)
    axes.set_xlabel("reward in the search")
    axes.set_ylabel(f"{score} after full training")


@_panel
def draw_pareto(
    axes: Axes, points: Sequence[tuple[float, float]], front: Sequence[float], label: str, unit: float
) -> None:
    """Reward against cost, as pairs (cost, reward), and the Pareto front, by the costs of its members."""
    rewards = [max(reward for cost, reward in points if cost == member) for member in front]
    axes.scatter([p[0] / unit for p in points], [p[1] for p in points], s=10, color=FAINT, rasterized=True)
    xs = [member / unit for member in front]
    axes.plot(xs, rewards, color=COLOURS[3], lw=1.3, marker="o", ms=4.5, drawstyle="steps-post")
    axes.set_xlabel(label)
    axes.set_ylabel("reward, without a weight for cost")


@_panel
def draw_operations(axes: Axes, every: Mapping[str, float], best: Mapping[str, float]) -> None:
    """How often each operation is used, by all candidates and by the best."""
    places = np.arange(len(every))
    axes.grid(visible=False)
    axes.grid(axis="x", alpha=0.25)
    for offset, shares, label, colour in (
        (-0.2, every, "all candidates", FAINT),
        (0.2, best, "the best tenth", COLOURS[0]),
    ):
        axes.barh(places + offset, [100 * shares[name] for name in every], 0.38, color=colour, label=label)
    axes.set_yticks(places, list(every))
    axes.invert_yaxis()
    axes.set_xlabel("% of a cell's operations")
    axes.legend()


@_panel
def draw_connections(axes: Axes, every: Shares, best: Shares) -> None:
    """How often each sum takes each index as input, among the best; the colour is the difference to all candidates."""
    shares = 100 * np.array(best, float)
    difference = shares - 100 * np.array(every, float)
    limit = max(10.0, float(np.nanmax(np.abs(difference))))
    axes.grid(visible=False)
    image = axes.imshow(difference, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
    for (block, index), share in np.ndenumerate(shares):
        if not np.isnan(share):
            dark = abs(difference[block, index]) > 0.6 * limit
            axes.text(index, block, f"{share:.0f} %", ha="center", va="center", color="white" if dark else INK)
    axes.set_xticks(range(6), [*(f"encoder\n{i}" for i in range(4)), "sum\n4", "sum\n5"])
    axes.set_yticks(range(3), ["sum 4", "sum 5", "sum 6"])
    axes.set_ylabel("takes as input")
    axes.figure.colorbar(image, ax=axes, label="percentage points more than all", shrink=0.9)


def _boxes(axes: Axes, groups: Mapping[str, Mapping[int, Sequence[float]]]) -> None:
    """Box plots with their points: at each place one box for each group that has values there."""
    width, jitter = 0.8 / len(groups), np.random.default_rng(0)
    handles = []
    for i, ((label, found), colour) in enumerate(zip(groups.items(), _colours(len(groups)), strict=True)):
        places = [place for place, values in found.items() if len(values)]
        centres: npt.NDArray[np.float64] = np.array(places) + width * (i - (len(groups) - 1) / 2)
        values = [found[place] for place in places]
        line = {"color": colour, "linewidth": 1.3}
        axes.boxplot(
            values, positions=centres.tolist(), widths=0.75 * width, manage_ticks=False, showfliers=False,
            patch_artist=True, boxprops={"facecolor": colour + "30", "edgecolor": colour}, whiskerprops=line,
            medianprops=line | {"linewidth": 2}, capprops=line,
        )  # fmt: skip
        for centre, rewards in zip(centres, values, strict=True):
            spread = jitter.uniform(-0.25, 0.25, len(rewards)) * width
            axes.scatter(centre + spread, rewards, s=5, color=colour, alpha=0.5, lw=0, rasterized=True, zorder=3)
        handles.append(Line2D([], [], color=colour, lw=5, alpha=0.6, label=label))
    axes.figure.legend(handles=handles, loc="outside upper center", ncols=min(3, len(handles)))


def _colours(count: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(count)]
