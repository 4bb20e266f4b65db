"""The camera's frames are processed by the GPU around a network in TensorRT, or by the CPU, with the same results.

TensorRT, CUDA and NVRTC are stand-ins; the kernels are ours, compiled by a host's compiler. On a real GPU they run in
`test_gpu`, and around a real engine in `tests/deploy/test_tensorrt_gpu.py`.
"""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from tests.helpers import paths
from tests.helpers.fake_cuda import build_fake_nvrtc, ctypes_environment
from tests.helpers.host_kernels import build_host_kernels
from tests.helpers.jetson_toys import toy_artifacts

# Runs in a process that has the stand-ins: every case in turn, and prints what happened in each.
CASES = """
import gc, json, os, sys
import numpy as np
from fastnas.jetson import sidecar
from fastnas.jetson.engine.cuda import opening
from fastnas.jetson.engine.kernels import compiled
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.inference.predictor import InferenceOptions, Predictor, by_task
from fastnas.jetson.options import EngineOptions
import cuda_record

artifact = sidecar.load(sys.argv[1])
random = np.random.RandomState(0)
frames = [random.randint(0, 256, shape + (3,)).astype(np.uint8) for shape in ((90, 160), (130, 200), (64, 96))]

def predict(engine, fine=False, memory="auto"):
    lines, found, about, calls, error = [], [], {}, [], ""
    opening._told.clear()
    cuda_record.clear()
    graph = "FAKE_BROKEN_PYCUDA" in os.environ  # with graphs pycuda is not used
    engine_options = EngineOptions(engine, threads=1, memory=memory, graph=graph)
    options = InferenceOptions((64, 96), engine=engine_options, fine=fine)
    try:
        with Predictor(by_task([artifact]), (90, 160), options, lines.append) as predictor:
            for frame in frames:
                before = len(cuda_record.calls())
                predictions = predictor(frame)
                calls.append([call for call in cuda_record.calls()[before:] if call != "graph"])
                found.append([predictions.segmentation, predictions.depth, predictions.pose])
            about = predictor._networks[0][1].engine.about
    except JetsonError as caught:
        error = str(caught)
    os.environ.pop("FAKE_CUDA_FAULT", None)
    gc.collect()
    wrong = [each for each in cuda_record.freed() if "leaked" in each or "cuda" in each or "cuModule" in each]
    told = dict(lines=lines, calls=calls, error=error, live=cuda_record.live(), wrong=wrong)
    return found, dict(told, processing=about.get("processing"), made=sum(l == "+device" for l in cuda_record.lines()))

def compared(wanted, **more):
    found, told = predict("tensorrt", **more)
    differences = [[float(np.abs(a.astype(float) - b).max()) for a, b in zip(*pair)] for pair in zip(found, wanted)]
    return dict(told, differences=differences, shapes=[list(each[0].shape) for each in found])

compiled.runtime_paths = lambda root, name: sys.argv[2:]
wanted = predict("onnxruntime")[0]
cases = {"built": compared(wanted), "gpu": compared(wanted), "mapped": compared(wanted, memory="mapped")}
cases["fine"] = compared(predict("onnxruntime", fine=True)[0], fine=True)
os.environ["FAKE_CUDA_FAULT"] = "module"
cases["no module"] = compared(wanted)
engine_alone, all_of_it = cases["no module"]["made"], cases["gpu"]["made"]
for number in range(engine_alone + 1, all_of_it + 1):
    os.environ["FAKE_CUDA_FAULT"] = "device{}".format(number)
    cases["device {}".format(number - engine_alone)] = compared(wanted)
compiled.runtime_paths = lambda root, name: []
cases["no NVRTC"] = compared(wanted)
print(json.dumps(cases))
"""

CPU = "pre- and post-processing: on the CPU; not on the GPU: "


@pytest.fixture(scope="module", params=["pycuda", "ctypes"])
def cases(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("processing")
    environment = dict(
        os.environ,
        PYTHONPATH=os.pathsep.join([paths.FAKES, paths.ROOT]),
        FAKE_TENSORRT="10",
        FAKE_KERNELS=build_host_kernels(folder),
        FASTNAS_CACHE=str(folder / "cache"),
    )
    if request.param == "ctypes":
        environment.update(ctypes_environment(folder))
    command = [sys.executable, "-c", CASES, toy_artifacts(tmp_path_factory)["multi"], build_fake_nvrtc(folder)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout.decode())


@pytest.mark.parametrize("name", ["built", "gpu", "mapped", "fine"])
def test_on_the_gpu_predictions_are_the_cpus(cases, name):
    """Class ids and metres to the bit but where two classes are equal, joints to a thousandth of a pixel."""
    case = cases[name]
    assert case["error"] == ""
    assert np.max(case["differences"]) < 1e-3
    assert case["shapes"] == [[64, 96] if name == "fine" else [16, 24]] * 3
    assert case["processing"].startswith("GPU, by NVRTC ")
    assert "pre- and post-processing: on the " + case["processing"] in case["lines"]


def test_a_pass_copies_the_frame_and_what_is_computed_of_it(cases):
    """A frame is halved once, logits and heatmaps stay on the GPU; the depth is ready and copied."""
    after = ["arg_max 3,1 128,1", "highest_rows 1,1 128,1", "peaks 1,1 128,1"]
    assert cases["gpu"]["calls"][2] == ["htod"] * 3 + ["resize_to_planes 3,8 32,8", "dtoh"] + after + ["dtoh"] * 2
    assert cases["mapped"]["calls"][2] == ["resize_to_planes 3,8 32,8"] + after
    halved = [call for call in cases["gpu"]["calls"][1] if call.startswith("resize")]
    assert halved == ["resize 4,9 32,8", "resize_to_planes 3,8 32,8"]
    assert "resize_arg_max 3,8 32,8" in cases["fine"]["calls"][0]


def test_everything_is_freed_in_its_context(cases):
    for name, case in cases.items():
        assert (name, case["live"], case["wrong"]) == (name, {}, [])


def test_without_kernels_the_cpu_does_it_and_a_line_says_so(cases):
    for name, reason in (("no module", "out of memory"), ("no NVRTC", "libnvrtc is not installed")):
        (line,) = [line for line in cases[name]["lines"] if line.startswith(CPU)]
        assert reason in line
        assert cases[name]["processing"] is None
        assert np.max(cases[name]["differences"]) < 1e-4
        assert cases[name]["calls"] == [["htod", "dtoh", "dtoh", "dtoh"]] * 3


def test_memory_that_runs_out_in_the_middle_is_the_cpus_path_or_a_line(cases):
    """While the engine opens the CPU takes over; at a frame of a new size there is nothing left but a line."""
    attempts = [cases[name] for name in cases if name.startswith("device ")]
    at_opening = [case for case in attempts if not case["error"]]
    at_a_frame = [case for case in attempts if case["error"]]
    assert len(at_opening) >= 3
    assert len(at_a_frame) >= 3
    for case in at_opening:
        assert case["processing"] is None
        assert np.max(case["differences"]) < 1e-4
        assert [line for line in case["lines"] if line.startswith(CPU) and "out of memory" in line]
    for case in at_a_frame:
        assert case["error"].startswith("CUDA failed while preparing frames of ")
        assert re.search("out of memory.*; close other programs", case["error"])
        assert "\n" not in case["error"]
