"""A home folder with one configuration file, and an environment that holds nothing else."""

import pytest

from caskeeper.config import load_settings


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "home"
    (folder / ".config").mkdir(parents=True)
    return folder


@pytest.fixture
def load(home):
    """Loads a text as the file ``home/c.yaml``, with an environment of its own."""

    def run(text="", **environ):
        (home / "c.yaml").write_text(text)
        return load_settings(str(home / "c.yaml"), {"HOME": str(home), **environ})

    return run
