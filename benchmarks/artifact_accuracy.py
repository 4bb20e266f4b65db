"""What reduced precision costs: the task's metric of every file of an artifact, all in ONNX Runtime on the CPU.

    python benchmarks/artifact_accuracy.py artifacts/arch2 --data camvid --root CamVid

`fastnas eval ARTIFACT --precision int8` gives the full tables of one file; here are also the files for TensorRT, whose
arithmetic ONNX Runtime follows: Q/DQ graphs mean the same everywhere, and fp16 is computed by `deploy.fp16.rounded`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import onnx
import torch
from torch import Tensor

from fastnas.data import open_dataset
from fastnas.deploy.parity import open_session, run
from fastnas.deploy.precision.fp16 import rounded
from fastnas.jetson import sidecar
from fastnas.jetson.sidecar import ModelFile
from fastnas.tasks.registry import head_for
from fastnas.train.evaluate import Predictor, evaluate
from fastnas.train.predictors import crop_size
from fastnas.train.settings import limited


def predictor(path: Path, file: ModelFile, threads: int, output: str) -> Predictor:
    model = onnx.load(path)
    literally = "onnxruntime" not in file.targets
    session = open_session(rounded(model) if file.precision == "fp16" else model, threads, literally=literally)

    def predict(images: Tensor) -> Tensor:  # one by one, as the file takes them
        return torch.cat([torch.from_numpy(run(session, [output], image[None].numpy())[0]) for image in images])

    return predict


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--data", default="synthetic", help="dataset; its val split is used")
    parser.add_argument("--root", type=Path, help="folder of the dataset")
    parser.add_argument("--limit", type=int, default=0, help="only so many images, evenly spread; 0 for all")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    entry = sidecar.load(str(options.artifact)).sidecar
    kind = entry.kinds[0] if len(entry.kinds) == 1 else None
    dataset = limited(open_dataset(options.data, options.root, "val", kind), options.limit)
    head, first, size = head_for(dataset.task), None, crop_size(entry)
    for file in entry.files:
        name = entry.output(dataset.task.kind).name
        predict = predictor(options.artifact / file.path, file, options.threads, name)
        score = head.score(evaluate(predict, dataset, size, torch.device("cpu")).compute())
        first = score.value if first is None else first
        print(f"{file.path}: {score.name} {score.value:.4f} ({score.value - first:+.4f}), {len(dataset)} images")


if __name__ == "__main__":
    main()
