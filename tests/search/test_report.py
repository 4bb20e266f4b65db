"""The page about searches: its statistics, that it is self-contained, and how a browser shows it."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from fastnas.cli import main
from fastnas.config import override
from fastnas.jetson.bench.report import read_report
from fastnas.models.checkpoint import save_model
from fastnas.models.spec import ModelSpec, build
from fastnas.search.presets import preset
from fastnas.search.report.heads import compare_heads
from fastnas.search.report.page import training_command
from fastnas.search.report.statistics import read_runs
from fastnas.search.report.summary import summarise
from fastnas.tasks import Segmentation
from fastnas.train.recipes import RECIPES
from fastnas.train.settings import RunSettings
from tests.helpers.jetson_toys import write_toy
from tests.helpers.search_toys import settings, write_run

TASK = Segmentation(("background", "thing"), ((0, 0, 0), (255, 0, 0)))
LOOSE = ModelSpec("arch1", TASK, channels=8)


def report(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["report", *map(str, arguments)])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folders: PPO against random search, and two arms of an ablation."""
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder / "ppo", settings(), 150)
    write_run(folder / "random", settings("random"), 150)
    write_run(folder / "other", settings("random", seed=1), 30)
    write_run(folder / "bare", settings("random", polyak=False, auxiliary=False), 40, bonus=-0.1)
    return folder


@pytest.fixture(scope="module")
def page(runs: Path) -> Path:
    """A page of all of it."""
    out = runs / "all" / "page.html"
    result = report(runs / "ppo", runs / "random", runs / "bare", "--out", out)
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what is read in words and numbers: plots are made, but not rendered, which is most of a page's time."""
    monkeypatch.setattr("fastnas.show.drawing.save", lambda figure, path: None)
    monkeypatch.setattr("fastnas.show.drawing.svg_url", lambda figure: "data:,")


