"""Help of single commands, and what is said of nothing."""

import click
import pytest
from click.testing import CliRunner

from tasks.cli.look import nothing_matches
from tasks.cli.main import cli

CONTEXT = click.Context(cli)
NAMES = [name for name in cli.list_commands(CONTEXT) if name != "supervise"]


@pytest.mark.parametrize("name", NAMES)
def test_every_command_tells_of_the_options_that_all_have(name):
    shown = CliRunner().invoke(cli, [name, "--help"])
    assert shown.exit_code == 0
    assert "--json" in shown.output


def test_a_session_is_told_in_the_order_of_its_life():
    session = cli.get_command(CONTEXT, "session")
    assert isinstance(session, click.Group)
    assert session.list_commands(CONTEXT) == ["open", "require", "renew", "close"]


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("*", "no artifact is here"),
        ("demo", "no ref matches 'demo' as a whole; those of a project: demo/*"),
        ("demo/a/1", "no ref matches 'demo/a/1' as a whole"),
        ("demo*", "no ref matches 'demo*' as a whole"),
    ],
)
def test_a_list_of_nothing_says_so(pattern, told):
    assert nothing_matches(pattern) == told
