# Needs only Python >= 3.11, make and a package index.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
SEED   ?= 1
PYTEST := $(BIN)/python -m pytest

.PHONY: run test check format bench-policies bench-parity bench-predictor bench-decide bench-simulator promtool clean

run: $(STAMP)  ## gateway over a simulated GPU + LPU + TPU fleet, replaying a real trace
	$(BIN)/tokenyard demo

test: check promtool  ## everything CI runs
	$(PYTEST) -m slow -n 2 --dist loadfile

check: $(STAMP)  ## the inner loop: format, lint, types, import contracts, unit tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(PYTEST) -m "not slow" -n 2

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

promtool:  ## rule unit tests, where Debian's `prometheus` is installed
	@if command -v promtool >/dev/null; then cd deploy/prometheus && promtool check config prometheus.yml && promtool test rules tests.yml tests_days.yml; \
	else echo "promtool not found: rule tests skipped (apt-get install prometheus)"; fi

bench-policies: $(STAMP)  ## cost-slo against the baselines on deploy/examples/hetero.yaml
	$(BIN)/python bench/policy_bars.py --seed $(SEED)

bench-parity: $(STAMP)  ## a live run against its simulation and against the replay of its journal
	$(BIN)/python bench/parity.py --seed $(SEED)

bench-predictor: $(STAMP)  ## what a prediction costs, one by one and 1,000 at once
	$(BIN)/python bench/predictor.py

bench-decide: $(STAMP)  ## what a decision and the life of a request cost the scheduler
	$(BIN)/python bench/decide.py

bench-simulator: $(STAMP)  ## CPU time and memory of simulating a fleet; BENCH takes its options
	$(BIN)/python bench/simulator.py $(BENCH)

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Tokenyard needs Python >= 3.11; set PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
