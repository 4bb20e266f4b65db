"""Time per layer: whose a layer is, ONNX Runtime's and TensorRT's profilers, the report, the command, over SSH."""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from importlib.util import find_spec

import pytest
from click.testing import CliRunner

from fastnas.jetson.bench import layers, report
from fastnas.jetson.commands import main
from fastnas.jetson.engine.profiled import ProfiledPass, read_events
from fastnas.jetson.errors import JetsonError
from tests.helpers import paths
from tests.helpers.jetson_toys import toy_artifacts

OPERATION = "decoder.blocks.0.cells.1.operations.5"
OUTPUTS = {"segmentation": "decoder.classifier"}


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    return toy_artifacts(tmp_path_factory)


@pytest.mark.parametrize(
    ("layer", "module", "part"),
    [
        ("encoder.stages.0.3.conv.0.1 + encoder.stages.0.3.conv.0.2", "encoder.stages.0.3", "encoder"),
        ("encoder.backbone.layer1.0.conv1", "encoder.backbone.layer1.0", "encoder"),
        ("encoder.backbone.conv_stem", "encoder.backbone.conv_stem", "encoder"),
        ("decoder.adapters.3.1 + decoder.adapters.3.2", "decoder.adapters.3", "adapters"),
        (OPERATION + ".1.0", OPERATION, "cell operations"),
        (OPERATION + ".1.3_nchwc", OPERATION, "cell operations"),
        ("PWN(PWN(" + OPERATION + ".2), decoder.blocks.0.cells.1.6/sum2)", OPERATION, "cell operations"),
        ("decoder.blocks.0.cells.1.6/sum2", "decoder.blocks.0.cells.1 sum", "sums"),
        ("decoder.blocks.2.2", "decoder.blocks.2 sum", "sums"),
        ("decoder.blocks.2_nchwc", "decoder.blocks.2 sum", "sums"),
        ("decoder.blocks.2.projections.1.1", "decoder.blocks.2.projections.1", "projections"),
        ("decoder.collect.1/part1/small", "decoder.collect", "collect"),
        ("decoder.classifier/pose", "decoder.classifier", "classifier"),
        ("segmentation_nchwc", "decoder.classifier", "classifier"),
        ("decoder.aspp.convs.3.1", "decoder.aspp.convs.3", "decoder"),
        ("labels/index", "labels", "output"),
        ("size/8/axis3/taps3x1/planes", "size", "cell operations"),
        ("decoder.adapters.0.1_QuantizeLinear", "decoder.adapters.0", "adapters"),
        ("Reformatting CopyNode for Input Tensor 0 to decoder.classifier", "layout", "layout"),
        ("ReorderOutput", "layout", "layout"),
        ("__myl_ConvAdd_myl0_12", "unnamed", "unnamed"),
    ],
)
def test_a_layer_is_of_the_module_that_its_name_begins_with(layer, module, part):
    assert layers.place(layer, OUTPUTS)[:2] == (module, part)


def test_what_else_a_layer_spans_is_named():
    pair = "decoder.blocks.0.cells.0.operations.1.0.0 || " + OPERATION + ".0.0 || " + OPERATION + ".0.2"
    assert layers.place(pair, {}).others == (OPERATION,)
    dla = "{ForeignNode[encoder.stages.0.0.1...decoder.classifier]}"
    assert layers.place(dla, {}) == ("encoder.stages.0.0", "encoder", ("decoder.classifier",))
    assert layers.place("encoder.stages.0.3.conv.3 + encoder.stages.0.3", {}).others == ()


def test_times_are_summed_by_modules_and_nothing_is_lost():
    names = [OPERATION + ".0", OPERATION + ".1 || decoder.collect.1", "decoder.collect.1", "mystery"]
    passes = [ProfiledPass(10.0, dict(zip(names, ms))) for ms in ([1, 2, 3, 0.5], [3, 4, 3, 0.5])]
    found = layers.summarise_layers(passes, {})
    assert (found["passes"], found["pass_ms"], found["layers_ms"]) == (2, 10.0, 8.5)
    assert [(each["name"], each["ms"], each["layers"]) for each in found["modules"]] == [
        (OPERATION, 5.0, 2), ("decoder.collect", 3.0, 1), ("unnamed", 0.5, 1),
    ]  # fmt: skip
    assert found["modules"][0]["std"] == pytest.approx(2 * 2**0.5)
    assert [each["others"] for each in found["layers"]] == [[], ["decoder.collect"], [], []]


def test_onnx_runtimes_events_are_told_apart_by_passes():
    def event(kind, name, start, duration):
        return {"cat": kind, "name": name, "ts": start, "dur": duration}

    events = [
        event("Session", "model_run", 100, 50), event("Session", "model_run", 10, 40),
        event("Node", "a_kernel_time", 12, 5), event("Node", "a_fence_before", 11, 1),
        event("Node", "a_kernel_time", 101, 7), event("Node", "b_kernel_time", 110, 9),
    ]  # fmt: skip
    assert read_events(events) == [(0.04, {"a": 0.005}), (0.05, {"a": 0.007, "b": 0.009})]


