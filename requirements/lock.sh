#!/bin/sh
# Writes the lock files: pins with hashes, for every platform and Python >= 3.11, without any index address.
# Needs uv (`pip install uv` into any environment on PATH).
set -eu
cd "$(dirname "$0")/.."
lock() { uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 "$@"; }
lock pyproject.toml -o requirements/runtime.txt
lock --group build -o requirements/build.txt
lock pyproject.toml --group dev -c requirements/runtime.txt -o requirements/dev.txt
