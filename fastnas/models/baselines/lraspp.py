"""Lite R-ASPP. `single.py` explains the letters of shapes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torchvision.models.segmentation.lraspp import LRASPPHead

from fastnas.models.baselines.single import SingleOutput


class LiteRASPP(SingleOutput):
    """torchvision's head of MobileNet-v3 for segmentation (Howard et al., ICCV 2019, Sect. 6.4).

    The deepest feature, at stride 16, is projected and gated by its mean; enlarged, and added as logits to those of the
    feature at stride 8, whose size the logits have.
    """

    def __init__(self, low: int, high: int, outputs: int) -> None:
        super().__init__()
        self.head = LRASPPHead(low, high, outputs, 128)

    def logits(self, features: Sequence[Tensor]) -> Tensor:
        """See `SingleOutput`."""
        result: Tensor = self.head({"low": features[1], "high": features[-1]})
        return result
