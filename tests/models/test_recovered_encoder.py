"""`weights/training/encoder.py`: folded weights become batch norms and another normalisation; the function stays."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fastnas.models.encoder import Encoder, make_encoder
from fastnas.normalisation import IMAGENET

SCRIPT = Path(__file__).resolve().parents[2] / "weights" / "training" / "encoder.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    about = importlib.util.spec_from_file_location("recovered_encoder", SCRIPT)
    assert about is not None
    assert about.loader is not None
    module = importlib.util.module_from_spec(about)
    about.loader.exec_module(module)
    return module


def folded() -> Encoder:
    """A MobileNet-v2 whose batch norms only add a bias."""
    torch.manual_seed(0)
    encoder = make_encoder("mobilenet_v2").eval()
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.fill_(1 - module.eps)  # type: ignore[union-attr]
            nn.init.normal_(module.bias, std=0.1)
    return encoder


def deepest(encoder: Encoder, images: Tensor) -> Tensor:
    with torch.inference_mode():
        return encoder(images)[-1]


def test_measured_norms_keep_the_function(script: ModuleType, tmp_path: Path) -> None:
    encoder, noise = folded(), np.random.default_rng(0)
    paths = [tmp_path / f"{number}.png" for number in range(2)]
    for path in paths:
        cv2.imwrite(str(path), noise.integers(0, 256, (48, 64, 3), dtype=np.uint8))
    images = torch.randn(2, 3, 64, 64)
    before, pairs = deepest(encoder, images), list(script._convolutions(encoder))
    (first, norm), seen = pairs[0], []
    first.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    script.measure_norms(encoder, pairs, paths)
    torch.testing.assert_close(deepest(encoder, images), before, rtol=1e-3, atol=1e-5)
    values = torch.cat([output.flatten(2) for output in seen[: len(paths)]], 2)[0]
    torch.testing.assert_close(norm.running_mean, values.mean(1), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(norm.running_var, values.var(1, correction=0), rtol=1e-3, atol=1e-4)


def test_the_first_convolution_takes_images_of_another_normalisation(script: ModuleType) -> None:
    encoder = folded()
    pair = next(script._convolutions(encoder))
    pixels = torch.randint(0, 256, (1, 3, 32, 32)).float()
    mean, std = (torch.tensor(values)[:, None, None] for values in IMAGENET)
    stem = encoder.stages[0][0]  # type: ignore[index]
    with torch.inference_mode():
        expected = stem((pixels - 128) / 128)
        script._renormalise(pair)
        found = stem((pixels / 255 - mean) / std)
    # Padding is zero, which is another colour in each: the border differs.
    torch.testing.assert_close(found[..., 1:, 1:], expected[..., 1:, 1:], rtol=1e-4, atol=1e-5)
