"""``docs/tasks.md`` is what the requests say."""

from dataclasses import fields
from pathlib import Path

import pytest

from caskeeper.contract import REQUESTS, queue_of

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/tasks.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("task", REQUESTS)
def test_every_task_is_on_the_page_with_its_queue_its_arguments_and_its_result(task):
    request = REQUESTS[task]
    (row,) = [line for line in PAGE.splitlines() if f"`{queue_of(request.LANE)}` |" in line]
    assert f"[`{task}`]" in row
    section = PAGE.partition(f"\n## {task}\n")[2].partition("\n## ")[0]
    arguments, _, result = section.partition("\nResult: ")
    for part, kind in ((arguments, request), (result, request.RESULT)):
        named = {field.name for field in fields(kind)} - {"version"}
        assert {line.split("`")[1] for line in part.splitlines() if line.startswith("| `")} == named
