"""Generates ``docs/tasks.md`` from the requests: ``make docs``, or into another file for comparison."""  # noqa: INP001 -- a script, no package

from __future__ import annotations

import inspect
import json
import sys
import types
import typing
from dataclasses import MISSING, Field, fields
from pathlib import Path

from caskeeper.contract import LANES, REQUESTS, VERSION, Message, Request, queue_of

HERE = Path(__file__).resolve().parent

_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean"}

_HEAD = f"""\
# Tasks

Generated from the requests of `caskeeper.contract` by `make docs`; do not edit.

Everything that changes the cache is a Celery task: `Client` and the command send these, and any other program
may. Arguments are keyword arguments; arguments and results are JSON. Names and fields are promises: what is
added has a default. `version` ({VERSION}) may stand among the arguments; a worker understands the one before
it, too. An unknown argument is `InvalidRequest`. Paths are the worker's and lie below its `roots`; a `ref` is
PROJECT/ELEMENT/KEY, a digest HASH/SIZE.

```python
from celery import Celery

queue = Celery(broker="redis://localhost:6379/0", backend="redis://localhost:6379/0")
job = queue.send_task("artifacts.pull", kwargs={{"ref": "demo/hello/9f86d081"}}, queue="caskeeper.pull")
print(job.get())  # {{'pulled': True, 'cached': False, 'remote': 'https://…', 'blobs': 12, 'bytes': 34567}}
```

Whoever sends by itself asks for work of its own: `Client` joins a job that does the same already. What fails
is a class of [errors](errors.md), by its name.

| Lane | Queue | Tasks |
|---|---|---|
"""


def render() -> str:
    """The whole page."""
    parts = [_HEAD + "\n".join(map(_lane, LANES)) + "\n"]
    told: dict[str, type[Message]] = {}
    for task, request in REQUESTS.items():
        parts.append(_task(task, request, told))
    parts.append("## Parts of results\n")
    seen: set[str] = set()
    while names := [name for name in told if name not in seen]:
        seen |= set(names)
        parts += [f"### {name}\n\n{_text(told[name])}\n\n{_table(told[name], told)}" for name in names]
    return "\n".join(parts)


def _lane(lane: str) -> str:
    tasks = [f"[`{task}`](#{_anchor(task)})" for task, request in REQUESTS.items() if lane == request.LANE]
    return f"| {lane} | `{queue_of(lane)}` | {', '.join(tasks)} |"


def _anchor(task: str) -> str:
    return task.replace(".", "")


def _task(task: str, request: type[Request], told: dict[str, type[Message]]) -> str:
    result = request.RESULT
    return (
        f"## {task}\n\n{_text(request)}\n\n"
        f"{_table(request, told, besides={'version'})}\n"
        f"Result: {_text(result)}\n\n{_table(result, told)}"
    )


def _text(kind: type[Message]) -> str:
    return inspect.cleandoc(kind.__doc__ or "").replace("``", "`")


def _table(
    kind: type[Message], told: dict[str, type[Message]], *, besides: typing.Collection[str] = ()
) -> str:
    hints = typing.get_type_hints(kind)
    rows = [
        f"| `{field.name}` | {_type(hints[field.name], told)} | {_default(field)} |"
        for field in fields(kind)
        if field.name not in besides
    ]
    if not rows:
        return "No fields.\n" if not besides else "No arguments.\n"
    return "\n".join(["| Name | Type | Default |", "|---|---|---|", *rows]) + "\n"


def _type(hint: typing.Any, told: dict[str, type[Message]]) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in {types.UnionType, typing.Union}:
        others = [argument for argument in arguments if argument is not type(None)]
        return f"{_type(others[0], told)} or null"
    if origin is tuple:
        return f"list of {_type(arguments[0], told)}"
    if origin is dict:
        return f"object of {_type(arguments[1], told)}"
    if issubclass(hint, Message):
        told[hint.__name__] = hint
        return f"[{hint.__name__}](#{hint.__name__.lower()})"
    return _PLAIN[hint]


def _default(field: Field[typing.Any]) -> str:
    if field.default is not MISSING:
        return f"`{json.dumps(field.default)}`"
    return "`{}`" if field.default_factory is not MISSING else ""


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "tasks.md"
    target.write_text(render(), encoding="utf-8")
