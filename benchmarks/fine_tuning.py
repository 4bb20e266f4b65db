"""What `--init` is worth with few images. Run: python benchmarks/fine_tuning.py CAMVID --init objects [--images 50]

The same training of `camvid1` on a few images of CamVid, from a trained model and from ImageNet's encoder weights, with
three seeds each. Prints mean IoU on the 101 validation images after every evaluated epoch, and plots it.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

from trainings import trained


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
    options = [
        "--limit", str(given.images), "--epochs", str(given.epochs), "--eval-every", str(given.every),
        "--set", "crop=256,256", "--precision", "bf16",
    ]  # fmt: skip
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, start in starts.items():
        short = name.replace("--init ", "init-")
        runs = [
            trained(given.out / f"{short}-{seed}", given.camvid, given.network, *start, *options, "--seed", str(seed))
            for seed in range(given.seeds)
        ]
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
