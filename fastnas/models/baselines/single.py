"""What the decoders of baselines share.

Shapes: N batch, C channels, K task channels (`outputs`), h and w of the logits. A baseline is a `Network`; in training
mode its result is a list of one tensor.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

WIDTH = 256
"""Channels inside the decoders of the paper's baselines."""


class SingleOutput(nn.Module):
    """A decoder without auxiliary heads: logits, or a list of only them in training mode."""

    def forward(self, features: Sequence[Tensor]) -> Tensor | list[Tensor]:
        """Features, shallow to deep -> logits [N, K, h, w], in training mode a list of them."""
        logits = self.logits(features)
        return [logits] if self.training else logits

    def logits(self, features: Sequence[Tensor]) -> Tensor:
        """Features, shallow to deep -> [N, K, h, w]."""
        raise NotImplementedError
