"""Nothing on the command line is undocumented, and nothing is documented that is not there."""

import re
from pathlib import Path

import click
import pytest

from tasks.cli.main import _SECTIONS, cli

README = (Path(__file__).resolve().parents[3] / "README.md").read_text(encoding="utf-8")
SHOWN = [name for title, commands in _SECTIONS.items() if title for name in commands]


def every_command():
    """Names as they are typed, sub-commands too."""
    context = click.Context(cli, info_name="caskeeper")
    found = {}
    for name in SHOWN:
        one = cli.get_command(context, name)
        found[name] = one
        if isinstance(one, click.Group):
            inner = click.Context(one, info_name=name, parent=context)
            found.update({f"{name} {sub}": one.get_command(inner, sub) for sub in one.list_commands(inner)})
    return found


COMMANDS = every_command()


def test_the_help_of_the_whole_lists_every_command_with_a_sentence():
    text = cli.get_help(click.Context(cli, info_name="caskeeper"))
    for title, commands in _SECTIONS.items():
        for name, (_module, sentence) in commands.items() if title else ():
            assert re.search(rf"^  {re.escape(name)} +\S", text, re.MULTILINE), name
            assert sentence.endswith("."), name


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_says_what_it_does_and_what_its_options_mean(name):
    one = COMMANDS[name]
    assert one is not None
    assert (one.help or "").strip(), "no help"
    for option in one.params:
        if isinstance(option, click.Option) and not option.hidden:
            assert option.help, f"{option.opts[0]} is not explained"


def test_what_the_readme_and_the_design_page_call_a_command_is_one():
    named = set(re.findall(r"`caskeeper ([a-z][a-z-]*)", README))
    table = README.partition("| Command | Does |")[2].partition("\n\n")[0]
    named |= {
        word for row in table.splitlines()[2:] for word in re.findall(r"`([a-z][a-z-]*)", row.split("|")[1])
    }
    assert named
    assert named <= set(SHOWN)


@pytest.mark.parametrize("name", SHOWN)
def test_the_readme_names_every_command(name):
    assert re.search(rf"`(caskeeper )?{re.escape(name)}[ `]", README), "add it to the table of commands"