class Links(HTMLParser):
    """Collects everything that a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_self_contained(page: Path) -> None:
    text, links = page.read_text(), Links()
    links.feed(text)
    assert not links.open
    assert len(links.found) > 8
    assert all(link.startswith("data:") for link in links.found)
    assert "@import" not in text
    assert "url(" not in text
    assert "<script" not in text


def test_every_plot_is_also_a_file(page: Path) -> None:
    names = {
        "course", "rewards-stage1", "rewards-stage2", "best1", "best2", "best3", "pareto-parameters", "pareto-madds",
        "pareto-latency", "operations", "connections", "ablation", "stages", "efficiency",
    }  # fmt: skip
    files = {path.stem: path for path in page.with_suffix("").iterdir()}
    assert set(files) == names
    for path in files.values():
        with Image.open(path) as image:
            assert (image.format, min(image.size) > 400) == ("PNG", True)
    assert page.read_text().count("<img") == len(names)


def test_the_statistics_are_those_of_the_histories(undrawn: None, runs: Path, tmp_path: Path) -> None:
    result = report(runs / "ppo", runs / "random", "--out", tmp_path / "page.html", "--block", 50, "--json")
    numbers = json.loads(result.stdout)
    (ppo,) = read_runs([runs / "ppo"])
    assert [run["candidates"] for run in numbers["runs"]] == [150, 150]
    assert sum(numbers["runs"][0][s] for s in ("done", "stopped", "reused", "refused", "failed")) == 150
    assert numbers["runs"][0]["best"] == ppo.networks[0].reward
    assert len(numbers["blocks"]["PPO"]["stage1"]) == 3
    assert sum(map(len, numbers["blocks"]["PPO"]["stage1"])) == len(ppo.rewards("stage1"))
    # The toy reward favours what PPO can learn in 150 candidates at this rate; random search cannot.
    first = numbers["comparisons"][0]
    assert (first["first"], first["second"], first["stage"]) == ("PPO", "random search", "stage1")
    assert first["win_rate"] > 0.7
    assert (first["seeds"], first["interval"], first["p"], numbers["unpaired"]) == ([0], None, None, [])
    assert "This is one run of each, with seed 0" in (tmp_path / "page.html").read_text()
    (best,) = [each for each in numbers["efficiency"] if each["strategy"] == "PPO"]
    assert best["best"] == [max(r.reward or 0 for r in ppo.counted[: best["candidates"]] if r.status == "done")]
    sums = [sum(numbers["operations"][population].values()) for population in ("all", "best")]
    assert sums == pytest.approx([1, 1])
    front = numbers["pareto"]["latency"]
    assert [n["scores"]["latency"] for n in front] == sorted(n["scores"]["latency"] for n in front)
    assert numbers["connections"]["best"][0][4] is None


def test_what_is_not_compared_is_named(undrawn: None, runs: Path, tmp_path: Path) -> None:
    result = report(runs / "ppo", runs / "other", "--out", tmp_path / "page.html")
    assert "against" not in result.stdout
    assert "not compared, for no opponent has their seed: ppo, other" in result.stdout
    assert "no run of the other strategy has their seed: ppo, other." in (tmp_path / "page.html").read_text()


def test_the_next_command_has_all_that_the_search_had() -> None:
    settings = override(preset("tiny"), ("data=nyud", "root=my data", "task=depth", "evaluation.encoder=resnet50"))
    command = training_command(Path("runs/a b"), settings)
    assert command == "fastnas train 'best@runs/a b' --data nyud --root 'my data' --task depth --encoder resnet50"
    offline = override(preset("tiny"), ("data=camvid", "evaluation.encoder_weights=/data/mobilenet.pth"))
    assert training_command(Path("run"), offline).endswith(" --data camvid --encoder-weights /data/mobilenet.pth")
    assert training_command(Path("run"), preset("tiny")) == "fastnas train best@run --data synthetic"


def test_the_next_command_is_on_the_page(undrawn: None, runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    report(runs / "bare", runs / "ppo", "--out", out)
    assert f"fastnas train best@{runs / 'ppo'} --data synthetic" in out.read_text()


def test_a_live_run_with_a_torn_line(runs: Path, tmp_path: Path) -> None:
    live = tmp_path / "live"
    shutil.copytree(runs / "ppo", live)
    lines = (live / "history.jsonl").read_bytes().splitlines(keepends=True)
    for count in (0, 1, 3):
        (live / "history.jsonl").write_bytes(b"".join(lines[:count]) + lines[count][:40])
        result = report(live, "--json")
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["runs"][0]["candidates"] == count
        assert ("Nothing to show yet" in (live / "report.html").read_text()) == (count == 0)


def test_names_cannot_break_the_page(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "<script>alert(1)&", settings(), 12)
    assert report(folder).exit_code == 0
    text = (folder / "report.html").read_text()
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&amp;" in text


def test_final_scores_of_trained_models(runs: Path, tmp_path: Path) -> None:
    ranked = read_runs([runs / "ppo"])[0].networks
    for i, record in enumerate(ranked[:60:15]):
        spec = ModelSpec(str(record.candidate.genotype), TASK, channels=8)
        path = tmp_path / "trained" / f"net{i}" / "model.safetensors"
        path.parent.mkdir(parents=True)
        save_model(path, build(spec), spec, metrics={"mean_iou": 0.8 - i / 10})
    spec = ModelSpec("arch0", TASK, channels=8)
    save_model(tmp_path / "trained" / "arch0.safetensors", build(spec), spec, metrics={"mean_iou": 0.3})
    out = tmp_path / "page.html"
    result = report(runs / "ppo", "--final", tmp_path / "trained", "--out", out, "--json")
    final = json.loads(result.stdout)["final"]
    assert final["score"] == "mean_iou"
    assert [(p["name"], p["score"]) for p in final["points"]] == [
        (f"net{i}", pytest.approx(0.8 - i / 10)) for i in range(4)
    ]
    assert final["spearman"][0] == pytest.approx(1)
    assert final["left_out"] == ["arch0"]
    assert (tmp_path / "page" / "final.png").is_file()
    assert re.search(r"Spearman's rho over 4 networks is <b>1\.000</b>", out.read_text())


def trained(folder: Path, architecture: str, aux: str, score: float, *, seed: int = 0, **recipe: object) -> None:
    """A run folder of a training that never ran."""
    spec = ModelSpec(architecture, TASK, channels=8, aux=aux)
    how = dataclasses.replace(RECIPES["synthetic"], **recipe)
    folder.mkdir(parents=True)
    RunSettings(model=spec, recipe=how, roots={}, val="synthetic", encoder_weights="none", seed=seed).save(folder)
    save_model(folder / "model.safetensors", build(spec), spec, metrics={"mean_iou": score})


def test_the_kinds_of_auxiliary_heads_are_compared(runs: Path, tmp_path: Path) -> None:
    """Only runs of equal settings, and the means are of networks that have all the kinds."""
    scores = {"none": (0.5, 0.6, 0.7), "clf": (0.55, 0.58, 0.71), "cell": (0.6, 0.62, 0.69)}
    for aux, found in scores.items():
        for name, score in zip(("arch0", "arch1", "arch2"), found, strict=True):
            trained(tmp_path / "trained" / f"{name}-{aux}", name, aux, score)
    trained(tmp_path / "trained" / "again", "arch0", "cell", 0.7, seed=1)
    trained(tmp_path / "trained" / "two", "camvid0", "cell", 0.9)
    trained(tmp_path / "trained" / "kinds", "camvid0", "none", 0.8)
    trained(tmp_path / "trained" / "one", "camvid1", "cell", 0.95)
    trained(tmp_path / "trained" / "other", "arch0", "none", 0.1, batch=4)
    save_model(tmp_path / "trained" / "loose.safetensors", build(LOOSE), LOOSE, metrics={"mean_iou": 0.2})
    out = tmp_path / "page.html"
    printed = report(runs / "ppo", "--final", tmp_path / "trained", "--out", out, "--json")
    assert printed.exit_code == 0, printed.output
    heads = json.loads(printed.stdout)["heads"]
    assert [network["name"] for network in heads["networks"]] == ["camvid0", "arch2", "arch0", "arch1"]
    assert heads["networks"][2]["scores"] == {"none": [0.5], "clf": [0.55], "cell": [0.7, 0.6]}
    assert heads["compared"] == 3
    assert heads["means"] == {
        "none": pytest.approx(0.6), "clf": pytest.approx(1.84 / 3), "cell": pytest.approx((0.65 + 0.62 + 0.69) / 3)
    }  # fmt: skip
    assert heads["best"] == {"none": 0, "clf": 1, "cell": 2}
    assert (tmp_path / "page" / "heads.png").is_file()
    assert "0.6533 with cell (best for 2)" in out.read_text()


def test_one_kind_of_auxiliary_heads_is_no_comparison(tmp_path: Path) -> None:
    trained(tmp_path / "a", "arch0", "cell", 0.5)
    trained(tmp_path / "b", "arch1", "clf", 0.5)
    assert compare_heads([tmp_path]) is None


def test_rewards_after_both_stages(runs: Path, page: Path) -> None:
    read = read_runs([runs / "ppo"])
    (stages,) = summarise(read)["stages"]
    assert stages["points"] == [(each.stage1, each.stage2) for each in read[0].networks if each.stage2 is not None]
    assert stages["spearman"][0] == pytest.approx(1)  # the toy's stage 2 is its stage 1 and a constant
    assert len(re.findall(r"networks is\s+<b>1\.000</b>", page.read_text())) == 3


def test_what_costs_most_on_a_board(undrawn: None, runs: Path, tmp_path: Path) -> None:
    bench = tmp_path / "bench.json"
    words = ["jetson-bench", str(write_toy(tmp_path / "toys", "segmentation")), "--res", "32", "--passes", "2"]
    CliRunner().invoke(main, [*words, "--engine", "onnxruntime", "--layers", "--report", str(bench)])
    out = tmp_path / "page.html"
    printed = report(runs / "ppo", "--layers", bench, "--out", out, "--json")
    assert printed.exit_code == 0, printed.output
    (network,) = json.loads(printed.stdout)["layers"]
    (row,) = read_report(str(bench))["rows"]
    measured = sorted((module["ms"] for module in row["layers"]["modules"]), reverse=True)
    assert [module["ms"] for module in network["modules"]] == measured[:10]
    assert sum(module["share"] for module in network["modules"]) == pytest.approx(1)  # a toy has fewer than ten
    assert "<td>decoder.classifier</td>" in out.read_text()
    assert "decoder.classifier" in report(runs / "ppo", "--layers", bench, "--out", out).stdout


def test_a_benchmark_without_layers_is_refused(runs: Path, tmp_path: Path) -> None:
    bench = tmp_path / "bench.json"
    words = ["jetson-bench", str(write_toy(tmp_path / "toys", "segmentation")), "--res", "32", "--passes", "2"]
    CliRunner().invoke(main, [*words, "--engine", "onnxruntime", "--report", str(bench)])
    result = report(runs / "ppo", "--layers", bench)
    assert result.exit_code == 1
    assert "has no times per layer" in result.stderr


@pytest.mark.parametrize(("model", "line"), [("arch0", "has no score"), ("deeplabv3-mbv2", "which no search can find")])
def test_models_without_a_place_in_the_comparison(runs: Path, tmp_path: Path, model: str, line: str) -> None:
    spec = ModelSpec(model, Segmentation(("a", "b"), ((0, 0, 0), (255, 0, 0))))
    save_model(tmp_path / "m.safetensors", build(spec), spec)
    result = report(runs / "ppo", "--final", tmp_path / "m.safetensors")
    assert result.exit_code == 1
    assert line in result.stderr


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    result = report(tmp_path)
    assert result.exit_code == 1
    assert "is not a run folder" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser(page: Path, width: int) -> None:
    """No error, nothing fetched, every image decoded, and no sideways scrolling of the page."""
    sync_api = pytest.importorskip("playwright.sync_api")
    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    if browser_path is None:
        pytest.skip("no Chromium on this machine")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=flags)
        tab = browser.new_page(viewport={"width": width, "height": 800})
        said: list[str] = []
        asked: list[str] = []
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(page.as_uri())
        broken = tab.evaluate("[...document.images].filter(i => !i.complete || !i.naturalWidth).length")
        scroll = tab.evaluate("document.documentElement.scrollWidth")
        browser.close()
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [page.as_uri()]
    assert broken == 0
    assert scroll == width
