"""Artifacts at work on a camera's pictures. Everything here belongs to the one thread that opens the engines."""

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from fastnas.jetson.engine.base import open_engine, resolve_engine, target_of
from fastnas.jetson.engine.build import DEFAULT_WORKSPACE_MB
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.inference.decode import decoder_for
from fastnas.jetson.inference.preprocess import Preprocessor
from fastnas.jetson.inference.tracking import Box, PersonTracker, cut_out, people_of, to_picture
from fastnas.jetson.sidecar import Artifact, Size

LONGEST = 512
"""Longer side of the network's input when no size is asked for."""

POSE_SIZE = (256, 256)
"""Input of a pose network when no size is asked for: what the recipes train on."""


class Choice(NamedTuple):
    """How artifacts are run.

    Attributes:
        size: input (H, W) of segmentation and depth; None fits the camera's shape.
        pose_size: input of pose.
        precision: `fp32`, `fp16` or `int8`; None is what suits the engine best of what an artifact has.
        engine: one of `engines.ENGINES`.
        threads: of ONNX Runtime on the CPU; 0 is its own choice.
        workspace_mb: scratch memory that TensorRT may use.
        dla: number of the deep learning accelerator to use, or None.
        box: where the person of a pose network is at first.
    """

    size: Optional[Size] = None
    pose_size: Optional[Size] = None
    precision: Optional[str] = None
    engine: str = "auto"
    threads: int = 0
    workspace_mb: int = DEFAULT_WORKSPACE_MB
    dla: Optional[int] = None
    box: Optional[Box] = None


class Seen(NamedTuple):
    """What the networks say about one picture; what did not run is None.

    Attributes:
        segmentation: class ids, uint8 [h, w].
        depth: metres, float32 [h, w].
        pose: joints, float32 [J, 3] of (x, y, score), in pixels of the picture.
        box: the person's, as the pose network saw it.
        milliseconds: what inference alone took, of all networks together.
    """

    segmentation: Optional[np.ndarray] = None
    depth: Optional[np.ndarray] = None
    pose: Optional[np.ndarray] = None
    box: Optional[Box] = None
    milliseconds: float = 0.0


def check_tasks(artifacts: Sequence[Artifact]) -> Dict[str, Artifact]:
    """Artifacts by kind of task, in the order in which they run: pose last, since it may use the segmentation.

    Raises:
        JetsonError: two do the same.
    """
    found: Dict[str, Artifact] = {}
    for kind in ("segmentation", "depth", "pose"):
        for artifact in artifacts:
            if artifact.sidecar.task["kind"] == kind:
                if kind in found:
                    names = (found[kind].sidecar.name, artifact.sidecar.name)
                    raise JetsonError("{} and {} both do {}; give one of each task".format(names[0], names[1], kind))
                found[kind] = artifact
    return found


def input_size(artifact: Artifact, asked: Optional[Size], picture: Size, precision: str) -> Size:
    """The network's input (H, W) for pictures of a size: as asked, as exported, or of the picture's shape."""
    if asked is not None:
        return asked
    sizes = [file.resolution for file in artifact.sidecar.files if file.precision == precision]
    fixed = [size for size in sizes if size is not None]
    if fixed and len(fixed) == len(sizes):
        return fixed[0]
    if artifact.sidecar.task["kind"] == "pose":
        return POSE_SIZE
    multiple = artifact.sidecar.input.multiple_of
    scale = LONGEST / max(picture)
    height, width = (max(int(round(side * scale / multiple)), 1) * multiple for side in picture)
    return height, width


class Network:
    """One artifact, opened in this thread for one input size."""

    def __init__(
        self, artifact: Artifact, size: Size, precision: str, choice: Choice, progress: Callable[[str], None]
    ) -> None:
        self.size = size
        self.spec = artifact.sidecar
        self.milliseconds = 0.0
        self._engine = open_engine(
            artifact,
            size,
            precision,
            choice.engine,
            choice.threads,
            progress,
            choice.workspace_mb,
            choice.dla,
        )
        self._prepare = Preprocessor(self.spec.input, size)
        self._decode = decoder_for(self.spec.output)

    def __call__(self, picture: np.ndarray) -> Any:
        """What the network says about a picture (see `decode`); copied, so that it outlives the next pass."""
        self._prepare(picture, self._engine.input)
        output = self._engine.run()
        assert self._engine.stages is not None
        self.milliseconds = self._engine.stages.inference
        return np.array(self._decode(output))

    def close(self) -> None:
        """Free the engine."""
        self._engine.close()


class Networks:
    """All artifacts of a camera."""

    def __init__(
        self, artifacts: Dict[str, Artifact], picture: Size, choice: Choice, progress: Callable[[str], None]
    ) -> None:
        self._networks: Dict[str, Network] = {}
        self._people: Tuple[int, ...] = ()
        self._tracker = PersonTracker(choice.box)
        target = target_of(resolve_engine(choice.engine))
        try:
            for kind, artifact in artifacts.items():
                asked = choice.pose_size if kind == "pose" else choice.size
                precision = choice.precision or artifact.best_precision(target)
                size = input_size(artifact, asked, picture, precision)
                network = self._networks[kind] = Network(artifact, size, precision, choice, progress)
                progress("{}: {} at {}x{}, {} in {}".format(kind, network.spec.name, *size + (precision, target)))
                if kind == "segmentation":
                    self._people = people_of(network.spec.task["classes"])
        except BaseException:
            self.close()
            raise

    def __call__(self, picture: np.ndarray, kinds: Sequence[str]) -> Seen:
        """Run the networks of `kinds` on a picture."""
        found: Dict[str, Any] = {}
        milliseconds: List[float] = []
        for kind, network in self._networks.items():
            if kind not in kinds:
                continue
            if kind == "pose":
                where = self._tracker.box(picture.shape[:2], found.get("segmentation"), self._people)
                if where is None:
                    continue
                found["pose"], found["box"] = self._pose(network, picture, where)
            else:
                found[kind] = network(picture)
            milliseconds.append(network.milliseconds)
        return Seen(milliseconds=sum(milliseconds), **found)

    def close(self) -> None:
        """Free the engines, the last first: CUDA contexts are a stack."""
        for network in reversed(list(self._networks.values())):
            network.close()

    def _pose(self, network: Network, picture: np.ndarray, where: Box) -> Tuple[np.ndarray, Box]:
        """The joints of the person in a box, and the box that was cut out."""
        fill = [255 * mean for mean in reversed(network.spec.input.mean)]
        person, box = cut_out(picture, where, network.size, fill)
        joints = to_picture(network(person), box, network.size)
        self._tracker.update(joints, picture.shape[:2])
        return joints, box
