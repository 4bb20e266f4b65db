"""Every engine keeps the same contract; TensorRT's names are those of five versions, each in a process of its own."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from fastnas.jetson import sidecar
from fastnas.jetson.commands import main
from fastnas.jetson.engine import build
from fastnas.jetson.engine.opening import open_engine
from fastnas.jetson.engine.verify import difference
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.options import MEMORY_KINDS, EngineOptions
from tests.helpers import paths
from tests.helpers.fake_cuda import ctypes_environment
from tests.helpers.jetson_toys import toy_artifacts
from tests.helpers.waiting import alive, wait_for

VERSIONS = ("8.0", "8.2", "8.6", "10", "11")

# Runs in a process that has the fakes: opens the engine twice, checks the contract, prints what happened.
# Graphs are asked for where the binding is ctypes: with them pycuda is not used.
CONTRACT = """
import json, os, sys
import numpy as np
from fastnas.jetson import sidecar
from fastnas.jetson.engine.opening import open_engine
from fastnas.jetson.options import EngineOptions
from fastnas.jetson.errors import JetsonError
import cuda_record

folder, precision = sys.argv[1:3]
options = dict(json.loads(sys.argv[3]), graph="FAKE_BROKEN_PYCUDA" in os.environ)
artifact, said = sidecar.load(folder), []
def once():
    with open_engine(artifact, (64, 96), precision, EngineOptions("tensorrt", **options), said.append) as engine:
        engine.feed(np.random.RandomState(1).rand(*engine.input.shape).astype(engine.input.dtype))
        outputs = engine.run()
        sums = {name: float(array.sum()) for name, array in outputs.items()}
        before = len(cuda_record.calls())
        for _ in range(5):
            engine.run()
        calls = cuda_record.calls()[before:]
        with open(engine.about["path"], "rb") as file:
            header = json.loads(file.readline().decode())
        return sums, header, engine.stages, engine.about, calls
try:
    sums, header, stages, about, calls = once()
    lines, said[:] = list(said), []
    once()
except JetsonError as error:
    sys.exit("ERROR " + str(error))
found = {"header": header, "stages": stages, "about": about, "calls": calls, "lines": lines, "again": said}
print(json.dumps(dict(found, sums=sums)))
"""


# Opens, runs and closes an engine, whatever fails; prints the error and what was freed, in order.
LIFE = """
import json, os, sys
from fastnas.jetson import sidecar
from fastnas.jetson.engine.opening import open_engine
from fastnas.jetson.options import EngineOptions
from fastnas.jetson.errors import JetsonError
import cuda_record

line = ""
try:
    options = EngineOptions("tensorrt", graph="FAKE_BROKEN_PYCUDA" in os.environ)
    with open_engine(sidecar.load(sys.argv[1]), (64, 96), "fp32", options) as engine:
        engine.run()
except JetsonError as error:
    line = str(error)
freed = list(cuda_record.freed())
print(json.dumps([line, freed, cuda_record.live()]))
"""

WITHOUT_ONNXRUNTIME = """
from importlib import util
import fastnas.jetson.engine.verify as check
check.find_spec = lambda name: None if name == "onnxruntime" else util.find_spec(name)
"""


def environment(tmp_path, version, **more):
    search_path = [paths.FAKES, paths.ROOT]
    return dict(
        os.environ,
        PYTHONPATH=os.pathsep.join(search_path),
        FAKE_TENSORRT=version,
        FASTNAS_CACHE=str(tmp_path / "cache"),
        **more,
    )


def contract(tmp_path, version, toy, precision="fp32", options=None, **more):
    command = [sys.executable, "-c", CONTRACT, toy, precision, json.dumps(options or {})]
    done = subprocess.run(
        command,
        env=environment(tmp_path, version, **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        timeout=60,
    )
    return json.loads(done.stdout) if done.returncode == 0 else done.stderr


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    return toy_artifacts(tmp_path_factory)


@pytest.fixture(scope="module")
def expected(toys):
    """What ONNX Runtime says for the contract's input, by toy and output."""
    found = {}
    for kind in ("segmentation", "multi"):
        with open_engine(sidecar.load(toys[kind]), (64, 96), options=EngineOptions("onnxruntime")) as engine:
            engine.input[...] = np.random.RandomState(1).rand(*engine.input.shape)
            found[kind] = {name: float(array.sum()) for name, array in engine.run().items()}
    return found


