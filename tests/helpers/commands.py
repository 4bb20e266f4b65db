"""The commands of `fastnas` and their options."""

from __future__ import annotations

import click

from fastnas.cli import COMMANDS, main


def leaves(command: click.Command, path: str) -> dict[str, list[str]]:
    if isinstance(command, click.Group):
        subcommands = {f"{path} {name}": command.commands[name] for name in sorted(command.commands)}
        return {key: value for name, sub in subcommands.items() for key, value in leaves(sub, name).items()}
    return {path: sorted("/".join(p.opts + p.secondary_opts) for p in command.params)}


def options() -> dict[str, list[str]]:
    """Every command and its options, as they are."""
    found: dict[str, list[str]] = {}
    for name in COMMANDS:
        command = main.get_command(click.Context(main), name)
        assert command is not None
        found |= leaves(command, name)
    return found
