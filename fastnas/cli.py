"""The command line: a table of commands, each imported only when it is called.

Shell completion: `eval "$(_FASTNAS_COMPLETE=bash_source fastnas)"` (or `zsh_source`, `fish_source`).
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass

import click

from fastnas import __version__
from fastnas.jetson.errors import CommandGroup


@dataclass(frozen=True)
class Entry:
    """Where a command is (`module:attribute`), and its line in the overview, which needs no import."""

    target: str
    summary: str


COMMANDS: dict[str, Entry] = {
    "show": Entry("fastnas.show.command:show", "Describe, count and draw a network."),
    "search": Entry("fastnas.search.command:search", "Find an architecture."),
    "report": Entry(
        "fastnas.search.report.command:report", "Show searches on one page: rewards, best networks, comparisons."
    ),
    "rank-check": Entry(
        "fastnas.search.rank_check.command:rank_check",
        "Check whether a search's rewards rank networks as full training does.",
    ),
    "train": Entry("fastnas.train.command:train", "Train a network fully."),
    "eval": Entry("fastnas.train.eval_command:evaluate_command", "Evaluate a trained model."),
    "export": Entry("fastnas.deploy.command:export", "Write a network as an optimised, checked ONNX artifact."),
    "data": Entry("fastnas.data.command:data", "Check, show and import datasets."),
    "import": Entry(
        "fastnas.importing.command:import_weights", "Write a checkpoint of the paper's public code as a model file."
    ),
    "jetson-bench": Entry("fastnas.jetson.commands:jetson_bench", "Measure latency, here or on a board over SSH."),
    "camera": Entry("fastnas.jetson.camera.command:camera", "Show live segmentation, depth or pose of a camera."),
    "predict": Entry("fastnas.jetson.predict.command:predict", "Predict images, videos and streams into files."),
    "doctor": Entry("fastnas.jetson.commands:doctor", "Check this machine, and name the command for each problem."),
    "demo": Entry("fastnas.demo.command:demo", "Run everything that is here, end to end, in minutes."),
}


class LazyGroup(CommandGroup):
    """A group that imports a command's module when the command is looked up."""

    install = "pip install 'fastnas[cpu]'"

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, attribute = entry.target.split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The overview, from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="fastnas", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """Compact networks for dense prediction, found by search and measured on NVIDIA Jetson boards."""
