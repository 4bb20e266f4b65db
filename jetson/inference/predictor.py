"""From a frame to predictions: artifacts opened, run and closed in one thread."""

import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from fastnas.jetson.engine.base import Engine, Log
from fastnas.jetson.engine.opening import default_precision, open_engine, resolve_engine
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.inference.decode import decoder_for
from fastnas.jetson.inference.gpu import process_on_gpu
from fastnas.jetson.inference.predictions import Box, Predictions
from fastnas.jetson.inference.preprocess import Preprocessor
from fastnas.jetson.inference.tracking import PersonTracker, crop, people_classes, to_frame
from fastnas.jetson.options import EngineOptions
from fastnas.jetson.sidecar import Artifact, Size

MAX_SIDE = 512
"""Longer side of a network's input where neither the user nor the artifact says a size."""

TASKS = ("segmentation", "depth", "pose")
"""In the order in which they run: pose last, since it may use the segmentation."""

POSE_SIZE = (256, 256)
"""Input (H, W) of a pose network where neither the user nor the artifact says a size."""


class InferenceOptions(NamedTuple):
    """How artifacts are run.

    Attributes:
        size: input (H, W) of networks that take whole frames; None is the artifact's, else fits the frame's aspect
            ratio.
        pose_size: input (H, W) of networks that take crops of people; None is the artifact's, else 256x256.
        precision: `fp32`, `fp16` or `int8`; None is fp16 in TensorRT where it needs no file or has one, else fp32.
        engine: the runtime, and how it runs them.
        box: of the person of a pose network, at first.
        fine: give class ids at the size of the network's input, as evaluation does, not at that of its output.
    """

    size: Optional[Size] = None
    pose_size: Optional[Size] = None
    precision: Optional[str] = None
    engine: EngineOptions = EngineOptions()
    box: Optional[Box] = None
    fine: bool = False


DEFAULTS = InferenceOptions()


def by_task(artifacts: Sequence[Artifact]) -> Dict[str, Artifact]:
    """Artifacts by kind of task, in the order in which they run; one that has several tasks is there for each.

    Raises:
        JetsonError: two are of the same kind.
    """
    found: Dict[str, Artifact] = {}
    for artifact in artifacts:
        for kind in artifact.sidecar.kinds:
            if kind in found:
                names = (found[kind].sidecar.name, artifact.sidecar.name, kind)
                raise JetsonError("{} and {} are both for {}; give one artifact of each task".format(*names))
            found[kind] = artifact
    return {kind: found[kind] for kind in TASKS if kind in found}


def tasks_of(artifacts: Dict[str, Artifact]) -> Dict[str, Dict[str, Any]]:
    """What `draw` needs to know: the tasks by kind, as the sidecars have them."""
    return {kind: artifact.sidecar.output(kind).task for kind, artifact in artifacts.items()}


def input_size(artifact: Artifact, asked: Optional[Size], frame: Size) -> Size:
    """The input (H, W) of a network for frames of size (H, W).

    In this order: as asked, as the network was trained, or of the frame's aspect ratio (a pose network has 256x256).
    """
    sidecar = artifact.sidecar
    default = POSE_SIZE if sidecar.crops_people else None
    size = asked or sidecar.input_size or default
    if size is not None:
        return size
    multiple, scale = sidecar.input.multiple_of, MAX_SIDE / max(frame)
    height, width = (max(int(round(side * scale / multiple)), 1) * multiple for side in frame)
    return height, width


def size_of(artifact: Artifact, options: InferenceOptions, frame: Size) -> Size:
    """The input (H, W) of a network for frames of size (H, W), as the options say."""
    return input_size(artifact, options.pose_size if artifact.sidecar.crops_people else options.size, frame)


Inputs = Dict[int, np.ndarray]
"""Inputs of the networks of a `Predictor`, by their places in it."""


class NetworkPredictor:
    """One artifact, opened in this thread for an input of `size` (H, W).

    Where the engine is on the GPU and its kernels load, frames become inputs and outputs class ids or joints there too.

    Args:
        artifact: that the engine runs.
        size: (H, W).
        engine: opened for it.
        fine: see `InferenceOptions`.
        log: receives a line about where the processing is.

    Attributes:
        size: of the input.
        engine: that runs it.
        crops_people: whether its frames are crops of one person each.
        preparing: milliseconds of the last frame's pre-processing.
    """

    def __init__(self, artifact: Artifact, size: Size, engine: Engine, fine: bool, log: Log) -> None:
        self.size = size
        self.engine = engine
        self.crops_people = artifact.sidecar.crops_people
        self.preparing = 0.0
        self._gpu = process_on_gpu(engine, artifact.sidecar, size, fine, log)
        self._on_cpu = Preprocessor(artifact.sidecar.input, size)
        outputs = artifact.sidecar.outputs if self._gpu is None else self._gpu.outputs
        self._outputs = {output.kind: output.name for output in outputs}
        self._decoders = {output.kind: decoder_for(output, size if fine else None) for output in outputs}

    def __call__(self, frame: np.ndarray, kinds: Sequence[str], made: Optional[np.ndarray] = None) -> Dict[str, Any]:
        """Class ids, metres or joints of a frame (see `decode`) for these kinds of task, all in one pass.

        They are copied from the engine's memory. Joints are in pixels of the frame. `made` is what `make_input` made.
        """
        start = time.perf_counter()
        if made is None:
            self.prepare(frame)
        else:
            self.engine.feed(made)
        self.preparing = (time.perf_counter() - start) * 1000
        self.engine.run()
        found = {kind: np.array(value) for kind, value in self.decode(kinds).items()}
        if "pose" in found:
            found["pose"] = to_frame(found["pose"], Box(0, 0, frame.shape[1], frame.shape[0]), self.size)
        return found

    def make_input(self, frame: np.ndarray) -> Optional[np.ndarray]:
        """A frame as an input for a later pass, in any thread; None if the GPU makes inputs, or they are crops."""
        if self._gpu is not None or self.crops_people:
            return None
        made = np.empty_like(self.engine.input)
        self._on_cpu(frame, made)
        return made

    def prepare(self, frame: np.ndarray) -> None:
        """Make a frame the input of the engine's next pass."""
        if self._gpu is None:
            self._on_cpu(frame, self.engine.input)
        else:
            self._gpu.prepare(frame)

    def decode(self, kinds: Sequence[str]) -> Dict[str, Any]:
        """Class ids, metres or joints (in pixels of its input) of the engine's last pass; valid until the next."""
        return {kind: self._decoders[kind](self.engine.outputs[self._outputs[kind]]) for kind in kinds}


