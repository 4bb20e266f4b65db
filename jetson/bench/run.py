"""From what was asked for to a report: which artifacts, which sizes, which pictures."""

import glob
import importlib.util
import os
import subprocess
import sys
from typing import Any, Callable, Dict, List, Optional, Sequence

import numpy as np

from fastnas.jetson import sidecar
from fastnas.jetson.bench.clocks import pinned_clocks
from fastnas.jetson.bench.measure import Settings, Subject, measure
from fastnas.jetson.bench.report import make_report
from fastnas.jetson.engine.base import target_of
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.inference.preprocess import import_cv2
from fastnas.jetson.sidecar import Artifact, Size
from fastnas.jetson.system.machine import Machine

EXPORTED_ON_THE_SPOT = ("arch0", "arch1", "arch2")
PICTURE_SIZE = (480, 640)


def find_artifacts(paths: Sequence[str], progress: Callable[[str], None]) -> List[Artifact]:
    """The artifacts at `paths`; without any, those under `artifacts/`, exported there first on a host that can.

    Raises:
        JetsonError: there is none.
    """
    if paths:
        return [sidecar.load(path) for path in paths]
    found = sidecar.find("artifacts")
    if not found and importlib.util.find_spec("torch") and importlib.util.find_spec("fastnas.deploy"):
        for name in EXPORTED_ON_THE_SPOT:
            progress("artifacts/ is empty: exporting {} with random weights, for its latency".format(name))
            if subprocess.run([sys.executable, "-m", "fastnas", "export", name]).returncode:
                raise JetsonError("the export of {} failed; see above".format(name))
        found = sidecar.find("artifacts")
    if not found:
        raise JetsonError("there is no artifact under artifacts/; name one, or write one with: fastnas export arch0")
    return found


def choose_subjects(
    artifacts: Sequence[Artifact], sizes: Sequence[Size], precisions: Sequence[str], engine: str
) -> List[Subject]:
    """Every artifact at every size, in the precisions asked for or, if none is, in all that it has for the engine.

    Raises:
        JetsonError: one of them cannot be run; better now than after an hour of measuring.
    """
    target = target_of(engine)
    subjects = []
    for artifact in artifacts:
        there = {file.precision for file in artifact.sidecar.files if target in file.targets}
        for precision in precisions or [name for name in sidecar.PRECISIONS if name in there] or ["fp32"]:
            # TensorRT up to 10 makes fp16 of the fp32 file: which file is needed only the engine knows.
            needed = "fp32" if target == "tensorrt" and precision == "fp16" and precision not in there else precision
            for size in sizes:
                artifact.choose(target, needed, size)
                subjects.append(Subject(artifact, size, precision))
    return subjects


def load_pictures(folder: Optional[str]) -> List[np.ndarray]:
    """Up to 8 pictures of a folder; without a folder 4 made ones: smooth noise, no network's special case.

    Returns:
        uint8 [H0, W0, 3], in the order B, G, R.
    """
    cv2 = import_cv2()
    if folder:
        paths = sorted(glob.glob(os.path.join(glob.escape(folder), "*")))
        pictures = [picture for picture in map(cv2.imread, paths[:64]) if picture is not None][:8]
        if not pictures:
            raise JetsonError("{} has no picture that OpenCV can read".format(folder))
        return pictures
    random = np.random.RandomState(0)
    small = [random.randint(0, 256, (15, 20, 3)).astype(np.uint8) for _ in range(4)]
    return [cv2.resize(picture, PICTURE_SIZE[::-1], interpolation=cv2.INTER_CUBIC) for picture in small]


def run_benchmark(
    subjects: Sequence[Subject],
    settings: Settings,
    images: Optional[str],
    pin_clocks: bool,
    progress: Callable[[str], None],
) -> Dict[str, Any]:
    """Measure subjects on this machine and report, with the pictures of a folder or with made ones."""
    pictures, machine = load_pictures(images), Machine()
    with pinned_clocks(pin_clocks, progress):
        facts = machine.fingerprint()
        rows = [row.to_dict() for row in measure(subjects, pictures, settings, machine, progress)]
    return make_report(facts, machine.title(), dict(settings._asdict()), rows)
