"""Networks of segmentation_models.pytorch: the library's own but for the last enlargement, on our encoder's weights."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torchvision
from click.testing import CliRunner

from fastnas.cli import main
from fastnas.data.formats.voc import TASK
from fastnas.errors import FastnasError, MissingPackage
from fastnas.jetson.commands import UNRELIABLE
from fastnas.models.baselines import smp
from fastnas.models.baselines.registry import make_baseline
from fastnas.models.checkpoint import load_model, save_model
from fastnas.models.depthwise import DepthwiseConv2d
from fastnas.models.encoder import make_encoder
from fastnas.models.spec import ModelSpec, build
from tests.helpers.baselines import needs_smp

CLASSES = TASK.outputs
IMAGE = torch.rand(1, 3, 160, 192, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MobileNet-v2 in torchvision's key names."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "mobilenet_v2.pth"
    torch.save(torchvision.models.mobilenet_v2().state_dict(), path)
    return path


@needs_smp
@pytest.mark.parametrize("name", smp.NAMES)
def test_it_is_the_librarys_network(name: str, weights: Path) -> None:
    import segmentation_models_pytorch as library

    ours = make_baseline(name, CLASSES, weights).eval()
    theirs = getattr(library, name.removeprefix("smp/"))("mobilenet_v2", encoder_weights=None, classes=CLASSES).eval()
    theirs.encoder.load_state_dict(torch.load(weights, weights_only=True))
    theirs.decoder.load_state_dict(ours.decoder.body.state_dict())  # type: ignore[union-attr, operator]
    theirs.segmentation_head[0].load_state_dict(ours.decoder.classifier.state_dict())  # type: ignore[union-attr, operator]
    with torch.no_grad():
        logits = ours(IMAGE)
        torch.testing.assert_close(theirs.segmentation_head[1](logits), theirs(IMAGE), rtol=0, atol=1e-5)


@needs_smp
@pytest.mark.parametrize("name", ["smp/FPN", "smp/Unet"])
def test_the_features_are_torchvisions(name: str, weights: Path) -> None:
    classifier = torchvision.models.mobilenet_v2().eval()
    classifier.load_state_dict(torch.load(weights, weights_only=True))
    with torch.no_grad():
        features = make_baseline(name, CLASSES, weights).encoder.eval()(IMAGE)
        for feature, last in zip(features[1:], (2, 4, 7, 14, 19), strict=True):
            torch.testing.assert_close(feature, classifier.features[:last](IMAGE), rtol=0, atol=1e-5)


@needs_smp
def test_weights_go_from_model_to_model(tmp_path: Path, weights: Path) -> None:
    """Its encoder has what ours has, and one block more."""
    spec, path = ModelSpec("smp/Unet", TASK), tmp_path / "unet.safetensors"
    network = build(spec, weights)
    save_model(path, network, spec)
    assert spec.name == "smp-Unet"
    assert torch.equal(load_model(path).network.eval()(IMAGE), network.eval()(IMAGE))
    ours = make_encoder("mobilenet_v2", path).eval()(IMAGE)
    assert torch.equal(ours[-1], make_encoder("mobilenet_v2", weights).eval()(IMAGE)[-1])
    again = make_baseline("smp/FPN", CLASSES, path).encoder.eval()(IMAGE)
    assert torch.equal(again[-1], network.encoder(IMAGE)[-1])
    with pytest.raises(FastnasError, match=r"street.safetensors does not fit mobilenet_v2: 5 tensors are missing"):
        make_baseline("smp/FPN", CLASSES, "street")


@needs_smp
def test_dilated_depthwise_convolutions_are_the_quick_ones() -> None:
    quick = [m for m in make_baseline("smp/DeepLabV3Plus", CLASSES).modules() if isinstance(m, DepthwiseConv2d)]
    assert sorted({conv.dilation[0] for conv in quick}) == [2, 12, 24, 36]


@needs_smp
@pytest.mark.slow
@pytest.mark.parametrize("name", smp.NAMES)
def test_every_command_takes_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run("show", name)
    run(
        "train", name, "--encoder-weights", "none", "--epochs", "1", "--limit", "4", "--val-limit", "1",
        "--workers", "0", "--set", "batch=2", "--set", "crop=64,96", "--out", "run",
    )  # fmt: skip
    model = "run/model.safetensors"
    run("eval", model, "--data", "synthetic", "--limit", "1", "--workers", "0")
    run("export", model, "--name", "net", "--res", "128", "--fp16")
    run("jetson-bench", "artifacts/net", "--res", "128", "--passes", "2")
    cv2.imwrite("picture.png", np.full((60, 80, 3), 90, np.uint8))
    run("predict", model, "picture.png", "--out", "results")


def run(*words: str) -> None:
    result = CliRunner().invoke(main, words)
    assert result.exit_code in (0, UNRELIABLE if words[0] == "jetson-bench" else 0), result.output


def test_without_the_extra_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(MissingPackage, match=r"^segmentation_models_pytorch .*; run: pip install 'fastnas\[smp\]'$"):
        build(ModelSpec("smp/FPN", TASK))
