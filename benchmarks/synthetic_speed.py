"""How fast one core makes synthetic scenes. Run: python benchmarks/synthetic_speed.py [--size 256] [--scenes 200]

Wall time is what a data loader's worker would see; processor time leaves out what other programs took of the core.
"""

from __future__ import annotations

import argparse
import time

import cv2
import torch

from fastnas.data.synthetic.dataset import TASKS, SyntheticScenes


def main() -> None:
    """Print scenes per second for every task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256, help="side of the images, pixels")
    parser.add_argument("--scenes", type=int, default=200, help="how many to make for each task")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    print(f"{options.scenes} scenes of {options.size}x{options.size}, one core")
    for task in TASKS:
        dataset = SyntheticScenes(task=task, size=(options.size, options.size), count=options.scenes + 5)
        for index in range(options.scenes, options.scenes + 5):  # textures and noise are made once
            dataset[index]
        wall, processor = time.perf_counter(), time.process_time()
        for index in range(options.scenes):
            dataset[index]
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        print(
            f"{task:13} {options.scenes / wall:6.0f} per second, {options.scenes / processor:6.0f} per processor second"
        )


if __name__ == "__main__":
    main()
