"""`--init`: which weights a network takes from a trained model, what is said about them, and the run that follows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from torch import Tensor

from fastnas.cli import main
from fastnas.errors import FastnasError
from fastnas.models.checkpoint import load_model, save_model
from fastnas.models.network import Network
from fastnas.models.spec import ModelSpec, build
from fastnas.tasks import Depth, Multi, Pose, Segmentation, Task
from fastnas.train.initialise import HEAD, initialise, outputs_of
from fastnas.train.settings import RunSettings


def classes(*names: str) -> Segmentation:
    return Segmentation(names, tuple((i, i, i) for i in range(len(names))))


TRAINED = classes("background", "Road", "car")
SHAPE = {"channels": 4, "sep_repeats": 1}
JOINTS = Pose(("head", "left", "right"), ((0, 1),), (0, 2, 1))


def network_of(spec: ModelSpec, seed: int = 1) -> Network:
    torch.manual_seed(seed)
    return build(spec)


def model(path: Path, task: Task = TRAINED, architecture: str = "arch1", **shape: Any) -> Path:
    spec = ModelSpec(architecture, task, **{**SHAPE, **shape})
    save_model(path, network_of(spec, seed=0), spec, recipe={"name": "camvid"})
    return path


def initialised(path: Path, spec: ModelSpec) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor], str]:
    """Weights of the trained model, of the network before and after, and the line."""
    network = network_of(spec)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    line = initialise(network, spec, str(path))
    return load_model(path).network.state_dict(), before, network.state_dict(), line


def test_the_same_task_takes_everything(tmp_path: Path) -> None:
    trained, _, after, line = initialised(model(tmp_path / "m.safetensors"), ModelSpec("arch1", TRAINED, **SHAPE))
    torch.testing.assert_close(after, dict(trained), rtol=0, atol=0)
    count = len(trained)
    assert line == f"{count} of {count} tensors from m, 3 of 3 outputs among them"


def test_other_classes_keep_the_outputs_of_those_that_both_have(tmp_path: Path) -> None:
    task = classes("car", "tree", "background", "road", "sign")
    spec = ModelSpec("arch1", task, aux="cell", **SHAPE)
    trained, before, after, line = initialised(model(tmp_path / "street.safetensors"), spec)
    for key in trained:
        if not key.startswith(HEAD):
            torch.testing.assert_close(after[key], trained[key], rtol=0, atol=0)
    for part in ("weight", "bias"):
        new, old, own = (each[HEAD + part] for each in (after, trained, before))
        for row, source in ((0, 2), (2, 0), (3, 1)):  # car, background, road
            torch.testing.assert_close(new[row], old[source], rtol=0, atol=0)
        torch.testing.assert_close(new[[1, 4]], own[[1, 4]], rtol=0, atol=0)
    auxiliary = [key for key in after if key.startswith("decoder.auxiliary.")]
    assert auxiliary
    for key in auxiliary:
        torch.testing.assert_close(after[key], before[key], rtol=0, atol=0)
    assert line == (
        f"{len(trained)} of {len(after)} tensors from street, 3 of 5 outputs among them; "
        "made anew: auxiliary heads, the outputs tree, sign"
    )


def test_another_task_takes_all_but_the_head(tmp_path: Path) -> None:
    spec = ModelSpec("arch1", Depth(0.5, 10.0), **SHAPE)
    trained, before, after, line = initialised(model(tmp_path / "m.safetensors"), spec)
    assert {key for key in after if not torch.equal(after[key], before[key])}
    assert all(torch.equal(after[key], before[key]) for key in after if key.startswith(HEAD))
    assert all(torch.equal(after[key], trained[key]) for key in after if not key.startswith(HEAD))
    assert line.endswith(f"{len(after) - 2} of {len(after)} tensors from m, 0 of 1 outputs among them; "
                         "made anew: the outputs depth")  # fmt: skip


@pytest.mark.parametrize(
    ("architecture", "shape"),
    [("arch2", {}), ("arch1", {"channels": 8}), ("arch1", {"sep_repeats": 2})],
    ids=["architecture", "channels", "repeats"],
)
def test_another_decoder_takes_the_encoder_alone(tmp_path: Path, architecture: str, shape: dict[str, int]) -> None:
    """Weights of the same name and shape are of other operations there."""
    spec = ModelSpec(architecture, TRAINED, **{**SHAPE, **shape})
    trained, before, after, line = initialised(model(tmp_path / "m.safetensors"), spec)
    assert all(torch.equal(after[key], trained[key]) for key in after if key.startswith("encoder."))
    assert all(torch.equal(after[key], before[key]) for key in after if key.startswith("decoder."))
    assert "0 of 3 outputs among them; made anew: decoder, the outputs background, road, car" in line


def test_the_same_genotype_in_another_form_is_the_same_decoder(tmp_path: Path) -> None:
    spec = ModelSpec("arch1", TRAINED, **SHAPE)
    text = ModelSpec(str(spec.genotype), TRAINED, **SHAPE)
    assert "3 of 3 outputs" in initialised(model(tmp_path / "m.safetensors"), text)[3]


def test_a_single_task_takes_its_output_of_a_network_of_several(tmp_path: Path) -> None:
    several = Multi((TRAINED, Depth(0.5, 10.0), JOINTS))
    assert [name for _, name in outputs_of(several)] == ["background", "road", "car", "depth", "head", "left", "right"]
    path = model(tmp_path / "trio.safetensors", several)
    trained, _, after, _ = initialised(path, ModelSpec("arch1", JOINTS, **SHAPE))
    assert torch.equal(after[HEAD + "weight"], trained[HEAD + "weight"][4:])
    trained, _, after, _ = initialised(path, ModelSpec("arch1", Depth(0.1, 80.0), **SHAPE))
    assert torch.equal(after[HEAD + "bias"], trained[HEAD + "bias"][3:4])


def test_what_does_not_fit_at_all_is_an_error(tmp_path: Path) -> None:
    spec = ModelSpec("arch1", TRAINED, encoder="resnet50", **SHAPE)
    with pytest.raises(FastnasError, match="nothing of m fits: it has the encoder mobilenet_v2 and arch1, the network"):
        initialised(model(tmp_path / "m.safetensors"), spec)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["train", *arguments])


SMALL = ("--limit", "8", "--val-limit", "2", "--epochs", "1", "--set", "batch=4", "--set", "crop=32,32",
         "--aux", "none", "--workers", "0", "--accelerator", "cpu")  # fmt: skip


def test_a_run_takes_the_network_of_the_model_and_says_what_it_kept(tmp_path: Path) -> None:
    path, out = model(tmp_path / "street.safetensors"), tmp_path / "run"
    result = run("--init", str(path), "--out", str(out), *SMALL)
    assert result.exit_code == 0, result.output
    assert "tensors from street, 1 of 11 outputs among them; made anew: the outputs " in " ".join(result.output.split())
    settings = RunSettings.load(out)
    assert (settings.model.architecture, settings.model.channels, settings.model.sep_repeats) == ("arch1", 4, 1)
    assert (settings.init, settings.encoder_weights) == (str(path), "none")
    path.unlink()  # a resumed run needs it no more
    assert run("--resume", str(out), "--accelerator", "cpu", "--workers", "0").exit_code == 0


def test_what_is_given_wins_over_the_model(tmp_path: Path) -> None:
    path, out = model(tmp_path / "street.safetensors"), tmp_path / "run"
    result = run("arch2", "--init", str(path), "--channels", "6", "--out", str(out), *SMALL)
    assert result.exit_code == 0, result.output
    settings = RunSettings.load(out)
    assert (settings.model.architecture, settings.model.channels, settings.model.sep_repeats) == ("arch2", 6, 1)


def test_a_run_from_an_imported_model_keeps_its_definition(tmp_path: Path) -> None:
    path, out = model(tmp_path / "theirs.safetensors", definition="public"), tmp_path / "run"
    result = run("--init", str(path), "--out", str(out), *SMALL)
    assert result.exit_code == 0, result.output
    assert RunSettings.load(out).model.definition == "public"
    assert load_model(out / "model.safetensors").spec.definition == "public"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--init", "arch0"), "--init arch0 is no model file (*.safetensors); trained models by name: "),
        (("--init", "absent.safetensors"), "absent.safetensors"),
        (("--init", "m.safetensors", "--encoder-weights", "none"), "leave out --encoder-weights"),
        (("--init", "m.safetensors", "--resume", "run"), "leave out --init"),
        (("m.safetensors",), "m.safetensors is a model file: fine-tune it with --init m.safetensors"),
        ((), "Missing argument 'ARCHITECTURE'"),
    ],
)
def test_wrong_usage_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    model(tmp_path / "m.safetensors")
    result = run(*words, "--out", "run") if "--resume" not in words else run(*words)
    assert result.exit_code in (1, 2)
    assert line in result.stderr
    assert result.stderr.count("\n") == 1
    assert not Path("run").exists()
