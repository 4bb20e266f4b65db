"""Pre- and post-processing by the GPU, around a network that runs there: the same numbers as `preprocess` and `decode`.

Frames are halved, resized and normalised in integers, with tables that the host makes once for each size of frame; of
logits and heatmaps only class ids and peaks are copied back. The kernels' text says what each computes.
"""

from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from fastnas.jetson.engine.base import Around, Engine, Log, OnGpu
from fastnas.jetson.engine.buffers import Buffer
from fastnas.jetson.engine.cuda.interface import CudaError, Module, Stream
from fastnas.jetson.engine.cuda.opening import tell_once
from fastnas.jetson.engine.kernels.compiled import load_kernels
from fastnas.jetson.errors import FastnasError
from fastnas.jetson.inference.decode import FLATTEST, LOWEST, peak_step
from fastnas.jetson.inference.preprocess import halvings, normalised
from fastnas.jetson.sidecar import Output, Sidecar, Size

ONE = 2048
"""What OpenCV's weights of bytes add up to."""

TILE, LINE = (32, 8, 1), (128, 1, 1)
"""Threads of a block of two dimensions, and of one."""


def positions(source: int, target: int, keep_weights: bool) -> Tuple[np.ndarray, np.ndarray]:
    """Between which two of `source` rows or columns each of `target` lies, int [N, 2], and float32 weights [N, 2].

    As OpenCV computes them: in double precision, rounded once. Beyond the edge both are the outermost.

    Args:
        source: rows or columns.
        target: likewise.
        keep_weights: whether there the weights stay what they would be (OpenCV's rows) or become 1 and 0 (its columns).
    """
    places = ((np.arange(target) + 0.5) * (1 / (target / source)) - 0.5).astype(np.float32)
    first = np.floor(places)
    after = places - first
    if not keep_weights:
        after[(first < 0) | (first >= source - 1)] = 0
    pair = np.clip(np.stack((first, first + 1), 1), 0, source - 1).astype(np.int32)
    return pair, np.stack((1 - after, after), 1)


def byte_table(source: int, target: int, keep_weights: bool) -> np.ndarray:
    """A table of the kernels for bytes, int32 [N, 4]: `positions`, the weights in 2048ths."""
    pair, weights = positions(source, target, keep_weights)
    return np.concatenate((pair, np.rint(weights * np.float32(ONE)).astype(np.int32)), 1)


class FramePlan:
    """What is launched for frames of one size.

    Args:
        frame: (H0, W0).
        size: (H, W) of the network's input.
        upload: puts an array where the GPU reads it, and returns the address.
        allocate: likewise for a number of bytes.

    Attributes:
        steps: for each resizing the columns of its source, the addresses of its two tables, the size (H, W) of its
            target, and the target's address; that of the last is 0, for it goes into the network's input.
    """

    def __init__(
        self, frame: Size, size: Size, upload: Callable[[np.ndarray], int], allocate: Callable[[int], int]
    ) -> None:
        self.steps: List[Tuple[int, int, int, Size, int]] = []
        halved, before = halvings(frame, size), frame
        for number, after in enumerate(halved + [size]):
            rows, columns = byte_table(before[0], after[0], True), byte_table(before[1], after[1], False)
            target = allocate(3 * after[0] * after[1]) if number < len(halved) else 0
            self.steps.append((before[1], upload(rows), upload(columns), after, target))
            before = after


def process_on_gpu(engine: Engine, spec: Sidecar, size: Size, fine: bool, log: Log) -> "Optional[GpuProcessing]":
    """Attach the processing to an engine; None where that is not possible, and then the log has the reason.

    Args:
        engine: that was opened for `size`.
        spec: the artifact's sidecar.
        size: (H, W) of the network's input.
        fine: see `GpuProcessing`.
        log: receives a line, once in a process.
    """
    if engine.on_gpu is None:
        return None
    try:
        kernels, version = load_kernels(engine.on_gpu.cuda)
        found = GpuProcessing(engine.on_gpu, kernels, spec, size, fine)
    except FastnasError as error:
        tell_once(log, "pre- and post-processing: on the CPU; not on the GPU: {}".format(error))
        return None
    engine.attach(found)
    engine.about["processing"] = "GPU, by NVRTC " + version
    tell_once(log, "pre- and post-processing: on the {}".format(engine.about["processing"]))
    return found


