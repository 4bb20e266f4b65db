"""Operations, cells, decoders, encoders: shapes, gradients, what is left out, and the exact counts."""

from __future__ import annotations

import os
import random
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn

from fastnas.errors import FastnasError
from fastnas.models.cell_plan import plan_cell
from fastnas.models.checkpoint import open_model
from fastnas.models.counts import count, count_public
from fastnas.models.decoder import Cell, Decoder
from fastnas.models.encoder import ENCODERS, Encoder, _TimmEncoder, make_encoder
from fastnas.models.genotype import Genotype
from fastnas.models.network import Network
from fastnas.models.operations import OPERATIONS, ZERO, make_operation
from fastnas.models.pretrained import downloaded
from fastnas.models.zoo import ZOO
from fastnas.show.drawing import draw
from fastnas.tasks import Depth
from tests.helpers.strategies import genotypes

CHANNELS = (24, 32, 96, 320)


def network(genotype: Genotype, channels: int = 64, repeats: int = 2, outputs: int = 21, aux: str = "none") -> Network:
    encoder = make_encoder("mobilenet_v2")
    return Network(encoder, Decoder(genotype, encoder.channels, channels, repeats, outputs, aux))  # type: ignore[arg-type]


def features(height: int, width: int, batch: int = 2, channels: tuple[int, ...] = CHANNELS) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.rand(batch, c, -(-height // s), -(-width // s), generator=generator)
        for c, s in zip(channels, (4, 8, 16, 32), strict=True)
    ]


@pytest.mark.parametrize("aux", ["clf", "cell"])
def test_heads_of_heatmaps_start_near_zero(aux: str) -> None:
    decoder = Decoder(ZOO["arch0"], CHANNELS, 8, 1, 16, aux, ((2, None), (14, 0.001))).train()  # type: ignore[arg-type]
    outputs = decoder(features(64, 64))
    assert len(outputs) == 4
    assert all(output[:, 2:].abs().max() < 0.3 for output in outputs)
    assert all(output[:, :2].abs().max() > 0.3 for output in outputs)


@pytest.mark.parametrize("size", [(45, 60), (13, 17), (1, 1)])
@pytest.mark.parametrize("operation", [i for i in range(len(OPERATIONS)) if i != ZERO])
def test_operations_keep_the_size_and_pass_gradients(operation: int, size: tuple[int, int]) -> None:
    module = make_operation(operation, channels=8, repeats=2).train()
    x = torch.rand(2, 8, *size, requires_grad=True)
    y = module(x)
    assert y.shape == x.shape
    y.square().sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert all(parameter.grad is not None for parameter in module.parameters())


@pytest.mark.parametrize(
    ("operation", "parameters"),
    # C = 48: conv C*C*k*k, sep C*k*k + C*C, each with a batch norm of 2C.
    [(0, 2400), (1, 20832), (2, 2832), (3, 3600), (4, 2400), (5, 20832), (6, 20832), (7, 2832), (8, 3600), (9, 0)],
)
def test_operation_parameters(operation: int, parameters: int) -> None:
    assert sum(p.numel() for p in make_operation(operation, 48, 1).parameters()) == parameters


def test_zero_has_no_module() -> None:
    with pytest.raises(ValueError, match="operation 10"):
        make_operation(ZERO, 8, 1)


@pytest.mark.parametrize(
    ("operation", "reach"),
    [(0, 0), (1, 1), (2, 1), (3, 2), (5, 3), (6, 12), (7, 3), (8, 12), (9, 0)],
)
def test_receptive_fields(operation: int, reach: int) -> None:
    """One pixel of the output depends on pixels up to `reach` away and not further."""
    module = make_operation(operation, 2, repeats=1).eval()
    for parameter in module.parameters():
        nn.init.constant_(parameter, 0.1)  # positive, so that no ReLU hides a pixel
    x = torch.rand(1, 2, 41, 41, requires_grad=True)
    module(x)[0, :, 20, 20].sum().backward()
    assert x.grad is not None
    rows = x.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    assert (20 - rows.min(), rows.max() - 20) == (reach, reach)


@pytest.mark.parametrize("size", [(360, 480), (97, 131), (512, 512), (33, 1)])
@pytest.mark.parametrize("name", ZOO)
def test_any_size_works_forward_and_backward(name: str, size: tuple[int, int]) -> None:
    decoder = Decoder(ZOO[name], CHANNELS, 8, 1, 5, "cell").train()
    results = decoder([x.requires_grad_() for x in features(*size)])
    assert isinstance(results, list)
    assert len(results) == 4
    stride = 4 if name in ("arch0", "camvid0", "camvid1") else 8
    assert results[0].shape == (2, 5, -(-size[0] // stride), -(-size[1] // stride))
    torch.stack([result.square().mean() for result in results]).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in decoder.parameters())


TABLE = {
    # spec of the public definition: parameters of (C, R, outputs, aux); multiply-adds at 512x512; output size
    "arch0": (2_629_909, 2_212_517, 3_034_516, 2_618_369, 2_627_024, 2_627_601, 24_539_539, 4.208, 4.422, 128),
    "arch1": (2_810_133, 2_316_197, 3_306_900, 2_798_593, 2_807_248, 2_807_825, 24_719_763, 2.854, 2.929, 64),
    "arch2": (2_853_141, 2_407_205, 3_371_412, 2_841_601, 2_850_256, 2_850_833, 24_762_771, 3.373, 3.484, 64),
}


CONFIGURATIONS = (
    (64, 2, 21, "none"),
    (48, 1, 21, "none"),
    (64, 2, 21, "cell"),
    (64, 2, 1, "none"),
    (64, 2, 16, "none"),
    (64, 2, 17, "none"),
)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        # Another count of outputs changes the same last convolution in all of them: one of them shows it every time.
        pytest.param(name, number, marks=pytest.mark.slow if number > 2 and name != "arch0" else ())
        for name in TABLE
        for number in range(len(CONFIGURATIONS))
    ],
)
def test_exact_counts(name: str, number: int) -> None:
    """The public definition's counts, to the parameter, are ours and the differences that `count_public` names."""
    built = network(ZOO[name], *CONFIGURATIONS[number])
    training = CONFIGURATIONS[number][3] == "cell"
    counts = count(built, (512, 512), training=training)
    assert count_public(built, counts).parameters == TABLE[name][number]
    assert training or counts.parameters == sum(p.numel() for p in built.parameters())


