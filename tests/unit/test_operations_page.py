"""docs/operations.md and the examples name what exists: commands, options, variables, files, rights."""

import re
from pathlib import Path

import click
import pytest
from harness.tls_redis import BUILD, FLEET

from caskeeper.config.keys import variables
from tasks.cli.main import cli

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
EXAMPLES = [path for path in (ROOT / "examples").rglob("*") if path.is_file() and path.suffix != ".pyc"]
COMPOSE = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")


def command_of(words):
    """The command that the first words name, and what comes after them."""
    command, context = cli, click.Context(cli)
    while words and isinstance(command, click.Group):
        found = command.get_command(context, words[0])
        if found is None:
            break
        command, words = found, words[1:]
    return command, words


@pytest.mark.parametrize("text", [PAGE, *(path.read_text(encoding="utf-8") for path in EXAMPLES)])
def test_every_command_that_is_named_exists_with_its_options(text):
    for line in re.findall(r"caskeeper ((?:--?[a-z]+ )*[a-z][a-z -]*)", text):
        words = [word for word in line.split() if word not in {"--quiet", "--json"}]
        if words[0] not in cli.list_commands(click.Context(cli)):
            continue  # a sentence about caskeeper
        command, rest = command_of(words)
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in rest if word.startswith("--")} <= known, line


def test_commands_in_code_are_commands():
    names = re.findall(r"`(?:docker compose exec worker )?caskeeper ([a-z-]+)", PAGE)
    assert len(names) > 10
    assert set(names) <= set(cli.list_commands(click.Context(cli)))


def test_every_variable_is_read_by_us_or_by_the_compose_file():
    named = set(re.findall(r"CASKEEPER_[A-Z_]+", PAGE))
    assert named <= {*variables(), *re.findall(r"CASKEEPER_[A-Z_]+", COMPOSE)}


def test_files_that_are_named_exist():
    for name in re.findall(r"\]\(([^)#:]+)\)", PAGE):
        assert (ROOT / "docs" / name).exists(), name
    for name in re.findall(r"deploy/compose/[a-z.-]+[a-z]", PAGE):
        assert (ROOT / name).exists(), name


def test_the_rights_on_redis_are_those_that_are_tested():
    assert f"user fleet on >… {' '.join(FLEET)}\n" in PAGE
    assert f"user build on >… {' '.join(BUILD)}\n" in PAGE


def test_alerts_that_are_named_exist():
    rules = (ROOT / "deploy/prometheus/rules.yml").read_text(encoding="utf-8")
    named = set(re.findall(r"Caskeeper[A-Z][A-Za-z]+", PAGE))
    assert named <= set(re.findall(r"alert: (\w+)", rules))
