"""Baselines: exact and published counts, sizes, gradients, and that dilation keeps pretrained weights valid."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fastnas.data.formats.mpii import TASK as MPII
from fastnas.errors import FastnasError
from fastnas.models.baselines.deeplab import DeepLabPlus
from fastnas.models.baselines.lraspp import LiteRASPP
from fastnas.models.baselines.registry import BASELINES, baseline_encoder, make_baseline
from fastnas.models.checkpoint import save_model
from fastnas.models.counts import count
from fastnas.models.encoder import dilate, make_encoder
from fastnas.models.network import Network
from fastnas.models.spec import ModelSpec, build, build_on_meta
from fastnas.tasks import Segmentation
from tests.helpers.baselines import marked

CLASSES = 21
JOINTS = 17
CITYSCAPES = Segmentation(tuple(str(i) for i in range(19)), ((0, 0, 0),) * 19)
VOC = Segmentation(tuple(str(i) for i in range(CLASSES)), ((0, 0, 0),) * CLASSES)

# Parameters; multiply-adds, and the logits' size, at 512x512.
EXACT = {
    "deeplabv3-mbv2": (2_113_557, 8_564_916_224, (64, 64)),
    "deeplabv3-aspp-mbv2": (4_523_541, 5_070_209_024, (32, 32)),
    "deeplabv3plus-mbv2": (5_816_053, 26_310_950_912, (128, 128)),
    "deeplabv3plus-xception65": (41_055_413, 51_284_320_256, (128, 128)),
    "bisenet-resnet18": (12_894_293, 12_966_133_760, (64, 64)),
    "lraspp-mbv2": (1_897_290, 2_436_014_080, (64, 64)),
    "rflw-mbv2": (3_283_477, 8_516_763_648, (128, 128)),
    "rflw-resnet50": (27_357_525, 31_977_373_696, (128, 128)),
    "rflw-resnet101": (46_349_653, 51_371_835_392, (128, 128)),
    "rflw-resnet152": (61_993_301, 70_766_297_088, (128, 128)),
    "simplepose-resnet50": (33_999_697, 28_940_697_600, (128, 128)),
    "smp/FPN": (4_218_005, 9_628_254_208, (128, 128)),
    "smp/PAN": (2_422_332, 3_136_154_272, (128, 128)),
    "smp/DeepLabV3Plus": (4_383_653, 6_009_454_592, (128, 128)),
    "smp/Unet": (6_631_845, 14_135_033_856, (512, 512)),
}

SHAPES = [name for name in BASELINES if not name.endswith(("101", "152", "xception65"))]
"""One of each decoder: those with deeper encoders would only take time."""


def outputs(name: str) -> int:
    return JOINTS if "pose" in name else CLASSES


def pooled_taps(network: Network, side: int) -> int:
    """Window positions that max pooling compares in one image of side x side."""
    taps = 0

    def add(module: nn.MaxPool2d, _: tuple[Tensor, ...], result: Tensor) -> None:
        assert isinstance(module.kernel_size, int)
        nonlocal taps
        taps += result.numel() * module.kernel_size**2

    for module in network.modules():
        if isinstance(module, nn.MaxPool2d):
            module.register_forward_hook(add)
    network.to("meta").eval()(torch.empty(1, 3, side, side, device="meta"))
    return taps


@pytest.mark.parametrize("name", marked(BASELINES))
def test_exact_counts(name: str) -> None:
    with torch.device("meta"):
        network = make_baseline(name, outputs(name))
    counts = count(network, (512, 512))
    assert (counts.parameters, counts.multiply_adds, counts.output) == EXACT[name]


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("deeplabv3-mbv2", 2.1),  # the paper's Table 1
        ("deeplabv3-aspp-mbv2", 4.5),
        ("rflw-mbv2", 3.3),
        ("rflw-resnet50", 27),  # Light-Weight RefineNet's own table
        ("rflw-resnet101", 46),
        ("rflw-resnet152", 62),
        ("deeplabv3plus-mbv2", 5.8),  # the paper's Table 2
        ("deeplabv3plus-xception65", 41),  # its Table 6
        ("simplepose-resnet50", 34.0),
    ],
)
def test_published_parameters(name: str, millions: float) -> None:
    """All agree to every published digit."""
    digits = 1 if isinstance(millions, float) else 0
    assert round(EXACT[name][0] / 1e6, digits) == millions


def test_published_multiply_adds_of_deeplab_with_xception() -> None:
    """418.64 G: the entry of TensorFlow's model zoo (xception65_cityscapes_trainfine, output stride 16) whose mean IoU
    is that of the paper's Table 6. It counts CityScapes' 2048x1024 images and a pixel more, as TensorFlow pads them.
    """
    network = build_on_meta(ModelSpec("deeplabv3plus-xception65", CITYSCAPES))
    assert count(network, (1025, 2049)).multiply_adds == pytest.approx(418.64e9, rel=0.001)


def test_deeplab_takes_the_papers_pose_task() -> None:
    """5.8 M parameters for MPII's 16 joints, and heatmaps at stride 4 (Table 2)."""
    counts = count(build_on_meta(ModelSpec("deeplabv3plus-mbv2", MPII)), (256, 256))
    assert (round(counts.parameters / 1e6, 1), counts.output) == (5.8, (64, 64))


