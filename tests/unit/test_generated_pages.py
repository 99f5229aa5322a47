"""Pages that are generated from the code are as the code has it."""

import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("page", ["errors", "tasks"])
def test_generating_again_gives_the_checked_in_page(tmp_path, page):
    made = tmp_path / f"{page}.md"
    subprocess.run([sys.executable, "-P", DOCS / f"generate_{page}.py", made], check=True, timeout=60)
    checked_in = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    assert made.read_text(encoding="utf-8") == checked_in, "run `make docs`"
