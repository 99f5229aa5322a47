"""Protections taken out of the program by patches of its text, each alone or with the one that backs it.

A patch names a function or a Lua script, a text that occurs in it exactly once, and what stands there
instead. It is compiled in the place of the original for as long as a search lasts; the program itself has
no switch. The protections are those of safety.md section 10, the mutants of docs/model/configurations.txt
(named in brackets), and the upload grace.
"""

from __future__ import annotations

import importlib
import inspect
import textwrap
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from caskeeper.coordination.connection import RUN_ID
from caskeeper.coordination.scripts import load


class Patch(NamedTuple):
    """``where``: ``module:Class.function`` or ``lua:script``."""

    where: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    """``scenario``: which interleavings notice. ``backed``: why several patches are one mutant."""

    name: str
    removes: str
    patches: tuple[Patch, ...]
    scenario: str
    model: str = ""
    backed: str = ""
    #: where the search switches, for those that take a particular one to be seen
    focus: tuple[str, ...] = ()
    #: where and to whom it switches, one after the other, for those that take a long story
    guide: tuple[str, ...] = ()
    switches: int = 2


class Stale(AssertionError):
    """The program's text is another one by now."""


def _replaced(text, patch):
    if text.count(patch.old) != 1:
        raise Stale(f"{patch.where} has {patch.old!r} {text.count(patch.old)} times, not once")
    return text.replace(patch.old, patch.new)


def _owner(where):
    module_name, _, path = where.partition(":")
    owner = importlib.import_module(module_name)
    *classes, name = path.split(".")
    for part in classes:
        owner = getattr(owner, part)
    return owner, name


def _compiled(where, patches):
    """The function, and the code that it has with these patches: whoever has imported it gets that too."""
    owner, name = _owner(where)
    function = inspect.unwrap(getattr(owner, name))
    text = inspect.getsource(function)
    for patch in patches:
        text = _replaced(text, patch)
    names = dict(function.__globals__)
    flags = annotations.compiler_flag
    exec(compile(textwrap.dedent(text), inspect.getsourcefile(function), "exec", flags), names)
    return function, inspect.unwrap(names[name]).__code__


@contextmanager
def applied(mutant, monkeypatch, site):
    """The mutant instead of the program, for the actors of ``site``."""
    wheres = dict.fromkeys(patch.where for patch in mutant.patches)
    with monkeypatch.context() as context:
        scripts = dict(site.scripts)
        for where in wheres:
            patches = [patch for patch in mutant.patches if patch.where == where]
            if where.startswith("lua:"):
                name = where.removeprefix("lua:")
                text = load(name, RUN_ID).text
                for patch in patches:
                    text = _replaced(text, patch)
                site.scripts[name] = site.wire.call(("SCRIPT", "LOAD", text))[0]
            else:
                function, code = _compiled(where, patches)
                context.setattr(function, "__code__", code)
        try:
            yield
        finally:
            site.scripts.update(scripts)
