"""What README and docs tell to type exists: commands, options, values, targets, files and links."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from fastnas import shelf
from fastnas.cli import main
from fastnas.deploy.publish import row
from fastnas.options import NETWORK
from tests.helpers.commands import options
from tests.helpers.pages import PAGES, ROOT, blocks
from tests.helpers.small_shelf import use_shelf

PLACEHOLDERS = {"COMMAND", "ARTIFACT", "..."}
OTHERS = {"--object-store-memory"}
"""Options that pages name of other programs: Ray's."""
REFUSED = {"fastnas jetson-bench ARTIFACT --host ''", "fastnas jetson-bench ARTIFACT --host -oProxyCommand=x"}
"""Commands that the page about reliability shows because click itself refuses them."""


def typed(page: Path) -> list[str]:
    """Every command line of a page, inline ones included, without its comment and what it is piped into."""
    text = page.read_text()
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL).replace("\n", " ")
    inline = re.findall(r"`((?:fastnas|python|make|pytest) [^`]+)`", prose)
    found = [re.split(r"\s+#\s|\s+[|>]\s|\s+&&\s", line)[0].strip() for line in (*blocks(text), *inline)]
    return [line for line in found if re.match(r"(sudo )?(fastnas|python|make|pytest) \S", line)]


COMMANDS = [pytest.param(line, id=f"{page.stem}: {line[:60]}") for page in PAGES for line in dict.fromkeys(typed(page))]


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 60


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_can_be_typed(line: str) -> None:
    program, *words = shlex.split(line.removeprefix("sudo "))
    if line in REFUSED:
        with pytest.raises(click.UsageError):
            accept(words)
    elif program == "fastnas":
        accept(words)
    elif program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert {word for word in words if "=" not in word} <= set(targets)
    elif program == "python" and words[0] == "-m":
        assert words[1].split(".")[0] in ("fastnas", "tests", "venv", "pip")
    else:  # python FILE or pytest
        files = [word for word in words if word.endswith(".py")]
        assert all((ROOT / file).is_file() for file in files), files
        if program == "python":
            source = (ROOT / files[0]).read_text()
            assert all(f'"{word}"' in source for word in words if word.startswith("--"))


def accept(words: list[str]) -> None:
    """Let click read the words as far as it can without running or opening anything."""
    command: click.Command = main
    context = click.Context(command, info_name="fastnas")
    while isinstance(command, click.Group):
        values, words, _ = command.make_parser(context).parse_args(list(words))
        check(command, values)
        if not words:
            return
        name, words = words[0], words[1:]
        if name in PLACEHOLDERS:
            return
        found = command.get_command(context, name)
        assert found is not None, f"there is no command {name}"
        command, context = found, click.Context(found, info_name=name, parent=context)
    values, left, _ = command.make_parser(context).parse_args(list(words))
    assert not left
    check(command, values)


def check(command: click.Command, values: dict[str, object]) -> None:
    """Values that name no files are of their options' types."""
    for param in command.params:
        value = values.get(str(param.name))
        if param.type is NETWORK or isinstance(param.type, click.Path) or not isinstance(value, str) or value.isupper():
            continue
        param.type.convert(value, param, None)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if not link.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_that_are_named_exist(page: Path) -> None:
    known = {name for each in options().values() for names in each for name in names.split("/")}
    known |= {name for param in main.params for name in param.opts}
    others = (*ROOT.glob("benchmarks/*.py"), ROOT / "docker" / "run.sh", ROOT / "deploy" / "publish.py")
    scripts = "".join(path.read_text() for path in others)
    for option in set(re.findall(r"`(--[a-z][\w-]*)", page.read_text())):
        assert option in known | OTHERS or option in scripts, option


SNIPPETS = [
    pytest.param(code, id=f"{page.stem} {number}")
    for page in PAGES
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
]


@pytest.mark.parametrize("code", SNIPPETS)
def test_a_snippet_runs(code: str, made_shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With small models, on generated scenes where it names real images; a training is made ready, but not run."""
    use_shelf(made_shelf, tmp_path / "shelf", monkeypatch)
    here = code.replace('"voc", "~/data"', '"synthetic"').replace("trainer.run()", "")
    exec(compile(here, "snippet", "exec"), {"folder": tmp_path})


def test_every_trained_model_has_its_row_and_its_section() -> None:
    page = (ROOT / "docs" / "models.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert rows == [row(entry) for entry in shelf.entries().values()]
    headings = re.findall(r"^## `(\w+)`$", page, re.MULTILINE)
    assert headings == list(shelf.entries())


def test_the_row_of_a_model() -> None:
    entry = shelf.Entry("street", "0" * 64, 4_930_000, "Streets.", "CamVid", {"mean_iou": 0.7123}, (360, 480))
    assert row(entry) == "| `street` | Streets. | CamVid | mean_iou 0.7123 | 360x480 | 4.9 MB |"
