"""Encoder and decoder: the class of every network of fastnas, baselines included."""

from __future__ import annotations

from torch import Tensor, nn

from fastnas.models.encoder import Encoder


class Network(nn.Module):
    """An encoder and a decoder.

    Shapes: images [N, 3, H, W], normalised as `encoder.mean` and `encoder.std` say -> logits [N, K, h, w] at the
    decoder's own resolution. In training mode the result is a list: the logits, then those of the auxiliary heads.

    Attributes:
        encoder: the pretrained part.
        decoder: a module from the encoder's features to logits; everything that is trained from scratch.
    """

    def __init__(self, encoder: Encoder, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, images: Tensor) -> Tensor | list[Tensor]:
        """See the class."""
        result: Tensor | list[Tensor] = self.decoder(self.encoder(images))
        return result
