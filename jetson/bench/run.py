"""From options to a report: which artifacts, sizes, precisions and images."""

import glob
import importlib.util
import os
import subprocess
import sys
from typing import Any, Dict, List, Optional, Sequence

import numpy as np

from fastnas.jetson import shelf, sidecar
from fastnas.jetson.bench.clocks import pinned_clocks
from fastnas.jetson.bench.measure import Settings, Workload, measure
from fastnas.jetson.bench.report import make_report
from fastnas.jetson.engine.base import Log
from fastnas.jetson.engine.opening import precisions as runnable
from fastnas.jetson.engine.opening import target_of
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.sidecar import Artifact, Size
from fastnas.jetson.system.machine import Machine
from fastnas.jetson.system.opencv import import_cv2

EXPORTED_ON_THE_SPOT = ("arch0", "arch1", "arch2")
GENERATED_SIZE = (480, 640)


def find_artifacts(paths: Sequence[str], log: Log) -> List[Artifact]:
    """The artifacts at `paths`, or of these names.

    Without any they are those under `artifacts/`, exported there first on a host that can.

    Raises:
        JetsonError: there is none.
    """
    if paths:
        return [shelf.open_artifact(path, log) for path in paths]
    found = sidecar.find("artifacts")
    if not found and importlib.util.find_spec("torch") and importlib.util.find_spec("fastnas.deploy"):
        for name in EXPORTED_ON_THE_SPOT:
            log("artifacts/ is empty: exporting {} with random weights, for its latency".format(name))
            if subprocess.run([sys.executable, "-m", "fastnas", "export", name]).returncode:
                raise JetsonError("the export of {} failed; see above".format(name))
        found = sidecar.find("artifacts")
    if not found:
        raise JetsonError("there is no artifact under artifacts/; name one, or write one with: fastnas export arch0")
    return found


def choose_workloads(
    artifacts: Sequence[Artifact], sizes: Sequence[Size], precisions: Sequence[str], engine: str
) -> List[Workload]:
    """Every artifact at every size, in the given precisions or, without any, in all that the engine may run.

    Raises:
        JetsonError: an artifact does not fit a size, or has no file of a precision; better now than after an hour.
    """
    target = target_of(engine)
    workloads = []
    for artifact in artifacts:
        possible = runnable(artifact, engine) or ["fp32"]
        there = {file.precision for file in artifact.sidecar.files if target in file.targets}
        for precision in precisions or possible:
            # TensorRT up to 10 makes fp16 of the fp32 file; whether it needs one of fp16 is known when it opens it.
            file = "fp32" if precision == "fp16" and precision in possible and precision not in there else precision
            for size in sizes:
                artifact.choose(target, file, size)
                workloads.append(Workload(artifact, size, precision))
    return workloads


def load_images(folder: Optional[str]) -> List[np.ndarray]:
    """Up to 8 images of a folder; without a folder 4 generated ones: smooth noise, no network's special case.

    Returns:
        uint8 [H0, W0, 3], in the order B, G, R.
    """
    cv2 = import_cv2()
    if folder:
        paths = sorted(glob.glob(os.path.join(glob.escape(folder), "*")))
        images = [image for image in map(cv2.imread, paths[:64]) if image is not None][:8]
        if not images:
            raise JetsonError("{} has no image that OpenCV can read".format(folder))
        return images
    random = np.random.RandomState(0)
    small = [random.randint(0, 256, (15, 20, 3)).astype(np.uint8) for _ in range(4)]
    return [cv2.resize(image, GENERATED_SIZE[::-1], interpolation=cv2.INTER_CUBIC) for image in small]


def run_benchmark(
    workloads: Sequence[Workload], settings: Settings, folder: Optional[str], pin_clocks: bool, log: Log
) -> Dict[str, Any]:
    """Measure workloads on this machine and report, with the images of a folder or with generated ones."""
    images, machine = load_images(folder), Machine()
    with pinned_clocks(pin_clocks, log):
        facts = machine.fingerprint()
        results = [result.to_dict() for result in measure(workloads, images, settings, machine, log)]
    return make_report(facts, machine.title(), settings.to_dict(), results)
