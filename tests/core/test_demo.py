"""The demo: stages that are kept, say which one failed, and a page whose numbers are those of the files."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import click
import pytest
from rich.console import Console

from fastnas import __version__
from fastnas.cli import main
from fastnas.demo.page import write_page
from fastnas.demo.scenes import write_clip, write_images, write_photo
from fastnas.demo.stages import PHOTO, Sizes, Stage, plan, run
from fastnas.errors import FastnasError
from fastnas.published import TX2_MS

TINY = Sizes(
    search_seconds=1, encoder="none", samples=64, epochs=1, val_samples=4, calibration=4, frames=4,
    side=128, sweep="64:128:64", passes=3,
)  # fmt: skip


def stage(path: Path, *arguments: str) -> Stage:
    return Stage(f"make {path.name}", 1, path, lambda: list(arguments), prints=True)


def test_a_finished_stage_is_kept_and_the_command_is_printed_first(tmp_path, capfd) -> None:
    stages = [stage(tmp_path / "a", "nonsense"), stage(tmp_path / "b", "--version")]
    (tmp_path / "a").write_text("kept")
    run(stages, Console(width=500))
    assert (tmp_path / "a").read_text() == "kept"
    assert (tmp_path / "b").read_text() == f"fastnas {__version__}\n"
    printed = capfd.readouterr().out
    assert "1 of 2 stages are done already" in printed
    assert f"[2/2] make b · 0:00 gone, about 0:01 left\n$ fastnas --version > {tmp_path / 'b'}\n" in printed


def test_a_failed_stage_is_named_and_leaves_nothing(tmp_path) -> None:
    stages = [stage(tmp_path / "a", "show", "nonsense"), stage(tmp_path / "b", "--version")]
    with pytest.raises(FastnasError, match="stage 'make a' failed"):
        run(stages, Console(quiet=True))
    assert not list(tmp_path.iterdir())


def test_every_command_has_the_options_that_the_demo_gives_it(tmp_path) -> None:
    for each in plan(tmp_path, TINY):
        name, *words = map(str, each.arguments())
        command = main.get_command(click.Context(main), name)
        assert command is not None, name
        command.make_parser(click.Context(command)).parse_args(words)


def test_minutes_change_search_and_training() -> None:
    assert Sizes.of(10) == Sizes()
    assert (Sizes.of(15).search_seconds, Sizes.of(15).samples) == (2 * Sizes.search_seconds, 2 * Sizes.samples)


def test_published_times_are_those_of_the_device_half() -> None:
    from fastnas.jetson.bench.report import PUBLISHED

    assert {name: PUBLISHED[name][0] for name in TX2_MS} == TX2_MS


def test_a_missing_output_is_one_line(tmp_path) -> None:
    with pytest.raises(FastnasError, match=r"search\.json"):
        write_page(tmp_path)


@pytest.mark.slow
def test_the_whole_demo_and_its_page(tmp_path) -> None:
    write_images(tmp_path / "calibration", TINY.calibration)
    write_clip(tmp_path / "clip.mp4", TINY.frames)
    write_photo(tmp_path / PHOTO)
    run(plan(tmp_path, TINY), Console(quiet=True))
    page = write_page(tmp_path).read_text()
    assert not re.search(r"""(?:src|href)=["'](?!data:)|url\(|@import|https?://(?!127\.0\.0\.1)""", page)
    figures = re.findall(r'<data value="([^"]*)" data-from="([^"]*)">([^<]+)</data>', page)
    assert len(figures) > 40
    assert len(figures) == page.count("<data")
    for value, source, _ in figures:
        name, *keys = json.loads(html.unescape(source))
        found = json.loads((tmp_path / name).read_text())
        for key in keys:
            found = found[key]
        assert value == str(found), source
    # Once more: everything is kept.
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")}
    run(plan(tmp_path, TINY), Console(quiet=True))
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")}