def test_published_parameters_of_bisenet_are_mebibytes() -> None:
    """The paper's Table 6 has 49 M; ours has 12.9 M, which take 49 MiB. Its ResNet-18 alone has 11.2 M."""
    network = build_on_meta(ModelSpec("bisenet-resnet18", CITYSCAPES))
    parameters = count(network, (512, 512)).parameters
    assert parameters == 12_894_163
    assert round(parameters * 4 / 2**20) == 49


def test_published_multiply_adds_of_deeplab() -> None:
    assert EXACT["deeplabv3-mbv2"][1] == pytest.approx(8.73e9, rel=0.02)


def test_published_multiply_adds_of_deeplab_with_aspp() -> None:
    """Published are 5.8 G, ours are 13 % fewer, and atrous convolution through space-to-batch explains it.

    The figure is that of the MobileNet-v2 paper (Table 7), for 513x513 and TensorFlow, where an atrous convolution
    padded its input to a multiple of the rate, convolved each phase, and then cropped. All three rates (6, 12, 18) thus
    compute 36x36 pixels instead of 33x33 (at 512: 32x32).
    """
    network = make_baseline("deeplabv3-aspp-mbv2", CLASSES)
    atrous = 3 * 9 * 320 * 256
    assert count(network, (512, 512)).multiply_adds + atrous * (36**2 - 32**2) == pytest.approx(5.8e9, rel=0.025)
    assert count(network, (513, 513)).multiply_adds + atrous * (36**2 - 33**2) == pytest.approx(5.8e9, rel=0.005)


def test_the_same_paper_without_aspp_agrees() -> None:
    """That table's 2.75 G are for the head without ASPP at output stride 16, where no atrous branch computes."""
    network = make_baseline("deeplabv3-aspp-mbv2", CLASSES)
    atrous_and_its_projection = 3 * (9 * 320 + 256) * 256 * 33**2
    assert count(network, (513, 513)).multiply_adds - atrous_and_its_projection == pytest.approx(2.75e9, rel=0.005)


@pytest.mark.parametrize(
    ("name", "published", "missing"),
    [("rflw-mbv2", 9.3, 0.03), ("rflw-resnet50", 33, 0), ("rflw-resnet101", 52, 0), ("rflw-resnet152", 71, 0)],
)
def test_published_operations_of_light_weight_refinenet(name: str, published: float, missing: float) -> None:
    """Published are operations: they are met when the comparisons of max pooling count beside the multiply-adds.

    The three with ResNets then agree to every digit (without: 32, 51, 71). With MobileNet-v2 multiply-adds alone are
    8.5 G, 8.4 % short; the comparisons bring 9.1 G, and a 1x1 convolution that only the public MobileNet-v2 has
    before its first depthwise one would add 0.07 G.
    """
    operations = EXACT[name][1] + pooled_taps(make_baseline(name, CLASSES), 512)
    if missing:
        assert operations == pytest.approx(published * 1e9, rel=missing)
    else:
        assert round(operations / 1e9) == published


@pytest.mark.parametrize("size", [(97, 131), (64, 96)])
@pytest.mark.parametrize("name", marked(SHAPES))
def test_gradients_and_sizes(name: str, size: tuple[int, int]) -> None:
    network = make_baseline(name, outputs(name)).train()
    result = network(torch.rand(2, 3, *size))
    assert isinstance(result, list)
    (logits,) = result
    stride = 512 // EXACT[name][2][0]
    assert logits.shape == (2, outputs(name), -(-size[0] // stride), -(-size[1] // stride))
    logits.square().mean().backward()
    without = [key for key, parameter in network.named_parameters() if parameter.grad is None]
    assert not without
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters() if parameter.grad is not None)


@pytest.mark.parametrize("name", marked(SHAPES))
def test_evaluation_is_deterministic_and_takes_one_image(name: str) -> None:
    network = make_baseline(name, outputs(name)).eval()
    image = torch.rand(1, 3, 97, 131)
    with torch.no_grad():
        first, second = network(image), network(image)
    assert isinstance(first, Tensor)
    assert torch.equal(first, second)


def test_lite_r_aspp_is_torchvisions() -> None:
    """Its own network with MobileNet-v3, counted without the encoder, and our head on the same features."""
    import torchvision

    whole = torchvision.models.segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None)
    head = LiteRASPP(40, 960, CLASSES)
    assert head.head.state_dict().keys() == whole.classifier.state_dict().keys()
    assert sum(p.numel() for p in head.parameters()) == sum(p.numel() for p in whole.classifier.parameters())
    head.head.load_state_dict(whole.classifier.state_dict())
    low, high = torch.rand(1, 40, 16, 12), torch.rand(1, 960, 8, 6)
    with torch.no_grad():
        ours = head.eval()([torch.empty(0), low, high])
        assert torch.equal(ours, whole.classifier.eval()({"low": low, "high": high}))


