"""The graph of a network is the network, and every rewrite of it changes nothing but the work."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fastnas.data.formats.voc import TASK
from fastnas.deploy.graph import rewrites as rewrites
from fastnas.deploy.graph.capture import capture
from fastnas.deploy.graph.ir import PIXEL, Add, Conv, Graph, Input, Node, Resize, SpreadConv
from fastnas.deploy.graph.rewrites import REWRITES, optimise
from fastnas.deploy.onnx.compat import lint
from fastnas.deploy.onnx.writer import to_onnx
from fastnas.deploy.parity import Reference, open_session
from fastnas.errors import FastnasError
from fastnas.models.baselines.registry import BASELINES
from fastnas.models.genotype import Genotype
from fastnas.models.network import Network
from fastnas.models.spec import ModelSpec, build
from fastnas.models.zoo import ZOO
from tests.helpers.baselines import marked
from tests.helpers.deploy_toys import image, seeds, toy_encoder, toy_network, unsettle

SIZES = ((96, 160), (32, 64))
GAPS = Genotype.parse("[[[0, 1], [1, 1], [2, 3]], [4, [1, 1, 1, 7], [1, 1, 2, 10], [0, 1, 8, 6]]]")
"""Larger convolutions of a repeated pixel, of every kind."""


@pytest.fixture(autouse=True)
def same_weights() -> None:
    """The rounding error depends on the weights, so they do not depend on the tests before."""
    torch.manual_seed(0)


def error(graph: Graph, network: Network, sizes: Sequence[tuple[int, int]] = SIZES) -> float:
    """The largest error of a graph against its network, as a share of the largest value."""
    images = [image(*size) for size in sizes]
    parity = Reference(network, images).compare(to_onnx(graph))["output"]
    assert parity.finite
    assert parity.agreement > 0.99
    return parity.largest


@pytest.fixture(scope="module", params=[*ZOO, "gaps"])
def captured(request: pytest.FixtureRequest) -> tuple[Network, Graph]:
    network = toy_network(GAPS if request.param == "gaps" else ZOO[request.param])
    return network, capture(network)


def test_captured_graph_is_the_network(captured: tuple[Network, Graph]) -> None:
    network, graph = captured
    assert error(graph, network) < 1e-5
    assert not any("auxiliary" in name for name in graph.nodes)


def test_capture_leaves_the_network_as_it_was() -> None:
    network = toy_network(ZOO["arch2"]).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    capture(network)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("rewrite", dict.fromkeys(REWRITES), ids=lambda rewrite: rewrite.__name__)
def test_each_rewrite_alone_is_exact(captured: tuple[Network, Graph], rewrite: Callable[[Graph], Graph]) -> None:
    network, graph = captured
    assert error(rewrite(rewrites.fold_batch_norms(graph)), network) < 1e-5


def test_rewrites_never_add_work(captured: tuple[Network, Graph]) -> None:
    network, graph = captured
    optimised, effects = optimise(graph)
    for effect in effects:
        assert effect.multiply_adds[1] <= effect.multiply_adds[0], effect
    assert effects[0].multiply_adds[0] == graph.multiply_adds(512, 512)
    assert effects[-1].multiply_adds[1] == optimised.multiply_adds(512, 512)
    assert error(optimised, network) < 1e-5


@pytest.mark.parametrize("seed", seeds(4, 30))
def test_random_genotypes(seed: int) -> None:
    network = toy_network(Genotype.random(random.Random(seed)), seed=seed)
    graph, _ = optimise(capture(network))
    assert error(graph, network) < 1e-5
    assert not {"Affine", "Spread"} & set(graph.counts())


@pytest.mark.parametrize(
    "cell",
    [
        "[10, [0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10]]",
        "[4, [1, 1, 4, 10], [1, 1, 4, 1], [0, 1, 4, 10]]",
        "[9, [0, 0, 9, 9], [0, 0, 9, 9], [0, 0, 9, 9]]",
    ],
    ids=["zero", "only pooling", "only skips"],
)
def test_degenerate_cells(cell: str) -> None:
    network = toy_network(Genotype.parse(f"[[[3, 3], [3, 2], [3, 1]], {cell}]"))
    graph, _ = optimise(capture(network))
    assert error(graph, network) < 1e-5


# Convolutions, ReLUs and additions are what the decoders and MobileNet-v2 really have; nothing else may remain.
@pytest.mark.parametrize(
    ("name", "operators", "giga", "kinds"),
    [
        ("arch0", 318, 3.936, {"Conv", "Activation", "Add", "GlobalPool", "Resize", "Input"}),
        ("arch1", 310, 2.681, {"Conv", "Activation", "Add", "Resize", "Input"}),
        ("arch2", 226, 2.804, {"Conv", "Activation", "Add", "GlobalPool", "Resize", "Input", "SpreadConv"}),
    ],
)
def test_exact_effect_on_the_papers_architectures(name: str, operators: int, giga: float, kinds: set[str]) -> None:
    network = build(ModelSpec(name, TASK))
    graph, _ = optimise(capture(unsettle(network)))
    assert len(graph.nodes) == operators
    assert round(graph.multiply_adds(512, 512) / 1e9, 3) == giga
    assert set(graph.counts()) == kinds
    assert error(graph, network) < 1e-5


@pytest.mark.parametrize("name", marked(name for name in BASELINES if not name.endswith(("101", "152", "xception65"))))
def test_baselines(name: str) -> None:
    network = unsettle(build(ModelSpec(name, TASK)))
    graph, _ = optimise(capture(network))
    assert error(graph, network, ((128, 256),) if name == "smp/PAN" else SIZES) < 1e-5
    assert graph.counts()["Affine"] == (7 if name == "smp/FPN" else 0)  # of its group norms


class OtherDecoder(nn.Module):
    """What decoders of others do: aligned corners, nearest pixels, group norm, a stack that is summed, a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.mask, self.classifier = nn.GroupNorm(2, 8), nn.Conv2d(8, 1, 1), nn.Conv2d(8, 3, 1)
        nn.init.normal_(self.norm.weight), nn.init.normal_(self.norm.bias)

    def forward(self, features: list[Tensor]) -> Tensor:
        shallow, deep = features[0], features[1]
        enlarged = nn.functional.interpolate(deep, scale_factor=2.0, mode="bilinear", align_corners=True)
        nearest = nn.functional.interpolate(deep, scale_factor=2.0)
        total = torch.stack([shallow, enlarged, nearest]).sum(dim=0)
        return self.classifier(self.norm(total) * self.mask(shallow))