def test_the_worst_output_of_a_new_engine_counts(toys, monkeypatch):
    artifact, size = sidecar.load(toys["multi"]), (64, 96)
    onnx = artifact.path(artifact.sidecar.files[0])
    with open_engine(artifact, size, options=EngineOptions("onnxruntime", threads=1)) as engine:
        right = engine.run
        assert difference(engine, artifact.sidecar, size, onnx, print) == pytest.approx(0, abs=1e-5)
        for name in ("segmentation", "depth"):
            monkeypatch.setattr(engine, "run", lambda: {**right(), name: 1.5 * right()[name]})  # noqa: B023
            assert difference(engine, artifact.sidecar, size, onnx, print) == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("version", VERSIONS)
def test_several_outputs_of_one_pass_in_tensorrt_of_every_version(tmp_path, version, toys, expected):
    assert list(expected["multi"]) == ["segmentation", "pose", "depth"]
    found = contract(tmp_path, version, toys["multi"])
    assert isinstance(found, dict), found
    assert found["sums"] == pytest.approx(expected["multi"], rel=1e-5)


@pytest.fixture
def binding(request, tmp_path_factory):
    """The environment of a process in which this binding of CUDA is used: "pycuda" or "ctypes"."""
    if request.param == "pycuda":
        return {}
    return ctypes_environment(tmp_path_factory.getbasetemp() / "libraries")


def with_bindings(names, cases):
    """Parametrize by `names` and `binding`: each case with one of both in turn, the other one in the slow tests."""
    pairs = []
    for number, case in enumerate(cases):
        values = case if isinstance(case, tuple) else (case,)
        for other, binding in enumerate(("pycuda", "ctypes")):
            pairs.append(pytest.param(*values, binding, marks=[pytest.mark.slow] if (number + other) % 2 else []))
    return pytest.mark.parametrize(names + ", binding", pairs, indirect=["binding"])


@with_bindings("version", VERSIONS)
def test_tensorrt_of_every_version_builds_runs_and_caches(tmp_path, version, toys, expected, binding):
    found = contract(tmp_path, version, toys["segmentation"], **binding)
    assert isinstance(found, dict), found
    assert found["sums"] == pytest.approx(expected["segmentation"], rel=1e-5)
    assert found["header"]["flags"] == []
    assert found["header"]["shapes"] == {"image": [1, 3, 64, 96]}
    assert found["header"]["workspace"] == 256 << 20
    if binding:
        assert found["lines"].pop(0).startswith("CUDA 12.0 through ctypes: pycuda does not load (libcurand")
    assert found["about"]["CUDA"] == "CUDA {}".format("12.0 through ctypes" if binding else "10.2 through pycuda")
    graph = ["graph"] if binding else []  # pycuda has none
    assert found["calls"] == (["htod"] + graph + ["dtoh"]) * 5
    assert found["about"]["graph"] is bool(binding)
    assert "there is none yet" in found["lines"][0]
    by_hand = found["lines"][1]
    (engine,) = (tmp_path / "cache" / "engines").glob("*.engine")
    assert "trtexec --onnx={}/model.onnx --saveEngine={} ".format(toys["segmentation"], engine) in by_hand
    limit = "--workspace=256" if version in ("8.0", "8.2") else "--memPoolSize=workspace:256"
    assert by_hand.endswith("--shapes=image:1x3x64x96 " + limit)
    assert found["again"] == []
    with open(str(engine)[: -len(".engine")] + ".json") as file:
        assert json.load(file)["difference"] < 1e-5
    inference, copy_in, compute, copy_out, enqueue = found["stages"]
    assert inference >= copy_in + compute + copy_out > 0
    assert inference > enqueue > 0


@pytest.mark.parametrize(("version", "flags"), [("8.0", ["FP16"]), ("8.6", ["FP16"]), ("10", ["FP16"])])
def test_fp16_is_a_flag_on_the_fp32_graph_while_there_is_one(tmp_path, version, flags, toys):
    header = contract(tmp_path, version, toys["segmentation"], "fp16")["header"]
    assert (header["flags"], header["typed"]) == (flags, False)