def bench(folder, *arguments):
    words = ["jetson-bench"] + [str(argument) for argument in arguments]
    return CliRunner().invoke(main, words + ["--passes", "4", "--layers", "--report", str(folder / "bench.json")])


def test_the_command_times_layers_in_passes_of_their_own(tmp_path, toys):
    done = bench(tmp_path, toys["segmentation"], "--res", "64x96", "--engine", "onnxruntime", "--threads", 1)
    assert done.exit_code == 3, done.output  # four passes are too few
    values = report.read_report(str(tmp_path / "bench.json"))
    (row,) = values["rows"]
    assert len(row["samples"]["compute"]) == 4
    found = row["layers"]
    assert found["passes"] == layers.PASSES
    modules = {each["name"]: each["ms"] for each in found["modules"]}
    assert {"encoder.stages.0.0", "decoder.classifier"} <= set(modules) <= {
        "encoder.stages.0.0", "decoder.classifier", "layout",
    }  # fmt: skip
    assert 0 < sum(modules.values()) <= found["pass_ms"]
    assert "toy-segmentation fp32 64x96, time per layer: 30 passes with a profiler" in done.output
    if find_spec("matplotlib") is not None:
        svg = (tmp_path / "bench-layers.svg").read_text()
        assert ET.fromstring(svg).tag.endswith("}svg")
        assert "<!-- encoder.stages.0.0 -->" in svg
        assert not (tmp_path / "bench.svg").exists()


def test_without_the_option_nothing_is_profiled(tmp_path, toys):
    words = ["jetson-bench", toys["depth"], "--res", "32", "--engine", "onnxruntime", "--passes", "2"]
    done = CliRunner().invoke(main, words + ["--report", str(tmp_path / "bench.json")])
    assert "per layer" not in done.output
    assert report.read_report(str(tmp_path / "bench.json"))["rows"][0]["layers"] is None


FUSED = [
    ["Reformatting CopyNode for Input Tensor 0 to encoder.stages.0.0.0 + encoder.stages.0.0.1", 0.25],
    ["encoder.stages.0.0.0 + encoder.stages.0.0.1", 2.0],
    ["decoder.classifier || decoder.collect.1", 1.0],
]


def tensorrt(folder, version, toy):
    words = ["jetson-bench", toy, "--res", "64x96", "--passes", "2", "--rounds", "1", "--precision", "fp32"]
    command = [sys.executable, "-m", "fastnas.jetson"] + words + ["--engine", "tensorrt", "--layers"]
    changed = {
        "PYTHONPATH": os.pathsep.join([paths.FAKES, paths.ROOT]),
        "FAKE_TENSORRT": version,
        "FAKE_LAYERS": json.dumps(FUSED),
        "FASTNAS_CACHE": str(folder / "cache"),
    }
    done = subprocess.run(
        command,
        cwd=str(folder),
        env=dict(os.environ, **changed),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        timeout=120,
    )
    assert done.returncode == 3, done.stderr
    return done, report.read_report(str(folder / "bench.json"))["rows"][0]["layers"]


@pytest.mark.parametrize("version", ["8.2", "8.6", "10", "11"])
def test_tensorrt_tells_its_profiler_the_fused_layers(tmp_path, toys, version):
    done, found = tensorrt(tmp_path, version, toys["segmentation"])
    assert [(each["name"], each["part"], each["ms"]) for each in found["modules"]] == [
        ("layout", "layout", 0.25), ("encoder.stages.0.0", "encoder", 2.0), ("decoder.classifier", "classifier", 1.0),
    ]  # fmt: skip
    assert "1 layers span several modules and count for the first: 1.00 ms" in done.stdout


def test_tensorrt_8_0_has_no_profiler_and_the_latency_is_kept(tmp_path, toys):
    done, found = tensorrt(tmp_path, "8.0", toys["segmentation"])
    assert found is None
    assert "no time per layer: toy-segmentation fp32 64x96: TensorRT 8.0.1.6 does not tell" in done.stderr
    assert "ms (mean ± std)" in done.stdout


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"passes": "many"}, "layers.passes must be a whole number"),
        (
            {"modules": [{"name": "x", "part": "wheel", "layers": 1, "ms": 1.0, "std": 0.0}]},
            "part must be one of",
        ),
        ({"layers": [{"name": "x", "module": "x", "others": [1], "ms": 1.0}]}, r"others\[0\] must be text"),
    ],
)
def test_layers_that_others_wrote_are_checked(tmp_path, toys, change, line):
    bench(tmp_path, toys["depth"], "--res", "32", "--engine", "onnxruntime")
    path = tmp_path / "bench.json"
    values = json.loads(path.read_text())
    values["rows"][0]["layers"].update(change)
    path.write_text(json.dumps(values))
    with pytest.raises(JetsonError, match=line):
        report.read_report(str(path))
