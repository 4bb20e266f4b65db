"""The device half's commands; on a board this is all of `fastnas`."""

import json
from typing import List, Optional, Tuple

import click

from fastnas.jetson import __version__, shelf
from fastnas.jetson.camera.command import camera
from fastnas.jetson.errors import CommandGroup
from fastnas.jetson.options import HOST, RESOLUTION, SWEEP, EngineOptions, engine_options
from fastnas.jetson.predict.command import predict

UNRELIABLE = 3
REGRESSED = 4


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="fastnas", message="%(prog)s %(version)s (device half)")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """Run, measure and watch fastnas networks on an NVIDIA Jetson board."""


main.add_command(camera)
main.add_command(predict)


def _log(line: str) -> None:
    """A line about progress: to stderr, so that stdout holds the result alone."""
    click.echo(line, err=True)


@main.command("jetson-bench", short_help="Measure latency, here or on a board over SSH.", epilog=shelf.names_help())
@click.argument("artifacts", nargs=-1, metavar="[NAME|ARTIFACT]...", type=click.Path())
@click.option("--res", type=RESOLUTION, default="512", show_default=True, help="Input size of the networks.")
@click.option("--sweep", type=SWEEP, help="Square sizes instead, such as 128:1024:128.")
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    type=click.Choice(["fp32", "fp16", "int8"]),
    help="May be repeated; without it every precision that an artifact has.",
)
@engine_options
@click.option("--passes", default=100, show_default=True, type=click.IntRange(1), help="Timed passes of each network.")
@click.option(
    "--rounds", default=3, show_default=True, type=click.IntRange(1), help="Rounds that they are spread over."
)
@click.option("--sustained", default=0.0, metavar="SECONDS", type=click.FloatRange(0), help="Run each so long: heat.")
@click.option("--layers", is_flag=True, help="Time each layer too, in passes of their own, summed by modules.")
@click.option("--images", type=click.Path(exists=True, file_okay=False), help="A folder of images to measure with.")
@click.option("--pin-clocks", is_flag=True, help="Highest power mode and clocks meanwhile; restored at the end.")
@click.option(
    "--compare",
    "earlier",
    type=click.Path(exists=True, dir_okay=False),
    metavar="OLD.json",
    help="Exit with 4 if a network got more than 5 % slower.",
)
@click.option(
    "--report",
    "output",
    default="bench.json",
    show_default=True,
    type=click.Path(dir_okay=False),
    help="File of the report with every sample; a CSV table and, for a sweep or --layers, an SVG plot go beside it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON instead of tables.")
@click.option("--host", type=HOST, help="Measure there, over SSH.")
@click.option("--port", default=22, show_default=True, type=click.IntRange(1, 65535), help="The SSH port of --host.")
@click.pass_context
def jetson_bench(
    context: click.Context,
    artifacts: Tuple[str, ...],
    res: Tuple[int, int],
    sweep: Optional[List[Tuple[int, int]]],
    precisions: Tuple[str, ...],
    engine: EngineOptions,
    passes: int,
    rounds: int,
    sustained: float,
    layers: bool,
    images: Optional[str],
    pin_clocks: bool,
    earlier: Optional[str],
    output: str,
    as_json: bool,
    host: Optional[str],
    port: int,
) -> None:
    """Measure latency: 100 passes with every stage timed, mean and std as in the paper's Table 1, and percentiles.

    NAME is a trained network, ARTIFACT the folder of an exported one; without any, all under artifacts/ are measured.
    The exit code is 3 if a result is flagged as unreliable, for the reasons that are printed, and 4 after a regression.
    """
    from fastnas.jetson.bench import report, run
    from fastnas.jetson.bench.measure import Settings
    from fastnas.jetson.engine.opening import resolve_engine

    before = report.read_report(earlier) if earlier is not None else None
    found = run.find_artifacts(artifacts, _log)
    settings = Settings(passes, rounds, sustained, engine, layers)
    # Which engine `auto` is on a board only the board knows; TensorRT is why one has a board.
    there = "tensorrt" if host is not None and engine.engine == "auto" else resolve_engine(engine.engine)
    workloads = run.choose_workloads(found, sweep or [res], precisions, there)
    if host is not None:
        from fastnas.jetson.bench.remote import measure_there

        result = measure_there(host, port, workloads, settings, pin_clocks, images, _log)
    else:
        result = run.run_benchmark(workloads, settings, images, pin_clocks, _log)
    click.echo(json.dumps(result) if as_json else report.to_table(result))
    _log("wrote " + ", ".join(report.save(result, output, _log)))
    changes = [] if before is None else report.compare(result, before)
    for change in changes:
        click.echo(change.line(), err=as_json)
    unreliable = any(row["reasons"] for row in result["rows"])
    context.exit(REGRESSED if any(change.regressed for change in changes) else UNRELIABLE if unreliable else 0)


@main.command("doctor", short_help="Check this machine, and name the command for each problem.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """List what this machine has, what is missing, and the command that fixes it. Exits with 1 if something fails."""
    from fastnas.jetson.system.doctor import examine, to_text
    from fastnas.jetson.system.findings import FAIL
    from fastnas.jetson.system.machine import Machine

    sections = examine(Machine())
    if as_json:
        listed = {name: [dict(finding._asdict()) for finding in findings] for name, findings in sections.items()}
        click.echo(json.dumps(listed, indent=1))
    else:
        click.echo(to_text(sections))
    context.exit(1 if any(finding.status == FAIL for findings in sections.values() for finding in findings) else 0)


@main.command("measure", hidden=True)
@click.argument("request")
@click.option("--report", "output", required=True, type=click.Path(dir_okay=False))
@click.option("--pin-clocks", is_flag=True)
def measure(request: str, output: str, pin_clocks: bool) -> None:
    """The board's side of `jetson-bench --host`: measure what REQUEST names and write the report."""
    from fastnas.jetson.bench.remote import read_request
    from fastnas.jetson.bench.run import run_benchmark
    from fastnas.jetson.files import write_text

    workloads, settings, images = read_request(request)
    write_text(output, json.dumps(run_benchmark(workloads, settings, images, pin_clocks, _log)))