def test_fp16_needs_the_typed_graph_on_11(tmp_path, toys):
    assert "has no fp16 file for tensorrt" in contract(tmp_path, "11", toys["segmentation"], "fp16")
    with_file = add_fp16_file(tmp_path, toys["segmentation"])
    header = contract(tmp_path, "11", with_file, "fp16")["header"]
    assert (header["flags"], header["typed"]) == ([], True)


def add_fp16_file(tmp_path, toy):
    """A copy of an artifact with a file that is said to be fp16."""
    folder = str(tmp_path / "with-fp16")
    shutil.copytree(toy, folder)
    shutil.copy(os.path.join(folder, "model.onnx"), os.path.join(folder, "model.fp16.onnx"))
    half = sidecar.describe_file(folder, "model.fp16.onnx", "fp16", ("tensorrt",))
    old = sidecar.load(folder).sidecar
    sidecar.save(folder, old._replace(files=old.files + (half,)))
    return folder


DEFAULTS = """
import json, sys
from fastnas.jetson import sidecar
from fastnas.jetson.engine.opening import default_precision, precisions
artifact = sidecar.load(sys.argv[1])
print(json.dumps([default_precision(artifact, "tensorrt"), precisions(artifact, "tensorrt")]))
"""


@pytest.mark.parametrize(
    ("version", "file", "default"),
    [("8.0", False, "fp16"), ("10", False, "fp16"), ("11", False, "fp32"), ("11", True, "fp16")],
)
def test_the_camera_takes_fp16_unless_tensorrt_lacks_the_file_that_it_needs(tmp_path, version, file, default, toys):
    toy = add_fp16_file(tmp_path, toys["segmentation"]) if file else toys["segmentation"]
    command = [sys.executable, "-c", DEFAULTS, toy]
    done = subprocess.check_output(command, env=environment(tmp_path, version), timeout=60)
    assert json.loads(done.decode()) == [default, ["fp32", "fp16"]]


@pytest.mark.parametrize(("version", "measured"), [("10", ["fp32", "fp16"]), ("11", ["fp32"])])
def test_the_benchmark_measures_fp16_unless_tensorrt_lacks_the_file_that_it_needs(tmp_path, version, measured, toys):
    words = ["jetson-bench", toys["segmentation"], "--res", "64x96", "--passes", "2", "--rounds", "1"]
    command = [sys.executable, "-m", "fastnas.jetson"] + words + ["--engine", "tensorrt", "--json"]
    done = subprocess.run(
        command,
        cwd=str(tmp_path),
        env=environment(tmp_path, version),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        timeout=120,
    )
    assert done.returncode == 3, done.stderr
    assert [row["precision"] for row in json.loads(done.stdout)["rows"]] == measured
    assert ("left out: toy-segmentation fp16 64x96: toy-segmentation has no fp16" in done.stderr) == (version == "11")


@pytest.mark.parametrize("version", ["8.2", "8.6", "10"])
def test_a_dla_takes_fp16_with_the_gpu_behind_it(tmp_path, version, toys):
    found = contract(tmp_path, version, toys["segmentation"], "fp16", {"dla": 1}, FAKE_DLA="2")
    header = found["header"]
    assert (header["dla"], header["flags"]) == (1, ["FP16", "GPU_FALLBACK"])
    assert found["lines"][1].endswith("--fp16 --useDLACore=1 --allowGPUFallback")
    other = contract(tmp_path, version, toys["segmentation"], "fp16", {"dla": 0}, FAKE_DLA="2")
    assert "dla was 1, is 0" in other["lines"][0]


@pytest.mark.parametrize(
    ("cores", "precision", "line"),
    [
        ("0", "fp16", "Fake GPU has no DLA; leave out --dla"),
        ("1", "fp16", "Fake GPU has no DLA 1: it has 1, counted from 0"),
        ("2", "fp32", "a DLA runs fp16 alone, not fp32; use --precision fp16"),
    ],
)
def test_a_dla_that_cannot_is_refused_in_a_line(tmp_path, cores, precision, line, toys):
    found = contract(tmp_path, "8.6", toys["segmentation"], precision, {"dla": 1}, FAKE_DLA=cores)
    assert found.startswith("ERROR ")
    assert line in found
    assert not (tmp_path / "cache").exists()


