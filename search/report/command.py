"""`fastnas report`: a page of statistics of searches, finished or running."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command(short_help="Show searches on one page: rewards, best networks, comparisons.")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--final",
    multiple=True,
    metavar="MODEL|DIR",
    type=click.Path(exists=True, path_type=Path),
    help="Trained models, or a folder of them, whose score is compared with their reward and by auxiliary heads. "
    "May be repeated.",
)
@click.option(
    "--layers",
    multiple=True,
    metavar="REPORT",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File of jetson-bench --layers --report FILE: the ten modules that cost most there. May be repeated.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="HTML file to write; by default report.html in the first run. Its plots go into a folder of its name, as PNG.",
)
@click.option("--block", type=click.IntRange(1), help="Candidates per block of the reward distributions.")
@click.option("--json", "as_json", is_flag=True, help="Print all statistics as JSON.")
def report(
    runs: tuple[Path, ...],
    final: tuple[Path, ...],
    layers: tuple[Path, ...],
    out: Path | None,
    block: int | None,
    as_json: bool,
) -> None:
    """Show searches on one page: rewards, best networks, comparisons.

    RUN is a folder of fastnas search, which may be running. Several are compared: runs that differ only in their seed
    are taken together, a learning strategy is compared with random search under the same settings, in pairs of runs of
    one seed, and random searches with different training aids make an ablation.

    \b
    fastnas report runs/camvid
    fastnas report runs/ppo runs/random --out compare.html
    fastnas report runs/camvid --final runs/trained
    fastnas report runs/camvid --layers bench.json
    """
    from fastnas.search.report.page import write_report

    path, summary = write_report(runs, out, final, block, layers)
    if as_json:
        click.echo(json.dumps({"page": str(path), **summary}, allow_nan=False))
        return
    for network in summary["best"][:1]:
        click.echo(f"best reward {network['reward']:.4f}: {network['genotype']}")
    for test in summary["comparisons"]:
        behind = "one run of each"
        if test["interval"]:
            low, high = test["interval"]
            behind = f"{len(test['seeds'])} runs of each, difference {low:.4f} to {high:.4f}, p = {test['p']:.3g}"
        click.echo(
            f"{test['first']} against {test['second']}, last third, {test['stage']}: "
            f"median {test['medians'][0]:.4f} against {test['medians'][1]:.4f}, "
            f"wins {test['win_rate']:.0%} of pairwise comparisons ({behind})"
        )
    for each in summary["efficiency"]:
        mean, several = sum(each["leaders"]) / len(each["leaders"]), "s" if len(each["seeds"]) > 1 else ""
        until = ", ".join("–" if count is None else str(count) for count in each["until"])
        click.echo(
            f"{each['strategy']}, {len(each['seeds'])} run{several} of {each['candidates']} candidates: best "
            f"{max(each['best']):.4f}, mean of the ten best {mean:.4f}, candidates until random's best: {until}"
        )
    if summary["unpaired"]:
        click.echo(f"not compared, for no opponent has their seed: {', '.join(summary['unpaired'])}")
    if summary["final"] and summary["final"]["spearman"]:
        click.echo(f"Spearman's rho of reward and final score: {summary['final']['spearman'][0]:.3f}")
    if summary["heads"] and summary["heads"]["compared"]:
        means = ", ".join(f"{mean:.4f} with {kind}" for kind, mean in summary["heads"]["means"].items())
        click.echo(
            f"auxiliary heads, {summary['heads']['compared']} networks, mean {summary['heads']['score']}: {means}"
        )
    for network in summary["layers"]:
        click.echo(
            f"{network['network']} on {network['machine']}, {network['total_ms']:.2f} ms in layers, the longest:"
        )
        for module in network["modules"]:
            click.echo(f"  {module['ms']:8.3f} ms {module['share']:6.1%}  {module['name']} ({module['part']})")
    click.echo(f"report: {path}")