def test_operators_of_other_decoders() -> None:
    network = unsettle(Network(toy_encoder(), OtherDecoder()))
    captured = capture(network)
    assert {op.sampling for op in (node.op for node in captured.nodes.values()) if isinstance(op, Resize)} == {
        "align_corners", "nearest",
    }  # fmt: skip
    assert error(captured, network) < 1e-5
    graph, _ = optimise(captured)
    assert error(graph, network) < 1e-5
    assert lint(to_onnx(graph)) == []


@pytest.mark.slow
def test_the_baseline_with_xception() -> None:
    """Its normalisation is not ImageNet's, and stays before the first convolution, which pads with zeros."""
    network = unsettle(build(ModelSpec("deeplabv3plus-xception65", TASK)))
    graph, _ = optimise(capture(network))
    assert error(graph, network) < 1e-5
    assert graph.counts()["Affine"] == 2


@pytest.mark.parametrize("encoder", ["timm/mobilenetv3_small_050", "timm/resnet18d"])
def test_encoders_of_timm(encoder: str) -> None:
    network = unsettle(build(ModelSpec("arch2", TASK, encoder=encoder, channels=8)))
    graph, _ = optimise(capture(network))
    assert error(graph, network) < 1e-5


def test_an_encoder_with_statistics_of_its_own() -> None:
    network = unsettle(build(ModelSpec("arch2", TASK, encoder="timm/mobilenetv3_small_050", channels=8)))
    encoder: Any = network.encoder
    encoder.usual = False
    encoder.scale.copy_(torch.tensor([0.5, 0.4, 0.6])[:, None, None])
    encoder.shift.copy_(torch.tensor([-0.1, 0.2, 0.3])[:, None, None])
    graph, _ = optimise(capture(network))
    assert error(graph, network) < 1e-5