def test_only_tensorrt_knows_the_dla(toys):
    with pytest.raises(JetsonError, match="--dla needs --engine tensorrt, not onnxruntime"):
        open_engine(sidecar.load(toys["depth"]), (32, 32), options=EngineOptions("onnxruntime", dla=0))
    command = ["jetson-bench", toys["depth"], "--res", "32", "--engine", "onnxruntime", "--dla", "0"]
    done = CliRunner().invoke(main, command)
    assert (done.exit_code, "--dla needs --engine tensorrt" in done.output) == (1, True)


@pytest.mark.parametrize("version", ["8.2", "10"])
def test_another_workspace_is_another_engine(tmp_path, version, toys):
    contract(tmp_path, version, toys["segmentation"])
    found = contract(tmp_path, version, toys["segmentation"], "fp32", {"workspace_mb": 64})
    assert found["header"]["workspace"] == 64 << 20
    assert "workspace was 256, is 64" in found["lines"][0]
    assert found["lines"][1].endswith("--workspace=64" if version == "8.2" else "workspace:64")


@pytest.mark.parametrize(("fault", "by"), [("wrong", "by 1."), ("nan", "by inf of")])
def test_an_engine_that_differs_from_its_graph_is_not_kept(tmp_path, fault, by, toys):
    found = contract(tmp_path, "8.6", toys["segmentation"], FAKE_TENSORRT_FAULT=fault)
    assert "toy-segmentation fp32 at 64x96 is wrong: it differs from its graph " + by in found
    assert list((tmp_path / "cache" / "engines").glob("toy*")) == []


def test_without_onnxruntime_an_engine_is_used_but_not_called_compared(tmp_path, monkeypatch, toys):
    """It is compared the first time that ONNX Runtime is there."""
    monkeypatch.setattr(sys.modules[__name__], "CONTRACT", WITHOUT_ONNXRUNTIME + CONTRACT)
    found = contract(tmp_path, "8.6", toys["segmentation"])
    assert any("not compared with its graph: ONNX Runtime is not installed" in line for line in found["lines"])
    monkeypatch.undo()
    lines = contract(tmp_path, "8.6", toys["segmentation"])["lines"]
    assert [line.partition(":")[0] for line in lines] == ["memory"]
    (record,) = (tmp_path / "cache" / "engines").glob("*.json")
    assert json.loads(record.read_text())["difference"] < 1e-5


def test_int8_is_refused_on_a_tx2(tmp_path, toys):
    found = contract(tmp_path, "8.2", toys["segmentation"], "int8", FAKE_COMPUTE="6.2")
    assert "has no INT8 instructions; use --precision fp16" in found


def test_no_memory_to_run_is_one_line(tmp_path, toys):
    found = contract(tmp_path, "8.2", toys["segmentation"], FAKE_TENSORRT_FAULT="memory")
    assert "ERROR there is not enough memory to run" in found


# Compute capability and whether the GPU is the board's; the memory that is chosen, and the copies of a pass.
DEVICES = [
    ({"FAKE_COMPUTE": "6.2", "FAKE_INTEGRATED": "1"}, "ordinary", ["htod", "dtoh"]),
    ({"FAKE_COMPUTE": "5.3", "FAKE_INTEGRATED": "1"}, "ordinary", ["htod", "dtoh"]),
    ({"FAKE_COMPUTE": "7.2", "FAKE_INTEGRATED": "1"}, "mapped", []),
    ({"FAKE_COMPUTE": "11.0", "FAKE_INTEGRATED": "1"}, "mapped", []),
    ({"FAKE_COMPUTE": "8.6"}, "pinned", ["htod", "dtoh"]),
]


@with_bindings("device, memory, copies", DEVICES)
def test_the_memory_is_what_the_device_does_fast(tmp_path, toys, expected, binding, device, memory, copies):
    found = contract(tmp_path, "10", toys["segmentation"], **dict(device, **binding))
    assert isinstance(found, dict), found
    assert found["sums"] == pytest.approx(expected["segmentation"], rel=1e-5)
    calls = [call for call in found["calls"] if call != "graph"]
    assert (calls, found["about"]["memory"]) == (copies * 5, memory)
    assert "memory: {}, for ".format(memory) in " ".join(found["lines"])
    assert [each is None for each in found["stages"]] == [False, not copies, False, not copies, False]
    assert found["again"] == []  # said once


