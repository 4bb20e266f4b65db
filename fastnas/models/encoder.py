"""Encoders of pretrained classifiers: torchvision's MobileNet-v2 and ResNets, and any timm backbone as `timm/NAME`.

Shapes: images [N, 3, H, W] -> four features [N, C_i, H / s_i, W / s_i] (rounded up), shallow to deep, s = 4, 8, 16, 32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from fastnas import shelf
from fastnas.errors import FastnasError, raise_if_interrupted
from fastnas.models.depthwise import quicken
from fastnas.models.header import is_model, read_model
from fastnas.models.pretrained import downloaded, timm_file, torchvision_file
from fastnas.normalisation import IMAGENET, Normalisation

STRIDES = (4, 8, 16, 32)
ENCODERS = ["mobilenet_v2", "resnet18", "resnet50", "resnet101", "resnet152"]
"""Names of the encoders; `timm/NAME` adds those of timm, and `-os8` or `-os16` behind a name an output stride."""
MOBILENET_V2_CHANNELS = (24, 32, 96, 320)
ADVICE = "give a file or a trained model with --encoder-weights, or start at random with --encoder-weights none"


class Encoder(nn.Module):
    """A backbone of consecutive stages; the output of each is a feature map.

    Attributes:
        channels: C_i of the feature maps, shallow to deep.
        strides: s_i.
        mean, std: of the input's normalisation, RGB in 0..1: ImageNet's, unless an own encoder sets others.
    """

    def __init__(self, stages: Sequence[nn.Module], channels: Sequence[int]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.channels = tuple(channels)
        self.strides: tuple[int, ...] = STRIDES
        self.mean, self.std = IMAGENET

    @property
    def normalisation(self) -> Normalisation:
        """How images are normalised for this encoder, in training, search, evaluation and export."""
        return Normalisation(self.mean, self.std)

    def forward(self, images: Tensor) -> list[Tensor]:
        """[N, 3, H, W] -> the features."""
        features = []
        for stage in self.stages:
            images = stage(images)
            features.append(images)
        return features


class PublicMobileNetV2(Encoder):
    """MobileNet-v2 as the public code of the paper has it, at random.

    Its first block has the 1x1 convolution that the others have, from 32 to 32 channels. torchvision's has not, nor has
    Table 2 of the MobileNet-v2 paper, whose expansion is 1 there.
    """

    def __init__(self) -> None:
        blocks = torchvision.models.mobilenet_v2().features
        blocks[1].conv = nn.Sequential(
            torchvision.ops.Conv2dNormActivation(32, 32, kernel_size=1, activation_layer=nn.ReLU6), *blocks[1].conv
        )
        super().__init__(_cut_mobilenet_v2(blocks), MOBILENET_V2_CHANNELS)


def add_encoder(name: str, make: Callable[[], Encoder]) -> None:
    """Register an encoder for `make_encoder`, every command and model files, in this process.

    Args:
        name: what `--encoder` and `ModelSpec.encoder` take.
        make: builds it with random weights: four features, at `STRIDES`.

    Raises:
        ValueError: there is an encoder of that name.
    """
    if name in ENCODERS:
        raise ValueError(f"there is an encoder {name!r} already")
    ENCODERS.append(name)
    _ADDED[name] = make


def make_encoder(
    name: str,
    weights: str | Path = "none",
    output_stride: int = 32,
    cut: Callable[[Any], Encoder] | None = None,
) -> Encoder:
    """A backbone by name.

    Args:
        name: one of `ENCODERS`, or `timm/NAME`; `NAME-os16` has an output stride of 16, `NAME-os8` of 8.
        weights: `imagenet` downloads the library's own, `none` starts at random; a trained model, by its name or its
            file, gives its encoder; anything else is a file in the library's key names (its classifier, if there, is
            ignored), or, but for timm, in those of `Encoder`.
        output_stride: 8 or 16 keeps the resolution from there on by dilation; see `dilate`.
        cut: of a torchvision encoder: makes it of the library's classifier, by default with the four features.

    Raises:
        FastnasError: no such encoder; the weights cannot be downloaded or read, or do not fit.
    """
    name, output_stride = _split_stride(name, output_stride)
    if weights not in ("imagenet", "none"):
        weights = Path(shelf.resolve(str(weights)))
        if not weights.is_file():
            raise FastnasError(f"no weights file {weights}; trained models by name: {', '.join(shelf.entries())}")
        if is_model(weights):
            return _from_model(name, weights, output_stride, cut)
    if name.startswith("timm/"):
        return _timm(name.removeprefix("timm/"), weights, output_stride)
    encoder = _make(name, weights, cut)
    if output_stride < STRIDES[-1]:
        dilate(encoder, output_stride)
    return encoder


def _split_stride(name: str, output_stride: int = STRIDES[-1]) -> tuple[str, int]:
    """A backbone's name without its suffix, and the output stride that the suffix gives, or the other one."""
    for stride in (8, 16):
        if name.endswith(f"-os{stride}"):
            return name.removesuffix(f"-os{stride}"), stride
    return name, output_stride


