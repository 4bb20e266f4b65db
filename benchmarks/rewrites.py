"""What each rewrite of the graph saves: multiply-adds, operators and latency when it alone is left out.

    python benchmarks/rewrites.py                                # ten networks at 512x512
    python benchmarks/rewrites.py arch0 --input bytes --json

Every row compares the graph without one rewrite to the graph with all of them: +2 % means that this rewrite saves 2 %.
What later rewrites can do without it is lost too, so rows do not add up; the row `none` has no rewrite at all.

Columns: multiply-adds; operators of the ONNX file; operators that ONNX Runtime runs after optimising the file itself;
and latency, processor time of one thread: the 10th percentile over several sessions (the layout in memory differs from
session to session) and rounds, in which the files take turns. On a busy machine differences in latency up to 5 % are
noise; the counts are exact. TensorRT is not measured: it folds batch norms and activations itself.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from typing import Any

import click
import numpy as np
import onnx
import onnxruntime

from fastnas.data import default_task
from fastnas.deploy.graph.capture import capture
from fastnas.deploy.graph.ir import OUTPUT, Graph
from fastnas.deploy.graph.rewrites import REWRITES
from fastnas.deploy.io_forms import take_bytes
from fastnas.deploy.onnx.writer import INPUT, to_onnx
from fastnas.deploy.parity import open_session
from fastnas.models.baselines.registry import BASELINES
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


def measure(files: set[bytes], image: Any, sessions: int, rounds: int) -> dict[bytes, list[float]]:
    """Milliseconds of processor time of each file, `rounds` times in each of several sessions."""
    samples: dict[bytes, list[float]] = {content: [] for content in files}
    for _ in range(sessions):
        opened = {content: open_session(onnx.load_from_string(content), 1, SIZE) for content in files}
        for _ in range(rounds):
            for content, session in opened.items():
                start = time.process_time()
                session.run([OUTPUT], {INPUT: image})
                samples[content].append((time.process_time() - start) * 1000)
    return samples


def compare(graph: Graph, layout: str, sessions: int, rounds: int) -> dict[str, dict[str, Any]]:
    """The four columns of each variant, by its name; equal files are measured once."""
    models = {name: (variant, to_onnx(variant)) for name, variant in variants(graph).items()}
    contents = {name: model.SerializeToString(deterministic=True) for name, (_, model) in models.items()}
    generator = np.random.default_rng(0)
    image: Any = generator.standard_normal((1, 3, *SIZE), np.float32)
    if layout == "bytes":
        image = generator.integers(0, 256, (1, *SIZE, 3), np.uint8)
    samples = measure(set(contents.values()), image, sessions, rounds)
    return {
        name: {
            "multiply_adds": variant.multiply_adds(*SIZE),
            "operators": len(model.graph.node),
            "optimised_operators": optimised_operators(model),
            "milliseconds": samples[contents[name]],
        }
        for name, (variant, model) in models.items()
    }


@click.command()
@click.argument("networks", nargs=-1)
@click.option("--input", "layout", type=click.Choice(["floats", "bytes"]), default="floats", show_default=True,
              help="Input of the graph, as of fastnas export.")  # fmt: skip
@click.option("--sessions", default=4, show_default=True, help="Times that each file is loaded anew.")
@click.option("--rounds", default=12, show_default=True, help="Measured rounds in each session.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON with the raw samples, one line for each network.")
def main(networks: tuple[str, ...], layout: str, sessions: int, rounds: int, as_json: bool) -> None:
    """What each rewrite saves on NETWORKS (the paper's and the baselines by default)."""
    for name in networks or NETWORKS:
        network = build(ModelSpec(name, default_task("segmentation"))).eval()
        graph = capture(network)
        if layout == "bytes":
            graph = take_bytes(graph, network.encoder.mean, network.encoder.std)
        rows = compare(graph, layout, sessions, rounds)
        if as_json:
            print(json.dumps({"network": name, "input": layout, "rows": rows}), flush=True)
            continue
        table = {
            row: {**columns, "milliseconds": float(np.percentile(columns["milliseconds"], 10))}
            for row, columns in rows.items()
        }
        whole = table.pop("all")
        print(f"{name}: {whole['multiply_adds'] / 1e9:.3f} G multiply-adds, {whole['operators']} operators, "
              f"{whole['optimised_operators']} after ONNX Runtime, {whole['milliseconds']:.1f} ms")  # fmt: skip
        for row, columns in table.items():
            print(f"  {row:26}", *(f"{columns[key] / whole[key] - 1:+8.1%}" for key in whole), flush=True)


if __name__ == "__main__":
    main()
