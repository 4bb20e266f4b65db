"""What each rewrite of the graph saves: multiply-adds, operators and latency when it alone is left out.

    python benchmarks/rewrites.py                                # ten networks at 512x512
    python benchmarks/rewrites.py arch0 --input bytes --cpu-time --json

Every row compares the graph without one rewrite to the graph with all of them: +2 % means that this rewrite saves 2 %.
What later rewrites can do without it is lost too, so rows do not add up; the row `none` has no rewrite at all.

Columns: multiply-adds; operators of the ONNX file; operators that ONNX Runtime runs after optimising the file itself;
milliseconds, the minimum over all rounds, in which the files take turns. Other programs on the machine disturb the
minimum least, and `--cpu-time` (processor time of one thread) helps further, but on a busy machine differences under a
tenth are noise even so: the counts are exact. TensorRT is not measured; it folds batch norms and activations itself.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import click
import numpy as np
import onnx
import onnxruntime
from export_latency import machine, measure

from fastnas.data import default_task
from fastnas.deploy.graph.capture import capture
from fastnas.deploy.graph.ir import Graph
from fastnas.deploy.graph.rewrites import REWRITES
from fastnas.deploy.io_forms import take_bytes
from fastnas.deploy.onnx.writer import INPUT, OUTPUT, to_onnx
from fastnas.deploy.parity import open_session
from fastnas.models.baselines import BASELINES
from fastnas.models.spec import ModelSpec, build
from fastnas.models.zoo import ZOO

NETWORKS = (*ZOO, *(name for name in BASELINES if not name.endswith(("101", "152"))))
"""ResNet-101 and 152 repeat the blocks of ResNet-50."""

SIZE = (512, 512)


def apply(graph: Graph, rewrites: tuple[Callable[[Graph], Graph], ...]) -> Graph:
    """The graph after some rewrites."""
    for rewrite in rewrites:
        graph = rewrite(graph)
    return graph


def variants(graph: Graph) -> dict[str, Graph]:
    """The graph with all rewrites, without any, and with all but each one."""
    without = {
        name: apply(graph, tuple(rewrite for rewrite in REWRITES if rewrite.__name__ != name))
        for name in dict.fromkeys(rewrite.__name__ for rewrite in REWRITES)
    }
    return {"all": apply(graph, REWRITES), "none": graph} | without


def optimised_operators(model: onnx.ModelProto) -> int:
    """How many operators are left after ONNX Runtime optimised the model for this processor."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    for name, side in zip(("height", "width"), SIZE, strict=True):
        options.add_free_dimension_override_by_name(name, side)
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = f"{folder}/model.onnx"
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return len(onnx.load(options.optimized_model_filepath).graph.node)


def compare(graph: Graph, layout: str, threads: int, rounds: int, clock: Callable[[], float]) -> list[dict[str, Any]]:
    """One row for each variant; equal files are measured once."""
    rows, files = [], {}
    for name, variant in variants(graph).items():
        model = to_onnx(variant)
        files[name] = model.SerializeToString(deterministic=True)
        rows.append(
            {
                "without": name,
                "multiply_adds": variant.multiply_adds(*SIZE),
                "operators": len(model.graph.node),
                "optimised": optimised_operators(model),
            }
        )
    generator = np.random.default_rng(0)
    image: Any = generator.standard_normal((1, 3, *SIZE), np.float32)
    if layout == "bytes":
        image = generator.integers(0, 256, (1, *SIZE, 3), np.uint8)
    turns = {
        content: partial(open_session(onnx.load_from_string(content), threads, SIZE).run, [OUTPUT], {INPUT: image})
        for content in dict.fromkeys(files.values())
    }
    samples = measure(turns, rounds, clock)
    for row in rows:
        row["milliseconds"] = samples[files[row["without"]]]
    return rows


@click.command()
@click.argument("networks", nargs=-1)
@click.option("--input", "layout", type=click.Choice(["floats", "bytes"]), default="floats", show_default=True,
              help="Input of the graph, as of fastnas export.")  # fmt: skip
@click.option("--threads", default=2, show_default=True, help="Of ONNX Runtime.")
@click.option("--rounds", default=15, show_default=True, help="Measured rounds.")
@click.option("--cpu-time", is_flag=True, help="Processor time of one thread instead of the clock's.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON with the raw samples, one line for each network.")
def main(networks: tuple[str, ...], layout: str, threads: int, rounds: int, cpu_time: bool, as_json: bool) -> None:
    """What each rewrite saves on NETWORKS (the paper's and the baselines by default)."""
    threads = 1 if cpu_time else threads
    clock = time.process_time if cpu_time else time.perf_counter
    print(json.dumps({"machine": machine(threads, clock)}))
    for name in networks or NETWORKS:
        network = build(ModelSpec(name, default_task("segmentation"))).eval()
        graph = capture(network)
        if layout == "bytes":
            graph = take_bytes(graph, network.encoder.mean, network.encoder.std)
        rows = compare(graph, layout, threads, rounds, clock)
        if as_json:
            print(json.dumps({"network": name, "input": layout, "rows": rows}), flush=True)
            continue
        whole = rows[0]
        print(f"{name}: {whole['multiply_adds'] / 1e9:.3f} G, {whole['operators']} operators, "
              f"{whole['optimised']} optimised, {min(whole['milliseconds']):.1f} ms")  # fmt: skip
        for row in rows[1:]:
            changes = [row[key] / whole[key] - 1 for key in ("multiply_adds", "operators", "optimised")]
            changes.append(min(row["milliseconds"]) / min(whole["milliseconds"]) - 1)
            print(f"  {row['without']:26}", *(f"{change:+8.1%}" for change in changes), flush=True)


if __name__ == "__main__":
    main()