def _make(name: str, weights: str | Path, cut: Callable[[Any], Encoder] | None) -> Encoder:
    if name not in ENCODERS:
        raise FastnasError(
            f"encoder {name!r} is not one of {', '.join(ENCODERS)} or timm/NAME, which -os8 or -os16 may follow"
        )
    if name in _ADDED:
        return _added(name, weights)
    make, default = _TORCHVISION[name]
    if weights == "imagenet":
        classifier = downloaded(name, lambda: make(weights=default), torchvision_file(default.url), ADVICE)
    else:
        classifier = make(weights=None)
    given = weights not in ("imagenet", "none")
    state = read_weights(Path(weights)) if given else {}
    ours = any(key.startswith("stages.") for key in state)
    if given and not ours:
        _load_state(classifier, state, Path(weights), name)
    encoder = (cut or partial(_cut, name))(classifier)
    if ours:
        _load_state(encoder, state, Path(weights), name)
    return encoder


def _from_model(name: str, path: Path, output_stride: int, cut: Callable[[Any], Encoder] | None) -> Encoder:
    """An encoder with the weights of that of a model file."""
    encoder = make_encoder(name, output_stride=output_stride, cut=cut)
    header, weights = read_model(path)
    theirs = header["model"].get("encoder")
    if _split_stride(str(theirs))[0] != name:
        raise FastnasError(f"{path} has the encoder {theirs!s:.80}, not {name}: give --encoder, or a model with {name}")
    state = {key.removeprefix("encoder."): value for key, value in weights.items() if key.startswith("encoder.")}
    _load_state(encoder, _cut_alike(encoder, state), path, name)
    return encoder


def _cut_alike(encoder: Encoder, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of an encoder that was cut into other stages (as `rflw-mbv2` does), named as this one is cut.

    A block keeps its number wherever MobileNet-v2 is cut; those of other encoders begin anew in each stage.
    """
    stages = encoder.stages.named_children()
    blocks = [(block, stage) for stage, inside in stages for block, _ in inside.named_children()]
    stage_of = dict(blocks)
    if len(stage_of) < len(blocks):
        return state

    def renamed(key: str) -> str:
        first, stage, block, *rest = key.split(".")
        return ".".join((first, stage_of.get(block, stage), block, *rest))

    return {renamed(key): value for key, value in state.items()}


def _added(name: str, weights: str | Path) -> Encoder:
    if weights == "imagenet":
        raise FastnasError(f"there are no ImageNet weights of {name} to download: give a file, or none")
    encoder = _ADDED[name]()
    if weights != "none":
        _load_state(encoder, read_weights(Path(weights)), Path(weights), name)
    return encoder


_ADDED: dict[str, Callable[[], Encoder]] = {}
_TORCHVISION: dict[str, tuple[Callable[..., nn.Module], Any]] = {
    "mobilenet_v2": (torchvision.models.mobilenet_v2, torchvision.models.MobileNet_V2_Weights.DEFAULT),
    "resnet18": (torchvision.models.resnet18, torchvision.models.ResNet18_Weights.DEFAULT),
    "resnet50": (torchvision.models.resnet50, torchvision.models.ResNet50_Weights.DEFAULT),
    "resnet101": (torchvision.models.resnet101, torchvision.models.ResNet101_Weights.DEFAULT),
    "resnet152": (torchvision.models.resnet152, torchvision.models.ResNet152_Weights.DEFAULT),
}


def _cut(name: str, classifier: Any) -> Encoder:
    if name == "mobilenet_v2":
        return Encoder(_cut_mobilenet_v2(classifier.features), MOBILENET_V2_CHANNELS)
    stem = nn.Sequential(classifier.conv1, classifier.bn1, classifier.relu, classifier.maxpool, classifier.layer1)
    deepest = classifier.fc.in_features
    return Encoder(
        [stem, classifier.layer2, classifier.layer3, classifier.layer4], [deepest // factor for factor in (8, 4, 2, 1)]
    )


def _cut_mobilenet_v2(blocks: Any) -> list[nn.Module]:
    return [blocks[:4], blocks[4:7], blocks[7:14], blocks[14:18]]


def dilate(encoder: Encoder, output_stride: int) -> None:
    """Make a MobileNet-v2 or ResNet keep its resolution from `output_stride` (8 or 16) on, in place.

    Strides beyond it become 1, and every later 3x3 convolution spreads its taps instead, so that it sees what it saw:
    the dilated features hold the plain ones at every second (or fourth) pixel, and pretrained weights stay valid.
    """
    rate = 1
    for stage, reached in zip(encoder.stages, encoder.strides, strict=True):
        for module in stage.modules():  # in the order of execution, which torchvision's classes are written in
            if isinstance(module, nn.Conv2d) and reached > output_stride:
                kernel = module.kernel_size[0]
                module.dilation = (rate, rate)
                module.padding = (rate * (kernel // 2),) * 2
                if module.stride != (1, 1):
                    module.stride = (1, 1)
                    # The 1x1 convolution of a ResNet's shortcut has a stride beside that of the 3x3 one: count it once.
                    rate *= 2 if kernel > 1 else 1
        quicken(stage)
    encoder.strides = tuple(min(stride, output_stride) for stride in encoder.strides)


class _TimmEncoder(Encoder):
    """A timm model made with `features_only`, which returns its features itself.

    Images come normalised by ImageNet's statistics, as for every encoder; a model that was trained with others gets
    them changed to its own.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, backbone: Any) -> None:
        super().__init__([backbone], backbone.feature_info.channels())
        self.strides = tuple(backbone.feature_info.reduction())
        own = Normalisation(*(tuple(backbone.pretrained_cfg[key]) for key in ("mean", "std")))
        self.usual = own == IMAGENET
        scale, shift = (torch.tensor(values)[:, None, None] for values in IMAGENET.conversion(own))
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", shift, persistent=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        if not self.usual:
            images = images * self.scale + self.shift
        return list(self.stages[0](images))


