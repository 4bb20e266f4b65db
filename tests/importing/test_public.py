"""Checkpoints of the paper's public code: equal outputs, tensors without use named, one line for what does not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from fastnas.cli import main
from fastnas.data import default_task
from fastnas.deploy.artifacts import export_model
from fastnas.deploy.export import Options
from fastnas.importing.public import import_public, read_public
from fastnas.models.checkpoint import load_model
from fastnas.models.counts import count, count_public
from fastnas.models.genotype import Genotype
from fastnas.models.spec import ModelSpec, build
from fastnas.models.zoo import ZOO
from fastnas.train.initialise import initialise
from tests.helpers.public_network import make_checkpoint, run_checkpoint

TASK = default_task("segmentation")
PARAMETERS = {"arch0": 2_629_909, "arch1": 2_810_133, "arch2": 2_853_141}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["import", *map(str, arguments)])


def save(path: Path, state: Any) -> Path:
    torch.save(state, path)
    return path


@pytest.fixture
def arch0(tmp_path: Path) -> Path:
    return save(tmp_path / "arch0.pth", make_checkpoint(ZOO["arch0"].to_list(), 8, 2, 21, aux=True))


@pytest.mark.parametrize("name", PARAMETERS)
def test_synthetic_checkpoints_have_the_published_size(name: str) -> None:
    state = make_checkpoint(ZOO[name].to_list(), 64, 2, 21, aux=False)
    weights = [value for key, value in state.items() if "running" not in key and "tracked" not in key]
    assert sum(value.numel() for value in weights) == PARAMETERS[name]


@pytest.mark.parametrize("size", [(64, 96), (77, 101)])
@pytest.mark.parametrize("name", PARAMETERS)
def test_outputs_are_those_of_the_public_definition(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    state = make_checkpoint(ZOO[name].to_list(), 64, 2, 21, aux=False)
    result = run(save(tmp_path / "public.pth", state), "--as", name)
    assert result.exit_code == 0, result.output
    images = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours = load_model(tmp_path / "public.safetensors").network(images)
        theirs = run_checkpoint(state, ZOO[name].to_list(), images)
    assert theirs.std() > 0.1
    assert (ours - theirs).abs().max() < 1e-4


def test_sums_enlarged_at_once_would_differ(arch0: Path) -> None:
    """Why there is a definition of its own: arch0 concatenates sums of strides 32, 16 and 4."""
    model = import_public(read_public(arch0), "arch0", TASK, arch0).model
    images = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        stepwise = model.network(images)
        model.network.decoder.stepwise = False  # type: ignore[assignment]
        assert (model.network(images) - stepwise).abs().max() > 1e-2


def test_tensors_without_use_are_named(arch0: Path) -> None:
    result = run(arch0, "--as", "arch0")
    assert result.output.splitlines()[0].endswith("tensors; segmentation, outputs: 21")
    assert [line.split(" (")[0] for line in result.output.splitlines()[1:]] == [
        "unused: adapter of encoder output 1, which no pair of arch0 reads",
        "unused: auxiliary heads, which only training needs",
    ]
    told = json.loads(run(arch0, "--as", "arch0", "--json", "--out", arch0.with_name("b.safetensors")).output)
    assert told["unused"]["adapter of encoder output 1, which no pair of arch0 reads"][0] == "decoder.adapt2.0.weight"
    own = build(ModelSpec("arch0", TASK, channels=8, definition="public")).state_dict()
    assert told["tensors"] - sum(map(len, told["unused"].values())) == len(own)


def test_names_of_several_gpus_and_of_old_pytorch(tmp_path: Path) -> None:
    state = make_checkpoint(ZOO["arch1"].to_list(), 8, 1, 1, aux=False)
    old = {f"module.{name}": value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    assert run(save(tmp_path / "depth.pth", old), "--as", str(ZOO["arch1"])).exit_code == 0
    spec = load_model(tmp_path / "depth.safetensors").spec
    assert (spec.task.kind, spec.channels, spec.sep_repeats, spec.definition) == ("depth", 8, 1, "public")


def test_operations_that_zero_discards_are_unused(tmp_path: Path) -> None:
    genotype = [[[3, 3], [2, 1], [4, 0]], [0, [0, 1, 1, 9], [4, 0, 10, 0], [7, 1, 0, 9]]]
    state = make_checkpoint(genotype, 8, 1, 21, aux=False)
    path = save(tmp_path / "a.pth", state)
    found = import_public(read_public(path), str(Genotype.parse(genotype)), TASK, path)
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert (found.model.network(images) - run_checkpoint(state, genotype, images)).abs().max() < 1e-4


def test_a_cell_that_needs_constants_of_zero_is_refused(tmp_path: Path) -> None:
    genotype = [[[3, 3], [2, 1], [4, 0]], [10, [0, 1, 1, 0], [0, 0, 9, 9], [0, 0, 9, 9]]]
    path = save(tmp_path / "a.pth", make_checkpoint(genotype, 8, 1, 21, aux=False))
    result = run(path, "--as", str(Genotype.parse(genotype)))
    assert result.exit_code == 1
    assert "learned constants" in result.output


def test_files_that_do_not_fit_are_one_line(tmp_path: Path, arch0: Path) -> None:
    state = torch.load(arch0, weights_only=True)
    key = "decoder.cells.0.agg.branch_1.0.weight"
    cases = {
        "absent": (None, "no weights file"),
        "objects": ({"segmenter": object()}, "is not a readable weights file"),
        "nested": ({"segmenter": state}, "does not hold a dictionary of tensors"),
        "resnet": ({"conv1.weight": torch.ones(1)}, "no checkpoint of the paper's public code"),
        "shape": ({**state, key: state[key][:, :4]}, f"{key} is [8, 4, 1, 1], not [8, 8, 1, 1]"),
        "extra": ({**state, "decoder.more": torch.ones(1)}, "1 tensors are left over, the first is decoder.more"),
        "nan": ({**state, key: state[key] * float("nan")}, "NaN or infinite"),
    }
    for name, (content, words) in cases.items():
        path = tmp_path / f"{name}.pth"
        if content is not None:
            save(path, content)
        result = run(path, "--as", "arch0")
        assert result.exit_code == 1, name
        assert words in result.output, name
        assert len(result.output.splitlines()) == 1, name
        assert not path.with_suffix(".safetensors").exists()
    assert "tensors are missing" in run(arch0, "--as", "arch1").output
    assert "fixed shape" in run(arch0, "--as", "rflw-mbv2").output


def test_outputs_decide_the_task_unless_a_dataset_is_named(tmp_path: Path) -> None:
    state = make_checkpoint(ZOO["arch2"].to_list(), 8, 1, 5, aux=False)
    path = save(tmp_path / "five.pth", state)
    assert "the network has 5 outputs: name their dataset" in run(path, "--as", "arch2").output
    assert "has 5 outputs, but synthetic has" in run(path, "--as", "arch2", "--data", "synthetic").output


def test_no_model_file_is_replaced_unasked(arch0: Path) -> None:
    assert run(arch0, "--as", "arch0").exit_code == 0
    assert run(arch0, "--as", "arch0").exit_code == 2
    assert run(arch0, "--as", "arch0", "--out", arch0.with_suffix(".safetensors")).exit_code == 0


@pytest.mark.slow
def test_an_imported_model_is_exported(arch0: Path, tmp_path: Path) -> None:
    run(arch0, "--as", "arch0")
    model = load_model(arch0.with_suffix(".safetensors"))
    assert export_model(model, tmp_path, Options((64, 64)), "public", log=lambda _: None).sidecar.trained


def test_an_imported_model_is_counted_and_fine_tuned(arch0: Path) -> None:
    run(arch0, "--as", "arch0")
    path = arch0.with_suffix(".safetensors")
    model = load_model(path)
    counts = count(model.network, (64, 64))
    assert [each.what for each in count_public(model.network, counts).differences] == ["adapter of encoder output 1"]
    network = build(model.spec)
    assert initialise(network, model.spec, str(path)).startswith(f"{len(network.state_dict())} of")
    other = ModelSpec("arch0", TASK, channels=8)
    with pytest.raises(Exception, match=r"nothing of .* fits"):
        initialise(build(other), other, str(path))
