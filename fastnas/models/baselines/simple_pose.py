"""The simple baselines for pose. `single.py` explains the letters of shapes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from fastnas.models.baselines.single import WIDTH, SingleOutput


class SimplePose(SingleOutput):
    """The head of the simple baselines for pose (Xiao et al., ECCV 2018): three deconvolutions, a 1x1 classifier.

    The logits have the size of the shallowest feature, a quarter of the image. Where the image is no multiple of 32 the
    deconvolutions reach past its right and lower edge, and that surplus is cut off.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.deconvolutions = nn.Sequential(*(_deconvolution(c, WIDTH) for c in (inputs, WIDTH, WIDTH)))
        self.classifier = nn.Conv2d(WIDTH, outputs, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(module.weight, std=0.001)  # as published
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def logits(self, features: Sequence[Tensor]) -> Tensor:
        """See `SingleOutput`."""
        height, width = features[0].shape[2:]
        result: Tensor = self.classifier(self.deconvolutions(features[-1]))
        return result[:, :, :height, :width]


def _deconvolution(inputs: int, outputs: int) -> nn.Sequential:
    """[N, inputs, H, W] -> [N, outputs, 2H, 2W]."""
    return nn.Sequential(
        nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