@pytest.mark.parametrize("name", TABLE)
def test_exact_counts_of_resnet50(name: str) -> None:
    encoder = make_encoder("resnet50")
    built = Network(encoder, Decoder(ZOO[name], encoder.channels, 64, 2, 19))
    assert count_public(built, count(built, (64, 64))).parameters == TABLE[name][6]


@pytest.mark.parametrize("name", TABLE)
def test_multiply_adds(name: str) -> None:
    *_, plain, with_heads, side = TABLE[name]
    built = network(ZOO[name], aux="clf")
    for training, expected in ((False, plain), (True, with_heads)):
        counts = count(built, (512, 512), training=training)
        assert counts.output == (side, side)
        assert count_public(built, counts).multiply_adds / 1e9 == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "parameters", "billions"),
    [
        ("camvid0", 2_906_571, 11.558),
        ("camvid1", 2_108_491, 3.414),
        ("camvid2", 1_976_011, 1.705),
        ("camvid3", 2_259_659, 2.011),
        ("camvid4", 2_645_963, 2.856),
    ],
)
def test_counts_of_our_own(name: str, parameters: int, billions: float) -> None:
    counts = count(network(ZOO[name], 64, 2, 11), (512, 512))
    assert (counts.parameters, round(counts.multiply_adds / 1e9, 3)) == (parameters, billions)


