"""Real engines on a real GPU: built, run, and compared with ONNX Runtime on the CPU."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fastnas.data.formats.voc import TASK
from fastnas.deploy import export
from fastnas.deploy.export import Options
from fastnas.deploy.parity import sample_image
from fastnas.jetson import sidecar
from fastnas.jetson.engine.opening import open_engine
from fastnas.jetson.engine.verify import ALLOWED
from fastnas.jetson.inference.predictor import NetworkPredictor
from fastnas.jetson.options import EngineOptions
from fastnas.models.spec import ModelSpec, build
from tests.helpers.deploy_toys import unsettled

pytestmark = pytest.mark.gpu

SIZE = (128, 160)
ERRORS = {"fp32": 5e-3, "fp16": 2e-2, "int8": 0.2}
"""Mean error as a share of the mean value; fp32 is TF32 where the GPU has it."""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> export.Exported:
    pytest.importorskip("tensorrt", reason="tensorrt is not installed", exc_type=ImportError)
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    pictures = tmp_path_factory.mktemp("pictures")
    for seed in range(8):
        small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
        Image.fromarray(small).resize((160, 128), Image.Resampling.BICUBIC).save(pictures / f"{seed}.png")
    spec = ModelSpec("arch2", TASK)
    network = unsettled(spec)
    options = Options(resolution=SIZE, fp16=True, int8=True, calibrate=pictures)
    return export.export(network, spec, "arch2", tmp_path_factory.mktemp("artifacts"), options)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_an_engine_computes_what_the_file_says(
    exported: export.Exported, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTNAS_CACHE", str(tmp_path))
    loaded = sidecar.load(str(exported.folder))
    network = build(ModelSpec("arch2", TASK))
    x = sample_image(network, SIZE).numpy()
    outputs = []
    for engine, kind in (("onnxruntime", "fp32"), ("tensorrt", precision)):
        with open_engine(loaded, SIZE, kind, EngineOptions(engine)) as opened:
            opened.input[...] = x
            outputs.append(opened.run()["segmentation"].copy())
    (record,) = (tmp_path / "engines").glob("*.json")  # of the comparison that every new engine goes through
    assert 0 <= json.loads(record.read_text())["difference"] <= ALLOWED[precision]
    expected, found = outputs
    assert np.isfinite(found).all()
    assert np.abs(found - expected).mean() <= ERRORS[precision] * np.abs(expected).mean()


def test_frames_are_processed_on_the_gpu_as_on_the_cpu(
    exported: export.Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTNAS_CACHE", str(tmp_path))
    loaded = sidecar.load(str(exported.folder))
    said: list[str] = []
    frames = [np.random.default_rng(0).integers(0, 256, shape, np.uint8) for shape in ((480, 640, 3), (90, 160, 3))]
    with open_engine(loaded, SIZE, "fp32", EngineOptions("tensorrt")) as engine:
        on_cpu = NetworkPredictor(loaded, SIZE, engine, False, said.append)
        if engine.about.get("processing") is None:
            pytest.skip(said[0])
        on_gpu, on_cpu._gpu = on_cpu._gpu, None
        assert on_gpu is not None
        for frame in frames:
            on_gpu.prepare(frame)
            engine.run()
            ids = on_gpu.arrays["segmentation"][0].copy()
            with open_engine(loaded, SIZE, "fp32", EngineOptions("tensorrt")) as other:
                on_cpu._on_cpu(frame, other.input)
                logits = other.run()["segmentation"][0]
            # The same engine file and the same input: only equal logits may be told apart otherwise.
            np.testing.assert_array_equal(ids, logits.argmax(0))


def test_one_launch_of_a_graph_computes_what_the_engine_does(
    exported: export.Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host needs less time for it."""
    monkeypatch.setenv("FASTNAS_CACHE", str(tmp_path))
    loaded, found, times = sidecar.load(str(exported.folder)), [], []
    x = sample_image(build(ModelSpec("arch2", TASK)), SIZE).numpy()
    for graph in (False, True):
        said: list[str] = []
        with open_engine(loaded, SIZE, "fp32", EngineOptions("tensorrt", graph=graph), said.append) as engine:
            if engine.about["graph"] is not graph:
                pytest.skip(said[-1])
            engine.input[...] = x
            found.append(engine.run()["segmentation"].copy())
            for _ in range(20):
                engine.run()
            assert engine.stages is not None
            assert engine.stages.enqueue is not None
            times.append(engine.stages.enqueue)
    np.testing.assert_allclose(found[1], found[0], rtol=0, atol=1e-4 * np.abs(found[0]).max())
    assert times[1] < times[0]