@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet50"])
def test_dilated_features_hold_the_plain_ones(name: str, output_stride: int) -> None:
    """At every second or fourth pixel, borders included: the same weights, so pretrained ones stay valid."""
    torch.manual_seed(0)
    encoder = make_encoder(name).eval().double()
    image = torch.rand(1, 3, 97, 131, dtype=torch.float64)
    with torch.no_grad():
        plain = encoder(image)
        strides = encoder.strides
        dilate(encoder, output_stride)
        dilated = encoder(image)
    assert encoder.strides == tuple(min(stride, output_stride) for stride in strides)
    for few, many, before, after in zip(plain, dilated, strides, encoder.strides, strict=True):
        step = before // after
        torch.testing.assert_close(many[:, :, ::step, ::step], few, rtol=0, atol=1e-9 * few.abs().max().item())
        assert many.shape[2:] == (-(-97 // after), -(-131 // after))


def test_pretrained_weights_reach_every_baseline_encoder(shared_data: Path) -> None:
    weights = shared_data / "weights" / "mobilenet_v2_imagenet_fp16.pth"
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        deepest = make_encoder("mobilenet_v2", weights).eval()(image)[-1]
        for name in ("deeplabv3-mbv2", "deeplabv3-aspp-mbv2", "rflw-mbv2"):
            own = make_baseline(name, CLASSES, weights).encoder.eval()(image)[-1]
            step = own.shape[2] // deepest.shape[2]
            torch.testing.assert_close(own[:, :, ::step, ::step], deepest, rtol=1e-3, atol=1e-4)


def test_the_name_sets_the_encoder() -> None:
    spec = ModelSpec("rflw-resnet50", VOC)
    assert spec.encoder == "resnet50"
    assert spec.genotype is None
    assert ModelSpec.from_dict(spec.to_dict()) == spec
    assert sum(p.numel() for p in build(spec).parameters()) == EXACT["rflw-resnet50"][0]


@pytest.mark.parametrize(
    ("field", "value"), [("encoder", "resnet101"), ("channels", 48), ("sep_repeats", 1), ("aux", "clf")]
)
def test_a_baseline_refuses_another_shape(field: str, value: object) -> None:
    with pytest.raises(FastnasError, match=f"deeplabv3-mbv2 has a fixed shape: leave {field}"):
        ModelSpec("deeplabv3-mbv2", VOC, **{field: value})  # type: ignore[arg-type]


def test_an_unknown_baseline_is_refused() -> None:
    with pytest.raises(FastnasError, match=r"'deeplab' is not one of deeplabv3-mbv2, .*simplepose-resnet50"):
        baseline_encoder("deeplab")


def test_weights_of_xception_come_from_a_file_and_its_features_keep_the_resolution(tmp_path: Path) -> None:
    """Dilated from stride 16 on, the features hold the plain ones at every second pixel."""
    import timm

    path = tmp_path / "xception41.pth"
    torch.save(timm.create_model("xception41").state_dict(), path)
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        plain = make_encoder("timm/xception41", path).eval()(image)
        own = make_encoder("timm/xception41", path, output_stride=16).eval()
        dilated = own(image)
    assert own.strides == (4, 8, 16, 16)
    for few, many, step in zip(plain, dilated, (1, 1, 1, 2), strict=True):
        torch.testing.assert_close(many[:, :, ::step, ::step], few, rtol=1e-4, atol=1e-5)


def test_gradients_of_the_separable_head() -> None:
    head = DeepLabPlus(8, 16, (6, 12, 18), True, CLASSES).train()
    (logits,) = head([torch.rand(2, 8, 16, 24), torch.rand(2, 16, 4, 6)])
    assert logits.shape == (2, CLASSES, 16, 24)
    logits.square().mean().backward()
    assert all(parameter.grad is not None for parameter in head.parameters())
    kernels = [each for each in head.modules() if isinstance(each, nn.Conv2d) and each.kernel_size == (3, 3)]
    assert [(each.groups, each.dilation[0]) for each in kernels] == [(16, 6), (16, 12), (16, 18), (304, 1), (256, 1)]


def test_the_spatial_path_reads_the_image_beside_the_backbone(tmp_path: Path) -> None:
    spec = ModelSpec("bisenet-resnet18", VOC)
    network, image = build(spec).eval(), torch.rand(1, 3, 64, 96)
    save_model(tmp_path / "model.safetensors", network, spec)
    with torch.no_grad():
        spatial, middle, deepest = network.encoder(image)
        *_, third, fourth = make_encoder("resnet18", tmp_path / "model.safetensors").eval()(image)
    assert spatial.shape == (1, 128, 8, 12)
    assert torch.equal(middle, third)
    assert torch.equal(deepest, fourth)