def _timm(name: str, weights: str | Path, output_stride: int) -> Encoder:
    import timm

    if not timm.is_model(name):
        close = timm.list_models(f"*{name}*")[:3]
        raise FastnasError(f"timm has no model {name!r}" + (f"; it has {', '.join(close)}" if close else ""))

    create: Callable[..., Any] = partial(timm.create_model, name, features_only=True)
    try:
        with torch.device("meta"):  # to ask for its strides alone
            strides = create().feature_info.reduction()
        indices = [max(i for i, stride in enumerate(strides) if stride == wanted) for wanted in STRIDES]
    except (RuntimeError, ValueError, AttributeError, AssertionError) as error:
        raise FastnasError(f"encoder timm/{name} has no features at strides {', '.join(map(str, STRIDES))}") from error
    create = partial(create, out_indices=tuple(indices))
    if output_stride < STRIDES[-1]:  # most backbones have no such argument
        create = partial(create, output_stride=output_stride)
    if weights == "imagenet":
        about = timm.get_pretrained_cfg(name)
        file = timm_file(about.hf_hub_id) if about is not None else None
        return _TimmEncoder(downloaded(f"timm/{name}", partial(create, pretrained=True), file, ADVICE))
    if weights == "none":
        return _TimmEncoder(create())
    classifier = timm.create_model(name)
    _load_state(classifier, read_weights(Path(weights)), Path(weights), f"timm/{name}")
    given = {"state_dict": classifier.state_dict()}
    return _TimmEncoder(create(pretrained=True, pretrained_cfg_overlay=given))


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of a .pth file read without unpickling objects.

    Raises:
        FastnasError: there is no such file, or it holds anything but named tensors.
    """
    if not path.is_file():
        raise FastnasError(f"no weights file {path}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # safetensors, zip and pickle errors have no common class
        raise_if_interrupted(error)
        kind = "a .safetensors file" if path.suffix == ".safetensors" else "a state dict as torch.save writes it"
        raise FastnasError(f"{path} is not a readable weights file: it must be {kind}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise FastnasError(f"{path} does not hold a dictionary of tensors")
    return state


def _load_state(classifier: nn.Module, state: dict[str, Tensor], path: Path, name: str) -> None:
    """Load the backbone; every tensor of it must be there, in its shape. The classifier is ignored."""
    head = ("classifier", "fc.", "head.")
    own = {key: value for key, value in classifier.state_dict().items() if not key.startswith(head)}
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    if missing:
        raise FastnasError(f"{path} does not fit {name}: {len(missing)} tensors are missing, the first is {missing[0]}")
    for key in own:
        if key in state and state[key].shape != own[key].shape:
            raise FastnasError(
                f"{path} does not fit {name}: {key} is {list(state[key].shape)}, not {list(own[key].shape)}"
            )
    classifier.load_state_dict({key: state[key].to(own[key].dtype) for key in own if key in state}, strict=False)