class Predictor:
    """Artifacts of one or several tasks; a context manager. One thread opens it and makes all calls but `make_inputs`.

    Args:
        artifacts: by kind of task, as `by_task` gives them; what has several kinds runs once for all of them.
        frame: size (H, W) of the frames.
        options: how they are run.
        progress: receives a line for each network, and what takes long.
    """

    def __init__(
        self,
        artifacts: Dict[str, Artifact],
        frame: Size,
        options: InferenceOptions = DEFAULTS,
        progress: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._networks: List[Tuple[Tuple[str, ...], NetworkPredictor]] = []
        self._people: Tuple[int, ...] = ()
        self._fill: List[float] = []
        self._box = options.box
        self._trackers: Dict[int, PersonTracker] = {}
        engine = resolve_engine(options.engine.engine)
        opened: List[Artifact] = []
        try:
            for artifact in artifacts.values():
                if artifact in opened:
                    continue
                opened.append(artifact)
                kinds, spec = tuple(kind for kind in artifacts if artifacts[kind] == artifact), artifact.sidecar
                precision = options.precision or default_precision(artifact, engine)
                size = size_of(artifact, options, frame)
                running = open_engine(artifact, size, precision, options.engine, progress)
                self._networks.append((kinds, NetworkPredictor(artifact, size, running, options.fine, progress)))
                names = (", ".join(kinds), spec.name)
                progress("{}: {} at {}x{}, {} in {}".format(*names + size + (precision, engine)))
                if "segmentation" in kinds:
                    self._people = people_classes(spec.output("segmentation").task["classes"])
                if spec.crops_people:
                    self._fill = [255 * mean for mean in reversed(spec.input.mean)]  # B, G, R
        except BaseException:
            self.close()
            raise

    def make_inputs(self, frame: np.ndarray, kinds: Sequence[str]) -> Inputs:
        """A frame's inputs for these kinds of task, as far as they can be made before their pass; in any thread."""
        made = {
            place: network.make_input(frame)
            for place, (own, network) in enumerate(self._networks)
            if not set(own).isdisjoint(kinds)
        }
        return {place: array for place, array in made.items() if array is not None}

    def __call__(
        self,
        frame: np.ndarray,
        kinds: Optional[Sequence[str]] = None,
        camera: int = 0,
        inputs: Optional[Inputs] = None,
    ) -> Predictions:
        """The predictions for a frame.

        Args:
            frame: uint8 [H, W, 3] in OpenCV's channel order.
            kinds: the tasks; None is all.
            camera: number of the camera; in the frames of each a person of its own is tracked.
            inputs: what `make_inputs` made of this frame; what is not among it is made now.
        """
        inputs = inputs or {}
        tracker = self._trackers.setdefault(camera, PersonTracker(self._box))
        found: Dict[str, Any] = {}
        milliseconds = preparing = 0.0
        for place, (own, network) in enumerate(self._networks):
            wanted = [kind for kind in own if kinds is None or kind in kinds]
            if not wanted:
                continue
            if network.crops_people:
                box = tracker.box(frame.shape[:2], found.get("segmentation"), self._people)
                if box is None:
                    continue
                found["pose"], found["box"] = self._pose(network, frame, box, tracker)
            else:
                found.update(network(frame, wanted, inputs.get(place)))
            assert network.engine.stages is not None
            milliseconds += network.engine.stages.inference
            preparing += network.preparing
        return Predictions(milliseconds=milliseconds, preparing=preparing, **found)

    def reset(self, box: Optional[Box] = None) -> None:
        """Forget who was tracked: the next frame is of another scene.

        Args:
            box: of the person in it; None is the whole frame.
        """
        self._box, self._trackers = box, {}

    def __enter__(self) -> "Predictor":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def close(self) -> None:
        """Free the engines, the last first: CUDA contexts are a stack."""
        for _, network in reversed(self._networks):
            network.engine.close()

    def _pose(
        self, network: NetworkPredictor, frame: np.ndarray, box: Box, tracker: PersonTracker
    ) -> Tuple[np.ndarray, Box]:
        """The joints of the person in a box, and the box of the crop."""
        image, cropped = crop(frame, box, network.size, self._fill)
        joints = network(image, ["pose"])["pose"]
        joints[:, :2] += (cropped.left, cropped.top)
        tracker.update(joints, frame.shape[:2])
        return joints, cropped