def test_the_encoder_alone() -> None:
    """1,812,800 parameters and 1.527 G in the public definition, whose first block has one more 1x1 convolution."""
    part = count(network(ZOO["arch0"]), (512, 512)).parts[0]
    assert (part.name, part.parameters) == ("encoder", 1_811_712)
    assert part.parameters + 1_088 == 1_812_800
    assert (part.multiply_adds + 32 * 32 * 256 * 256) / 1e9 == pytest.approx(1.527, rel=1e-3)


def test_parts_add_up() -> None:
    counts = count(network(ZOO["arch1"]), (256, 192))
    for root in ("encoder", "decoder"):
        inner = [part for part in counts.parts if part.name.startswith(root + ".")]
        (whole,) = (part for part in counts.parts if part.name == root)
        assert sum(part.parameters for part in inner) == whole.parameters
        assert sum(part.multiply_adds for part in inner) == whole.multiply_adds


def test_auxiliary_heads_never_feed_the_main_path() -> None:
    torch.manual_seed(0)
    with_heads = network(ZOO["arch2"], 16, 1, 3, "cell")
    without = network(ZOO["arch2"], 16, 1, 3)
    missing, unexpected = without.load_state_dict(with_heads.state_dict(), strict=False)
    assert not missing
    assert all(key.startswith("decoder.auxiliary.") for key in unexpected)
    x = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(with_heads.eval()(x), without.eval()(x), rtol=0, atol=0)
    assert count(with_heads, (64, 64)) == count(without, (64, 64))


def test_zero_and_what_only_it_feeds_cost_nothing() -> None:
    skip_or_zero = Genotype.parse("[[[0,1],[2,3],[4,5]], [9, [0,0,1,10], [2,0,10,9], [5,1,2,10]]]")
    plan = plan_cell(skip_or_zero.cell)
    # u1 (conv3x3) is read by a zero operation only; u2 is zero; branch 3 applies an operation to u2, which is zero.
    assert {step.target for step in plan.steps} == {4, 2, 6, 7}
    assert plan.outputs == (4, 7)


def test_a_cell_is_planned_once_for_all_that_read_its_plan() -> None:
    genotype = Genotype.parse("[[[0,1],[2,3],[4,5]], [9, [0,0,1,3], [2,0,1,9], [5,1,2,7]]]")
    plan_cell.cache_clear()
    built = network(genotype, 8, 1, 3, "cell")
    count(built, (64, 64))
    draw(genotype, "drawing")
    open_model(str(genotype), Depth(0.1, 10.0), "mobilenet_v2", 8, 1, encoder_weights=None)
    assert plan_cell.cache_info().misses == 1
    assert plan_cell.cache_info().hits >= 10


def test_a_cell_of_zeros_costs_nothing_and_still_answers() -> None:
    genotype = Genotype.parse("[[[0,1],[2,3],[4,5]], [10, [0,0,10,10], [1,1,10,10], [1,1,10,10]]]")
    decoder = Decoder(genotype, CHANNELS, 64, 2, 21, "cell")
    assert {name.split(".")[0] for name, _ in decoder.named_parameters()} == {"classifier"}
    logits = decoder.eval()(features(64, 96))
    assert isinstance(logits, Tensor)
    assert logits.shape == (2, 21, 16, 24)


@given(genotypes)
@settings(max_examples=25, deadline=None)
def test_the_cell_is_what_the_paper_says(genotype: Genotype) -> None:
    """The planned cell equals a literal reading of the paper's definition, computed without pruning."""
    cell = Cell(genotype, 4, 1).eval()
    x = torch.rand(1, 4, 9, 7)

    def apply(target: int, value: Tensor, operation: int) -> Tensor:
        if operation == ZERO or not value.any():
            return torch.zeros_like(value)
        name = str(target)
        return cell.operations[name](value) if name in cell.operations else torch.full_like(value, torch.nan)

    pool = [x, apply(1, x, genotype.cell[0])]
    drawn = set()
    for p, q, a, b in genotype.branches:
        u, v = apply(len(pool), pool[p], a), apply(len(pool) + 1, pool[q], b)
        pool += [u, v, u + v]
        drawn |= {p, q}
    expected = torch.zeros_like(x) + sum(pool[i] for i in (1, 4, 7, 10) if i not in drawn)
    # A NaN is an operation that was not built; it must not reach the output.
    torch.testing.assert_close(cell(x), expected)