class GpuProcessing(Around):
    """Both ends of a network in TensorRT; what it allocates is freed by `close`, in the engine's context.

    Args:
        on_gpu: the engine's.
        kernels: loaded in its context; they are this object's own.
        spec: the artifact's sidecar.
        size: (H, W) of the network's input.
        fine: whether class ids are of the input's size, see `decode.labels`.

    Attributes:
        outputs: the sidecar's, as they are afterwards: class ids for logits, and peaks for heatmaps.
        arrays: of those that are computed here, by name.
    """

    def __init__(self, on_gpu: OnGpu, kernels: Module, spec: Sidecar, size: Size, fine: bool) -> None:
        self._kernels, self._spec, self._size = kernels, spec.input, size
        self._cuda, self._memory, self._addresses = on_gpu
        self._stream: Optional[Stream] = None
        self._always: List[Any] = []
        self._for_frame: List[Any] = []
        self._plan: Optional[FramePlan] = None
        self._frame: Optional[Buffer] = None
        self._launches: List[Tuple[str, Tuple[int, int, int], Tuple[int, int, int], List[Any]]] = []
        self._results: List[Buffer] = []
        self.arrays: Dict[str, np.ndarray] = {}
        try:
            self._stream = self._cuda.stream()
            planes = spec.input.layout == "NCHW"
            self._normalised = self._upload(normalised(spec.input), self._always) if planes else 0
            self.outputs = tuple(self._reduced(output, fine) for output in spec.outputs)
        except BaseException:
            self.close()
            raise

    def prepare(self, frame: np.ndarray) -> None:
        """Take a frame, uint8 [H0, W0, 3] in OpenCV's channel order; the next pass reads it, and until then it stays.

        Raises:
            JetsonError: there is no memory for frames of its size.
        """
        if self._frame is None or self._frame.array.shape != frame.shape:
            try:
                self._make_room(frame)
            except CudaError as error:
                raise error.during("preparing frames of {}x{}".format(*frame.shape[:2])) from error
        assert self._frame is not None
        self._frame.put(frame)

    def _make_room(self, frame: np.ndarray) -> None:
        self._forget_frame()
        held = self._for_frame
        self._plan = FramePlan(
            frame.shape[:2], self._size, lambda array: self._upload(array, held), lambda n: self._allocate(n, held)
        )
        self._frame = Buffer(self._cuda, self._memory, frame.shape, np.uint8)
        held.append(self._frame)

    def enqueue_input(self, stream: Any) -> None:
        """Enqueue what makes the network's input of the frame that `prepare` took."""
        assert self._frame is not None
        assert self._plan is not None
        self._frame.copy_in(stream)
        source = address(self._frame.address)
        for columns_before, rows_table, columns_table, (rows, columns), block in self._plan.steps:
            name, more, target = "resize", [], address(block)
            if not block:
                target = address(self._addresses[self._spec.name])
                name = "resize_to_planes" if self._normalised else "resize_to_rgb"
                more = [address(self._normalised)] if self._normalised else []
            tables = [address(rows_table), address(columns_table)]
            arguments = [source] + integers(columns_before) + tables + integers(rows, columns) + more + [target]
            self._kernels.launch(name, grid(TILE, columns, rows), TILE, arguments, stream)
            source = target

    def enqueue_outputs(self, stream: Any) -> None:
        """Enqueue what makes class ids and peaks, and their copies to the host."""
        for name, blocks, threads, arguments in self._launches:
            self._kernels.launch(name, blocks, threads, arguments, stream)
        for buffer in self._results:
            buffer.copy_out(stream)

    def close(self) -> None:
        """Free everything."""
        self._forget_frame()
        self.arrays.clear()
        for held in (self._results, self._always):
            while held:
                held.pop().close()
        if self._stream is not None:
            self._stream.close()
        self._kernels.close()

    def _reduced(self, output: Output, fine: bool) -> Output:
        """An output as it is after its kernels, which are planned here."""
        if output.decode == "logits":
            self._plan_ids(output, fine)
            return output._replace(decode="labels")
        if output.decode == "heatmaps":
            self._plan_peaks(output)
            return output._replace(decode="peaks")
        return output

    def _plan_ids(self, output: Output, fine: bool) -> None:
        classes, height, width = output.shape(self._size)[1:]
        logits = address(self._addresses[output.name])
        if not fine:
            target = self._result(output.name, (1, height, width), np.uint8)
            arguments = [logits] + integers(classes, height * width) + [target]
            self._launches.append(("arg_max", grid(LINE, height * width), LINE, arguments))
            return
        target = self._result(output.name, (1,) + self._size, np.uint8)
        rows, columns = self._size
        arguments = [logits] + integers(classes, height, width)
        for table in positions(height, rows, True) + positions(width, columns, False):
            arguments.append(address(self._upload(table, self._always)))
        arguments += integers(rows, columns) + [target]
        self._launches.append(("resize_arg_max", grid(TILE, columns, rows), TILE, arguments))

    def _plan_peaks(self, output: Output) -> None:
        joints, height, width = output.shape(self._size)[1:]
        heatmaps, shape = address(self._addresses[output.name]), integers(joints, height, width)
        rows = address(self._allocate(4 * joints * width, self._always))
        self._launches.append(("highest_rows", grid(LINE, joints * width), LINE, [heatmaps] + shape + [rows]))
        arguments = [heatmaps, rows] + shape + integers(peak_step(output.stride))
        arguments += [np.float32(LOWEST), np.float32(FLATTEST), self._result(output.name, (1, joints, 3), np.float32)]
        self._launches.append(("peaks", grid(LINE, joints), LINE, arguments))

    def _result(self, name: str, shape: Tuple[int, ...], dtype: Any) -> Any:
        buffer = Buffer(self._cuda, self._memory, shape, dtype)
        self._results.append(buffer)
        self.arrays[name] = buffer.array
        return address(buffer.address)

    def _upload(self, array: np.ndarray, held: List[Any]) -> int:
        buffer = Buffer(self._cuda, self._memory, array.shape, array.dtype)
        held.append(buffer)
        buffer.array[...] = array
        assert self._stream is not None
        buffer.copy_in(self._stream)
        self._stream.synchronize()
        return buffer.address

    def _allocate(self, size: int, held: List[Any]) -> int:
        held.append(self._cuda.allocate(size))
        return int(held[-1].address)

    def _forget_frame(self) -> None:
        self._plan = self._frame = None
        while self._for_frame:
            self._for_frame.pop().close()


def address(value: int) -> Any:
    """An address as an argument of a kernel."""
    return np.uint64(value)


def integers(*values: int) -> List[Any]:
    """Arguments of a kernel that are `int` there."""
    return [np.int32(value) for value in values]


def grid(block: Sequence[int], columns: int, rows: int = 1) -> Tuple[int, int, int]:
    """Numbers of blocks that cover so many threads."""
    return -(-columns // block[0]), -(-rows // block[1]), 1