def test_an_operator_that_cannot_be_exported_is_named_with_its_module() -> None:
    network = build(ModelSpec("arch2", TASK, encoder="timm/convnext_atto", channels=8))
    with pytest.raises(FastnasError, match=r"^encoder\S* uses the operator \w+, which cannot be exported$"):
        capture(network)


def test_what_only_zero_draws_is_not_computed() -> None:
    """An encoder stage that no connection reads is gone, and so is its stride."""
    graph = capture(
        toy_network(Genotype.parse("[[[0, 1], [2, 1], [0, 4]], [0, [0, 0, 9, 10], [0, 0, 1, 9], [1, 0, 2, 9]]]"))
    )
    assert not any(name.startswith("encoder.stages.3") for name in graph.nodes)
    assert max(shape.stride for shape in graph.shapes.values()) == 16


def test_low_resolution_parts_are_convolved_before_they_are_upsampled() -> None:
    network = toy_network(Genotype.parse("[[[3, 3], [3, 2], [3, 0]], [9, [0, 0, 1, 9], [0, 0, 9, 9], [0, 0, 9, 9]]]"))
    graph = rewrites.fold_batch_norms(capture(network))
    collect = next(node for name, node in graph.nodes.items() if name.startswith("decoder.collect"))
    assert graph.shapes[collect.inputs[0]].channels == 24
    split = rewrites.convolve_before_resize(rewrites.split_concat(graph))
    at = Counter(split.shapes[name].stride for name in split.nodes if name.startswith("decoder.collect.1"))
    assert {4, 16, 32} <= set(at)
    # 24 channels at stride 4 became 8 at each of the strides 4, 16 and 32.
    pixels = {stride: (512 // stride) ** 2 for stride in (4, 16, 32)}
    saved = 8 * 24 * pixels[4] - sum(8 * 8 * count for count in pixels.values())
    assert graph.multiply_adds(512, 512) - split.multiply_adds(512, 512) == saved


def test_a_sum_ends_in_the_convolution_that_it_is_fused_into() -> None:
    graph, _ = optimise(capture(toy_network(ZOO["arch0"])))
    (collect,) = (node for name, node in graph.nodes.items() if name == "decoder.collect.1")
    kinds = [type(graph.nodes[source].op) for source in collect.inputs]
    assert kinds == [Resize, Resize, Conv]


def test_a_value_that_is_added_to_itself_counts_twice() -> None:
    conv = Conv(np.ones((2, 3, 1, 1), np.float32), np.ones(2, np.float32))
    twice = Graph(
        {"x": Node(Input()), "conv": Node(conv, ("x",)), "sum": Node(Add(), ("conv", "conv"))}, {"output": "sum"}
    )
    for graph in (twice, rewrites.order_sums(twice), optimise(twice)[0]):
        session = open_session(to_onnx(graph))
        (found,) = session.run(None, {"image": np.ones((1, 3, 2, 2), np.float32)})
        assert found.ravel().tolist() == [8] * 8


def test_what_is_laid_out_otherwise_is_summed_apart() -> None:
    """In arch2 every cell adds a pooled pixel and a convolution of it to five ordinary features."""
    graph, _ = optimise(capture(toy_network(ZOO["arch2"])))
    apart = [node for name, node in graph.nodes.items() if name.endswith("/apart")]
    assert len(apart) == 6
    for node in apart:
        spread, pixel = node.inputs
        assert isinstance(graph.nodes[graph.nodes[spread].inputs[0]].op, SpreadConv)
        assert graph.shapes[pixel].stride == PIXEL


def test_a_larger_convolution_of_a_repeated_pixel_costs_a_pixel() -> None:
    graph, effects = optimise(capture(build(ModelSpec("arch2", TASK))))
    before, after = next(effect.multiply_adds for effect in effects if effect.rewrite == "sink_spreads")
    assert graph.counts()["SpreadConv"] == 6
    # One 3x3 convolution of 64 channels in each cell, at strides 8, 32, 8, 32, 16, 16, on one pixel instead of all.
    cells = sum((512 // stride) ** 2 - 1 for stride in (8, 32, 8, 32, 16, 16))
    pointwise = before - after - 9 * 64 * 64 * cells
    assert pointwise == 0
    assert all(node.op.stride > 1 for node in graph.nodes.values() if isinstance(node.op, SpreadConv))
