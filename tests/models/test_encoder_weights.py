"""Encoder weights come out of model files, also where a baseline cut the backbone into other stages."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fastnas.errors import FastnasError
from fastnas.models.checkpoint import load_model, save_model
from fastnas.models.encoder import make_encoder
from fastnas.models.spec import ModelSpec, build
from fastnas.shelf import resolve
from fastnas.tasks import Depth

TASK = Depth(0.1, 10.0)


@pytest.mark.parametrize("architecture", ["arch1", "rflw-mbv2", "deeplabv3-mbv2"])
def test_weights_of_the_encoder_of_a_model_file(tmp_path: Path, architecture: str) -> None:
    """Also of a baseline that cuts the backbone into six stages, or dilates it; and into one that does."""
    spec = ModelSpec(architecture, TASK)
    trained = build(spec)
    path = tmp_path / "model.safetensors"
    save_model(path, trained, spec, half=True)
    own = [value.half().float() for value in trained.encoder.state_dict().values() if value.is_floating_point()]
    for taker in (make_encoder("mobilenet_v2", path), build(ModelSpec("rflw-mbv2", TASK), path).encoder):
        taken = [value for value in taker.state_dict().values() if value.is_floating_point()]
        assert len(taken) == len(own)
        assert all(map(torch.equal, taken, own))


def test_weights_of_the_encoder_of_a_trained_model_by_name() -> None:
    trained = load_model(resolve("objects")).network.encoder.state_dict()
    taken = make_encoder("mobilenet_v2", "objects").state_dict()
    assert all(torch.equal(taken[key], value) for key, value in trained.items())


def test_a_suffix_gives_the_output_stride(tmp_path: Path) -> None:
    """Of weights from a model file too, whatever its stride is; its features are those that `output_stride` gives."""
    spec = ModelSpec("arch1", TASK, encoder="mobilenet_v2-os16", channels=4)
    path = tmp_path / "model.safetensors"
    save_model(path, build(spec), spec)
    assert load_model(path).network.encoder.strides == (4, 8, 16, 16)
    image = torch.randn(1, 3, 64, 96)
    for stride in (8, 16):
        named = make_encoder(f"mobilenet_v2-os{stride}", path).eval()
        plain = make_encoder("mobilenet_v2", path, output_stride=stride).eval()
        assert named.strides == plain.strides == tuple(min(stride, each) for each in (4, 8, 16, 32))
        assert all(map(torch.equal, named(image), plain(image)))
    with pytest.raises(FastnasError, match="encoder 'mobilenet_v2-os4' is not one of mobilenet_v2, "):
        make_encoder("mobilenet_v2-os4")


def test_a_model_with_another_encoder_gives_no_weights(tmp_path: Path) -> None:
    path, spec = tmp_path / "model.safetensors", ModelSpec("arch1", TASK, channels=4)
    save_model(path, build(spec), spec)
    with pytest.raises(FastnasError, match=r"model.safetensors has the encoder mobilenet_v2, not resnet50: give --enc"):
        make_encoder("resnet50", path)
    with pytest.raises(FastnasError, match=r"no weights file objcts; trained models by name: street, "):
        make_encoder("mobilenet_v2", "objcts")
