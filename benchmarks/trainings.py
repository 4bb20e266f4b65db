"""Trainings on CamVid that benchmarks compare: each in a folder of its own, and none repeated."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path


def trained(folder: Path, camvid: str, network: str, *options: str) -> list[tuple[int, float]]:
    """Train with one thread unless the folder holds the result; (epoch, mean IoU) of every evaluation.

    A training that was interrupted begins again.
    """
    kept = folder / "result.json"
    if not kept.exists():
        shutil.rmtree(folder, ignore_errors=True)
        command = [
            sys.executable, "-m", "fastnas", "train", network, "--data", "camvid", "--root", camvid, "--aux", "none",
            "--workers", "0", "--out", str(folder), "--json", *options,
        ]  # fmt: skip
        threads = os.environ | {"OMP_NUM_THREADS": "1"}
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=threads)
        kept.write_text(run.stdout)
    return [(int(row["epoch"]), row["mean_iou"]) for row in json.loads(kept.read_text())["epochs"]]
