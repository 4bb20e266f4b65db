"""The kernels compute what the CPU does: their very text, compiled by a host's compiler with threads as loops."""

import numpy as np
import pytest

from fastnas.jetson.engine.base import OnGpu
from fastnas.jetson.engine.buffers import Buffer
from fastnas.jetson.engine.cuda.by_ctypes import load_ctypes_cuda
from fastnas.jetson.engine.kernels.compiled import load_kernels
from fastnas.jetson.errors import FastnasError
from fastnas.jetson.inference.decode import decoder_for
from fastnas.jetson.inference.gpu import GpuProcessing
from fastnas.jetson.inference.preprocess import Preprocessor
from fastnas.jetson.sidecar import Input, Output, Sidecar
from tests.helpers.host_kernels import HostCuda, build_host_kernels
from tests.helpers.jetson_toys import TASKS

INPUTS = {
    "NCHW": Input("image", "NCHW", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "NHWC": Input("image", "NHWC", (0, 0, 0), (1, 1, 1)),
}
FRAMES = [(720, 1280), (1080, 1920), (481, 643), (96, 160), (97, 161), (192, 320), (50, 70), (385, 160), (1, 1)]
SIZE = (96, 160)


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    return HostCuda(build_host_kernels(tmp_path_factory.mktemp("kernels")))


def frames_of(shape):
    """Noise, and what saturates."""
    random = np.random.RandomState(shape[0])
    yield random.randint(0, 256, shape + (3,)).astype(np.uint8)
    yield (255 * random.randint(0, 2, shape + (3,))).astype(np.uint8)


def processing(cuda, outputs, arrays, layout="NCHW", size=SIZE, fine=False, memory="pinned"):
    """The processing, with NumPy's arrays in the places of the engine's memory."""
    spec = Sidecar("toy", INPUTS[layout], tuple(outputs), (), "0")
    addresses = {name: array.ctypes.data for name, array in arrays.items()}
    return GpuProcessing(OnGpu(cuda, memory, addresses), cuda.module(b""), spec, size, fine)


@pytest.mark.parametrize("memory", ["pinned", "mapped", "ordinary"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("shape", FRAMES, ids=str)
def test_the_input_is_the_cpus_to_the_bit(host, shape, layout, memory):
    spec = INPUTS[layout]
    found, wanted = (np.zeros(spec.shape(SIZE), spec.dtype) for _ in range(2))
    prepare, gpu = Preprocessor(spec, SIZE), processing(host, [], {"image": found}, layout, memory=memory)
    for frame in frames_of(shape):
        prepare(frame, wanted)
        gpu.prepare(frame)
        gpu.enqueue_input(host.stream())
        np.testing.assert_array_equal(found, wanted)
    gpu.close()


def test_ordinary_memory_of_a_frame_is_copied_to_the_device_alone(host):
    """Not into a buffer before, unless its rows are apart."""
    found, wanted = (np.zeros((1, 3) + SIZE, np.float32) for _ in range(2))
    gpu = processing(host, [], {"image": found}, memory="ordinary")
    wide = np.random.RandomState(0).randint(0, 256, (96, 320, 3)).astype(np.uint8)
    for frame, copied in ((wide[:, ::2], True), (wide[:, :160].copy(), False)):
        gpu.prepare(frame)
        assert np.shares_memory(gpu._frame.array, frame) is not copied
        gpu.enqueue_input(host.stream())
        Preprocessor(INPUTS["NCHW"], SIZE)(frame, wanted)
        np.testing.assert_array_equal(found, wanted)
    gpu.close()


def decoded(host, output, array, fine=False):
    """What the GPU's half and the CPU make of an output of the engine."""
    gpu = processing(host, [output], {"image": np.zeros(1), output.name: array}, fine=fine)
    gpu.enqueue_outputs(host.stream())
    found = np.array(decoder_for(gpu.outputs[0])(gpu.arrays[output.name]))
    gpu.close()
    return found, decoder_for(output, SIZE if fine else None)(array)


def logits_of(classes, shape):
    return np.random.RandomState(classes).randn(1, classes, *shape).astype(np.float32)


@pytest.mark.parametrize("classes", [1, 2, 21, 150])
def test_class_ids_are_the_cpus(host, classes):
    output = Output("ids", dict(TASKS["segmentation"], classes=["a"] * classes), "logits", 4)
    logits = np.round(logits_of(classes, (24, 40)), 1)  # with equal ones, of which the first wins
    logits[0, 0, 3, 4] = logits[0, -1, 5, 6] = np.nan
    found, wanted = decoded(host, output, logits)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("classes", [1, 2, 21])
def test_class_ids_at_the_inputs_size_differ_only_where_two_are_equal(host, classes):
    """OpenCV may fuse a multiplication with an addition, which rounds otherwise."""
    import cv2

    output = Output("ids", dict(TASKS["segmentation"], classes=["a"] * classes), "logits", 4)
    logits = logits_of(classes, (24, 40))
    found, wanted = decoded(host, output, logits, fine=True)
    assert found.shape == SIZE
    large = cv2.resize(logits[0].transpose(1, 2, 0), SIZE[::-1], interpolation=cv2.INTER_LINEAR).reshape(SIZE + (-1,))
    one, other = (np.take_along_axis(large, ids[..., None].astype(int), 2) for ids in (found, wanted))
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)
    assert np.mean(found != wanted) < 1e-3


def heatmaps_at(centres, shape, stride):
    """Gaussians as the network is trained to show, with a little noise."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    maps = [np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * (8 / stride) ** 2)) for a, b in centres]
    return (np.array(maps)[None] + 0.01 * np.random.RandomState(0).rand(1, len(maps), *shape)).astype(np.float32)


@pytest.mark.parametrize("stride", [4, 8, 16])
def test_joints_are_the_cpus(host, stride):
    """In the middle, between cells, at every edge, and outside."""
    shape = (SIZE[0] // stride, SIZE[1] // stride)
    rows, columns = shape
    centres = [(columns / 2, rows / 2), (columns / 3, rows / 1.7), (0, 0), (columns - 1, rows - 1), (columns / 2, 0.4)]
    centres += [(columns - 0.7, rows / 2), (2 * columns, rows), (1, 1)]
    output = Output("joints", dict(TASKS["pose"], joints=["a"] * len(centres)), "heatmaps", stride)
    found, wanted = decoded(host, output, heatmaps_at(centres, shape, stride))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-3)
    np.testing.assert_array_equal(found[:, 2], wanted[:, 2])


@pytest.mark.parametrize("fill", [0.0, -1.0, 0.5])
def test_the_first_of_equal_cells_is_the_peak(host, fill):
    """Of a flat map the first cell; of two equal peaks the upper one, and in a row the left one."""
    maps = np.full((1, 3, 24, 40), fill, np.float32)
    maps[0, 1, 20, 3] = maps[0, 1, 9, 30] = maps[0, 1, 9, 31] = 2
    maps[0, 2, 5:15, 5:15] = 2  # with a peak so flat that rounding errors would move it
    maps[0, 2, 9, 9], maps[0, 2, 9, 11] = 2.0001, 2.00005
    found, wanted = decoded(host, Output("joints", TASKS["pose"], "heatmaps", 4), maps)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-3)


def test_a_heatmap_with_nan_has_its_peak_there(host):
    maps = np.zeros((1, 3, 24, 40), np.float32)
    maps[0, 1, 9, 31] = np.nan
    found, wanted = decoded(host, Output("joints", TASKS["pose"], "heatmaps", 4), maps)
    np.testing.assert_allclose(found, wanted, equal_nan=True)


@pytest.mark.parametrize("decode", ["labels", "peaks", "depth"])
def test_what_is_ready_is_left_to_the_cpu(host, decode):
    """Depth is in metres as the network gives it."""
    output = Output("done", TASKS["depth"], decode, 4)
    gpu = processing(host, [output], {"image": np.zeros(1), "done": np.zeros(1)})
    assert (gpu.outputs, gpu.arrays) == ((output,), {})
    gpu.close()


@pytest.mark.gpu
@pytest.mark.parametrize("memory", ["pinned", "mapped", "managed", "ordinary"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_gpu_computes_what_the_cpu_does(layout, memory):
    """The real kernels: inputs to the bit, class ids, and joints to a thousandth of a cell."""
    heatmaps = heatmaps_at([(20, 12), (7.3, 5.8), (0, 0)], (24, 40), 4)
    outputs = [Output("ids", TASKS["segmentation"], "logits", 4), Output("joints", TASKS["pose"], "heatmaps", 4)]
    given = {"ids": logits_of(3, (24, 40)), "joints": heatmaps}
    try:
        cuda = load_ctypes_cuda()
        leave = cuda.enter()
        kernels, _ = load_kernels(cuda)
    except FastnasError as error:
        pytest.skip(str(error))
    spec, stream = INPUTS[layout], cuda.stream()
    buffers = {"image": Buffer(cuda, memory, spec.shape(SIZE), spec.dtype)}
    for name, array in given.items():
        buffers[name] = Buffer(cuda, memory, array.shape, array.dtype)
        buffers[name].array[...] = array
        buffers[name].copy_in(stream)
    addresses = {name: buffer.address for name, buffer in buffers.items()}
    gpu = GpuProcessing(
        OnGpu(cuda, memory, addresses), kernels, Sidecar("toy", spec, tuple(outputs), (), "0"), SIZE, False
    )
    prepare, wanted = Preprocessor(spec, SIZE), np.zeros(spec.shape(SIZE), spec.dtype)
    for shape in FRAMES:
        frame = next(frames_of(shape))
        prepare(frame, wanted)
        gpu.prepare(frame)
        gpu.enqueue_input(stream)
        gpu.enqueue_outputs(stream)
        buffers["image"].copy_out(stream)
        stream.synchronize()
        np.testing.assert_array_equal(buffers["image"].array, wanted)
    for before, after in zip(outputs, gpu.outputs):
        found = np.array(decoder_for(after)(gpu.arrays[after.name]))
        np.testing.assert_allclose(found, decoder_for(before)(given[before.name]), rtol=0, atol=4e-3)
    gpu.close()
    for buffer in buffers.values():
        buffer.close()
    stream.close()
    leave()
