"""The command line: a table of commands, each imported only when it is called.

Shell completion: `eval "$(_FASTNAS_COMPLETE=bash_source fastnas)"` (or `zsh_source`, `fish_source`).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from fastnas import __version__
from fastnas.errors import FastnasError


@dataclass(frozen=True)
class Entry:
    """Where a command is (`module:attribute`), and its line in the overview, which needs no import."""

    target: str
    summary: str


COMMANDS: dict[str, Entry] = {
    "show": Entry("fastnas.show.command:show", "Describe, count and draw a network."),
    "search": Entry("fastnas.search.command:search", "Find an architecture."),
    "report": Entry(
        "fastnas.search.report.command:report", "Show searches on one page: rewards, best networks, what helped."
    ),
    "train": Entry("fastnas.train.command:train", "Train a network fully."),
    "eval": Entry("fastnas.train.eval_command:evaluate_command", "Measure a trained model."),
    "export": Entry("fastnas.deploy.command:export", "Write a network as an optimised, checked ONNX artifact."),
    "data": Entry("fastnas.data.command:data", "Check datasets."),
    "jetson-bench": Entry("fastnas.jetson.commands:jetson_bench", "Measure latency, here or on a board over SSH."),
    "camera": Entry("fastnas.jetson.camera.command:camera", "Show live segmentation, depth or pose of a camera."),
    "doctor": Entry("fastnas.jetson.commands:doctor", "Say what this machine has, lacks, and how to fix it."),
    "demo": Entry("fastnas.demo.command:demo", "Run everything that is here, end to end, in minutes."),
}


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is looked up, and prints our errors as one line."""

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

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, *, standalone_mode: bool = True, **options: Any
    ) -> Any:
        """Run as a program: every error is one line on stderr; exit code 2 for wrong usage, 1 for the rest."""
        if not standalone_mode:
            return super().main(args, standalone_mode=False, **options)
        try:
            result = super().main(args, standalone_mode=False, **options)
        except click.UsageError as error:
            where = error.ctx.command_path if error.ctx else "fastnas"
            click.echo(f"Error: {_one_line(error)} (see {where} --help)", err=True)
            sys.exit(error.exit_code)
        except click.ClickException as error:
            click.echo(f"Error: {_one_line(error)}", err=True)
            sys.exit(error.exit_code)
        except click.Abort:
            click.echo("Interrupted.", err=True)
            sys.exit(130)
        sys.exit(result if isinstance(result, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        """Run; an error of ours becomes a line and exit code 1, unless `--debug` asks for the traceback."""
        try:
            return super().invoke(ctx)
        except FastnasError as error:
            if ctx.params.get("debug"):
                raise
            raise click.ClickException(str(error)) from error
        except OSError as error:  # a full disk, a broken one, met by a library
            if ctx.params.get("debug"):
                raise
            where = f"{error.filename}: " if error.filename else ""
            raise click.ClickException(f"{where}{error.strerror or error}") from error
        except ModuleNotFoundError as error:
            if ctx.params.get("debug") or (error.name or "").split(".")[0] == "fastnas":
                raise
            raise click.ClickException(
                f"{error.name} is not installed; run: pip install 'fastnas[cpu]' (fastnas doctor says more)"
            ) from error


def _one_line(error: click.ClickException) -> str:
    return " ".join(error.format_message().split())


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="fastnas", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show the whole traceback of an error.")
def main(debug: bool) -> None:
    """Compact networks for dense prediction, found by search and measured on NVIDIA Jetson boards."""
