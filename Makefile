# Two commands on a fresh machine (Python 3.11+, make, git): `make demo` and `make test`.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
SEED ?= $(shell date +%s)
.PHONY: demo test check bench faults format clean

$(VENV)/.installed: deploy/constraints.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and was not found on PATH"; exit 1; }
	@test -x $(BIN)/python || { echo "making $(VENV) with $(PYTHON)"; "$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); exit 1; }; }
	@echo "installing the pinned packages (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r deploy/constraints.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(VENV)/.installed ## the main job on the sandbox, embedded Redis, nothing else needed
	@$(BIN)/connect demo

test: $(VENV)/.installed ## all tests, four files at a time; they wait more than they compute
	@PYTHONHASHSEED=0 $(BIN)/python -m pytest -m "not faults and not bench" -n 4 --dist loadfile

check: $(VENV)/.installed ## what CI runs: format, lint, types, import contracts, tests
	@$(BIN)/ruff format --check connect workers tests
	@$(BIN)/ruff check connect workers tests
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(MAKE) --no-print-directory test

faults: $(VENV)/.installed ## kills, lost answers, emptied Redis; SEED=… repeats a run, CONNECT_FAULT_INVOICES=2000 is the full size
	@echo "seed $(SEED)"; CONNECT_FAULT_SEED=$(SEED) $(BIN)/python -m pytest -m faults -s --timeout=1200

bench: $(VENV)/.installed ## the figures, as ratios within one run; writes bench.json into .connect/
	@PYTHONPATH=tests $(BIN)/python tests/bench/run.py

format: $(VENV)/.installed
	@$(BIN)/ruff format connect workers tests
	@$(BIN)/ruff check --fix connect workers tests

clean:
	rm -rf $(VENV) .connect build *.egg-info
