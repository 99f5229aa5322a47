# Needs nothing but Python >= 3.11 and make; everything else is installed into .venv from the lock files.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# Tests of processes mostly wait: twice as many at a time as the smallest CI has cores.
TESTS_AT_ONCE ?= 4

.PHONY: install check lint types layers test demo bench bench-full bench-continue bench-growth bench-peers test-faults-long test-queue-long test-interop test-monitoring test-compose protos docs lock format clean

install: $(READY)

$(READY): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "caskeeper needs Python 3.11 or later; name one: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

check: lint types layers

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

layers: $(READY)
	$(BIN)/lint-imports

# Bytecode is kept, else each of the thousands of processes that the tests start compiles everything anew.
test: export PYTHONDONTWRITEBYTECODE :=
# Thousands of small volumes are made: in memory where there is room for it and programs may run, else
# where temporary files go.
test: export PYTEST_DEBUG_TEMPROOT = $(shell { [ "$$(df -k --output=avail /dev/shm | tail -n 1)" -gt 6000000 ] && ! grep -q '^[^ ]* /dev/shm [^ ]* [^ ]*noexec' /proc/mounts && echo /dev/shm; } 2>/dev/null)
test: check
	$(BIN)/python -P -m pytest -n $(TESTS_AT_ONCE) --dist loadfile

demo: $(READY)
	$(BIN)/caskeeper demo

# Beside the peers that are installed: BuildStream 1.6 (`apt-get install buildstream`), and BuildStream 2
# (`make bench-peers`). Minutes; alone on the machine. Writes docs/performance.md.
bench: $(READY)
	$(BIN)/python -P benchmarks/run.py

# Seven rounds, the peers with our client and our command line too: an hour and a half.
bench-full: bench-peers
	$(BIN)/python -P benchmarks/run.py --full

# Goes on with a `make bench` or `make bench-full` that was ended in the middle, after its last whole workload.
# Installs no peer: the run goes on beside those that it began with.
bench-continue: $(READY)
	$(BIN)/python -P benchmarks/run.py --continue

# Caches of 10 thousand to 10 million objects: minutes, 6 GB of a RAM disk, alone on the machine.
# Writes benchmarks/growth.json, docs/growth.svg and the page, which has a section of them.
bench-growth: $(READY)
	$(BIN)/python -P benchmarks/growth.py
	$(BIN)/python -P benchmarks/run.py --page

bench-peers: $(READY)
	PYTHONPATH=$(CURDIR)/tests $(BIN)/python -P -c 'from harness.bst2 import ensure_installed; ensure_installed()'

# An hour and more: writes docs/safety-report.md, also when something failed.
test-faults-long: $(READY)
	PYTHONPATH=$(CURDIR)/tests $(BIN)/python -P -m harness.safety_run docs/safety-report.md

# Most of an hour, alone on the machine: writes docs/queue-report.md. TRIALS="soak idle" runs only those.
test-queue-long: $(READY)
	PYTHONPATH=$(CURDIR)/tests $(BIN)/python -P -m harness.queue_trial_run docs/queue-report.md $(TRIALS)

test-interop: $(READY)
	$(BIN)/python -P -m pytest tests/interop

# Needs Debian's `prometheus` on PATH: the rules, and every query of the dashboard over a real fleet.
test-monitoring: $(READY)
	$(BIN)/python -P -m pytest tests/monitoring

# Needs docker with its compose plugin: builds the image, and scales, kills and restarts real containers.
test-compose: $(READY)
	$(BIN)/python -P -m pytest tests/compose

protos: $(READY)
	$(BIN)/python -P protos/generate.py

docs: $(READY)
	$(BIN)/python -P docs/generate_errors.py
	$(BIN)/python -P docs/generate_tasks.py

lock: $(READY)
	sh requirements/lock.sh

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .interop_cache .hypothesis
