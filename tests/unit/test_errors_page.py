"""``docs/errors.md`` is what the error classes say."""

from pathlib import Path

import pytest

from caskeeper.errors import Transient, every_error

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/errors.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", list(every_error()))
def test_every_error_is_on_the_page_with_its_code_its_kind_and_its_way_out(name):
    kind = every_error()[name]
    assert f"| {kind.exit_code} | [{name}](#{name.lower()}) |" in PAGE
    section = PAGE.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    assert f"exit {kind.exit_code}, {'transient' if issubclass(kind, Transient) else 'permanent'}" in section
    assert kind.template.partition("{")[0] in section
    assert kind.default_way_out in section


def test_the_names_of_the_reference_stand_beside_ours():
    """AC-79."""
    rows = dict.fromkeys(("LoadError", "CASError", "ArtifactError"), "")
    table = PAGE.partition("## All of them")[2].partition("\n## ")[0].splitlines()
    for theirs in rows:
        rows[theirs] = "\n".join(line for line in table if theirs in line.rpartition(" | ")[2])
    assert "ConfigInvalid" in rows["LoadError"]
    assert "BlobMissing" in rows["CASError"]
    assert "RemoteUnavailable" in rows["CASError"]
    assert "CacheTooFull" in rows["ArtifactError"]
