"""TensorRT's work is enqueued by one launch of a CUDA graph, or kernel by kernel where that does not work.

TensorRT and CUDA are stand-ins; on a real GPU: `tests/deploy/test_tensorrt_gpu.py`.
"""

import json
import os
import subprocess
import sys

import pytest

from tests.helpers import paths
from tests.helpers.fake_cuda import ctypes_environment
from tests.helpers.jetson_toys import toy_artifacts

# Runs in a process that has the stand-ins: every case in turn, and prints what happened in each.
CASES = """
import gc, json, os, sys
import numpy as np
from fastnas.jetson import sidecar
from fastnas.jetson.engine.cuda import opening
from fastnas.jetson.engine.opening import open_engine
from fastnas.jetson.options import EngineOptions
import cuda_record, tensorrt

artifact = sidecar.load(sys.argv[1])

def run(fault="", cuda_fault="", **options):
    lines, tensorrt._FAULT = [], fault
    opening._told.clear()
    cuda_record.clear()
    os.environ["FAKE_CUDA_FAULT"] = cuda_fault
    with open_engine(artifact, (64, 96), "fp32", EngineOptions("tensorrt", **options), lines.append) as engine:
        assert not engine.input.any()
        engine.input[...] = np.random.RandomState(1).rand(*engine.input.shape)
        before = len(cuda_record.calls())
        sums = [float(np.abs(engine.run()["segmentation"]).sum()) for _ in range(3)]
        told = dict(lines=lines, sums=sums, calls=cuda_record.calls()[before:], graph=engine.about["graph"])
    del os.environ["FAKE_CUDA_FAULT"]
    gc.collect()
    return dict(told, live=cuda_record.live(), wrong=[each for each in cuda_record.freed() if "leaked" in each])

with open_engine(artifact, (64, 96), "fp32", EngineOptions("onnxruntime", threads=1)) as engine:
    engine.input[...] = np.random.RandomState(1).rand(*engine.input.shape)
    wanted = float(np.abs(engine.run()["segmentation"]).sum())
cases = {"graph": run(), "refused": run("capture"), "lost": run(cuda_fault="capture"), "wrong": run("graph")}
print(json.dumps([wanted, dict(cases, off=run(graph=False))]))
"""

NONE = "CUDA graph: none, the host enqueues kernel by kernel: "


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("graphs")
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([paths.FAKES, paths.ROOT]), **ctypes_environment(folder))
    environment.update(FAKE_TENSORRT="8.2", FASTNAS_CACHE=str(folder / "cache"))
    command = [sys.executable, "-c", CASES, toy_artifacts(tmp_path_factory)["segmentation"]]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout.decode())


def test_a_pass_is_one_launch(cases):
    case = cases[1]["graph"]
    assert case["calls"] == ["htod", "graph", "dtoh"] * 3
    assert case["graph"] is True
    assert case["lines"][-1] == "CUDA graph: one launch enqueues a network (--no-graph)"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("refused", "TensorRT refused to run toy-segmentation fp32 at 64x96: operation not permitted when stream is"),
        ("lost", "cudaStreamEndCapture failed: operation failed due to a previous error during capture"),
        ("wrong", "its outputs differ by 1 of the largest value"),
    ],
)
def test_what_cannot_be_recorded_is_enqueued_as_before(cases, name, reason):
    case = cases[1][name]
    assert case["lines"][-1].startswith(NONE + reason)
    assert "\n" not in case["lines"][-1]
    assert (case["calls"], case["graph"]) == (["htod", "dtoh"] * 3, False)


def test_without_the_option_nothing_is_recorded(cases):
    case = cases[1]["off"]
    assert (case["calls"], case["graph"]) == (["htod", "dtoh"] * 3, False)
    assert not [line for line in case["lines"] if "graph" in line]


def test_results_are_the_same_and_everything_is_freed(cases):
    wanted, found = cases
    for name, case in found.items():
        assert (name, case["live"], case["wrong"]) == (name, {}, [])
        assert case["sums"] == pytest.approx([wanted] * 3, rel=1e-5)