@with_bindings("memory", MEMORY_KINDS[1:])
def test_memory_as_asked_computes_the_same(tmp_path, toys, expected, binding, memory):
    found = contract(tmp_path, "8.6", toys["multi"], "fp32", {"memory": memory}, **binding)
    assert found["sums"] == pytest.approx(expected["multi"], rel=1e-5)
    assert found["about"]["memory"] == memory
    calls = [call for call in found["calls"] if call != "graph"]
    assert calls == ([] if memory in ("mapped", "managed") else (["htod"] + ["dtoh"] * 3) * 5)


TENSORRT_FREED = ["execution context", "engine", "runtime", "context"]


def life(tmp_path, version, toy, **more):
    command = [sys.executable, "-c", LIFE, toy]
    done = subprocess.check_output(command, env=environment(tmp_path, version, **more), timeout=60)
    return json.loads(done.decode())


ALL_FREED = ["event"] * 4 + ["stream", "device", "pinned", "device", "pinned"] + TENSORRT_FREED


@with_bindings("version", VERSIONS)
def test_everything_is_freed_in_reverse_order_of_its_allocation(tmp_path, toys, version, binding):
    graph = ["graph", "graph exec"] if binding else []  # what it was made of goes at once
    assert life(tmp_path, version, toys["segmentation"], **binding) == ["", graph + ALL_FREED, {}]


def test_a_pycuda_without_primary_contexts_frees_everything(tmp_path, toys):
    assert life(tmp_path, "8.2", toys["segmentation"], FAKE_OLD_PYCUDA="1") == ["", ALL_FREED, {}]


@with_bindings(
    "fault, text, freed",
    [
        ("context", "preparing toy-segmentation fp32 at 64x96: cu.* failed: out of memory.*; close other", []),
        ("pinned", "preparing toy-segmentation fp32 at 64x96: cu.*Host.*lloc failed: out", TENSORRT_FREED),
        ("device", "cu.*M.*lloc failed: out of memory", ["pinned", "device", "pinned"] + TENSORRT_FREED),
        ("copy", "running toy-segmentation fp32 at 64x96: cu.*Memcpy.*Async failed: invalid device", ALL_FREED),
        ("launch", "unspecified launch failure.*; start again; if it comes back, `sudo dmesg", ALL_FREED),
    ],
)
def test_an_error_of_cuda_is_one_line_and_leaks_nothing(tmp_path, toys, binding, fault, text, freed):
    line, found, live = life(tmp_path, "10", toys["segmentation"], **dict(binding, FAKE_CUDA_FAULT=fault))
    assert re.search(text, line), line
    assert "\n" not in line
    assert found == freed
    assert live == {}


@pytest.mark.parametrize("fault", ["memory", "wrong"])
def test_an_engine_that_is_refused_after_loading_leaks_nothing(tmp_path, toys, fault):
    line, freed, live = life(tmp_path, "8.6", toys["segmentation"], FAKE_TENSORRT_FAULT=fault)
    assert line
    assert freed[-1] == "context"
    assert live == {}


def test_no_driver_is_one_line(tmp_path, toys):
    assert "no usable NVIDIA driver" in contract(tmp_path, "8.2", toys["segmentation"], FAKE_NO_DRIVER="1")


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("parse", "cannot parse the graph: No importer registered for op: Loop"),
        ("build", "could not build the engine: Could not find any implementation for node Resize_1"),
        ("killed", "for want of memory; close other programs, take a smaller size, or add swap"),
        ("exhausted", "OutOfMemory (no further information); close other programs, take a smaller size"),
    ],
)
def test_a_failed_build_is_one_line_and_leaves_nothing(tmp_path, fault, text, toys):
    found = contract(tmp_path, "8.2", toys["segmentation"], FAKE_TENSORRT_FAULT=fault)
    assert text in found.strip().splitlines()[-1]
    assert list((tmp_path / "cache" / "engines").iterdir()) == []


def test_an_engine_of_another_tensorrt_is_rebuilt_and_says_why(tmp_path, toys):
    contract(tmp_path, "8.2", toys["segmentation"])
    lines = contract(tmp_path, "8.6", toys["segmentation"])["lines"]
    assert "TensorRT was 8.2.1.8, is 8.6.2.3" in lines[0]


