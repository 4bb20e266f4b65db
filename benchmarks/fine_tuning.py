"""What `--init` is worth with few images. Run: python benchmarks/fine_tuning.py CAMVID --init objects [--images 50]

The same training of `camvid1` on a few images of CamVid, from a trained model and from ImageNet's encoder weights, with
three seeds each. Prints mean IoU on the 101 validation images after every evaluated epoch, and plots it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path


def train(given: argparse.Namespace, name: str, start: list[str], seed: int) -> list[tuple[int, float]]:
    """One training; (epoch, mean IoU) of every evaluation. A run that is there already is not repeated."""
    folder = given.out / f"{name}-{seed}"
    kept = folder / "result.json"
    if not kept.exists():
        command = [
            sys.executable, "-m", "fastnas", "train", given.network, *start, "--data", "camvid", "--root", given.camvid,
            "--limit", str(given.images), "--epochs", str(given.epochs), "--eval-every", str(given.every),
            "--aux", "none", "--set", "crop=256,256", "--precision", "bf16", "--seed", str(seed), "--workers", "1",
            "--out", str(folder), "--json",
        ]  # fmt: skip
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        kept.write_text(run.stdout)
    return [(int(row["epoch"]), row["mean_iou"]) for row in json.loads(kept.read_text())["epochs"]]


def main() -> None:
    """Train all, print and plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("camvid")
    parser.add_argument("--init", default="objects", help="name or model file")
    parser.add_argument("--encoder-weights", default="imagenet")
    parser.add_argument("--network", default="camvid1")
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--every", type=int, default=5, help="epochs between evaluations")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/fine-tuning"))
    given = parser.parse_args()
    starts = {
        f"--init {Path(given.init).stem}": ["--init", given.init],
        "ImageNet": ["--encoder-weights", given.encoder_weights],
    }
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, start in starts.items():
        short = name.replace("--init ", "init-")
        runs = [train(given, short, start, seed) for seed in range(given.seeds)]
        epochs = [epoch for epoch, _ in runs[0]]
        values = [[run[i][1] for run in runs] for i in range(len(epochs))]
        means = [statistics.mean(each) for each in values]
        for epoch, each in zip(epochs, values, strict=True):
            print(f"{name:16} epoch {epoch:3}: {statistics.mean(each):.3f}  ({min(each):.3f} to {max(each):.3f})")
        (line,) = axes.plot(epochs, means, marker="o", label=name)
        axes.fill_between(epochs, [min(v) for v in values], [max(v) for v in values], color=line.get_color(), alpha=0.2)
    axes.set(
        xlabel="epoch", ylabel="mean IoU, CamVid val", title=f"{given.images} training images, {given.seeds} seeds"
    )
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(given.out / "fine-tuning.svg")
    print(given.out / "fine-tuning.svg")


if __name__ == "__main__":
    main()
