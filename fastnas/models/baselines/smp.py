"""Networks of segmentation_models.pytorch (the extra `smp`), as `smp/NAME`, with its MobileNet-v2 and its defaults.

`single.py` explains the letters of shapes. Other than in the library, the logits are not enlarged by 4 in the end, for
whoever needs that here does it for all networks alike, and images of any size are taken, by padding them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from fastnas.errors import import_extra
from fastnas.models.baselines.single import SingleOutput
from fastnas.models.depthwise import quicken
from fastnas.models.encoder import Encoder, make_encoder
from fastnas.models.network import Network

PREFIX = "smp/"
NAMES = tuple(PREFIX + name for name in ("FPN", "PAN", "DeepLabV3Plus", "Unet"))
ENCODER = "mobilenet_v2"
MULTIPLE = 32
"""The library takes images whose sides are multiples of it."""
LEAST = {"smp/PAN": 128}
"""Smallest side of those that take no smaller one: PAN halves its deepest feature, of stride 16, three times."""


class SmpEncoder(Encoder):
    """MobileNet-v2 cut as the library does: the image itself, then five features, at strides 2, 4, 8, 16, 32.

    The last has the 1280 channels that the classifier reads. Images are padded with zeros, right and below, to
    multiples of `MULTIPLE` and to `least`; the first feature is the image without that.

    Args:
        blocks: of MobileNet-v2, perhaps dilated.
        output_stride: of the deepest feature.
        least: smallest height and width.
    """

    def __init__(self, blocks: Any, output_stride: int, least: int) -> None:
        super().__init__([blocks[:2], blocks[2:4], blocks[4:7], blocks[7:14], blocks[14:]], (3, 16, 24, 32, 96, 1280))
        self.strides, self.least = (1, 2, 4, 8, 16, output_stride), least

    def forward(self, images: Tensor) -> list[Tensor]:
        """[N, 3, H, W] -> the features."""
        below, right = (max(-side % MULTIPLE, self.least - side) for side in images.shape[2:])
        return [images, *super().forward(F.pad(images, (0, right, 0, below)) if right or below else images)]


class SmpDecoder(SingleOutput):
    """A decoder of the library and the convolution of its head.

    The logits have the size of the image, or a quarter of it, rounded up, where the library would enlarge them.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.body = model.decoder
        self.classifier, enlarged, _ = model.segmentation_head
        self.stride = 1 if isinstance(enlarged, nn.Identity) else int(enlarged.scale_factor)

    def logits(self, features: Sequence[Tensor]) -> Tensor:
        """See `SingleOutput`; the first feature is the image."""
        height, width = (-(-side // self.stride) for side in features[0].shape[2:])
        result: Tensor = self.classifier(self.body(list(features)))
        return result[:, :, :height, :width]


def make_smp(name: str, outputs: int, weights: str | Path) -> Network:
    """A network of the library.

    Args:
        name: one of `NAMES`.
        outputs: K.
        weights: of its encoder; see `fastnas.models.encoder.make_encoder`. It needs the last block, of 1280 channels,
            which those of ImageNet and of other `smp/` models have.

    Raises:
        MissingPackage: the extra is not installed.
        FastnasError: the weights cannot be had.
    """
    library = import_extra("segmentation_models_pytorch", "smp")
    model = getattr(library, name.removeprefix(PREFIX))(ENCODER, encoder_weights=None, classes=outputs)

    def cut(classifier: Any) -> Encoder:
        model.encoder.features.load_state_dict(classifier.features.state_dict())  # dilated where the library does that
        return SmpEncoder(model.encoder.features, model.encoder.output_stride, LEAST.get(name, MULTIPLE))

    network = Network(make_encoder(ENCODER, weights, cut=cut), SmpDecoder(model))
    quicken(network)
    return network
