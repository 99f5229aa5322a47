"""docs/spec.md: every requirement and defect has its row, and what the rows name is there."""

from __future__ import annotations

import ast
import importlib
import re
from functools import cache
from pathlib import Path

import click
import pytest

from tasks.artifacts import KINDS as ARTIFACTS
from tasks.cache import KINDS as CACHE
from tasks.cli.main import cli

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/spec.md").read_text(encoding="utf-8")
NUMBERS = [f"AC-{number}" for number in range(1, 81)] + [f"D-{number}" for number in range(1, 36)]
#: The public methods of the reference's class.
METHODS = (
    *("add_artifact_size", "clean", "commit", "compute_cache_size", "contains", "contains_subdir_artifact"),
    *("diff", "extract", "get_artifact_fullname", "get_cache_size", "has_fetch_remotes", "has_push_remotes"),
    *("has_quota_exceeded", "initialize_remotes", "link_key", "list_artifacts", "mark_required_elements"),
    *("preflight", "pull", "pull_tree", "push", "push_directory", "push_message", "remove"),
    *("set_cache_size", "setup_remotes", "specs_from_config_node"),
)


def rows(page):
    """(first cell without ticks, the others) of every row of every table."""
    for line in page.splitlines():
        if line.startswith("| ") and not line.startswith(("| No |", "| Original |")):
            first, *others = (cell.strip() for cell in line[1:-1].split("|"))
            yield first.strip("`"), others


def faults(page):
    """What is wrong with a page, a sentence each."""
    found, seen = [], []
    for name, cells in rows(page):
        seen.append(name)
        if name in NUMBERS and len(cells) == 3:
            found += [f"{name}: {fault}" for fault in row_faults(*cells)]
        elif name in METHODS and len(cells) == 2:
            found += [f"{name}: {fault}" for fault in row_faults(*cells, None)]
        else:
            found.append(f"{name} with {len(cells)} cells is no number and no method")
    for name in (*NUMBERS, *METHODS):
        if seen.count(name) != 1:
            found.append(f"{name} has {seen.count(name)} rows")
    order = [name for name in seen if name in NUMBERS]
    if order != sorted(order, key=NUMBERS.index):
        found.append("the rows are out of order")
    return found


@cache
def row_faults(what, code, shown):
    names = re.findall(r"`([^`]+)`", code)
    found = [code_fault(name) for name in names] or ["names no code"]
    if shown is not None:
        tests = re.findall(r"`([^`]+)`", shown)
        found += [not_a_test(name) for name in tests] or ["names no test"]
    if len(what.split()) < 3:
        found.append("says nothing")
    return [fault for fault in found if fault]


@cache
def code_fault(name):
    """`path/to/module.py:Class.method`: importable, and of that very module; '' = right."""
    path, _, qualified = name.partition(":")
    if not (path.endswith(".py") and qualified and (ROOT / path).is_file()):
        return f"`{name}` names no file and object"
    held = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    module = held.__name__
    for part in qualified.split("."):
        if not hasattr(held, part):
            return f"`{name}` is not there"
        held = getattr(held, part)
    return "" if getattr(held, "__module__", module) == module else f"`{name}` stands in {held.__module__}"


@cache
def functions_of(path):
    file = ROOT / path
    if not (path.startswith("tests/") and file.name.startswith("test_") and file.is_file()):
        return frozenset()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def not_a_test(name):
    path, _, function = name.partition("::")
    there = function.startswith("test_") and function in functions_of(path)
    return "" if there else f"`{name}` is no test"


def test_every_number_and_every_method_has_a_row_and_what_it_names_is_there():
    assert faults(PAGE) == []


def test_a_row_that_is_removed_or_twice_there_is_found():
    for line in PAGE.splitlines(keepends=True):
        for name, _cells in rows(line):
            assert faults(PAGE.replace(line, "")) == [f"{name} has 0 rows"]
            assert f"{name} has 2 rows" in faults(PAGE.replace(line, line * 2))


def test_a_name_that_is_changed_is_found():
    """As it is when code or a test is renamed and the page is not."""
    named = sorted(set(re.findall(r"`([^`]+(?:::|\.py:)[^`]+)`", PAGE)))
    assert len(named) > 200
    for name in named:
        renamed = faults(PAGE.replace(f"`{name}`", f"`{name}_of_old`"))
        assert renamed
        assert all(f"`{name}_of_old`" in fault for fault in renamed)
        assert faults(PAGE.replace(f"`{name}`", f"`{name.replace('.py', '_gone.py')}`"))


CODE, TEST = (
    "caskeeper/artifact.py:Ref.of",
    "tests/unit/test_artifact.py::test_no_key_is_a_fault_of_the_program",
)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (f"| `{CODE}` |", "| |", "names no code"),
        (CODE, "worker/services/link.py:Ref.of", "stands in caskeeper.artifact"),
        (CODE, "caskeeper/artifact.py", "names no file and object"),
        (TEST, TEST.replace("test_no_key", "no_key"), "is no test"),
        (TEST, TEST.removeprefix("tests/"), "is no test"),
        (TEST, TEST.partition("::")[0], "is no test"),
        ("| AC-4 |", "| AC-81 |", "is no number and no method"),
        ("| AC-4 |", "| AC-1 to AC-4 |", "is no number and no method"),
    ],
)
def test_a_row_that_says_too_little_is_found(old, new, says):
    assert old in PAGE
    assert any(says in fault for fault in faults(PAGE.replace(old, new)))


def test_commands_tasks_and_methods_of_the_client_that_are_named_exist():
    from caskeeper import Client

    context = click.Context(cli)
    for words in re.findall(r"`caskeeper ([a-z][a-z -]*?)(?: --[a-z]+)?`", PAGE):
        command, inner = cli, context
        for word in words.split():
            command = command.get_command(inner, word)
            assert command is not None, words
            inner = click.Context(command, parent=inner)
    assert {kind.TASK for kind in (*ARTIFACTS, *CACHE)} >= set(re.findall(r"tasks? `([a-z_.]+)`", PAGE))
    for name in re.findall(r"`Client\.([a-z_]+)", PAGE):
        assert callable(getattr(Client, name))