@given(genotypes)
@settings(max_examples=15, deadline=None)
def test_canonical_forms_cost_the_same(genotype: Genotype) -> None:
    a, b = (Decoder(g, CHANNELS, 8, 1, 3) for g in (genotype, genotype.canonical()))
    assert sum(p.numel() for p in a.parameters()) == sum(p.numel() for p in b.parameters())


@pytest.mark.parametrize("amount", [100, pytest.param(1_000, marks=pytest.mark.slow)])
def test_random_genotypes_build_run_and_count(amount: int) -> None:
    generator = random.Random(0)
    encoder = TinyEncoder()
    inputs = [x.detach() for x in encoder(torch.rand(2, 3, 64, 96))]
    for number in range(amount):
        genotype = Genotype.random(generator)
        decoder = Decoder(genotype, encoder.channels, 4, 1, 3)
        logits = decoder.eval()(inputs)
        assert isinstance(logits, Tensor)
        assert logits.isfinite().all()
        if number % 10 == 0:
            (main,) = decoder.train()(inputs)
            main.sum().backward()
            assert all(p.grad is not None for p in decoder.parameters())
            counts = count(Network(encoder, decoder), (64, 96))
            assert counts.output == logits.shape[2:]
            assert counts.parameters == sum(p.numel() for p in [*decoder.parameters(), *encoder.parameters()])


@pytest.mark.slow
def test_a_thousand_random_genotypes_at_full_width() -> None:
    generator = random.Random(1)
    for _ in range(1_000):
        built = network(Genotype.random(generator), 64, 2, 21, "cell")
        counts = count(built, (512, 512))
        assert counts.parameters >= 1_811_712
        assert built.eval()(torch.rand(1, 3, 64, 64)).isfinite().all()


class TinyEncoder(Encoder):
    """Four strided convolutions: the real shapes at a thousandth of the cost."""

    def __init__(self) -> None:
        convolution = nn.Conv2d(3, 4, 4, stride=4)
        super().__init__([convolution, *(nn.Conv2d(4, 4, 2, stride=2) for _ in range(3))], (4,) * 4)


