"""The generated code in the tree is what the sources generate."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_generating_again_gives_the_checked_in_files_bit_for_bit(tmp_path):
    subprocess.run([sys.executable, "-P", ROOT / "protos/generate.py", tmp_path], check=True)
    made = {path.name: path.read_bytes() for path in (tmp_path / "worker/_protos").iterdir()}
    kept = {
        path.name: path.read_bytes()
        for path in (ROOT / "worker/_protos").iterdir()
        if "_pb2" in path.name and path.is_file()
    }
    assert made == kept