@with_bindings(
    "more, line",
    [
        ({"FAKE_MULTIPROCESSORS": "16"}, "GPU was Fake GPU sm_87 x8, is Fake GPU sm_87 x16"),
        ({"FASTNAS_MODULE": "NVIDIA Jetson Orin NX"}, "module was NVIDIA Jetson Orin Nano, is NVIDIA Jetson Orin NX"),
    ],
)
def test_an_engine_of_another_board_of_the_same_generation_is_rebuilt(tmp_path, toys, binding, more, line):
    """Orin Nano, NX and AGX have a GPU of the same name and compute capability."""
    board = dict(binding, FASTNAS_MODULE="NVIDIA Jetson Orin Nano")
    contract(tmp_path, "10", toys["segmentation"], **board)
    assert line in " ".join(contract(tmp_path, "10", toys["segmentation"], **dict(board, **more))["lines"])


@pytest.mark.parametrize("left", [b"8.6.2.3tt", b"torn", b"10.3.0.30 of another GPU"])
def test_timings_that_tensorrt_refuses_cost_no_build(tmp_path, left, toys):
    """`create_timing_cache` gives None for those of another release, `set_timing_cache` False for another GPU's."""
    timings = tmp_path / "cache" / "engines" / "timings"
    timings.parent.mkdir(parents=True)
    timings.write_bytes(left)
    assert isinstance(contract(tmp_path, "10", toys["segmentation"]), dict)
    assert timings.read_bytes() == b"10.3.0.30t"


def test_timings_that_cannot_be_kept_cost_no_engine(tmp_path, toys):
    timings = tmp_path / "cache" / "engines" / "timings"
    timings.mkdir(parents=True)
    found = contract(tmp_path, "10", toys["segmentation"])
    assert isinstance(found, dict), found
    assert timings.is_dir()


def test_trtexec_is_named_with_the_path_where_jetpack_puts_it(tmp_path, monkeypatch):
    tool = tmp_path / "trtexec"
    tool.write_text("")
    monkeypatch.setattr(build, "TRTEXEC", str(tool))
    monkeypatch.setattr("shutil.which", lambda name: None)
    order = build.BuildOrder("model.onnx", "model.engine", "image", (1, 3, 64, 96))
    assert order.trtexec().startswith(str(tool) + " --onnx=model.onnx ")
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/" + name)
    assert order.trtexec().startswith("trtexec --onnx=model.onnx ")


