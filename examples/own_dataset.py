"""Train on your own data: any map-style dataset of dicts will do. Run: python examples/own_dataset.py [FOLDER]

Here the data are drawn on the fly: bright discs on noise. Yours would read files; the dict of a sample is described in
`fastnas.data.base.Sample`.
"""

import sys
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torchvision import tv_tensors

import fastnas
from fastnas.config import override
from fastnas.data import DenseDataset
from fastnas.data.base import Sample
from fastnas.train.loop import Trainer, TrainerOptions
from fastnas.train.recipes import RECIPES

TASK = fastnas.Segmentation(("background", "disc"), ((0, 0, 0), (220, 60, 60)))
SIDE = 96


class Discs(DenseDataset):
    """Images of one disc each, the same for the same split and index."""

    name, task = "discs", TASK

    def __init__(self, split: str, count: int) -> None:
        self.split, self.count = split, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        random = torch.Generator().manual_seed(index + (1_000_000 if self.split == "val" else 0))
        x, y, radius = (torch.rand(3, generator=random) * torch.tensor([SIDE, SIDE, 20]) + 10).tolist()
        rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
        disc = (columns - x) ** 2 + (rows - y) ** 2 < radius**2
        image = torch.randint(0, 120, (3, SIDE, SIDE), generator=random, dtype=torch.uint8) + 120 * disc.byte()
        return {"name": str(index), "image": tv_tensors.Image(image), "mask": tv_tensors.Mask(disc.byte())}


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/discs")
    # One phase of 8 epochs, on data that the trainer asks for by this name.
    changes = ["batch=8", "crop=96,96", "polyak=0", "phases.0.data=discs", "phases.0.epochs=8"]
    changes += ["encoder.kind=adam", "encoder.lr=3e-3"]  # it starts at random
    recipe = override(RECIPES["camvid"], tuple(changes))
    spec = fastnas.ModelSpec("arch2", TASK, channels=16)
    torch.manual_seed(0)
    fabric = Fabric(accelerator="cpu")
    train, val = Discs("train", 160), Discs("val", 16)
    trainer = Trainer(
        fabric, spec, fastnas.build(spec), recipe, lambda name: train, [val], folder,
        options=TrainerOptions(workers=0, eval_every=4),
    )  # fmt: skip
    for row in trainer.run().rows:
        print(f"epoch {row['epoch']}: loss {row['loss']:.3f}, mean IoU {row['mean_iou']:.3f}")
    print(f"next: fastnas export {folder / 'model.safetensors'}")


if __name__ == "__main__":
    main()