@pytest.mark.parametrize("name", [*ENCODERS, "timm/mobilenetv3_small_050"])
def test_encoders_publish_channels_and_strides(name: str) -> None:
    if name in ("resnet101", "resnet152"):
        with torch.device("meta"):
            encoder, image = make_encoder(name), torch.empty(1, 3, 96, 64)
    else:
        encoder, image = make_encoder(name), torch.rand(1, 3, 96, 64)
    outputs = encoder.eval()(image)
    assert tuple(x.shape[1] for x in outputs) == encoder.channels
    assert [(x.shape[2], x.shape[3]) for x in outputs] == [(96 // s, 64 // s) for s in encoder.strides]


def test_a_backbone_with_other_statistics_gets_its_own() -> None:
    import timm

    name = "mobilenetv3_small_050.lamb_in1k"
    config = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    torch.manual_seed(0)
    backbone = timm.create_model(name, features_only=True, out_indices=(1, 2, 3, 4), pretrained_cfg_overlay=config)
    encoder = _TimmEncoder(backbone).eval()
    pixels = torch.rand(1, 3, 64, 64)
    mean, std = (torch.tensor(values)[:, None, None] for values in (encoder.mean, encoder.std))
    expected = backbone.eval()((pixels - 0.5) / 0.5)
    for ours, theirs in zip(encoder((pixels - mean) / std), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_unknown_encoders_are_named() -> None:
    with pytest.raises(FastnasError, match="mobilenet_v2, resnet18"):
        make_encoder("vgg")
    with pytest.raises(FastnasError, match="timm has no model 'resnet5'; it has"):
        make_encoder("timm/resnet5")
    with pytest.raises(FastnasError, match="no features at strides 4, 8, 16, 32"):
        make_encoder("timm/vit_tiny_patch16_224")


def test_offline_without_weights_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(FastnasError, match="with --encoder-weights, or start at random") as caught:
        make_encoder("mobilenet_v2", "imagenet")
    assert "\n" not in str(caught.value)


def test_a_damaged_download_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Torchvision reads what is in its cache without looking at the checksum in its name."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / "mobilenet_v2-7ebf99e0.pth"
    cached.parent.mkdir(parents=True)
    torch.save(make_encoder("mobilenet_v2").state_dict(), cached)  # a file that loads, but another
    for content in (cached.read_bytes(), b"", b"<html>"):
        cached.write_bytes(content)
        with pytest.raises(FastnasError, match=f"weights of mobilenet_v2 are damaged: delete {cached}, and try"):
            make_encoder("mobilenet_v2", "imagenet")


def test_a_damaged_download_of_the_hub_is_named(tmp_path: Path) -> None:
    blob = tmp_path / "blobs" / sha256(b"weights").hexdigest()
    blob.parent.mkdir()
    blob.write_bytes(b"weights")
    assert downloaded("timm/x", lambda: "network", blob, "") == "network"
    blob.write_bytes(b"weight")
    with pytest.raises(FastnasError, match=f"weights of timm/x are damaged: delete {blob}, and try"):
        downloaded("timm/x", lambda: "network", blob, "")


def test_where_there_is_no_home_nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: "~/.cache/torch/hub")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(FastnasError, match="has no home folder to find ~/"):
        make_encoder("mobilenet_v2", "imagenet")


def test_weights_from_a_file(tmp_path: Path) -> None:
    import torchvision

    classifier = torchvision.models.mobilenet_v2()
    torch.save({key: value.half() for key, value in classifier.state_dict().items()}, tmp_path / "weights.pth")
    encoder = make_encoder("mobilenet_v2", tmp_path / "weights.pth")
    x = torch.rand(1, 3, 64, 64)
    expected = classifier.half().float().eval().features[:18](x)
    torch.testing.assert_close(encoder.eval()(x)[-1], expected)


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    with pytest.raises(FastnasError, match="no weights file"):
        make_encoder("mobilenet_v2", path)
    path.write_bytes(b"not weights")
    with pytest.raises(FastnasError, match="not a readable weights file"):
        make_encoder("mobilenet_v2", path)
    torch.save({"features.0.0.weight": torch.zeros(1)}, path)
    with pytest.raises(FastnasError, match="does not fit mobilenet_v2: 259 tensors are missing"):
        make_encoder("mobilenet_v2", path)
    import torchvision

    state = torchvision.models.mobilenet_v2().state_dict()
    torch.save({**state, "features.0.0.weight": torch.zeros(1)}, path)
    with pytest.raises(FastnasError, match=r"features.0.0.weight is \[1\], not \[32, 3, 3, 3\]"):
        make_encoder("mobilenet_v2", path)
    torch.save(nn.Linear(2, 2), path)
    with pytest.raises(FastnasError, match="not a readable weights file"):  # a pickled object is refused
        make_encoder("mobilenet_v2", path)


def test_real_imagenet_weights_see(shared_data: Path) -> None:
    """With trained weights features are far from those of random ones: their channels disagree about the picture."""
    from PIL import Image
    from torchvision.transforms.v2.functional import pil_to_tensor

    encoder = make_encoder("mobilenet_v2", shared_data / "weights" / "mobilenet_v2_imagenet_fp16.pth").eval()
    picture = pil_to_tensor(Image.open(next((shared_data / "voc").rglob("*.jpg")))).float()[None] / 255
    mean, std = (torch.tensor(v)[:, None, None] for v in (encoder.mean, encoder.std))
    with torch.no_grad():
        deepest = encoder((picture - mean) / std)[-1]
    assert deepest.isfinite().all()
    assert deepest.std() > 0.3
