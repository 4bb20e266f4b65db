"""Artifacts of several tasks on one frame: which run, at which size and precision, and the pose's crop."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fastnas.jetson import sidecar
from fastnas.jetson.engine.base import Engine, Stages
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.inference import predictor
from fastnas.jetson.inference.predictions import Box
from fastnas.jetson.inference.predictor import InferenceOptions, Predictor, by_task, input_size, tasks_of
from fastnas.jetson.options import EngineOptions
from tests.helpers.jetson_toys import toy_artifacts


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    return {kind: sidecar.load(folder) for kind, folder in toy_artifacts(tmp_path_factory).items()}


def test_input_sizes(artifacts):
    segmentation, pose = artifacts["segmentation"], artifacts["pose"]
    assert input_size(segmentation, None, (272, 640)) == (224, 512)
    assert input_size(segmentation, None, (1280, 720)) == (512, 288)
    assert input_size(segmentation, None, (10, 1000)) == (32, 512)
    assert input_size(segmentation, (96, 64), (272, 640)) == (96, 64)
    assert input_size(pose, None, (272, 640)) == (256, 256)
    for artifact in (segmentation, pose):
        trained = artifact._replace(sidecar=artifact.sidecar._replace(input_size=(256, 192)))
        assert input_size(trained, None, (272, 640)) == (256, 192)
        assert input_size(trained, (96, 64), (272, 640)) == (96, 64)


def test_two_artifacts_of_one_task_are_refused(artifacts):
    twice = [artifacts["depth"], artifacts["pose"], artifacts["depth"]]
    with pytest.raises(JetsonError, match="toy-depth and toy-depth are both for depth"):
        by_task(twice)
    assert list(by_task([artifacts["pose"], artifacts["segmentation"]])) == ["segmentation", "pose"]


def test_only_the_chosen_tasks_run(artifacts):
    lines = []
    options = InferenceOptions((64, 96), (64, 64), engine=EngineOptions(threads=1))
    frame = np.random.RandomState(0).randint(0, 256, (96, 160, 3)).astype(np.uint8)
    with Predictor(
        by_task([artifacts[kind] for kind in ("pose", "depth", "segmentation")]), (96, 160), options, lines.append
    ) as predict:
        predictions: Any = predict(frame)
        assert predictions.segmentation.shape == (16, 24)
        assert predictions.depth.shape == (16, 24)
        assert predictions.pose.shape == (3, 3)
        assert predictions.milliseconds > 0
        alone = predict(frame, ("depth",))
        assert alone.segmentation is None
        assert alone.pose is None
        assert np.array_equal(alone.depth, predictions.depth)
        first = predictions.depth.copy()
        predict(255 - frame, ("depth",))
        assert np.array_equal(first, predictions.depth)  # the next pass does not overwrite what was returned
    assert lines == [
        "segmentation: toy-segmentation at 64x96, fp32 in onnxruntime",
        "depth: toy-depth at 64x96, fp32 in onnxruntime",
        "pose: toy-pose at 64x64, fp32 in onnxruntime",
    ]


def test_one_pass_of_one_network_gives_several_tasks(artifacts, monkeypatch):
    passes, lines = [], []
    run = Engine.run

    def note(engine):
        passes.append(engine)
        return run(engine)

    monkeypatch.setattr(Engine, "run", note)
    frame = np.random.RandomState(0).randint(0, 256, (90, 160, 3)).astype(np.uint8)
    options = InferenceOptions((96, 128), (64, 64), engine=EngineOptions("onnxruntime", threads=1))
    found = by_task([artifacts["multi"]])
    assert list(found) == list(tasks_of(found)) == ["segmentation", "depth", "pose"]
    assert tasks_of(found)["depth"] == {"kind": "depth", "minimum": 0.5, "maximum": 10.0}
    with Predictor(found, (90, 160), options, lines.append) as predict:
        predictions: Any = predict(frame)
        assert len(passes) == 1
        depth: Any = predict(frame, ["depth"])
        assert len(passes) == 2
        predict(frame, [])
        assert len(passes) == 2
    assert lines == ["segmentation, depth, pose: toy-multi at 96x128, fp32 in onnxruntime"]
    assert (depth.segmentation, depth.pose) == (None, None)
    np.testing.assert_array_equal(depth.depth, predictions.depth)
    assert predictions.segmentation.shape == predictions.depth.shape == (24, 32)
    # Joints lie in the whole frame, which the network saw squeezed; there is no crop.
    engine = passes[0]
    cells = engine.outputs["pose"][0].reshape(3, -1).argmax(1)
    assert np.abs(predictions.pose[:, 0] - ((cells % 32 + 0.5) * 160 / 32 - 0.5)).max() <= 160 / 32 + 1e-3
    assert np.abs(predictions.pose[:, 1] - ((cells // 32 + 0.5) * 90 / 24 - 0.5)).max() <= 90 / 24 + 1e-3
    assert predictions.box is None
    assert predictions.milliseconds > 0
    with pytest.raises(JetsonError, match="toy-multi and toy-pose are both for pose"):
        by_task([artifacts["multi"], artifacts["pose"]])
    # Some of its tasks may be left to it alone.
    some = {"pose": artifacts["multi"], "depth": artifacts["depth"]}
    with Predictor(some, (90, 160), options) as predict:
        other: Any = predict(frame)
        assert other.segmentation is None
        np.testing.assert_array_equal(other.pose, predictions.pose)


def test_inputs_that_another_thread_made_give_the_same(artifacts):
    """Of networks for whole frames; a crop is known only when the networks before have run."""
    found = by_task([artifacts[kind] for kind in ("segmentation", "depth", "pose")])
    frames = np.random.RandomState(0).randint(0, 256, (2, 90, 160, 3)).astype(np.uint8)
    with Predictor(found, (90, 160), InferenceOptions((64, 96), (64, 64))) as predict, ThreadPoolExecutor() as pool:
        wanted = [predict(frame) for frame in frames]
        inputs = list(pool.map(lambda frame: predict.make_inputs(frame, tuple(found)), frames))
        assert [sorted(each) for each in inputs] == [[0, 1], [0, 1]]
        assert sorted(predict.make_inputs(frames[0], ("depth", "pose"))) == [1]
        for number, own in enumerate(inputs):
            found_now = predict(np.zeros_like(frames[0]), inputs=own)
            np.testing.assert_array_equal(found_now.segmentation, wanted[number].segmentation)
            np.testing.assert_array_equal(found_now.depth, wanted[number].depth)
        for number, frame in enumerate(frames):  # and afterwards, without them
            np.testing.assert_array_equal(predict(frame).segmentation, wanted[number].segmentation)


def test_no_pose_where_the_segmentation_finds_nobody(artifacts):
    found = by_task([artifacts["segmentation"], artifacts["pose"]])
    frame = np.zeros((96, 160, 3), np.uint8)
    with Predictor(found, (96, 160), InferenceOptions((64, 96), (64, 64))) as predict:
        ids: Any = predict(frame).segmentation
        predict._people = (int(ids.max()) + 1,)
        predictions = predict(frame)
        assert predictions.pose is None
        assert predictions.box is None
        predict._people = tuple(int(each) for each in np.unique(ids))
        assert predict(frame).pose is not None


class PoseEngine:
    """An engine that finds the toy's three joints at cells (x, y) of the 16 x 16 heatmaps, and keeps its input."""

    stages, on_gpu = Stages(1.0, None, 1.0, None), None

    def __init__(self, *cells):
        self.input = np.full((1, 3, 64, 64), np.nan, np.float32)
        self.outputs = {"pose": np.zeros((1, 3, 16, 16), np.float32)}
        for joint, (x, y) in enumerate(cells):
            self.outputs["pose"][0, joint, y, x] = 1

    def run(self):
        return self.outputs

    def close(self):
        pass


