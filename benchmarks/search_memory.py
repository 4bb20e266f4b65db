"""Memory of the training steps of a search, to choose its batches by. Run: python benchmarks/search_memory.py

A step of each stage, with the sizes of a preset, on random architectures: the largest sum of tensors that live at once,
counted on this machine's CPU with batches of 2 and 4, and continued to the preset's batch. It grows by the same amount
with every image, which `--check` shows with a third batch. An estimate for a GPU: its context, the workspaces of its
convolutions, and what is lost between tensors come on top, and stored encoder outputs where the search keeps them there
(those of 4,000 crops of 256x256 are 1.4 GB).
"""

from __future__ import annotations

import argparse
import random
import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fastnas.models.decoder import Decoder
from fastnas.models.depthwise import DepthwiseConv2d
from fastnas.models.encoder import make_encoder
from fastnas.models.genotype import Genotype
from fastnas.models.network import Network
from fastnas.search.presets import PRESETS, preset
from fastnas.search.settings import EvaluationSettings
from fastnas.tasks import Segmentation
from fastnas.tasks.registry import head_for
from fastnas.train.objective import WeightUpdate, training_loss

GB = 1e9


class Peak(TorchDispatchMode):
    """While it is entered: the bytes of tensors that live, and the most there have been."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.most = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for each in tree_leaves(result):
            if isinstance(each, Tensor):
                self.add(each)
        return result

    def add(self, tensor: Tensor) -> None:
        """Count a tensor's storage, until it is freed."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self.known:
            return
        self.known.add(key)
        self.live += size
        self.most = max(self.most, self.live)
        weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.live -= size


def step(genotype: Genotype, how: EvaluationSettings, classes: int, stage: int, batch: int, precision: str) -> int:
    """The peak of one training step, in bytes."""
    torch.manual_seed(0)
    task = Segmentation(tuple(map(str, range(classes))), ((0, 0, 0),) * classes)
    encoder = make_encoder(how.encoder)
    network: nn.Module = Decoder(genotype, encoder.channels, how.channels, how.sep_repeats, classes, "cell")
    crop = how.stage1_crop if stage == 1 else how.stage2_crop
    inputs: Any = [
        torch.rand(batch, c, -(-crop // s), -(-crop // s))
        for c, s in zip(encoder.channels, encoder.strides, strict=True)
    ]
    side = inputs[0].shape[-1]
    if stage == 2:
        network, inputs, side = Network(encoder, network), torch.rand(batch, 3, crop, crop), crop
    for module in network.modules():
        if isinstance(module, DepthwiseConv2d):
            module.__class__ = nn.Conv2d  # type: ignore[assignment]  # on GPUs it is one
    labels = {"image": torch.empty(batch, 3, side, side), "mask": torch.randint(0, classes, (batch, side, side))}
    with Peak() as peak:
        for tensor in (*network.parameters(), *network.buffers(), *tree_leaves(inputs), *labels.values()):
            peak.add(tensor)
        optimiser = torch.optim.Adam(network.parameters(), 3e-3)  # two states; SGD of the encoder has one
        update = WeightUpdate(network, [(optimiser, how.gradient_norm)], 0.9)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            outputs = network.train()(inputs)
        outputs = [each.float() for each in outputs]
        training_loss(head_for(task), outputs, labels, auxiliary_weight=how.auxiliary_weight).backward()
        update.step()
    return peak.most


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=["paper", "8gb", "small"], choices=PRESETS)
    parser.add_argument("--classes", type=int, default=21, help="21 are Pascal VOC's")
    parser.add_argument("--candidates", type=int, default=12, help="random architectures")
    parser.add_argument("--check", action="store_true", help="measure a batch of 8 too, beside what 2 and 4 foretell")
    options = parser.parse_args()
    genotypes = [Genotype.random(random.Random(seed)) for seed in range(options.candidates)]
    print("| preset | stage | batch | crop | fp32: median, largest | bf16: median, largest |")
    print("|---|---|---|---|---|---|")
    for name in options.presets:
        how = preset(name).evaluation
        for stage, batch, crop in ((1, how.stage1_batch, how.stage1_crop), (2, how.stage2_batch, how.stage2_crop)):
            cells = []
            for precision in ("fp32", "bf16"):
                peaks = []
                for genotype in genotypes:
                    two, four = (step(genotype, how, options.classes, stage, n, precision) for n in (2, 4))
                    peaks.append(two + (four - two) * (batch - 2) / 2)
                    if options.check:
                        eight = step(genotype, how, options.classes, stage, 8, precision)
                        print(f"batch of 8: {eight / GB:.3f} GB, foretold {(3 * four - 2 * two) / GB:.3f} GB")
                peaks.sort()
                cells.append(f"{peaks[len(peaks) // 2] / GB:.1f}, {peaks[-1] / GB:.1f} GB")
            print(f"| {name} | {stage} | {batch} | {crop}x{crop} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
