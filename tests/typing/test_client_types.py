"""What a user's own type checker sees."""

import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def mypy(path, folder):
    return subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", os.devnull, path],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_client_is_fully_typed(tmp_path):
    done = mypy(f"{HERE}/client_usage.py", tmp_path)
    assert done.returncode == 0, done.stdout


def test_wrong_use_is_found(tmp_path):
    (tmp_path / "wrong.py").write_text(
        "from caskeeper import Client\n"
        "Client().pull('p/e/k', refresh='yes')\n"
        "Client().push(3)\n"
        "Client().pull('p/e/k').result().pushed\n"
    )
    done = mypy("wrong.py", tmp_path)
    assert "Found 3 errors" in done.stdout, done.stdout