@pytest.fixture
def pose_predictor(artifacts, monkeypatch):
    """A predictor of poses, and its engine."""

    def make(box, *cells):
        engine = PoseEngine(*cells)
        monkeypatch.setattr(predictor, "open_engine", lambda *arguments: engine)
        return Predictor({"pose": artifacts["pose"]}, (96, 96), InferenceOptions(pose_size=(64, 64), box=box)), engine

    return make


def test_a_crop_outside_the_frame_is_the_mean_of_the_normalisation(pose_predictor):
    """Its padding is zero in all three channels, the value of a pixel that says nothing."""
    predict, engine = pose_predictor(Box(200, 200, 260, 260), (3, 3), (4, 4), (5, 5))
    predict(np.full((96, 96, 3), 255, np.uint8))
    assert np.abs(engine.input).max() < 0.02


def test_the_box_follows_the_pose(pose_predictor):
    """From the whole frame to the body in its upper left quarter."""
    predict, _ = pose_predictor(None, (4, 4), (7, 5), (6, 8))
    frame = np.zeros((96, 96, 3), np.uint8)
    first, second = predict(frame).box, predict(frame).box
    assert first == Box(-12, -12, 108, 108)
    assert second.size[0] < 0.5 * first.size[0]
    assert second.right < 70
    assert second.bottom < 70


@pytest.mark.parametrize(
    ("asked", "engine", "flags", "expected"),
    [
        (None, "tensorrt", ["FP16", "INT8"], ["fp16", "fp16"]),  # TensorRT up to 10 makes it of the fp32 file
        (None, "tensorrt", [], ["fp16", "fp32"]),  # TensorRT 11: depth has no fp16 file
        ("int8", "tensorrt", [], ["int8", "int8"]),
        (None, "onnxruntime-cuda", [], ["fp32", "fp32"]),
    ],
)
def test_each_network_runs_in_the_best_precision_of_its_engine(artifacts, monkeypatch, asked, engine, flags, expected):
    opened, lines = [], []
    tensorrt = SimpleNamespace(BuilderFlag=SimpleNamespace(**dict.fromkeys(flags, 0)))
    monkeypatch.setattr("fastnas.jetson.engine.trt.import_tensorrt", lambda: tensorrt)

    def open_engine(artifact, size, precision, *rest):
        opened.append(precision)
        return SimpleNamespace(on_gpu=None)

    monkeypatch.setattr(predictor, "open_engine", open_engine)
    wide = artifacts["segmentation"]
    half = wide.sidecar.files[0]._replace(path="model.fp16.onnx", precision="fp16")
    wide = wide._replace(sidecar=wide.sidecar._replace(files=wide.sidecar.files + (half,)))
    found = by_task([wide, artifacts["depth"]])
    Predictor(found, (96, 160), InferenceOptions((64, 96), precision=asked, engine=EngineOptions(engine)), lines.append)
    assert opened == expected
    assert [line.split(", ")[1].split()[0] for line in lines] == expected