def test_a_truncated_engine_is_rebuilt(tmp_path, toys):
    contract(tmp_path, "8.6", toys["segmentation"])
    (engine,) = (tmp_path / "cache" / "engines").glob("*.engine")
    whole = engine.read_bytes()
    engine.write_bytes(whole[:100])
    assert "its file is damaged" in contract(tmp_path, "8.6", toys["segmentation"])["lines"][0]
    assert engine.read_bytes() == whole


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path, toys):
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert "set FASTNAS_CACHE" in contract(tmp_path, "8.6", toys["segmentation"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_cancelled_build_ends_its_process(tmp_path, number, toys):
    command = [sys.executable, "-c", CONTRACT, toys["segmentation"], "fp32", "{}"]
    parent = subprocess.Popen(
        command, env=environment(tmp_path, "8.2", FAKE_TENSORRT_FAULT="hang"), stderr=subprocess.DEVNULL
    )
    children = wait_for(lambda: children_of(parent.pid))
    time.sleep(0.5)
    parent.send_signal(number)
    parent.wait(20)
    wait_for(lambda: not any(os.path.exists("/proc/{}/exe".format(child)) and alive(child) for child in children))
    engines = tmp_path / "cache" / "engines"
    assert not list(engines.glob("[!.]*.engine"))
    assert isinstance(contract(tmp_path, "8.2", toys["segmentation"]), dict)
    assert sorted(path.suffix for path in engines.iterdir()) == ["", ".engine", ".json"]  # the first are the timings


def children_of(pid):
    try:
        with open("/proc/{0}/task/{0}/children".format(pid)) as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def test_onnxruntime_runs_every_kind_at_every_size(toys):
    channels = {"segmentation": 3, "pose": 3, "depth": 1}
    for kind in (*channels, "multi"):
        for size in [(32, 32), (64, 96)]:
            with open_engine(sidecar.load(toys[kind]), size, options=EngineOptions("onnxruntime", threads=1)) as engine:
                found = {name: array.shape for name, array in engine.run().items()}
                kinds = channels if kind == "multi" else (kind,)
                assert found == {each: (1, channels[each], size[0] // 4, size[1] // 4) for each in kinds}
                assert engine.stages is not None
                assert engine.stages.inference == engine.stages.compute > 0


def test_a_pass_that_fails_is_one_line(toys, monkeypatch):
    def fail(binding):
        raise RuntimeError("[ONNXRuntimeError] : 6 : Failed to allocate memory for requested buffer of size 9\nat 0x1")

    with open_engine(sidecar.load(toys["depth"]), (32, 64), options=EngineOptions("onnxruntime")) as engine:
        session: Any = type("Session", (), {"run_with_iobinding": staticmethod(fail)})
        monkeypatch.setattr(engine, "_session", session)
        with pytest.raises(JetsonError) as caught:
            engine.run()
    assert str(caught.value).startswith("toy-depth failed at 32x64 in ONNX Runtime: [ONNXRuntimeError]")
    assert "\n" not in str(caught.value)


def test_an_engine_runs_only_in_its_own_thread(toys):
    errors = []

    def run(engine):
        try:
            engine.run()
        except JetsonError as error:
            errors.append(str(error))

    with open_engine(sidecar.load(toys["depth"]), (32, 32), options=EngineOptions("onnxruntime")) as engine:
        thread = threading.Thread(target=run, args=(engine,))
        thread.start()
        thread.join()
    assert errors == ["an engine runs only in the thread that opened it: hand the images to that thread"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"input": ("picture", "NCHW", (0, 0, 0), (1, 1, 1))}, "the input is 'image', the sidecar has 'picture'"),
        ({"input": ("image", "NHWC", (0, 0, 0), (1, 1, 1))}, r"the input is tensor\(float\), the sidecar has uint8"),
        (
            {"outputs": ("segmentation", "logits", 8)},
            r"output segmentation is \[1, 3, 8, 8\], the sidecar has \[1, 3, 4, 4\]",
        ),
    ],
)
def test_a_graph_that_is_not_what_the_sidecar_says_is_refused(toys, change, text):
    artifact = sidecar.load(toys["segmentation"])
    values: dict = {}
    if "input" in change:
        values["input"] = sidecar.Input(*change["input"])
    else:
        name, decode, stride = change["outputs"]
        values["outputs"] = (sidecar.Output(name, artifact.sidecar.outputs[0].task, decode, stride),)
    with pytest.raises(JetsonError, match=text):
        open_engine(
            artifact._replace(sidecar=artifact.sidecar._replace(**values)),
            (32, 32),
            options=EngineOptions("onnxruntime"),
        )


def test_a_provider_that_is_not_there_is_refused(toys):
    with pytest.raises(JetsonError, match="CUDAExecutionProvider|fell back"):
        open_engine(sidecar.load(toys["depth"]), (32, 32), options=EngineOptions("onnxruntime-cuda"))
    with pytest.raises(JetsonError, match="no engine 'tpu'"):
        open_engine(sidecar.load(toys["depth"]), (32, 32), options=EngineOptions("tpu"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # what the generation of 10 and 11 still takes
def test_the_build_works_with_nvidias_real_classes(tmp_path, toys):
    """TensorRT for RTX builds ahead of time, without a GPU; its classes are those of TensorRT 10 and 11."""
    real: Any = pytest.importorskip("tensorrt_rtx_bindings")
    from fastnas.jetson.engine.build import BuildOrder, build

    class Builder(real.Builder):  # type: ignore[name-defined]
        def create_builder_config(self):
            config = real.Builder.create_builder_config(self)
            config.num_compute_capabilities = 1
            config.set_compute_capability(real.ComputeCapability.SM86, 0)
            return config

    module = type(sys)("tensorrt")
    module.__dict__.update(real.__dict__, Builder=Builder)
    timings = tmp_path / "timings"
    onnx = os.path.join(toys["segmentation"], "model.onnx")
    order = BuildOrder(onnx, "", "image", (1, 3, 64, 96), typed=True, timing_cache=str(timings))
    assert len(build(module, order)) > 1000
    assert timings.stat().st_size > 0
    assert len(build(module, order)) > 1000  # with what the first build measured
    assert real.ICudaEngine.num_io_tensors
    for name in ("set_input_shape", "get_tensor_shape", "set_tensor_address", "execute_async_v3"):
        assert hasattr(real.IExecutionContext, name)
